"""Calibration: what a target's calls really come to, beside what was estimated."""

from collections.abc import Sequence
from typing import Final

# Fewer calls say little of what is typical, and later ones weigh a sixteenth each: a change of
# traffic is learned within a few dozen calls.
_ENOUGH: Final = 8
_WEIGHT: Final = 1 / 16
# Twice the mean distance covers evenly spread answers whole, and most of any others.
_MARGIN: Final = 2.0
# However wrong the estimates were, one request is not taken for a multiple of any other.
_MOST: Final = 4.0


class _Typical:
    """A mean that follows, and how far single values lie from it."""

    __slots__ = ("mean", "spread")

    def __init__(self) -> None:
        self.mean = 0.0
        self.spread = 0.0

    def learn(self, value: float, weight: float) -> None:
        if weight < 1:  # the first value is typical in itself
            self.spread += weight * (abs(value - self.mean) - self.spread)
        self.mean += weight * (value - self.mean)


class Calibration:
    """Corrects estimates for one target by what its settled calls came to.

    Two things make estimates wrong: another vocabulary, which shows in the ratio of prompt to
    tokens, and answers that are shorter than they may be, which shows in a surplus that does not
    depend on the prompt. Whether one or the other was at work cannot be seen from a sum, so both
    corrections are made, each short of the typical by a margin, and the larger result is taken:
    too much is reserved for a while, and given back; too little is a refusal.
    """

    __slots__ = ("_count", "_ratio", "_surplus")

    def __init__(self) -> None:
        self._count = 0
        self._ratio = _Typical()
        self._surplus = _Typical()

    def __repr__(self) -> str:
        return f"<Calibration x {self._ratio.mean:.2f} or - {self._surplus.mean:.0f}>"

    def learn(self, estimate: int, tokens: int) -> None:
        """Learn that a call came to `tokens`."""
        if estimate <= 0 or tokens <= 0:
            return
        self._count += 1
        weight = max(_WEIGHT, 1 / self._count)
        self._ratio.learn(min(_MOST, tokens / estimate), weight)
        self._surplus.learn(estimate - tokens, weight)

    def likely(self, estimate: int) -> int:
        """Return what a call will probably come to at most."""
        return self._corrected(estimate, _MARGIN) if self._count >= _ENOUGH else estimate

    def typical(self, estimate: int) -> int:
        """Return what a call comes to as a rule: as many come to more as to less."""
        return self._low(estimate, 0.0)

    def least(self, estimate: int) -> int:
        """Return what a call will probably come to at least."""
        return self._low(estimate, -_MARGIN)

    def export(self) -> list[float]:
        """Return what was learned, in plain values."""
        typical = (self._ratio, self._surplus)
        return [self._count, *(each for one in typical for each in (one.mean, one.spread))]

    def restore(self, state: Sequence[float]) -> None:
        """Learn what was exported."""
        self._count = int(state[0])
        self._ratio.mean, self._ratio.spread, self._surplus.mean, self._surplus.spread = state[1:]

    def _low(self, estimate: int, margin: float) -> int:
        if self._count < _ENOUGH:
            return estimate
        return min(estimate, self._corrected(estimate, margin))

    def _corrected(self, estimate: int, margin: float) -> int:
        scaled = estimate * (self._ratio.mean + margin * self._ratio.spread)
        lowered = estimate - self._surplus.mean + margin * self._surplus.spread
        worse = max if margin > 0 else min
        return max(1, min(round(worse(scaled, lowered)), round(_MOST * estimate)))
