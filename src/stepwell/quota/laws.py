"""Laws: what an answer leaves of several laws, and those that a refusal suggests."""

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Final

from stepwell.quota.law import Gauge, Law, Outcome, laws_of
from stepwell.quota.usage import Usage

# A refusal after fewer calls may have any reason.
_FEWEST: Final = 3


def shown(laws: Iterable[Law], gauge: Gauge) -> tuple[Law, ...]:
    """Return what a reading leaves of laws."""
    return tuple([left for law in laws if (left := law.shown(gauge)) is not None])


def after(laws: Iterable[Law], outcome: Outcome) -> tuple[Law, ...]:
    """Return what an outcome leaves of laws."""
    return tuple([left for law in laws if (left := law.after(outcome)) is not None])


def capped(laws: Iterable[Law], most: float) -> tuple[Law, ...]:
    """Return what is left of laws if more than that surely do not fit."""
    return tuple([left for law in laws if (left := law.bounded(1, most)) is not None])


def is_far(usage: Usage, outcome: Outcome, amount: int) -> bool:
    """Tell whether so little is remembered that no law of this amount, or of more, explains a refusal.

    Whoever shares an account is refused for what others use, again and again: that needs no look at
    each law. The call counts twice here, as a bucket rounds.
    """
    need = usage.need(outcome.need)
    return usage.maybe(-inf, outcome.answered) + usage.rivals(need) + 2 * need <= amount


def suspects(usage: Usage, outcome: Outcome) -> tuple[Law, ...]:
    """Return the laws of a window by which a refused call was the first too many."""
    need = usage.need(outcome.need)
    rivals = usage.rivals(need)
    used = usage.maybe(outcome.sent - usage.window, outcome.answered)
    if used + rivals < (_FEWEST if usage.by_request else 1):
        return ()
    width = rivals + need - 1
    sliding, fixed, bucket = laws_of(usage, max(1, used), used + width)
    found = after((sliding, fixed, replace(bucket, least=1)), outcome)
    narrowed = [replace(law, least=max(law.least, int(law.most) - width)) for law in found]
    return after(narrowed, outcome)
