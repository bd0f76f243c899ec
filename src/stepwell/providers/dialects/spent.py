"""The counter that refused, and how it joins those in the headers."""

import re

from stepwell.providers.dialects.bodies import BodyError
from stepwell.providers.dialects.customs import Customs
from stepwell.providers.dialects.durations import clamp
from stepwell.providers.dialects.headers import Counters
from stepwell.providers.dialects.prose import Tripped
from stepwell.providers.dialects.sayings import Saying
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import About, Other, Reading

COUNTED = frozenset({About.RATE, About.CONCURRENCY, About.CREDIT})
"""The subjects of refusals behind which a counter may stand."""

_READ = 4_000  # characters of a message that are looked at


def spent_counter(
    about: About | None,
    named: Tripped | None,
    saying: Saying,
    error: BodyError,
    customs: Customs,
) -> Tripped | None:
    """The counter that a refusal is about, None if it is about none.

    Numbers in a sentence go first, and a known saying fills in what they leave open. Then come what
    the provider's refusals without any detail are about, and the saying alone.
    """
    if about not in COUNTED:
        return named if named is not None and (named.limit == 0 or named.never_fits) else None
    scope = saying.scope or customs.scope
    if named is not None:
        window = saying.window if named.window is None else named.window
        return named._replace(window=window, scope=named.scope or scope)
    unnamed = customs.unnamed if about is About.RATE else None
    if unnamed is not None and saying.window in {None, unnamed.window}:
        return _implied(unnamed.counts, unnamed.window, unnamed.limit, scope)
    if not saying.counts:
        return None
    return _implied(saying.counts, saying.window, _limit_in(saying, error), scope)


def _implied(counts: str, window: float | None, limit: int | None, scope: Scope) -> Tripped:
    return Tripped(counts, window, limit, scope=scope, is_spent=True, is_implied=True)


def with_spent(
    counted: Counters, spent: Tripped | None, told: float | None, end: float | None
) -> Counters:
    """The counters with the one that refused.

    Args:
        counted: Those in the headers.
        spent: The one that refused.
        told: Seconds after which a request fits, where that is told.
        end: Seconds until its window ends, where that is told.
    """
    if spent is None:
        return counted
    reset = told if end is None else end
    if spent.metric is None:
        other = Other(
            spent.counts, spent.window, spent.limit, spent.remaining, reset, _scope(spent)
        )
        return counted._replace(others=(*counted.others, other))
    readings = _joined(counted.readings, spent, spent.metric, reset)
    return counted._replace(readings=readings)


def empty_for(readings: tuple[Reading, ...]) -> float | None:
    """Seconds until every empty counter has a unit again, as far as they tell; else None."""
    longest = None
    for reading in readings:
        wait = _next_unit(reading) if reading.remaining == 0 else None
        if wait is not None and (longest is None or wait > longest):
            longest = wait
    return longest


def _joined(
    readings: tuple[Reading, ...], spent: Tripped, metric: Metric, reset: float | None
) -> tuple[Reading, ...]:
    """The readings with the one that refused.

    1. A header counts the same metric up to the same limit, or it is empty and its window is not
       another one: it is that bucket. Its numbers are exact; the text adds the window, which such
       a header's name does not tell.
    2. A header seems to count the same metric in the same window: the text is about what tripped,
       so it replaces it.
    3. It is only implied, and a header says which counter is empty: that one it is.
    4. Otherwise it stands beside them.
    """
    for index, reading in enumerate(readings):
        if reading.metric is metric and _is_same(reading, spent):
            filled = _filled(reading, spent, reset)
            return (*readings[:index], filled, *readings[index + 1 :])
    if spent.is_implied and any(reading.remaining == 0 for reading in readings):
        return readings
    others = (r for r in readings if r.metric is not metric or r.window != spent.window)
    return (_reading_of(spent, metric, reset), *others)


def _is_same(reading: Reading, spent: Tripped) -> bool:
    if spent.limit is not None:
        return reading.limit == spent.limit
    return reading.remaining == 0 and (
        spent.window is None or reading.window in {None, spent.window}
    )


def _filled(reading: Reading, spent: Tripped, reset: float | None) -> Reading:
    window = spent.window or reading.window
    if spent.scope is Scope.FREE:  # no header tells that
        reading = reading._replace(scope=Scope.FREE)
    if reading.reset is None and reading.remaining == 0:
        return reading._replace(window=window, reset=reset)
    return reading._replace(window=window)


def _reading_of(spent: Tripped, metric: Metric, reset: float | None) -> Reading:
    if spent.never_fits:
        reset = None  # of a request that never fits, no wait is told
    whole = _whole_in(spent) if spent.refills else None
    # Of any other counter only the delay is known: until it has passed nothing fits.
    reset = reset if whole is None else whole
    scope, refills = _scope(spent), whole is not None
    return Reading(metric, spent.window, spent.limit, spent.remaining, reset, scope, refills)


def _scope(spent: Tripped) -> Scope:
    return spent.scope or Scope.MODEL


def _whole_in(spent: Tripped) -> float | None:
    """Seconds until a bucket is whole. The delay beside it is shorter: until this request fits."""
    if not spent.window or spent.used is None or not spent.limit:
        return None
    return clamp(spent.window * spent.used / spent.limit)


def _limit_in(saying: Saying, error: BodyError) -> int | None:
    match = re.search(saying.limit, error.lines(_READ)) if saying.limit else None
    return int(match[1].replace(",", "")) if match else None


def _next_unit(reading: Reading) -> float | None:
    """Seconds until one request fits. How many tokens a request needs, only the ledger knows."""
    if reading.reset is None or not reading.refills:
        return reading.reset
    if reading.metric is Metric.TOKENS or not reading.limit:
        return None
    return reading.reset / reading.limit
