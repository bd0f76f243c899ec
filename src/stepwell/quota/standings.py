"""Standings: how one target was last found to stand, kept for as long as nothing happens there.

Most of a long chain is shut, when it is worth being long, and is asked again by each request. What
was found holds for as many tokens until the first gate opens; and how the target stands to whoever
asks, for no more tokens, while what is in the way is hard and the same for each of them: a told
cooldown, a time out of service, a count or a reading of requests. Either holds no longer than the
pools are as they were.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

from stepwell.quota.choice import Standing
from stepwell.quota.ledger import Block
from stepwell.quota.pool import Pool

# It is looked at again after so many seconds at the latest, although nothing has happened there: the
# ends of days and months move when the wall clock is set.
_KEPT: Final = 1.0


class Standings:
    """What was found of a target that is counted in these pools.

    Attributes:
        until: How it stands to whoever asks is kept until this monotonic time; -inf if it is not.
    """

    __slots__ = (
        "_pools",
        "_shut_for",
        "_shut_in",
        "_shut_until",
        "_standing",
        "_stands_for",
        "_stands_in",
        "until",
    )

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = pools
        # It is shut for so many tokens or more, in that version of its pools and until then.
        self._shut_until = -inf
        self._shut_for = self._shut_in = 0
        # It stands so to whoever asks for so many tokens at most, in that version.
        self.until = -inf
        self._standing: Standing | None = None
        self._stands_for = self._stands_in = 0

    def __repr__(self) -> str:
        return f"<Standings: shut until {self._shut_until:g}, kept until {self.until:g}>"

    def is_shut(self, now: float, tokens: int) -> bool:
        """Tell whether it was found shut for as many tokens, and nothing has happened since."""
        if now >= self._shut_until or tokens < self._shut_for:
            return False
        return self._version() == self._shut_in

    def shut(self, until: float, now: float, tokens: int) -> None:
        """It was found shut for so many tokens, until then if nothing happens."""
        self._shut_until = min(until, now + _KEPT)
        self._shut_for, self._shut_in = tokens, self._version()

    def kept(self, now: float, tokens: int) -> Standing | None:
        """Return how it stands to every request for so many tokens; None if that is not known."""
        if now >= self.until or tokens > self._stands_for:
            return None
        return self._standing if self._version() == self._stands_in else None

    def keep(self, standing: Standing, blocks: Sequence[Block], now: float, tokens: int) -> None:
        """It was found to stand so, with these blocks: keep that if it is so for whoever asks."""
        if (lasts := _lasts(standing, blocks)) > now:
            self.until = min(now + _KEPT, lasts)
            self._standing, self._stands_for = standing, tokens
            self._stands_in = self._version()

    def _version(self) -> int:
        """Return what changes whenever something happens there; -1 while that is not booked yet."""
        version = 0
        for pool in self._pools:
            if pool.tab is not None:
                return -1
            version += pool.version
        return version


def _lasts(standing: Standing, blocks: Sequence[Block]) -> float:
    """Return until when a standing is the same for every request; -inf if it is not.

    It is while it is hard, as then it is no matter since when a request waits, and while every block
    is the same, or ends before a cooldown. What is soft for many tokens may be hard for fewer, but it
    does not last longer, neither for those nor as time passes.
    """
    decides = standing.block
    if not decides.hard:
        return -inf
    if decides.bench is None or decides.until is None:
        return min([block.lasts for block in blocks])
    end = decides.until
    ends_first = all(block.until is None or block.until <= end for block in blocks)
    return decides.lasts if ends_first else -inf
