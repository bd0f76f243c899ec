"""The shared reading of a response: what every dialect does around its own counters.

The body is classified before any header is believed. Then comes the delay: the one a header states,
a field of the body, a sentence, and last the reset of the counter that is empty.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stepwell.providers.dialects.bodies import BodyError, error_of, node_of
from stepwell.providers.dialects.durations import clamp, number, reset_in
from stepwell.providers.dialects.prose import Tripped, largest_request, stated_wait, tripped
from stepwell.providers.dialects.reply import Reply
from stepwell.providers.dialects.retry_after import stated_delay
from stepwell.providers.dialects.subject import about_of, embedded_status
from stepwell.quota.limit import Metric
from stepwell.quota.reading import About, Hint, Reading

NOTHING = Hint()
"""The hint of a success that says nothing: most responses."""

_LONGEST_WORDS = 200
_NO_ERROR = BodyError()
# Nothing about the provider is wrong: another request may come at once.
_NO_DELAY = frozenset({About.TOO_LARGE, About.REQUEST})
_DELAY_FIELDS = (
    ("retry_after_ms", 1e-3),
    ("retry_after", 1.0),
    ("retry_after_seconds", 1.0),
    ("retryAfter", 1.0),
)


def read(reply: Reply, counters: tuple[Reading, ...] = ()) -> Hint:
    """Everything the shared rules read out of a response, beside `counters` from its headers."""
    status = failing_status(reply)
    if status is None:
        return Hint(readings=counters) if counters else NOTHING
    error = error_of(reply.body) or _NO_ERROR
    named = tripped(error.message, error.type)
    wait = _told_delay(reply, error)
    about = _about(status, error, named)
    if about is About.RATE and wait is None and named is None and _none_allowed(counters):
        about = About.MODEL
    if about in _NO_DELAY:
        wait = None
    readings = _with_named(counters, named, wait)
    if wait is None and about is About.RATE:
        wait = _empty_for(readings)
    return Hint(
        readings=readings,
        delay=wait,
        about=about,
        words=" ".join(error.message[:1_000].split())[:_LONGEST_WORDS],
        size=_size(about, error, named),
    )


def failing_status(reply: Reply) -> int | None:
    """The status that a response really has if it is a failure, else None."""
    if reply.status >= 400:
        return reply.status
    return None if reply.body is None else embedded_status(reply.body)


def _about(status: int, error: BodyError, named: Tripped | None) -> About | None:
    """What the words say, and for a rate what the numbers among them say beyond that."""
    about = about_of(status, error)
    if about is not About.RATE or named is None:
        return about
    if named.limit == 0:
        return About.MODEL  # none allowed at all: the plan is without this model
    return About.TOO_LARGE if named.never_fits else about


def _none_allowed(counters: tuple[Reading, ...]) -> bool:
    """Whether every counter's limit is 0: the plan is without this model (seen at Mistral).

    Some gateways fill unknown counters with zeros, so this is believed of all counters together,
    and only where neither a delay nor a limit is told beside them.
    """
    return bool(counters) and all(counter.limit == 0 for counter in counters)


def _size(about: About | None, error: BodyError, named: Tripped | None) -> int | None:
    if about is not About.TOO_LARGE:
        return None
    if named is not None and named.never_fits:
        return named.limit if named.metric is Metric.TOKENS else None
    return largest_request(error.message)


def _told_delay(reply: Reply, error: BodyError) -> float | None:
    delay = stated_delay(reply.headers, reply.now)
    if delay is None:
        delay = _field_delay(reply)
    said = stated_wait(error.message)
    if delay is None or said is None:
        return said if delay is None else delay
    # Retry-After has whole seconds, rounded up; the sentence beside it says the same exactly, and a
    # target must not stay unused for the difference.
    return said if said <= delay < said + 1.0 else delay


def _field_delay(reply: Reply) -> float | None:
    node = node_of(reply.body)
    for place in (node, reply.body):
        delay = _delay_in(place, reply.now) if isinstance(place, Mapping) else None
        if delay is not None:
            return delay
    return None


def _delay_in(fields: Mapping[str, Any], now: float) -> float | None:
    for name, unit in _DELAY_FIELDS:
        value = fields.get(name)
        amount = number(value)
        if amount is not None:
            return clamp(amount * unit)
        if isinstance(value, str) and (delay := reset_in(value, now)) is not None:
            return delay
    return None


def _with_named(
    counters: tuple[Reading, ...], named: Tripped | None, wait: float | None
) -> tuple[Reading, ...]:
    """The counters with the one that the text names.

    1. A header counts the same metric up to the same limit: it is that bucket. Its numbers are
       exact; the text adds the window, which such a header's name does not tell.
    2. A header seems to count the same metric in the same window: the text is about what tripped,
       so it replaces it.
    3. Otherwise it stands beside them.
    """
    if named is None or named.metric is None:
        return counters
    for index, counter in enumerate(counters):
        if counter.metric is named.metric and counter.limit == named.limit:
            window = named.window or counter.window
            return (*counters[:index], replace(counter, window=window), *counters[index + 1 :])
    others = (c for c in counters if c.metric is not named.metric or c.window != named.window)
    return (_reading_of(named, named.metric, wait), *others)


def _reading_of(named: Tripped, metric: Metric, wait: float | None) -> Reading:
    whole = _whole_in(named) if named.refills else None
    # Of a window that is not named only the delay is known: until it has passed nothing fits.
    reset = wait if whole is None else whole
    refills = whole is not None
    return Reading(metric, named.window, named.limit, named.remaining, reset, refills=refills)


def _whole_in(named: Tripped) -> float | None:
    """Seconds until a bucket is whole. The delay beside it is shorter: until this request fits."""
    if not named.window or named.used is None or not named.limit:
        return None
    return clamp(named.window * named.used / named.limit)


def _empty_for(readings: tuple[Reading, ...]) -> float | None:
    """Seconds until every empty counter has a unit again, as far as they tell; else None."""
    waits = [_next_unit(reading) for reading in readings if reading.remaining == 0]
    return max((wait for wait in waits if wait is not None), default=None)


def _next_unit(reading: Reading) -> float | None:
    """Seconds until one request fits. How many tokens a request needs, only the ledger knows."""
    if reading.reset is None or not reading.refills:
        return reading.reset
    if reading.metric is Metric.TOKENS or not reading.limit:
        return None
    return reading.reset / reading.limit
