"""Law: one way in which a provider may count, said so exactly that every answer can speak to it.

Three kinds are known. A *sliding* window gives each unit back one window after it was counted. A
*fixed* one gives all back at its edge, which recurs once in a window; where it lies must be
learned. A *bucket* refills evenly. How many fit is known as bounds: `least` surely fit, and more
than `most` surely do not; they are the same number where a limit is configured or told.

A law is never guessed to be true. Several are believed possible, and each outcome of a call either
fits a law, and then may narrow its bounds or its edges, or refutes it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, inf
from typing import Final, NamedTuple, Self

from stepwell.quota.phases import Phases
from stepwell.quota.usage import WAY, Usage

# A bucket refills by fractions; a twentieth of a call is rounding.
_FRACTION: Final = 0.05
# Told delays and resets are rounded, to milliseconds or, where they are whole, to seconds.
_ROUNDED: Final = 0.02
_WHOLE: Final = 1.0
_MOMENT: Final = 1e-6
# An edge that let a call in came after the calls that were in its way. Those are often sent just when
# an edge was expected: by so little it may not have come later.
_LATER: Final = 5e-6


class Kind(StrEnum):
    """How quota comes back."""

    SLIDING = "sliding"
    FIXED = "fixed"
    BUCKET = "bucket"


class Outcome(NamedTuple):
    """What a call came to that says something of a limit.

    Attributes:
        sent: When it was sent, monotonic.
        answered: When the provider must have decided.
        need: Tokens that it cost, or was estimated to.
        served: It was admitted; else refused.
        delay: Told seconds from its refusal until there is room; None if not told.
    """

    sent: float
    answered: float
    need: int
    served: bool
    delay: float | None = None

    @property
    def before(self) -> float:
        """The last moment before it was sent: what is counted by then does not contain it."""
        return self.sent - _MOMENT

    @property
    def told(self) -> tuple[float, float] | None:
        """Between which moments there is room again; None if not told."""
        if self.delay is None:
            return None
        return _between(self.sent, self.answered, self.delay)


class Gauge(NamedTuple):
    """What the answer to a served call told of its counter.

    Attributes:
        sent: When the call was sent.
        answered: When the answer came.
        used: What was in use then.
        reset: Seconds from the answer until nothing is; None if not told.
        is_exact: It is told to the millisecond, even if it is whole by chance.
    """

    sent: float
    answered: float
    used: int
    reset: float | None
    is_exact: bool = False

    @property
    def whole_again(self) -> tuple[float, float]:
        """Between which moments nothing is in use any more."""
        assert self.reset is not None
        return _between(self.sent, self.answered, self.reset, is_exact=self.is_exact)


def _between(
    sent: float, answered: float, seconds: float, *, is_exact: bool = False
) -> tuple[float, float]:
    rounded = _WHOLE if seconds == int(seconds) and not is_exact else _ROUNDED
    return sent + seconds - rounded, answered + seconds


@dataclass(frozen=True, slots=True)
class Law(ABC):
    """See the module's text.

    Attributes:
        usage: What is counted by it.
        least: So many fit into a window.
        most: More do not; inf if not known.
    """

    usage: Usage
    least: int
    most: float

    @property
    @abstractmethod
    def kind(self) -> Kind: ...

    @abstractmethod
    def used(self, now: float) -> int:
        """Return how much may be in use, calls in flight apart."""

    @abstractmethod
    def falls_to(self, level: float, now: float) -> float:
        """Return from when at most `level` is in use for sure; inf for never."""

    @abstractmethod
    def may_fall_to(self, level: float, now: float) -> float:
        """Return since or from when at most `level` may be in use."""

    def opens(self, tokens: int, now: float) -> float:
        """Return from when there is room for sure."""
        return self.falls_to(self.least - self.usage.need(tokens) - self.usage.in_flight, now)

    def may_open(self, tokens: int, now: float) -> float:
        """Return since or from when there may be room."""
        return self.may_fall_to(self.most - self.usage.need(tokens) - self.usage.in_flight, now)

    def after(self, outcome: Outcome) -> Self | None:
        """Return the law as it must be if that is true of a call that is not counted yet.

        None if it cannot be.
        """
        need = self.usage.need(outcome.need)
        if outcome.served:
            return self._served(outcome, need)
        return self._refused(outcome, need, self.usage.rivals(need))

    @abstractmethod
    def shown(self, gauge: Gauge) -> Self | None:
        """Return the law as it must be if that is true; None if it cannot be."""

    @abstractmethod
    def _served(self, outcome: Outcome, need: int) -> Self | None: ...

    @abstractmethod
    def _refused(self, outcome: Outcome, need: int, rivals: int) -> Self | None: ...

    def bounded(self, least: int, most: float) -> Self | None:
        """Return it with bounds no wider than these; None if nothing is left."""
        low, high = max(self.least, least), min(self.most, most)
        if low > high:
            return None
        return (
            self if (low, high) == (self.least, self.most) else replace(self, least=low, most=high)
        )

    def _overfull(self, used: float, gauge: Gauge) -> bool:
        """Tell whether more is surely in use than a gauge shows, which may be rounded."""
        return used > gauge.used + max(1, gauge.used // 50)


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
        low, high = outcome.told
        uncounted = self.usage.was_in_flight(outcome.before)
        level = min(law.most - need + uncounted, self._all_but_one(outcome, rivals))
        soonest = self.usage.surely_crosses(level, outcome.before)
        latest = self.usage.maybe_crosses(law.least - need - rivals, outcome.answered)
        window = self.usage.window
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
        is_new = abs(entry - self.opened) <= _MOMENT
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
            law = self._edged(self.phases.within(entry + _LATER, outcome.answered))
        if law is None:
            return None
        if entry > outcome.answered - self.usage.window:
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


@dataclass(frozen=True, slots=True)
class Bucket(Law):
    """What is used comes back evenly, all of it in one window."""

    @property
    def kind(self) -> Kind:
        return Kind.BUCKET

    def used(self, now: float) -> int:
        return ceil(self.usage.maybe_level(self.least, now) - _FRACTION)

    def falls_to(self, level: float, now: float) -> float:
        # One window later a bucket has lost at least what has left a sliding window.
        slides = self.usage.maybe_crosses(level) + self.usage.window
        return min(self.usage.maybe_drains_to(level, self.least, now), slides)

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
        def fits(amount: int) -> bool:
            before = self.usage.surely_was(amount, outcome.before, outcome.answered)
            return before + (1 - _FRACTION) * need <= amount

        return self.bounded(_first(fits, self.least, self._fullest(outcome, need)), inf)

    def _refused(self, outcome: Outcome, need: int, rivals: int) -> Self | None:
        def fits(amount: int) -> bool:
            before = self.usage.maybe_was(amount, outcome.sent, outcome.answered) + rivals
            return before + (1 + _FRACTION) * need <= amount

        fullest = self._fullest(outcome, need) + rivals
        law = self.bounded(1, _first(fits, self.least, fullest) - 1)
        if law is None or outcome.told is None:
            return law
        low, high = outcome.told
        uncounted = self.usage.was_in_flight(outcome.before)
        least_left = self.usage.surely_was(law.most, outcome.before, outcome.answered) - uncounted
        most_left = self.usage.maybe_was(law.least, outcome.sent, outcome.answered) + rivals
        soonest = outcome.answered + self._drains(least_left + need - law.most, law.most)
        latest = outcome.sent + self._drains(most_left + need - law.least, law.least)
        return law if soonest <= high + WAY and latest >= low - WAY else None

    def _fullest(self, outcome: Outcome, need: int) -> int:
        """Return an amount into which the call fits for sure."""
        return self.usage.maybe(outcome.sent - self.usage.window) + 2 * need + 1

    def _drains(self, excess: float, amount: float) -> float:
        """Return the seconds in which so much drains out of a bucket of that amount."""
        return max(0.0, excess) * self.usage.window / amount


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first number of a range for which that holds; the last if it holds for none."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def laws_of(usage: Usage, least: int, most: float) -> "tuple[Law, ...]":
    """Return every kind of law with these bounds, of which nothing else is known."""
    return (
        Sliding(usage, least, most),
        Fixed(usage, least, most, Phases.any(usage.window)),
        Bucket(usage, least, most),
    )
