"""FirstCall: a window begins with the first call after the last one has ended.

So do counters that are made by the first call and expire (`INCR` and `EXPIRE` of Redis). Unlike a
fixed window's edges, these do not recur: where one lies depends on the calls before it. All that was
counted is gone at the end of the window, and nothing before it.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final, NamedTuple, Self

from stepwell.quota.laws.fixed import LATER
from stepwell.quota.laws.law import MOMENT, Gauge, Kind, Law, Outcome
from stepwell.quota.usage import WAY


class Last(NamedTuple):
    """The window that was begun last, as far as it is known.

    Attributes:
        low: It ends no sooner.
        high: It ends no later.
        first: A call that was sent since then was in no window before it.
    """

    low: float
    high: float
    first: float

    def narrowed(self, low: float, high: float, window: float) -> "Last | None":
        """Return it with its end between two moments, or just beside; None if it cannot be there."""
        if low - WAY > self.high or high + WAY < self.low:
            return None
        low = min(max(self.low, low), self.high)
        high = max(min(self.high, high), low)
        return Last(low, high, min(self.first, high - window))


# Nobody has called yet.
NONE: Final = Last(-inf, -inf, -inf)
# Others may have called, or our own calls are not remembered.
ANY: Final = Last(-inf, inf, -inf)


@dataclass(frozen=True, slots=True)
class FirstCall(Law):
    """All comes back one window after the call that began it.

    Attributes:
        last: A window. Calls since its end have begun others.
        next_by: When a call was sent and answered that is known to be in a later one, and to be one of
            the first there; infinities if none is.
    """

    last: Last = NONE
    next_by: tuple[float, float] = (inf, inf)

    @property
    def kind(self) -> Kind:
        return Kind.FIRST_CALL

    def used(self, now: float) -> int:
        last, window = self.current(now), self.usage.window
        if last.high <= now:
            return 0
        return self.usage.maybe(max(last.low - MOMENT, now) - window, now)

    def falls_to(self, level: float, now: float) -> float:
        entry, window = self.usage.maybe_crosses(level), self.usage.window
        if abs(entry) == inf:
            return entry
        last = self.current(now)
        is_before = entry + window < last.low
        return min(entry + window, last.high - window if is_before else last.high)

    def may_fall_to(self, level: float, now: float) -> float:
        entry = self.usage.surely_crosses(level)
        if abs(entry) == inf:
            return entry
        last = self.current(now)
        return max(entry, last.low if entry > last.first - MOMENT else last.low - self.usage.window)

    def shown(self, gauge: Gauge) -> Self | None:
        if gauge.reset is None or not gauge.used:
            return self
        usage, window, before = self.usage, self.usage.window, gauge.sent - MOMENT
        is_crowded = len(usage.traffic) > 1
        last = self.current(before, is_crowded=is_crowded)
        if self._may_be_older(last, gauge.sent):
            return self
        if last.low <= gauge.answered:
            is_alone = not is_crowded and not usage.straddled(before)
            begun = max(last.low, gauge.sent if is_alone else gauge.sent - window)
            last = Last(begun + window, gauge.answered + window, gauge.sent)
        return self.with_last(last.narrowed(*gauge.whole_again, window))

    def settled(self, until: float) -> Self:
        if until < self.last.high:
            return self
        return replace(self, last=self._begun(until), next_by=(inf, inf))

    def _served(self, outcome: Outcome, need: int) -> Self | None:
        entry = self.usage.surely_crosses(self.most - need, outcome.before)
        if entry == inf:
            return None
        window = self.usage.window
        last = self.current(outcome.before)
        may_begin = last.low <= outcome.answered
        before = 0 if may_begin else self.usage.surely(last.high - window, outcome.before)
        law = self.bounded(before + need, inf)
        if law is None or entry == -inf:
            return law
        if self._may_be_older(last, outcome.sent):
            first = max(last.first, outcome.sent)
            return law.with_last(Last(last.low, max(last.high, outcome.answered + window), first))
        is_full = entry > last.first - MOMENT
        stays = inf if is_full else max(last.low, entry + window + LATER, outcome.sent)
        if not may_begin:
            if stays <= last.low or self.usage.in_flight:
                return law
            return law.with_last(last.narrowed(stays, inf, window))
        if stays > last.high:
            ended = last._replace(high=min(last.high, outcome.answered))
            return replace(law, last=ended, next_by=outcome[:2])
        return law.with_last(Last(stays, outcome.answered + window, outcome.sent))

    def _refused(self, outcome: Outcome, need: int, rivals: int) -> Self | None:
        usage, window = self.usage, self.usage.window
        last = self.current(outcome.before, is_crowded=rivals > 0)
        is_old = self._may_be_older(last, outcome.sent)
        since = outcome.sent if is_old else max(last.low, outcome.sent)
        used = usage.maybe(since - window - MOMENT, outcome.answered)
        law = self.bounded(1, used + rivals + need - 1)
        if law is None or is_old:
            return law
        if rivals or usage.surely(outcome.before, outcome.answered):
            # One of them may have been the first in a new window.
            if outcome.told is None and last.low > outcome.sent:
                return law
            last = Last(last.low, outcome.answered + window, max(last.first, outcome.answered))
        entry = usage.maybe_crosses(law.least - need - rivals, outcome.answered)
        left = last.narrowed(outcome.sent, entry + window, window)
        if left is not None and outcome.told is not None:
            left = left.narrowed(*outcome.told, window)
        return law.with_last(left)

    def _may_be_older(self, last: Last, sent: float) -> bool:
        """Tell whether a call may have been decided before the last window began."""
        before = sent - MOMENT
        begins_later = last.high - self.usage.window > sent
        return last.first > before or (begins_later and self.usage.straddled(before) > 0)

    def current(self, until: float, *, is_crowded: bool = False) -> Last:
        """Return the last window that a call may have begun that was sent until a moment.

        Args:
            until: That moment.
            is_crowded: Calls are under way that are not counted yet, and may have begun one.
        """
        usage, window = self.usage, self.usage.window
        last = self._begun(until, is_crowded=is_crowded)
        if not usage.counted(last.low - MOMENT):
            return last
        # Some were counted when it may have ended: any of these may have begun another.
        newest = usage.last_sent(until)
        return Last(
            max(last.low, newest),
            max(last.high, usage.last_counted() + window),
            max(last.first, newest),
        )

    def _begun(self, until: float, *, is_crowded: bool = False) -> Last:
        """Return the last window that was surely begun by a call that was sent until a moment."""
        usage, window, last = self.usage, self.usage.window, self.last
        if last.low < usage.forgotten:
            last = Last(usage.forgotten, usage.forgotten + window, usage.forgotten)
        by, by_answered = self.next_by
        while (first := min(by, usage.first_sent(last.high - MOMENT))) <= until:
            low = last.low - MOMENT
            is_open = is_crowded or usage.straddled(low)
            begun = last.low if is_open else min(by, usage.first_sent(low))
            high = min(by_answered, usage.first_counted(last.high - MOMENT))
            last = Last(begun + window, high + window, first)
            by = by_answered = inf
        return last

    def with_last(self, last: Last | None) -> Self | None:
        return None if last is None else replace(self, last=last, next_by=(inf, inf))
