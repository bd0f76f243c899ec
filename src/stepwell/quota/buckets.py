"""Buckets: how full buckets are in which all is counted that was counted.

A law of a bucket knows its amount between two bounds, and a call is counted somewhere between its
sending and its answer. So several are kept up to date, each filled in its own way.
"""

from collections.abc import Iterable
from math import inf
from typing import Final, NamedTuple, Self

from stepwell.quota.bucket import Bucket
from stepwell.quota.traffic import Served
from stepwell.quota.window import SlidingWindow

# Two bounds of the amount, each early and late, and the same after something was learned.
MOST_BUCKETS: Final = 8


class Filling(NamedTuple):
    """How a bucket is filled.

    Attributes:
        rate: It drains so much in a second.
        is_late: Calls stand in it by their answers, not by their sending.
        before: It held so much when the last call was counted that is not remembered any more.
        most: It never holds more: who would have made it overflow was not let in.
    """

    rate: float
    is_late: bool = False
    before: float = 0.0
    most: float = inf

    def is_bounded_by(self, other: Self) -> bool:
        """Tell whether it surely has as much room as another one, if both have an end, or holds as much.

        What drains slower holds more, and what is larger has more room. So what was known by other
        bounds is not forgotten with the calls that nobody remembers any more.
        """
        if self.most < inf:
            return other.most < inf and other.rate <= self.rate
        return not self.before and not other.before and other.rate >= self.rate


class Buckets:
    """See the module's text.

    Args:
        early: Calls by the moments at which they were sent.
        late: Calls by those at which they were answered.

    Attributes:
        known: The last that were asked for.
    """

    __slots__ = ("_early", "_late", "known")

    def __init__(self, early: SlidingWindow, late: SlidingWindow) -> None:
        self._early = early
        self._late = late
        self.known: dict[Filling, Bucket] = {}

    def __repr__(self) -> str:
        return f"<Buckets {list(self.known.values())}>"

    def source(self, filling: Filling) -> SlidingWindow:
        """Return what it is filled from."""
        return self._late if filling.is_late else self._early

    def get(self, filling: Filling) -> Bucket:
        """Return a bucket that was filled so."""
        found = self.known.get(filling)
        if found is None:
            found = self._filled(filling)
            for other, bucket in self.known.items():
                if filling.is_bounded_by(other):
                    larger = filling.before - other.before
                    found.meet(bucket, other.rate, filling.rate, larger=larger)
            if len(self.known) >= MOST_BUCKETS:
                del self.known[next(iter(self.known))]  # the oldest
            self.known[filling] = found
        return found

    def fill(self, calls: Iterable[Served]) -> None:
        """Count what calls came to, in all that are known."""
        for _, cost, sent, answered in calls:
            for filling, bucket in self.known.items():
                moment = answered if filling.is_late else sent
                late = bucket.changed - moment
                if late <= 0:
                    bucket.add(cost, moment, filling.rate)
                else:  # calls overtake each other, and what it lost meanwhile may be of this one
                    left = cost if filling.before else max(0.0, cost - filling.rate * late)
                    bucket.set(bucket.level(bucket.changed, filling.rate) + left, bucket.changed)

    def _filled(self, filling: Filling) -> Bucket:
        counted = self.source(filling)
        bucket = Bucket(filling.most)
        if filling.before and counted.forgotten > -inf:
            bucket.set(filling.before, counted.forgotten)
        bucket.fill(counted.entries(), filling.rate)
        return bucket
