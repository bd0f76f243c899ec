"""Rhythm: how a provider's window moves, as far as its answers have shown.

Three kinds are known. A *sliding* window gives each unit back one window after it was counted. A
*fixed* one gives all back at its edge, which recurs once in a window; where it lies must be
learned. A *bucket* refills evenly. All three are believed possible until answers speak against
them: each answer that a kind cannot explain counts against it, and the kind is known when exactly
one is left with nothing, or least, against it. Old evidence fades, because providers change.

The edge of a fixed window is known as an interval of time, which every answer may narrow. Intervals
a whole number of windows apart are the same.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from math import ceil, floor, inf
from typing import Any, Final


class Kind(StrEnum):
    """How quota comes back."""

    FIXED = "fixed"
    SLIDING = "sliding"
    BUCKET = "bucket"


ALL: Final = frozenset(Kind)

# What may stand against a kind at most: so much newer evidence turns a belief round.
_MOST: Final = 3
# A told edge is true to the provider's rounding and the network's delay.
_BLUR: Final = 0.05


class Rhythm:
    """What is known of one window's movement.

    Attributes:
        window: Its length in seconds.
        kind: How it moves; None while more than one kind is possible.
        possible: The kinds that may be true.
    """

    __slots__ = ("_against", "_high", "_low", "_proven", "kind", "possible", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self.kind: Kind | None = None
        self.possible: Collection[Kind] = ALL
        self._against = dict.fromkeys(Kind, 0)
        self._low = -inf  # one edge lies between these two
        self._high = inf
        self._proven = False  # the lower one was told, or a refusal

    def __repr__(self) -> str:
        edge = f", edge in {self._low:g}..{self._high:g}" if self.has_edge else ""
        return f"<Rhythm {self.kind or 'unknown'} of {self.window:g}s{edge}>"

    @property
    def has_edge(self) -> bool:
        """Tell whether anything is known of where a fixed window's edges lie."""
        return self._high < inf

    @property
    def knows_edge(self) -> bool:
        """Tell whether no edge can lie outside the interval that is known."""
        return self._proven

    def doubt(self, kinds: Collection[Kind]) -> None:
        """Count an answer against the kinds that cannot explain it.

        An answer that none of them explains says nothing about the kind.
        """
        if not kinds or len(kinds) == len(Kind):
            return
        for kind in kinds:
            self._against[kind] += 1
        self._weigh()

    def find_edge(self, low: float, high: float, *, proven: bool = False) -> bool:
        """Learn that one edge lies between two moments; False if that cannot be true.

        What contradicts earlier knowledge replaces it, being newer.

        Args:
            low: Not before this.
            high: And not after this.
            proven: The window had surely not moved at `low`: it was told, or a call was refused.
        """
        if high - low >= self.window:
            return True
        shift = (
            self.window * round(((low + high) - (self._low + self._high)) / 2 / self.window)
            if self.has_edge
            else 0.0
        )
        start, end = self._low + shift, self._high + shift
        if not self.has_edge or low > end + _BLUR or start > high + _BLUR:
            fits = not self.has_edge
            self._low, self._high, self._proven = low, high, proven
            return fits
        if low > start:
            start, self._proven = low, proven
        elif proven and low > start - _BLUR:
            self._proven = True
        end = min(end, high)
        self._low, self._high = min(start, end), end
        return True

    def exclude_edge(self, low: float, high: float) -> bool:
        """Learn from a refusal that no edge lay between two moments; False if that can't be."""
        if high - low >= self.window:
            return False
        return self.find_edge(high, low + self.window, proven=True)

    def last_edge(self, now: float) -> tuple[float, float]:
        """Return the interval in which the latest edge lies that has surely passed."""
        if not self.has_edge:
            return -inf, -inf
        windows = floor((now - self._high) / self.window) * self.window
        return self._low + windows, self._high + windows

    def next_edge(self, now: float) -> tuple[float, float]:
        """Return the interval of the first edge that has not surely passed."""
        if not self.has_edge:
            return now, inf
        windows = ceil((now - self._high) / self.window) * self.window
        if self._high + windows <= now:
            windows += self.window
        return self._low + windows, self._high + windows

    def export(self, now: float) -> dict[str, Any]:
        """Return what is known, in plain values, with times relative to `now`."""
        edge = [self._low - now, self._high - now, self._proven] if self.has_edge else None
        return {"against": [self._against[kind] for kind in Kind], "edge": edge}

    def restore(self, state: Mapping[str, Any], then: float) -> None:
        """Learn what was exported at `then`, before anything else is learned."""
        self._against = dict(zip(Kind, state["against"], strict=True))
        self._weigh()
        if state["edge"] is not None:
            low, high, self._proven = state["edge"]
            self._low, self._high = then + low, then + high

    def _weigh(self) -> None:
        least = min(self._against.values())
        for kind, strikes in self._against.items():
            self._against[kind] = min(strikes - least, _MOST)
        self.possible = frozenset(k for k, strikes in self._against.items() if not strikes)
        self.kind = next(iter(self.possible)) if len(self.possible) == 1 else None
