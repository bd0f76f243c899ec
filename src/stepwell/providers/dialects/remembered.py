"""Remembered: what words mean is found once for the words that come again and again.

A provider refuses with one of a few sentences, most of the time, and a refusal is read by some fifty
patterns. Only pure functions of texts may be remembered, and only of short ones: a provider must not
fill the memory.

Many whole responses come again as well. What such a one says may depend on when it came: a date, a
time of day, the end of a window that follows the clock. Each of these is a moment less the present
one, or comes back with a period, of which a month is the longest. So what is the same in the middle of a
month and in its last hour, in a year before which every moment is over, does not depend on it
(`is_timeless`).
"""

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Final, Generic, TypeVar

from stepwell.providers.dialects.reply import Dialect, Reply
from stepwell.quota.reading import Hint

ResultT = TypeVar("ResultT")

MOST: Final = 256
LONGEST: Final = 1_000  # characters of all texts; a refusal's sentence has some hundred
# Unix times, none of which lies on a whole second: 15 January 2060, 05:00 UTC, and the 31st, 23:00.
LATER: Final = (2_841_368_400.123, 2_842_815_600.123)


def remembered(read: Callable[..., ResultT]) -> Callable[..., ResultT]:
    """Return a function of one or more texts that remembers what it returned for short ones."""
    remember = lru_cache(maxsize=MOST)(read)

    @wraps(read)
    def recall(*texts: str) -> ResultT:
        return remember(*texts) if sum(map(len, texts)) <= LONGEST else read(*texts)

    return recall


class Familiar(Generic[ResultT]):
    """What was made of responses that come again, where it does not depend on when they come.

    Whether it does is looked into when one comes for the second time: many never do.

    Args:
        most: How many are known at once; beyond that all are forgotten.
    """

    __slots__ = ("_known", "_most", "_timed")

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Hashable, ResultT | None] = {}  # None of one that came once
        self._timed: set[Hashable] = set()

    def get(self, name: Hashable) -> ResultT | None:
        """Return what was made of the response of that name, if that is known."""
        return self._known.get(name)

    def add(self, name: Hashable, result: ResultT, is_timeless: Callable[[], bool]) -> None:
        """Learn what was made of one that was not known."""
        if name in self._known:
            if is_timeless():
                self._known[name] = result
            else:
                del self._known[name]
                self._timed.add(name)
        elif name not in self._timed:
            if len(self._known) + len(self._timed) >= self._most:
                self._known.clear()
                self._timed.clear()
            self._known[name] = None


def is_timeless(dialect: Dialect, reply: Reply, hint: Hint) -> bool:
    """Tell whether a dialect reads this hint out of a response whenever it comes."""
    dateless = {name: value for name, value in reply.headers.items() if name != "date"}
    return all(dialect(reply._replace(headers=dateless, now=now)) == hint for now in LATER)
