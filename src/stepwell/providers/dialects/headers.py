"""The counters in a response's headers, whichever family they belong to.

Names are read once for each set of names that arrives: a provider sends the same ones with every
response, so `_plan` is found, not made. What remains is reading a few numbers.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from stepwell.providers.dialects import anthropic, bare, split, vendor, windowed
from stepwell.providers.dialects.calendars import BY_THE_CLOCK
from stepwell.providers.dialects.customs import Customs
from stepwell.providers.dialects.draft import draft_counters
from stepwell.providers.dialects.durations import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    clamp,
    count,
    has_unit,
    number,
    reset_in,
)
from stepwell.providers.dialects.reply import Reply
from stepwell.providers.dialects.slots import Slot, Speller
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import Other, Reading

_SPELLERS: tuple[Speller, ...] = (
    split.spell,
    windowed.spell,
    bare.spell,
    anthropic.spell,
    vendor.spell,
)
_METRICS = {metric.value: metric for metric in Metric}

# A header that only some providers send tells the window of those beside it that name none:
# Together counts in seconds, Fireworks and Nebius in minutes.
_COMPANIONS = {
    "x-tokenlimit-limit": SECOND,
    "x-tokenlimit-remaining": SECOND,
    "x-ratelimit-over-limit": MINUTE,
}


class Counters(NamedTuple):
    """What a response's headers count: for the ledger, and for people."""

    readings: tuple[Reading, ...] = ()
    others: tuple[Other, ...] = ()


class _Key(NamedTuple):
    """What the names of a counter's headers tell of it."""

    counts: str
    window: float | None
    scope: Scope | None
    bucket: bool


class _Named(NamedTuple):
    """One counter, and the names of the headers with its numbers; "" for one that is missing."""

    key: _Key
    limit: str
    remaining: str
    reset: str
    period: str


class _Plan(NamedTuple):
    readings: tuple[tuple[Metric, _Named], ...]
    others: tuple[_Named, ...]
    clock: bool  # windows end by the clock
    draft: bool  # the IETF draft's headers are among them


NOTHING = Counters()


def counters(reply: Reply, customs: Customs) -> Counters:
    """Every counter in the headers, or in those that OpenRouter repeats in a refusal's body.

    Args:
        reply: The response.
        customs: Whose response it is, for what its headers leave out.
    """
    if not reply.headers and reply.body is None:
        return NOTHING
    counted = _counters(reply, reply.headers, customs)
    if reply.body is None or counted.readings:
        return counted
    return _counters(reply, bare.headers_in(reply.body), customs)


def _counters(reply: Reply, headers: Mapping[str, str], customs: Customs) -> Counters:
    plan = _plan(tuple(headers))
    readings: list[Reading] = []
    for metric, named in plan.readings:
        numbers = _numbers(named, headers, reply, customs, clock=plan.clock)
        if numbers is not None:
            readings.append(Reading(metric, *numbers))
    others: tuple[Other, ...] = ()
    if plan.others:
        found = (
            (named.key.counts, _numbers(named, headers, reply, customs, clock=plan.clock))
            for named in plan.others
        )
        others = tuple(Other(counts, *numbers[:-1]) for counts, numbers in found if numbers)
    if plan.draft:
        readings.extend(draft_counters(reply))
    return Counters(tuple(readings), others)


@lru_cache(maxsize=256)
def _plan(names: tuple[str, ...]) -> _Plan:
    """Which counters these headers hold, and in which of them each number stands."""
    found: dict[_Key, dict[str, str]] = {}
    companion = next((_COMPANIONS[name] for name in names if name in _COMPANIONS), None)
    slots = tuple(_slots(names))
    for name, slot in slots:
        key = _Key(slot.counts, slot.window or companion, slot.scope, slot.bucket)
        found.setdefault(key, {}).setdefault(slot.field, name)
    named = [_named(key, fields) for key, fields in found.items() if _is_counter(fields)]
    return _Plan(
        tuple((_METRICS[each.key.counts], each) for each in named if each.key.counts in _METRICS),
        tuple(each for each in named if each.key.counts not in _METRICS),
        clock=any(slot.clock for _, slot in slots),
        draft="ratelimit" in names or "ratelimit-remaining" in names,
    )


def _named(key: _Key, fields: Mapping[str, str]) -> _Named:
    limit, remaining, reset, period = (
        fields.get(field, "") for field in ("limit", "remaining", "reset", "period")
    )
    return _Named(key, limit, remaining, reset, period)


def _slots(names: Iterable[str]) -> Iterable[tuple[str, Slot]]:
    for name in names:
        slot = next(filter(None, (spell(name) for spell in _SPELLERS)), None)
        if slot is not None:
            yield name, slot


def _is_counter(fields: Mapping[str, str]) -> bool:
    """A reset or a window alone counts nothing."""
    return "limit" in fields or "remaining" in fields


_Numbers: TypeAlias = tuple[float | None, int | None, int | None, float | None, Scope, bool]
"""Window, limit, remaining, reset, scope, whether it refills: as Reading and Other order them."""


def _numbers(
    named: _Named, headers: Mapping[str, str], reply: Reply, customs: Customs, *, clock: bool
) -> _Numbers | None:
    key = named.key
    limit = _limit(headers.get(named.limit))
    remaining = count(headers.get(named.remaining))
    if limit is None and remaining is None:
        return None
    if limit == 0 and reply.status < 400:
        return None  # a served request refutes a limit of nothing
    text = headers.get(named.reset, "")
    reset = reset_in(text, reply.now)
    if reset == 0 and remaining == 0:
        reset = None  # empty and whole at once: Azure's 0 for "not known"
    window = _period(headers.get(named.period)) or key.window or customs.windows.get(key.counts)
    if reset is None and clock and remaining == 0 and limit != 0:
        reset = _by_the_clock(window, reply.now)
    refills = key.bucket and reset is not None and has_unit(text)
    if window is None and refills:
        window = _window_of_bucket(limit, remaining, reset)
    return window, limit, remaining, reset, key.scope or customs.scope, refills


def _limit(text: str | None) -> int | None:
    """A limit; Together's may be a fraction of a request a second, which is not none at all."""
    limit = count(text)
    return 1 if limit == 0 and (number(text) or 0) > 0 else limit


def _period(text: str | None) -> float | None:
    seconds = number(text) if text else None
    return seconds if seconds is not None and 0 < seconds <= 366 * DAY else None


def _by_the_clock(window: float | None, now: float) -> float | None:
    ends = BY_THE_CLOCK.get(window) if window is not None else None
    return None if ends is None else clamp(ends(now))


def _window_of_bucket(
    limit: int | None, remaining: int | None, reset: float | None
) -> float | None:
    """The window of a bucket that refills evenly, by its pace; None if it fits no usual one.

    31 of 14400 requests used and whole in 3m6s: one comes back in 6 s, all in a day.
    """
    if not limit or remaining is None or not reset or remaining >= limit:
        return None
    whole = reset * limit / (limit - remaining)
    return next((w for w in (SECOND, MINUTE, HOUR, DAY) if abs(whole - w) <= 0.02 * w), None)
