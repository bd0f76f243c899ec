"""Phases: where the edges of a fixed window may lie, as far as that is known.

A fixed window of W seconds has an edge at every t + kW; `t mod W` is its phase. What is not known
yet is a set of phases: arcs on a circle, all of it at first. Every answer may cut from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Self

# A time on the circle and the time it stands for differ by some 1e-9, as floats are.
_EPSILON = 1e-6

Arc = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Phases:
    """A set of phases of a window of so many seconds.

    Attributes:
        window: In seconds.
        arcs: Within [0, window], rising and disjoint.
    """

    window: float
    arcs: tuple[Arc, ...]

    @classmethod
    def any(cls, window: float) -> Self:
        return cls(window, ((0.0, window),))

    def __bool__(self) -> bool:
        return bool(self.arcs)

    @property
    def size(self) -> float:
        """Seconds of the window in which an edge may lie."""
        return sum(high - low for low, high in self.arcs)

    def within(self, low: float, high: float) -> "Phases":
        """Return those that have an edge between two moments."""
        if high - low + 2 * _EPSILON >= self.window:
            return self
        cut = tuple(self._cut(low, high))
        return Phases(
            self.window,
            tuple(
                (max(a, c), min(b, d))
                for a, b in self.arcs
                for c, d in cut
                if max(a, c) <= min(b, d)
            ),
        )

    def without(self, low: float, high: float) -> "Phases":
        """Return those that have no edge between two moments."""
        if high <= low:
            return self
        if high - low > self.window + _EPSILON:
            return Phases(self.window, ())
        return self.within(high, low + self.window)

    def joined(self, other: "Phases") -> "Phases":
        return Phases(self.window, tuple(sorted({*self.arcs, *other.arcs})))

    def first_after(self, moment: float) -> float:
        """Return the first moment after this one at which an edge may lie."""
        return moment + min((self._ahead(arc, moment) for arc in self.arcs), default=inf)

    def last_after(self, moment: float) -> float:
        """Return the moment by which an edge has surely come after this one."""
        return moment + max((self._through(arc, moment) for arc in self.arcs), default=inf)

    def last_until(self, moment: float) -> float:
        """Return the last moment not after this one at which an edge may lie."""
        return moment - min((self._behind(arc, moment) for arc in self.arcs), default=inf)

    # --- inner

    def _cut(self, low: float, high: float) -> Iterator[Arc]:
        start = (low - _EPSILON) % self.window
        end = start + max(0.0, high - low) + 2 * _EPSILON
        if end > self.window:
            yield 0.0, end - self.window
        yield start, min(end, self.window)

    def _ahead(self, arc: Arc, moment: float) -> float:
        phase = moment % self.window
        if arc[0] - _EPSILON <= phase < arc[1] - _EPSILON:
            return 0.0
        return (arc[0] - phase - _EPSILON) % self.window + _EPSILON

    def _behind(self, arc: Arc, moment: float) -> float:
        phase = moment % self.window
        return 0.0 if arc[0] <= phase <= arc[1] else (phase - arc[1]) % self.window

    def _through(self, arc: Arc, moment: float) -> float:
        """Return the seconds until all of an arc has passed by; a window if it has begun."""
        phase = moment % self.window
        if arc[0] - _EPSILON <= phase <= arc[1] + _EPSILON:
            return self.window
        return (arc[1] - phase) % self.window or self.window
