"""Usage: what was counted of one metric in one window, as the provider may have counted it.

Nobody sees when a provider counts a call: somewhere between its sending and its answer. So each call
stands here twice, *early* as if counted when it was sent, and *late* as if counted when it was
answered. What is in use by the early count and older is surely in use; what is not in use by the
late one surely is not.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from math import inf
from operator import itemgetter
from typing import Any, Final, Self

from stepwell.quota.bucket import Course, least_bucket
from stepwell.quota.buckets import MOST_BUCKETS, Buckets, Filling
from stepwell.quota.limit import Metric
from stepwell.quota.traffic import Served, Traffic
from stepwell.quota.window import SlidingWindow

# A provider that counts a call as it comes counts it within so many seconds of its sending.
WAY: Final = 0.05
# What floats lose when a time is moved by a window and back.
_ROUNDED: Final = 1e-9
# Readings and refusals are as old as their calls, and what was learned is compared with the past.
MOST_KEPT: Final = 600.0


_SENT: Final = itemgetter(2)
_AMOUNT: Final = itemgetter(1)


class Usage:
    """What was counted, and what is in flight.

    Attributes:
        metric: What is counted.
        window: In seconds.
        is_prompt: The provider was seen to count a call as it comes.
        forgives: The provider was seen not to count calls that it refuses.
        counts_refused: It was seen to count them.
    """

    __slots__ = (
        "_buckets",
        "_courses",
        "_doubtful",
        "_doubts",
        "_early",
        "_late",
        "_traffic",
        "by_request",
        "counts_refused",
        "forgives",
        "is_prompt",
        "metric",
        "window",
    )

    def __init__(
        self, metric: Metric, window: float, traffic: Traffic, *, kept: float = 0.0
    ) -> None:
        self.metric = metric
        self.window = window
        self.by_request = metric is Metric.REQUESTS
        self.is_prompt = False
        self.forgives = False
        self.counts_refused = False
        self._traffic = traffic
        kept = max(kept, min(window, MOST_KEPT))
        self._early = SlidingWindow(window, keep=kept, early=True)
        self._late = SlidingWindow(window, keep=kept)
        self._doubtful = SlidingWindow(window, keep=kept)
        self._doubts = False  # there ever was any of that; most targets are asked who have room
        self._buckets = Buckets(self._early, self._late)
        # By how they are filled, and by whether with doubts; until something is counted.
        self._courses: dict[tuple[Filling, bool], Course] = {}

    def __repr__(self) -> str:
        return f"<Usage of {self.metric}/{self.window:g}s, {self._traffic.amount} in flight>"

    # --- counting

    def add(self, cost: int, sent: float, answered: float) -> None:
        """Count what a call came to."""
        self.serve(((0, cost, sent, answered),))

    def serve(self, calls: Sequence[Served]) -> None:
        """Count what calls came to."""
        self._early.serve(sorted(calls, key=_SENT))  # what comes out of turn takes long to insert
        self._late.serve(calls)
        if self._courses:
            self._courses = {}
        if self._buckets.known:
            self._buckets.fill(calls)

    def doubt(self, cost: int, answered: float) -> None:
        """Count a call that was refused or failed, unless the provider is known not to."""
        if self.counts_refused:
            self.add(cost, answered, answered)
        elif not self.forgives:
            self._doubts, self._courses = True, {}
            self._doubtful.serve(((0, cost, answered, answered),))

    def forgive(self) -> None:
        """A call was served for which there was no room if refused calls were counted."""
        self.forgives = True
        self._doubts, self._doubtful, self._courses = False, SlidingWindow(self.window), {}

    def blame(self) -> None:
        """A call was refused for which there was room if refused calls were not counted."""
        self.counts_refused = True
        for moment, cost in self._doubtful.entries(inf):
            self.add(cost, moment, moment)
        self._doubts, self._doubtful, self._courses = False, SlidingWindow(self.window), {}

    def forgiving(self) -> Self:
        """Return it as it is if refused calls are not counted, to be asked now and not added to."""
        other = copy(self)
        other.forgive()
        return other

    def resized(self, window: float, since: float, kept: float) -> Self:
        """Return what was counted after a moment as that of another window, and nothing doubtful."""
        other = type(self)(self.metric, window, self._traffic)
        kept = max(kept, min(window, MOST_KEPT))
        other.take_over(
            self._early.resized(window, since, kept), self._late.resized(window, since, kept)
        )
        return other

    def take_over(self, early: SlidingWindow, late: SlidingWindow) -> None:
        """Begin with what was counted by another usage."""
        self._early, self._late, self._buckets = early, late, Buckets(early, late)

    # --- questions

    def surely_taken(self, need: int) -> int:
        """Return what a refused call has surely taken itself when its delay is reckoned."""
        return need if self.by_request and self.counts_refused else 0

    def maybe_taken(self, need: int) -> int:
        """Return what it may have taken; where tokens are counted nobody is known to do that."""
        return need if self.by_request and not self.forgives else 0

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    @property
    def in_flight(self) -> int:
        return self._traffic.amount

    def need(self, tokens: int) -> int:
        """Return what a request for so many tokens takes of this."""
        return 1 if self.by_request else tokens

    def rivals(self, need: int) -> int:
        """Return what other calls in flight take beside one that needs so much."""
        return max(0, self._traffic.amount - need)

    def counted(self, after: float, until: float = inf) -> int:
        """Return what may have been counted, calls apart that were refused or failed."""
        return self._late.between(after, until)

    def surely(self, after: float, until: float = inf) -> int:
        """Return what was surely counted between two moments."""
        return self._early.between(after, until)

    def was_in_flight(self, moment: float) -> int:
        """Return what was under way at a moment, of what has been answered since."""
        return max(0, self.counted(moment) - self.surely(moment))

    def straddled(self, moment: float) -> int:
        """Return what was sent before a moment and may have been counted after it."""
        if self.is_prompt:
            return self._early.between(moment - WAY, moment)
        return self.was_in_flight(moment)

    def first_sent(self, after: float) -> float:
        """Return when the first call was sent after a moment; inf if none was."""
        return self._early.crosses(self._early.between(after, inf) - 1)

    def first_counted(self, after: float) -> float:
        """Return by when one of the calls that were sent after a moment was surely counted."""
        if self.is_prompt:
            return self.first_sent(after) + WAY
        return self._late.crosses(self.counted(after) - self.was_in_flight(after) - 1)

    def last_sent(self, until: float) -> float:
        """Return when the last call was sent until a moment; -inf if none was."""
        return self._early.crosses(0, until)

    def last_counted(self) -> float:
        """Return by when the last call was surely counted; -inf if there is none."""
        return self._early.crosses(0) + WAY if self.is_prompt else self._late.crosses(0)

    @property
    def forgotten(self) -> float:
        """When the last call was sent that is not remembered any more; -inf if all are."""
        return self._early.forgotten

    def remembers(self, moment: float) -> bool:
        """Tell whether all that was counted after a moment is remembered."""
        return max(self._late.forgotten, self._doubtful.forgotten) <= moment

    def served(self, after: float, until: float) -> int:
        """Return what may have been counted between two moments of calls that were served."""
        return self._late.between(after, inf) - self._early.between(until, inf)

    def doubted(self, after: float, until: float) -> int:
        """Return what was refused or failed between two moments and may have been counted."""
        return self._doubtful.between(after, until)

    def maybe(self, after: float, until: float = inf) -> int:
        """Return all that may have been counted between two moments."""
        counted = (
            self._early.between(after - WAY, until)
            if self.is_prompt
            else self._late.between(after, until)
        )
        return counted + self._doubtful.between(after, until) if self._doubts else counted

    def remembered(self) -> int:
        """Return all that may have been counted and is remembered."""
        counted = self._early if self.is_prompt else self._late
        return counted.kept() + (self._doubtful.kept() if self._doubts else 0)

    def in_use(self, now: float) -> int:
        """Return all that may be in use of a sliding window, calls in flight included."""
        counted = self._early.used(now - WAY) if self.is_prompt else self._late.used(now)
        if self._doubts:
            counted += self._doubtful.used(now)
        return counted + self._traffic.amount

    def surely_crosses(self, level: float, until: float = inf) -> float:
        """See `SlidingWindow.crosses`, for what was surely counted."""
        return self._early.crosses(level, until)

    def maybe_crosses(self, level: float, until: float = inf) -> float:
        """See `SlidingWindow.crosses`, for all that may have been counted."""
        counted, late = (self._early, WAY) if self.is_prompt else (self._late, 0.0)
        doubtful = self._doubtful
        if not doubtful:
            return counted.crosses(level, until) + late

        def fits(moment: float) -> bool:
            # A moment that is an entry's has that entry behind it, however floats are rounded.
            before = counted.between(moment - late + _ROUNDED, until)
            return before + doubtful.between(moment + _ROUNDED, until) <= level

        if level < 0:
            return inf
        if fits(-inf):
            return -inf
        return min(counted.first(fits, late), doubtful.first(fits))

    def surely_level(self, amount: float, now: float) -> float:
        """Return what is surely in a bucket that holds `amount` and drains it in one window."""
        rate = amount / self.window
        bucket = self._buckets.get(Filling(rate))
        return (
            bucket.level(now, rate) if bucket.changed <= now else self.surely_was(amount, now, now)
        )

    def maybe_level(self, amount: float, now: float) -> float:
        """Return all that may be in such a bucket."""
        rate = amount / self.window
        return self._buckets.get(self._most_of(rate)).level(now - self._late_by, rate)

    def surely_drains_to(self, level: float, amount: float, now: float) -> float:
        rate = amount / self.window
        return self._buckets.get(Filling(rate)).falls_to(level, now, rate)

    def maybe_drains_to(self, level: float, amount: float, now: float) -> float:
        rate, late = amount / self.window, self._late_by
        return self._buckets.get(self._most_of(rate)).falls_to(level, now - late, rate) + late

    def surely_was(self, amount: float, sent: float, answered: float) -> float:
        """Return what surely was in such a bucket at an answer, of what was sent until a moment."""
        return self._course(Filling(amount / self.window)).level(sent, answered)

    def maybe_was(
        self, amount: float, sent: float, answered: float, *, doubts: bool = True
    ) -> float:
        """Return all that may have been in such a bucket when a call was counted.

        Without `doubts` that is apart from calls that were refused or failed.
        """
        moment, doubts = sent - self._late_by, doubts and self._doubts
        filling = self._most_of(amount / self.window)
        course = self._course(filling._replace(most=inf) if doubts else filling, doubts=doubts)
        late = self._doubtful.between(moment, answered) if doubts else 0
        return (
            course.level(moment, moment)
            + self._buckets.source(filling).between(moment, answered)
            + late
        )

    def surely_held(self, more: float, sent: float, answered: float) -> float:
        """Return the least amount of a bucket that has room for `more` beside what surely was in it.

        See `surely_was`.
        """
        return least_bucket(self._early.entries(sent), more, answered, self.window)

    def maybe_held(
        self, more: float, sent: float, answered: float, *, doubts: bool = True
    ) -> float:
        """Return an amount that has room for `more` beside all that may have been in it.

        See `maybe_was`. If it never overflowed, it is the least.
        """
        moment = sent - self._late_by
        source = self._early if self.is_prompt else self._late
        more += source.between(moment, answered)
        entries = source.entries(moment)
        if doubts and self._doubts:
            more += self._doubtful.between(moment, answered)
            entries = sorted(entries + self._doubtful.entries(moment))
        least = least_bucket(entries, more, moment, self.window)
        if source.forgotten == -inf:
            return least
        # It may have been full when the last call was counted that is not remembered any more.
        more += sum(map(_AMOUNT, entries)) + self.surely_taken(1)
        since = moment - source.forgotten
        return max(least, more * self.window / since) if since > 0 else inf

    # --- for others

    def export(self, now: float) -> dict[str, Any]:
        """Return what was counted, in plain values, with times relative to `now`."""
        return {
            "metric": self.metric,
            "window": self.window,
            "used": self._late.export(now),
            "doubtful": self._doubtful.export(now),
            "in_flight": self._traffic.amount,
            "prompt": self.is_prompt,
            "forgives": self.forgives,
            "counts_refused": self.counts_refused,
        }

    def restore(self, state: Mapping[str, Any], then: float, now: float) -> None:
        """Count what was exported at `then`.

        Calls under way then count as if they ended now: when they were counted nobody has seen.
        """
        self._late.restore(state["used"], then)
        self._late.add(int(state["in_flight"]), now)
        self._early.restore(self._late.export(now), now)
        self._doubts = self._doubts or bool(state["doubtful"])
        self._doubtful.restore(state["doubtful"], then)
        self.is_prompt, self.forgives = bool(state["prompt"]), bool(state["forgives"])
        self.counts_refused = bool(state.get("counts_refused", False))
        self._buckets.known.clear()
        self._courses = {}

    # --- inner

    @property
    def _late_by(self) -> float:
        """By so much later than it stands here a call may have been counted."""
        return WAY if self.is_prompt else 0.0

    def _most_of(self, rate: float) -> Filling:
        """Return how a bucket is filled that holds all that may be in it."""
        # A refused call that is counted is one too many, and so is each that follows.
        full = rate * self.window + self.surely_taken(1)
        return Filling(rate, not self.is_prompt, full, inf if self.counts_refused else full)

    def _course(self, filling: Filling, *, doubts: bool = False) -> Course:
        """Return how full a bucket was at every moment, as refusals are asked about again and again."""
        found = self._courses.get((filling, doubts))
        if found is None:
            if len(self._courses) >= MOST_BUCKETS:
                self._courses.clear()
            source = self._buckets.source(filling)
            entries = source.entries()
            if doubts:
                entries = sorted(entries + self._doubtful.entries())
            is_known = not filling.before or source.forgotten == -inf
            before = (0.0, -inf) if is_known else (filling.before, source.forgotten)
            found = Course(entries, filling.rate, before, filling.most)
            self._courses[filling, doubts] = found
        return found
