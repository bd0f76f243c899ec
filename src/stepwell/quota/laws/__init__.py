"""Laws: all ways in which a provider may count, what an answer leaves of them or suggests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Final

from stepwell.quota.laws.bucket import Bucket
from stepwell.quota.laws.first_call import NONE, FirstCall, Last
from stepwell.quota.laws.fixed import Fixed
from stepwell.quota.laws.law import Gauge, Kind, Law, Outcome
from stepwell.quota.laws.sliding import Sliding
from stepwell.quota.phases import Phases
from stepwell.quota.usage import Usage

# A refusal after fewer calls may have any reason.
_FEWEST: Final = 3
# Infinity cannot be written down. No window is so many seconds long.
_FAR: Final = 1e9


def laws_of(usage: Usage, least: int, most: float, last: Last = NONE) -> tuple[Law, ...]:
    """Return every kind of law with these bounds, of which nothing else is known.

    Args:
        usage: What is counted.
        least: So many fit into a window.
        most: More do not.
        last: What is known of a window that a call has begun; that there is none, where we call first.
    """
    return *unordered(usage, least, most), FirstCall(usage, least, most, last)


def unordered(usage: Usage, least: int, most: float) -> tuple[Sliding, Fixed, Bucket]:
    """Return the laws that can be held against what was long ago, and in any order.

    For a window that begins with a call, each one before it matters.
    """
    return (
        Sliding(usage, least, most),
        Fixed(usage, least, most, Phases.any(usage.window)),
        Bucket(usage, least, most),
    )


def shown(laws: Iterable[Law], gauge: Gauge) -> tuple[Law, ...]:
    """Return what a reading leaves of laws."""
    return tuple([left for law in laws if (left := law.shown(gauge)) is not None])


def after(laws: Iterable[Law], outcome: Outcome) -> tuple[Law, ...]:
    """Return what an outcome leaves of laws."""
    return tuple([left for law in laws if (left := law.after(outcome)) is not None])


def has_fixed(laws: Iterable[Law]) -> bool:
    """Tell whether a window with edges that recur is among them."""
    return any(law.kind is Kind.FIXED for law in laws)


def capped(laws: Iterable[Law], most: float) -> tuple[Law, ...]:
    """Return what is left of laws if more than that surely do not fit."""
    return tuple([left for law in laws if (left := law.bounded(1, most)) is not None])


def is_far(usage: Usage, outcome: Outcome, amount: int) -> bool:
    """Tell whether so little is remembered that no law of this amount, or of more, explains a refusal.

    Whoever shares an account is refused for what others use, again and again: that needs no look at
    each law. The call counts twice here, as a bucket rounds.
    """
    need = usage.need(outcome.need)
    return usage.remembered() + usage.rivals(need) + 2 * need <= amount


def suspects(usage: Usage, outcome: Outcome, fewest: float = inf) -> tuple[Law, ...]:
    """Return the laws of a window by which a refused call was the first too many.

    Args:
        usage: What is counted.
        outcome: The refusal.
        fewest: Another one came after so few calls in a window, inf if none did.
    """
    need = usage.need(outcome.need)
    rivals = usage.rivals(need)
    used = int(min(usage.maybe(outcome.sent - usage.window, outcome.answered), fewest))
    if used + rivals < (_FEWEST if usage.by_request else 1):
        return ()
    width = rivals + need - 1
    sliding, fixed, bucket = unordered(usage, max(1, used), used + width)
    found = after((sliding, fixed, replace(bucket, least=1)), outcome)
    narrowed = [replace(law, least=max(law.least, int(law.most) - width)) for law in found]
    return after(narrowed, outcome)


def written(law: Law, now: float) -> dict[str, Any]:
    """Return a law in plain values, with times relative to `now`."""
    values: dict[str, Any] = {"kind": law.kind, "least": law.least, "most": law.most}
    if isinstance(law, Fixed):
        values["phases"] = [[low - now, high - now] for low, high in law.phases.arcs]
    if isinstance(law, FirstCall):
        values["last"] = [max(-_FAR, min(moment - now, _FAR)) for moment in law.current(now)]
    return values


def read(values: Mapping[str, Any], usage: Usage, then: float) -> Law:
    """Return a law as it was written at `then`."""
    least = max(1, int(values["least"]))
    most = max(least, int(values["most"]))
    match Kind(values["kind"]):
        case Kind.SLIDING:
            return Sliding(usage, least, most)
        case Kind.BUCKET:
            return Bucket(usage, least, most)
        case Kind.FIXED:
            return Fixed(usage, least, most, _phases(values["phases"], usage.window, then))
        case Kind.FIRST_CALL:
            last = Last(*(then + float(seconds) for seconds in values["last"]))
            return FirstCall(usage, least, most, last)


def _phases(arcs: Iterable[Sequence[float]], window: float, then: float) -> Phases:
    whole, phases = Phases.any(window), Phases(window, ())
    for low, high in arcs:
        phases = phases.joined(whole.within(then + float(low), then + float(high)))
    return phases or whole
