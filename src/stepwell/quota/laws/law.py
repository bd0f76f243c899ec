"""Law: one way in which a provider may count, said so exactly that every answer can speak to it.

How many fit is known as bounds: `least` surely fit, and more
than `most` surely do not; they are the same number where a limit is configured or told.

A law is never guessed to be true. Several are believed possible, and each outcome of a call either
fits a law, and then may narrow its bounds or its edges, or refutes it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple, Self

from stepwell.quota.usage import Usage

# Told delays and resets are rounded, to milliseconds or, where they are whole, to seconds.
_ROUNDED: Final = 0.02
_WHOLE: Final = 1.0
MOMENT: Final = 1e-6


class Kind(StrEnum):
    """How quota comes back."""

    SLIDING = "sliding"
    FIXED = "fixed"
    FIRST_CALL = "first-call"
    BUCKET = "bucket"


class Outcome(NamedTuple):
    """What a call came to that says something of a limit.

    Attributes:
        sent: When it was sent, monotonic.
        answered: When the provider must have decided.
        need: Tokens that it cost, or was estimated to at most.
        served: It was admitted; else refused.
        delay: Told seconds from its refusal until there is room; None if not told.
        least: Tokens that it was estimated to at least; None if `need` is no estimate.
    """

    sent: float
    answered: float
    need: int
    served: bool
    delay: float | None = None
    least: int | None = None

    @property
    def before(self) -> float:
        """The last moment before it was sent: what is counted by then does not contain it."""
        return self.sent - MOMENT

    @property
    def fewest(self) -> int:
        """Tokens that it cost for sure."""
        return self.need if self.least is None else self.least

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

    def settled(self, until: float) -> Self:
        """Return the law as calls have left it of which no older one is under way any more."""
        return self

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
