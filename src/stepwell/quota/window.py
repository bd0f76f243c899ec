"""SlidingWindow: how much was counted in the last so many seconds.

Each entry is remembered by the time at which it leaves the window, beside the sum of all entries
before it, so that a question is one binary search and changes nothing. Entries leave for good when
the next one is added.

Up to 1,000 entries stand with their exact times. Beyond, those of one 256th of the window become
one entry, which keeps the *later* time: the sum then errs to the safe side, and by at most 0.4 %
of the window. So at most 1,257 entries live at once, however many were counted. Where the safe side
is the other one, it keeps the *earlier* time.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Self

from stepwell.quota.traffic import Served

# Limits up to 1,000 requests are common and small enough to be remembered one by one.
_EXACT = 1000
# 256 parts keep the error below half a percent, far inside what network delay blurs anyway.
_PARTS = 256
# Gone entries are cut off in slices, so that cutting costs nothing per entry.
_SLACK = 256
# A window is written down in at most so many parts, each of them as its latest entry.
_WRITTEN = 64


class SlidingWindow:
    """A sum over the last `seconds`.

    Args:
        seconds: The window's length.
        keep: For so many seconds more can be asked what was in use; the present is later than that.
        early: Entries that become one keep the earlier time.

    Attributes:
        seconds: The window's length.
        forgotten: When the last entry was counted that is not remembered any more; -inf if all are.
    """

    __slots__ = (
        "_before",
        "_early",
        "_head",
        "_keep",
        "_leaves",
        "_part",
        "_total",
        "forgotten",
        "seconds",
    )

    def __init__(self, seconds: float, *, keep: float = 0.0, early: bool = False) -> None:
        self.seconds = seconds
        self._keep = keep
        self._early = early
        self.forgotten = -inf
        self._leaves: list[float] = []  # when each entry leaves the window, rising
        self._before: list[int] = []  # the sum of all entries before it
        self._total = 0
        self._head = 0  # the first entry that had not left when the last one was added
        self._part = -1  # the part of time in which the last entry leaves

    def __bool__(self) -> bool:
        return self._head < len(self._leaves)

    def __repr__(self) -> str:
        return f"<SlidingWindow {self.seconds:g}s, {len(self._leaves) - self._head} entries>"

    def add(self, amount: int, now: float) -> None:
        """Count `amount`, ageing from `now`."""
        self.serve(((0, amount, now, now),))

    def serve(self, calls: Iterable[Served]) -> None:
        """Count what calls came to; where entries keep the earlier time, each from its sending."""
        leaves, before, early, seconds = self._leaves, self._before, self._early, self.seconds
        pace = _PARTS / seconds
        for _, amount, sent, answered in calls:
            if amount <= 0:
                continue
            gone = (sent if early else answered) + seconds
            if leaves and gone < leaves[-1]:
                self._insert(amount, gone)
                continue
            part = int(gone * pace)
            if part != self._part or len(leaves) - self._head < _EXACT:
                leaves.append(gone)
                before.append(self._total)
            elif not early:
                leaves[-1] = gone
            self._part = part
            self._total += amount
        if leaves and leaves[self._head] <= (gone := leaves[-1] - seconds - self._keep):
            self._forget(gone)

    def resized(self, seconds: float, since: float, keep: float) -> Self:
        """Return what was counted after a moment, as another window; nothing is forgotten there."""
        other = type(self)(seconds, keep=keep, early=self._early)
        first = bisect_right(self._leaves, since + self.seconds, self._head)
        longer = seconds - self.seconds
        leaves = [moment + longer for moment in self._leaves[first:]]
        other.take_over(leaves, self._before[first:], self._total)
        return other

    def take_over(self, leaves: list[float], before: list[int], total: int) -> None:
        """Begin with entries of another window: when they leave this one, and the sums before them."""
        self._leaves, self._before, self._total = leaves, before, total

    def used(self, now: float) -> int:
        """Return the sum of what was counted since `now - seconds`."""
        leaves, first = self._leaves, self._head
        count = len(leaves)
        if first < count and leaves[first] <= now:
            first = bisect_right(leaves, now, first)
        return self._total - self._before[first] if first < count else 0

    def kept(self) -> int:
        """Return the sum of all that is remembered."""
        first = self._head
        return self._total - self._before[first] if first < len(self._before) else 0

    def since(self, moment: float) -> int:
        """Return the sum of what was counted after `moment`, as far as it has not left."""
        leaves = self._leaves
        first = bisect_right(leaves, moment + self.seconds, self._head)
        return self._total - self._before[first] if first < len(leaves) else 0

    def between(self, after: float, until: float) -> int:
        """Return the sum of what was counted after one moment and not after the other."""
        leaves, before, head = self._leaves, self._before, self._head
        first = bisect_right(leaves, after + self.seconds, head)
        end = bisect_right(leaves, until + self.seconds, head)
        count = len(leaves)
        until_then = before[end] if end < count else self._total
        return until_then - (before[first] if first < count else self._total)

    def falls_to(self, level: float) -> float:
        """Return the time from which at most `level` is in use if nothing is added; inf for never.

        A level that is in no danger gives a time in the past.
        """
        return self.crosses(level) + self.seconds

    def crosses(self, level: float, until: float = inf) -> float:
        """Return when the entry was counted after which at most `level` was counted until a moment.

        -inf if all that is remembered is no more than that; inf if no such entry can be.
        """
        if level < 0:
            return inf
        head, end = self._head, self._end(until)
        kept = bisect_left(self._before, self._sum_before(end) - level, head, end)
        return self._leaves[kept - 1] - self.seconds if kept > head else -inf

    def first(self, holds: Callable[[float], bool], late: float = 0.0) -> float:
        """Return the first moment so long after an entry that holds, as all later ones do; else inf."""
        low, high = self._head, len(self._leaves)
        while low < high:
            middle = (low + high) // 2
            if holds(self._leaves[middle] - self.seconds + late):
                high = middle
            else:
                low = middle + 1
        return self._leaves[low] - self.seconds + late if low < len(self._leaves) else inf

    def entries(self, until: float = inf) -> list[tuple[float, int]]:
        """Return when each entry was counted, and its amount, the oldest first, until a moment."""
        head, end, seconds = self._head, self._end(until), self.seconds
        sums = [*self._before[head : end + 1], self._total]
        ends = zip(self._leaves[head:end], sums, sums[1:], strict=False)
        return [(leaves - seconds, after - before) for leaves, before, after in ends]

    def export(self, now: float) -> list[list[float]]:
        """Return what is in use, as pairs of seconds until it leaves and amount."""
        leaves, entries = self._leaves, []
        position = bisect_right(leaves, now, self._head)
        crowded = len(leaves) - position > _WRITTEN
        part = self.seconds / _WRITTEN if crowded else 0.0
        while position < len(leaves):
            end = bisect_right(leaves, leaves[position] + part, position)
            total = self._before[end] if end < len(leaves) else self._total
            entries.append([leaves[end - 1] - now, total - self._before[position]])
            position = end
        return entries

    def restore(self, entries: Sequence[Sequence[float]], then: float) -> None:
        """Count also what another window exported at `then`."""
        theirs = [(min(left, self.seconds), amount) for left, amount in entries]
        mine = [(left, amount) for left, amount in self.export(then)]
        self._leaves, self._before, self._head, self._total = [], [], 0, 0
        for left, amount in sorted(mine + theirs):
            self.add(int(amount), then + left - self.seconds)

    def _end(self, until: float) -> int:
        """Return the place behind the last entry that was counted until a moment."""
        return bisect_right(self._leaves, until + self.seconds, self._head)

    @property
    def _is_crowded(self) -> bool:
        return len(self._leaves) - self._head >= _EXACT

    def _insert(self, amount: int, leaves: float) -> None:
        """Count what is older than the last entry; in a crowd as part of the one beside it."""
        place = bisect_right(self._leaves, leaves, self._head)
        after = place + 1  # the first entry with one more before it
        if not self._is_crowded:
            self._leaves.insert(place, leaves)
            self._before.insert(place, self._before[place])
        elif self._early:
            after = place
        for later in range(after, len(self._before)):
            self._before[later] += amount
        self._total += amount

    def _sum_before(self, place: int) -> int:
        return self._before[place] if place < len(self._before) else self._total

    def _forget(self, now: float) -> None:
        leaves, head = self._leaves, self._head
        while head < len(leaves) and leaves[head] <= now:
            head += 1
        if head > self._head:
            self.forgotten = leaves[head - 1] - self.seconds
        self._head = head
        if head > _SLACK or head == len(leaves):
            del leaves[:head]
            del self._before[:head]
            self._head = 0
