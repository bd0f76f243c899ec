"""Fixed: all comes back at an edge, which recurs once in a window."""

from dataclasses import dataclass, replace
from math import inf
from typing import Final, Self

from stepwell.quota.laws.law import MOMENT, Gauge, Kind, Law, Outcome
from stepwell.quota.phases import Phases

# An edge that let a call in came after the calls that were in its way. Those are often sent just when
# an edge was expected: by so little it may not have come later.
LATER: Final = 5e-6


@dataclass(frozen=True, slots=True)
class Fixed(Law):
    """All comes back at the edge of the window.

    Attributes:
        phases: Where the edges may lie.
        shut: When a call was sent that was refused last: until an edge nothing has come back since.
        shut_for: What that call needed.
        opened: When the last call was sent for which there was room only because an edge had come; it
            is one of the first in its window, even if it was sent when the edge may have come.
        lasts: Until then no other edge has come.
    """

    phases: Phases
    shut: float = -inf
    shut_for: int = 0
    opened: float = inf
    lasts: float = -inf

    @property
    def kind(self) -> Kind:
        return Kind.FIXED

    def used(self, now: float) -> int:
        return self.usage.maybe(self._earliest_edge(now), now)

    def falls_to(self, level: float, now: float) -> float:
        entry = self.usage.maybe_crosses(level)
        return entry if abs(entry) == inf else self.phases.last_after(entry)

    def may_fall_to(self, level: float, now: float) -> float:
        entry = self.usage.surely_crosses(level)
        if abs(entry) == inf:
            return entry
        is_new = abs(entry - self.opened) <= MOMENT
        return self.phases.first_after(self.lasts if is_new else entry)

    def may_open(self, tokens: int, now: float) -> float:
        moment = self.may_fall_to(self.most - self.usage.need(tokens) - self.usage.in_flight, now)
        if self.shut > moment and self.usage.need(tokens) >= self.shut_for:
            return self.phases.first_after(self.shut)
        return moment

    def shown(self, gauge: Gauge) -> Self | None:
        if gauge.reset is None or not gauge.used:
            return self
        low, high = gauge.whole_again
        if low > gauge.answered + self.usage.window:
            return None
        return self._edged(self.phases.within(low, high))

    def _served(self, outcome: Outcome, need: int) -> Self | None:
        entry = self.usage.surely_crosses(self.most - need, outcome.before)
        if entry == inf:
            return None
        law: Self | None = self
        if entry > -inf:
            law = self._edged(self.phases.within(entry + LATER, outcome.answered))
        if law is None:
            return None
        if entry > outcome.answered - self.usage.window and not self.usage.straddled(
            outcome.before
        ):
            lasts = law.phases.first_after(entry) + self.usage.window
            law = replace(law, opened=outcome.sent, lasts=lasts)
        edge = law.phases.last_until(outcome.answered)
        return law.bounded(self.usage.surely(edge, outcome.before) + need, inf)

    def _refused(self, outcome: Outcome, need: int, rivals: int) -> Self | None:
        edge = self._earliest_edge(outcome.sent)
        before = self.usage.maybe(edge, outcome.answered) + rivals
        law = self.bounded(1, before + need - 1)
        if law is None:
            return None
        entry = self.usage.maybe_crosses(law.least - need - rivals, outcome.answered)
        phases = self.phases if entry == inf else self.phases.without(entry, outcome.sent)
        if outcome.told is not None:
            low, high = outcome.told
            if low > outcome.answered + self.usage.window:
                return None
            phases = phases.within(low, high)
        if not phases:
            return None
        return replace(law, phases=phases, shut=outcome.sent, shut_for=need)

    def _earliest_edge(self, now: float) -> float:
        return self.phases.first_after(now - self.usage.window)

    def _edged(self, phases: Phases) -> Self | None:
        return replace(self, phases=phases) if phases else None
