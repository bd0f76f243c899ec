"""The counters in a response's headers, whichever family they belong to.

Names are read once for each set of names that arrives: a provider sends the same ones with every
response, so `_plan` is found, not made. What remains is reading a few numbers. They are read where
they stand: bytes of a head, or text that is in a mapping.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from stepwell.providers.dialects import anthropic, bare, split, vendor, windowed
from stepwell.providers.dialects.bodies import Node
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
    number,
    reset_of,
    text_in,
)
from stepwell.providers.dialects.reply import Head, Reply, quota_places
from stepwell.providers.dialects.slots import METRICS, Slot, Speller
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import Other, Reading

_SPELLERS: tuple[Speller, ...] = (
    split.spell,
    windowed.spell,
    bare.spell,
    anthropic.spell,
    vendor.spell,
)

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
    over_limit: bool = False


class _Key(NamedTuple):
    """What the names of a counter's headers tell of it."""

    counts: str
    window: float | None
    scope: Scope | None
    bucket: bool


class _Counter(NamedTuple):
    """One counter: where its numbers stand among the headers, and what is known beside them.

    Attributes:
        metric: As the ledger calls what it counts; None if that does not count it.
        counts: As the headers call it.
        limit: The place of a header, as the three after it; NOWHERE for one that is missing.
        clock: Its window ends by the clock.
    """

    metric: Metric | None
    counts: str
    limit: int
    remaining: int
    reset: int
    period: int
    window: float | None
    scope: Scope
    bucket: bool
    clock: bool


class _Plan(NamedTuple):
    counters: tuple[_Counter, ...]
    over_limit: int  # a place
    draft: bool  # the IETF draft's headers are among them


NOTHING = Counters()
OVER_LIMIT: Final = "x-ratelimit-over-limit"
"""Says `yes` where a soft limit is passed: Fireworks, Nebius."""

_NOWHERE: Final = -1
_END: Final = ("", "")
"""What stands NOWHERE: behind all headers."""


def counters(reply: Reply, customs: Customs, node: Node | None = None) -> Counters:
    """Every counter in the headers, or in those that OpenRouter repeats in a refusal's body.

    Args:
        reply: The response.
        customs: Whose response it is, for what its headers leave out.
        node: The mapping that holds the body's error; None if it has none.
    """
    counted = _counters(reply, reply.headers, customs)
    if node is None or counted.readings:
        return counted
    repeated = bare.headers_in(node)
    return _counters(reply, repeated, customs) if repeated else counted


def _counters(reply: Reply, headers: Mapping[str, str], customs: Customs) -> Counters:
    pairs = headers.pairs if isinstance(headers, Head) else headers.items()
    names, values = zip(*pairs, _END)  # noqa: B905 - they are pairs
    plan, over_limit, draft = _plan(names, customs)
    readings: list[Reading] = []
    others: list[Other] = []
    for counter in plan:
        told = _told(counter, values, reply)
        if isinstance(told, Reading):
            readings.append(told)
        elif told is not None:
            others.append(told)
    if draft:
        readings.extend(draft_counters(reply))
    is_over = over_limit != _NOWHERE and text_in(values[over_limit]) == "yes"
    return Counters(tuple(readings), tuple(others), is_over)


@lru_cache(maxsize=256)
def _plan(names: tuple[str | bytes, ...], customs: Customs) -> _Plan:
    """Which counters these headers hold, and in which of them each number stands."""
    places = quota_places(names)
    companion = next((_COMPANIONS[name] for name in places if name in _COMPANIONS), None)
    slots = tuple(_slots(places))
    found: dict[_Key, dict[str, int]] = {}
    for name, slot in slots:
        key = _Key(slot.counts, slot.window or companion, slot.scope, slot.bucket)
        found.setdefault(key, {}).setdefault(slot.field, places[name])
    clock = any(slot.clock for _, slot in slots)
    return _Plan(
        tuple(
            _counter(key, fields, customs, clock=clock)
            for key, fields in found.items()
            if _is_counter(fields)
        ),
        places.get(OVER_LIMIT, _NOWHERE),
        draft="ratelimit" in places or "ratelimit-remaining" in places,
    )


def _counter(key: _Key, fields: Mapping[str, int], customs: Customs, *, clock: bool) -> _Counter:
    counts, window, scope, bucket = key
    limit, remaining, reset, period = (
        fields.get(field, _NOWHERE) for field in ("limit", "remaining", "reset", "period")
    )
    return _Counter(
        METRICS.get(counts),
        counts,
        limit,
        remaining,
        reset,
        period,
        window or customs.windows.get(counts),
        scope or customs.scope,
        bucket,
        clock,
    )


def _slots(names: Iterable[str]) -> Iterable[tuple[str, Slot]]:
    for name in names:
        slot = next(filter(None, (spell(name) for spell in _SPELLERS)), None)
        if slot is not None:
            yield name, slot


def _is_counter(fields: Mapping[str, int]) -> bool:
    """A reset or a window alone counts nothing."""
    return "limit" in fields or "remaining" in fields


def _told(counter: _Counter, values: Sequence[str | bytes], reply: Reply) -> Reading | Other | None:
    """What the headers say of one counter; None if that is nothing."""
    metric, counts, limit_at, left_at, reset_at, period_at, window, scope, bucket, clock = counter
    limit = count(values[limit_at])
    remaining = count(values[left_at])
    if limit is None and remaining is None:
        return None
    if limit == 0:
        limit = _at_least(text_in(values[limit_at]))
        if limit == 0 and reply.status < 400:
            return None  # a served request refutes a limit of nothing
    if period_at != _NOWHERE:
        window = _period(text_in(values[period_at])) or window
    reset, refills = None, False
    if (told := reset_of(values[reset_at])) is not None:
        reset, moment, has_unit = told
        if moment is not None:
            reset = clamp(moment - reply.now)
        refills = bucket and has_unit
    if remaining == 0 and not reset:  # empty and whole at once is Azure's 0 for "not known"
        refills = False
        reset = _by_the_clock(window, reply.now) if clock and limit != 0 else None
    if window is None and refills:
        window = _window_of_bucket(limit, remaining, reset)
    if metric is None:
        return Other(counts, window, limit, remaining, reset, scope)
    return Reading(metric, window, limit, remaining, reset, scope, refills)


def _at_least(text: str) -> int:
    """A limit below 1; Together's may be a fraction of a request a second, which is not none."""
    return 1 if (number(text) or 0) > 0 else 0


def _period(text: str) -> float | None:
    seconds = number(text)
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
