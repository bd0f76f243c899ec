"""Bucket: what is used comes back evenly."""

from dataclasses import dataclass
from math import ceil, inf
from typing import Final, Self

from stepwell.quota.laws.law import Gauge, Kind, Law, Outcome
from stepwell.quota.usage import WAY

# A bucket refills by fractions; a twentieth of a call is rounding.
_FRACTION: Final = 0.05
# What floats lose, and more than any limit.
_EPSILON: Final = 1e-6
_HUGE: Final = 1e15


@dataclass(frozen=True, slots=True)
class Bucket(Law):
    """What is used comes back evenly, all of it in one window."""

    @property
    def kind(self) -> Kind:
        return Kind.BUCKET

    def used(self, now: float) -> int:
        return ceil(self.usage.maybe_level(self.least, now) - _FRACTION)

    def falls_to(self, level: float, now: float) -> float:
        drains = self.usage.maybe_drains_to(level, self.least, now)
        if self.usage.counts_refused:
            return drains  # it may hold more than its amount
        # One window later a bucket has lost at least what has left a sliding window.
        return min(drains, self.usage.maybe_crosses(level) + self.usage.window)

    def may_fall_to(self, level: float, now: float) -> float:
        return -inf if self.most == inf else self.usage.surely_drains_to(level, self.most, now)

    def shown(self, gauge: Gauge) -> Self | None:
        if self._overfull(self.usage.surely_level(self.least, gauge.answered), gauge):
            return None
        if gauge.reset is not None and gauge.used:
            unit = self.usage.window / self.least
            low, high = gauge.whole_again
            whole = gauge.sent + gauge.used * unit
            if not low - unit <= whole <= high + unit:
                return None
        return self

    def _served(self, outcome: Outcome, need: int) -> Self | None:
        usage, sent, answered = self.usage, outcome.before, outcome.answered
        more = (1 - _FRACTION) * need
        if usage.surely_was(self.least, sent, answered) + more <= self.least:
            return self
        fitting = _whole(usage.surely_held(more, sent, answered))
        return self.bounded(min(fitting, self._fullest(outcome, need)), inf)

    def _refused(self, outcome: Outcome, need: int, rivals: int) -> Self | None:
        usage, sent, answered = self.usage, outcome.sent, outcome.answered
        is_told = outcome.told is not None  # else refused calls would explain too much
        more, most = rivals + (1 + _FRACTION) * need, self.most
        fitting = _whole(usage.maybe_held(more, sent, answered, doubts=is_told))
        law: Self | None = self
        if fitting <= most or usage.maybe_was(most, sent, answered, doubts=is_told) + more <= most:
            fullest = self._fullest(outcome, need) + rivals
            law = self.bounded(1, min(fitting, fullest, most) - 1)
        if law is None or outcome.told is None:
            return law
        low, high = outcome.told
        least_left = usage.surely_was(law.most, outcome.before, answered)
        least_left += usage.surely_taken(need) - usage.was_in_flight(outcome.before)
        most_left = usage.maybe_was(law.least, sent, answered) + rivals + usage.maybe_taken(need)
        fewest = usage.need(outcome.fewest)
        soonest = answered + self._drains(least_left + fewest - law.most, law.most)
        latest = sent + self._drains(most_left + need - law.least, law.least)
        return law if soonest <= high + WAY and latest >= low - WAY else None

    def _fullest(self, outcome: Outcome, need: int) -> int:
        """Return an amount into which the call fits for sure."""
        since = outcome.sent - self.usage.window
        # A bucket in debt holds what is older than a window.
        is_owing = self.usage.counts_refused
        used = self.usage.remembered() if is_owing else self.usage.maybe(since)
        return used + 2 * need + 1

    def _drains(self, excess: float, amount: float) -> float:
        """Return the seconds in which so much drains out of a bucket of that amount."""
        return max(0.0, excess) * self.usage.window / amount


def _whole(amount: float) -> int:
    """Return the first whole amount that is no less, but for rounding."""
    return ceil(min(amount, _HUGE) - _EPSILON)
