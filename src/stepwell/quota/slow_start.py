"""SlowStart: how many calls a stranger is sent at once. Soft.

A target of which nothing is known, neither a limit nor a living reading, admits two calls in flight,
and one more with each round of answers, so that a burst does not fall on one that turns out to be
small, and goes past its limit by a few calls only. Who was known and proves to be otherwise, as a
limit that was configured wrongly, is a stranger from then on.

A refusal about rates begins anew with two: its window is used up, and when the next one opens, all
who wait would come at once. (Halving, as TCP does, suits a pipe whose width changes little; a window
of quota empties to nothing.)
"""

from collections.abc import Sequence
from math import inf

from stepwell.quota.ledger import Block
from stepwell.quota.pool import Pool
from stepwell.quota.tab import LIFE

# One to learn from, and one so that the first answer's delay is not everyone's.
_STRANGERS = 2


class SlowStart:
    """The gate of one target, which is counted in these pools, first of all in its own."""

    __slots__ = ("_pools", "admits")

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = pools
        self.admits: float = _STRANGERS

    def succeed(self, now: float) -> None:
        """Admit one more in a round of answers, if nothing is known yet."""
        self.admits = _STRANGERS if self._is_known(now) else self.admits + 1 / self.admits

    def restart(self) -> None:
        self.admits = _STRANGERS

    def restore(self, admits: float) -> None:
        """Admit as many as before a restart."""
        self.admits = max(self.admits, admits)

    def opens(self, now: float, tokens: int) -> float:
        return now if self._pools[0].in_flight < self.admits or self._is_known(now) else inf

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        return self._pools[0].in_flight + calls <= self.admits or self._is_known(now + LIFE)

    def block(self, key: str, now: float, tokens: int, typical: int) -> Block:
        return Block(key, "slow_start", None, told=False, hard=False, lasts=inf)

    def _is_known(self, now: float) -> bool:
        return any(pool.is_known(now) for pool in self._pools)
