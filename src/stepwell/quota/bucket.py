"""Bucket: how full a bucket is that drains evenly."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import inf
from typing import Self

# Sums of floats miss by some 1e-13; a millionth of a unit is no theft.
_EPSILON = 1e-6
# What floats lose when a moment is moved by a window and back.
_SAME = 1e-9


class Bucket:
    """What was poured in, less what has drained since; the rate is given with each question.

    Args:
        most: It never holds more: whoever would have made it overflow was not let in.
    """

    __slots__ = ("_at", "_level", "_most")

    def __init__(self, most: float = inf) -> None:
        self._most = most
        self._level = 0.0
        self._at = -inf

    def __repr__(self) -> str:
        return f"<Bucket {self._level:g} at {self._at:g}>"

    @property
    def changed(self) -> float:
        """When it was filled or set last."""
        return self._at

    def level(self, moment: float, rate: float) -> float:
        if not self._level:
            return 0.0
        return max(0.0, self._level - rate * max(0.0, moment - self._at))

    def add(self, amount: int, moment: float, rate: float) -> None:
        at = max(moment, self._at)
        self.set(self.level(at, rate) + amount, at)

    def fill(self, entries: Iterable[tuple[float, int]], rate: float) -> None:
        """Add what was counted at rising moments: `add` without a call for each, as there are many."""
        level, at, most = self._level, self._at, self._most
        for moment, amount in entries:
            if moment > at:
                level = max(0.0, level - rate * (moment - at)) if level else 0.0
                at = moment
            level = min(level + amount, most)
        self.set(level, at)

    def set(self, level: float, moment: float) -> None:
        self._level, self._at = min(level, self._most), moment

    def meet(self, other: Self, others_rate: float, rate: float, *, larger: float) -> None:
        """Have no less room from now on than another one; hold no less where neither has an end.

        Args:
            other: The other one.
            others_rate: It drains so much in a second.
            rate: And this one.
            larger: By so much more fits into this one.
        """
        at = max(self._at, other.changed)
        mine, theirs = self.level(at, rate), other.level(at, others_rate) + larger
        self.set(min(mine, theirs) if self._most < inf else max(mine, theirs), at)

    def falls_to(self, level: float, now: float, rate: float) -> float:
        """Return the time from which at most `level` is in it; inf for never."""
        start = max(now, self._at)  # what it held before it was filled last is not known any more
        above = self.level(start, rate) - level
        if above <= _EPSILON:
            return start
        return start + above / rate + _EPSILON if level >= 0 else inf


class Course:
    """How full a bucket was at every moment, for one who asks often.

    Args:
        entries: What was poured in, at rising moments.
        rate: What drains in a second.
        before: What it held before that, and when.
        most: It never holds more, as `Bucket` has it.
    """

    __slots__ = ("_levels", "_moments", "_rate")

    def __init__(
        self,
        entries: Sequence[tuple[float, int]],
        rate: float,
        before: tuple[float, float] = (0.0, -inf),
        most: float = inf,
    ) -> None:
        level, at = before
        self._rate = rate
        self._moments = list(accumulate([moment for moment, _ in entries], max, initial=at))
        self._levels = levels = [level]
        for moment, amount in entries:
            if moment > at:
                level -= rate * (moment - at) if level else 0.0
                level = amount if level < 0.0 else level + amount
                at = moment
            else:
                level += amount
            if level > most:  # noqa: PLR1730 - a call would cost as much as all the rest
                level = most
            levels.append(level)

    def __repr__(self) -> str:
        return f"<Course of {len(self._moments) - 1} entries>"

    def level(self, until: float, moment: float) -> float:
        """Return what is in it at a moment, of what was poured in until another one."""
        place = bisect_right(self._moments, until + _SAME) - 1
        if place < 0 or not (level := self._levels[place]):
            return 0.0
        return max(0.0, level - self._rate * max(0.0, moment - self._moments[place]))


def least_bucket(
    entries: Sequence[tuple[float, int]], more: float, moment: float, window: float
) -> float:
    """Return the least amount of a bucket into which these went, and that has room for `more`.

    By each moment since which it has not been empty, it holds all that came since then, less what
    drains meanwhile, which is all of it in one window.

    Args:
        entries: What was poured in, at rising moments.
        more: What comes now.
        moment: Now.
        window: In seconds.
    """
    total = least = more
    for at, amount in reversed(entries):
        total += amount
        if (held := total * window / (window + moment - at)) > least:
            least = held
    return least
