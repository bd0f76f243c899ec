"""Sliding: each unit comes back one window after it was counted."""

from dataclasses import dataclass
from math import inf
from typing import Self

from stepwell.quota.laws.law import Gauge, Kind, Law, Outcome
from stepwell.quota.usage import WAY


@dataclass(frozen=True, slots=True)
class Sliding(Law):
    """Each unit comes back one window after it was counted."""

    @property
    def kind(self) -> Kind:
        return Kind.SLIDING

    def used(self, now: float) -> int:
        return self.usage.maybe(now - self.usage.window, now)

    def falls_to(self, level: float, now: float) -> float:
        return self.usage.maybe_crosses(level) + self.usage.window

    def may_fall_to(self, level: float, now: float) -> float:
        return self.usage.surely_crosses(level) + self.usage.window

    def shown(self, gauge: Gauge) -> Self | None:
        used = self.usage.surely(gauge.answered - self.usage.window, gauge.answered)
        if self._overfull(used, gauge):
            return None
        if gauge.reset is not None and gauge.used:  # the call itself is the last to leave
            low, high = gauge.whole_again
            if not low - WAY <= gauge.sent + self.usage.window <= high + WAY:
                return None
        return self

    def _served(self, outcome: Outcome, need: int) -> Self | None:
        before = self.usage.surely(outcome.answered - self.usage.window, outcome.before)
        return self.bounded(before + need, inf)

    def _refused(self, outcome: Outcome, need: int, rivals: int) -> Self | None:
        before = self.usage.maybe(outcome.sent - self.usage.window, outcome.answered) + rivals
        law = self.bounded(1, before + need - 1)
        if law is None or outcome.told is None:
            return law
        usage, window, (low, high) = self.usage, self.usage.window, outcome.told
        uncounted = usage.was_in_flight(outcome.before) - usage.surely_taken(need)
        level = min(
            law.most - usage.need(outcome.fewest) + uncounted, self._all_but_one(outcome, rivals)
        )
        soonest = usage.surely_crosses(level, outcome.before)
        full = law.least - need - rivals - usage.maybe_taken(need)
        latest = usage.maybe_crosses(full, outcome.answered)
        return law if soonest + window <= high + WAY and latest + window >= low - WAY else None

    def _all_but_one(self, outcome: Outcome, rivals: int) -> float:
        """Return what is left of a full window when the first unit comes back; inf if not known.

        Whatever was counted of calls in flight, it is the oldest unit that has to come back before
        there is room for anything. Who else is in flight, or was refused, may be that.
        """
        since = outcome.sent - self.usage.window
        full = self.usage.served(since, outcome.before)
        is_open = rivals or self.usage.doubted(since, outcome.answered)
        return full - 1 if full and not is_open else inf
