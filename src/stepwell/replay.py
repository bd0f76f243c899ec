"""What a trace tells of providers: how fast each target answered, when it failed, what its limits were.

A trace shows a provider only where it was asked. What lies between is filled in by three rules:

1. A target is as its nearest call was: as fast as its nearest answer, and down from a fault until its
   next sound answer, at most REACH seconds after the last fault. A key or model that was refused stays
   refused until it was seen to answer.
2. Its limits are those that it told. Where it told none but refused calls, they are the count, in the
   window that separates refusals from answers best, at which it began to refuse.
3. A refusal that such limits do not explain (the day was spent before the trace began, or somebody else
   uses the key) holds for as long as the provider said, and else like a fault.

Of a target that the trace never asked it knows nothing. Times are Unix seconds, no clock is read.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from statistics import median
from types import MappingProxyType
from typing import Final, Literal

from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.routing.verdict import Outcome
from stepwell.trace import Line, Told, Try

# A fault is taken to last so long if nobody asked again: the guessed cooldown after which we would.
REACH: Final = 30.0
# Two troubles with nothing between them are one, if they lie no farther apart than guesses may last.
ONE_TROUBLE: Final = 600.0
# A refused call tells that it was so a moment before, too.
EARLY: Final = 1.0
# The windows that providers use, for those that do not tell theirs.
WINDOWS: Final = (1.0, 10.0, 60.0, 3600.0, 86400.0)
# A limit explains a refusal if at least so much of it was used, as far as the trace shows.
EXPLAINED: Final = 0.5
# What was spent at the very moment of a reset counts after it.
BEFORE: Final = 1e-6
# Answers come in about this time where the trace has none to go by.
UNKNOWN_LATENCY: Final = 1.0

_LASTING: Final = frozenset({Outcome.NO_CREDIT, Outcome.KEY_REFUSED, Outcome.MODEL_GONE})
_PASSING: Final = frozenset({Outcome.UNREACHABLE, Outcome.FAULT})
_SOUND: Final = frozenset({Outcome.ANSWER, Outcome.EMPTY})


@dataclass(frozen=True, slots=True)
class Sighting:
    """One call of a target.

    Attributes:
        at: When it was made.
        tokens: What it came to, as counted, else as estimated; 0 for what was no answer.
        size: Estimated tokens of the request.
    """

    at: float
    outcome: Outcome
    seconds: float
    tokens: int
    size: int
    delay: float | None
    told: tuple[Told, ...]

    @property
    def is_sound(self) -> bool:
        return self.outcome in _SOUND


@dataclass(frozen=True, slots=True)
class Trouble:
    """A time in which a target does not serve: from `start` until before `end`."""

    start: float
    end: float
    sighting: Sighting


class Tally:
    """Costs at times, and their sum between any two."""

    def __init__(self, costs: Iterable[tuple[float, int]]) -> None:
        ordered = sorted(costs)
        self.times = [at for at, _ in ordered]
        self._sums = [0, *accumulate(cost for _, cost in ordered)]

    def since(self, start: float, end: float) -> int:
        """Return the sum after `start` and up to `end`."""
        first, last = bisect_right(self.times, start), bisect_right(self.times, end)
        return self._sums[max(first, last)] - self._sums[first]

    def most(self, window: float) -> int:
        """Return the largest sum of any window of so many seconds."""
        return max((self.since(at - window, at) for at in self.times), default=0)

    def most_of(self, limit: Limit) -> int:
        """Return the largest sum of any of a limit's windows, or of its calendar's periods."""
        return max((self.used(limit, at) for at in self.times), default=0)

    def used(self, limit: Limit, at: float) -> int:
        """Return the sum in a limit's window, or in its calendar's period, up to a time."""
        calendar = limit.calendar
        begin = at - limit.window if calendar is None else calendar.last_reset(at) - BEFORE
        return self.since(begin, at)


@dataclass(slots=True)
class Seen:
    """One target, as the trace shows it.

    Attributes:
        sightings: Its calls by time.
        limits: What it told of them, else what its refusals show.
        refills: It tells of buckets.
        tells: It told counters.
        hints: It told delays with its refusals.
        guesses: Its limits are only what its refusals show.
        shares: It told what all free models of its account share.
        too_large: The call with the smallest request that it found too large; None if there is none.
    """

    sightings: Sequence[Sighting]
    limits: tuple[Limit, ...] = ()
    refills: bool = False
    tells: bool = False
    hints: bool = False
    guesses: bool = False
    shares: bool = False
    too_large: Sighting | None = None
    _answers: list[Sighting] = field(init=False)
    _troubles: list[Trouble] = field(init=False)

    def __post_init__(self) -> None:
        self._answers = [each for each in self.sightings if each.is_sound]
        told = [told for each in self.sightings for told in each.told]
        refusals = [each for each in self.sightings if each.outcome is Outcome.RATE_LIMITED]
        self.tells = any(each.limit is not None for each in told)
        self.shares = any(each.scope is Scope.FREE for each in told)
        self.refills = any(each.refills for each in told)
        self.hints = any(each.delay is not None for each in refusals)
        refused = (each for each in self.sightings if each.outcome is Outcome.TOO_LARGE)
        self.too_large = min(refused, key=_size, default=None)
        self.limits = told_limits(told)
        self.guesses = not self.limits
        self.limits = self.limits or self._learned(refusals)
        self._troubles = list(self._find_troubles())

    def seconds_of_answer(self, at: float) -> float:
        """Return how long an answer takes at a time."""
        nearest = _nearest(self._answers, at)
        return UNKNOWN_LATENCY if nearest is None else nearest.seconds

    def trouble(self, at: float) -> Trouble | None:
        """Return what keeps it from serving at a time, apart from its limits."""
        place = bisect_right(self._troubles, at, key=_start) - 1
        return self._troubles[place] if place >= 0 and at < self._troubles[place].end else None

    def spent(self, metric: Metric) -> Tally:
        """Return what its answers cost."""
        costs = ((e.at, 1 if metric is Metric.REQUESTS else e.tokens) for e in self._answers)
        return Tally(costs)

    def kind_of(self, limit: Limit) -> Literal["sliding", "fixed", "bucket", "calendar"]:
        """Return how it counts: only buckets and fixed windows ever serve more in a window's length."""
        if limit.calendar is not None:
            return "calendar"
        if not self.contradicts(limit):
            return "sliding"
        return "bucket" if self.refills else "fixed"

    def contradicts(self, limit: Limit) -> bool:
        """Whether it served more than that."""
        return self.spent(limit.metric).most_of(limit) > limit.amount

    def needs_no_more_than(self, limits: Sequence[Limit]) -> bool:
        """Whether these limits explain its refusals, so that one that only these show is none."""
        spent = {limit: self.spent(limit.metric) for limit in limits}
        refusals = (each for each in self.sightings if each.outcome is Outcome.RATE_LIMITED)
        return self.guesses and all(_is_explained(each, spent) for each in refusals)

    def _learned(self, refusals: Sequence[Sighting]) -> tuple[Limit, ...]:
        """Return the limit that tells its refusals from its answers best; none if none does well."""
        tally = self.spent(Metric.REQUESTS)
        best = EXPLAINED
        found: tuple[Limit, ...] = ()
        for window in WINDOWS:
            most = tally.most(window)
            least = min((tally.since(each.at - window, each.at) for each in refusals), default=0)
            if least and least / most > best:
                best, found = least / most, (Limit(Metric.REQUESTS, most, window),)
        return found

    def _find_troubles(self) -> Iterator[Trouble]:
        spent = {limit: self.spent(limit.metric) for limit in self.limits}
        holds = -inf  # until when, if nobody answers before
        for index, each in enumerate(self.sightings):
            reach = self._reach(each, spent)
            if each.is_sound:
                holds = -inf
            elif reach is not None:
                holds = max(holds, each.at + reach)
                yield Trouble(self._start(index), self._end(index, holds, spent), each)

    def _start(self, index: int) -> float:
        each = self.sightings[index]
        start = each.at - EARLY
        return max(start, _between(self.sightings[index - 1], each)) if index else start

    def _reach(self, each: Sighting, spent: Mapping[Limit, Tally]) -> float | None:
        """Return the seconds for which a call's failure holds; None if it is none of the target's."""
        if each.outcome in _LASTING:
            return inf
        if each.outcome in _PASSING:
            return max(REACH, each.delay or 0.0)
        if each.outcome is not Outcome.RATE_LIMITED:
            return None
        return None if _is_explained(each, spent) else each.delay or REACH

    def _end(self, index: int, holds: float, spent: Mapping[Limit, Tally]) -> float:
        each = self.sightings[index]
        if index + 1 == len(self.sightings):
            return holds
        after = self.sightings[index + 1]
        if after.is_sound:
            return min(holds, _between(each, after))
        is_one = self._reach(after, spent) is not None and after.at - each.at <= ONE_TROUBLE
        return max(after.at, holds) if is_one else holds


@dataclass(frozen=True, slots=True)
class Past:
    """What a trace tells.

    Attributes:
        lines: The requests by arrival.
        targets: By the target's key, `account/model`.
        answer_tokens: What an answer comes to where nobody counted it: the median.
    """

    lines: Sequence[Line]
    targets: Mapping[str, Seen]
    answer_tokens: int

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Past":
        ordered = sorted(lines, key=lambda line: line.at)
        found: defaultdict[str, list[Sighting]] = defaultdict(list)
        for line in ordered:
            for each in line.attempts:
                found[key_of(each.account, each.target)].append(_sighting(line, each))
        for sightings in found.values():
            sightings.sort(key=_at)
        counted = [max(0, line.used - line.prompt_tokens) for line in ordered if line.used]
        return cls(
            ordered,
            MappingProxyType({key: Seen(sightings) for key, sightings in found.items()}),
            int(median(counted)) if counted else 256,
        )

    @property
    def seconds_of_answer(self) -> float:
        """How long an answer takes at a target of which nothing is known: the median of all."""
        answers = [
            e.seconds for seen in self.targets.values() for e in seen.sightings if e.is_sound
        ]
        return median(answers) if answers else UNKNOWN_LATENCY


def key_of(account: str, target: str) -> str:
    """Return the key of a target: its account, and the model out of `provider/model`."""
    return f"{account}/{target.partition('/')[2]}"


def told_limits(told: Iterable[Told]) -> tuple[Limit, ...]:
    """Return the limits that counters speak of; of several of one window the last that was told.

    Where the window is not told, it is the smallest usual one within which every reset lies.
    """
    resets: defaultdict[Metric, float] = defaultdict(float)
    kept = [each for each in told if each.limit]
    for each in kept:
        resets[each.metric] = max(resets[each.metric], each.reset or 0.0)
    found: dict[tuple[Metric, float], Limit] = {}
    for each in kept:
        window = each.window or _window_of(resets[each.metric])
        assert each.limit is not None
        found[each.metric, window] = Limit(each.metric, each.limit, window, each.scope)
    return tuple(found.values())


def _window_of(reset: float) -> float:
    """Return a window; a reset of nothing says nothing, and most limits are of a minute."""
    fitting = (window for window in WINDOWS if reset <= window * 1.02)
    return next(fitting, WINDOWS[-1]) if reset > 0 else 60.0


def _sighting(line: Line, each: Try) -> Sighting:
    tokens = each.tokens or 0
    if each.outcome in _SOUND and not tokens:
        tokens = line.used or line.tokens  # a stream is counted at its end
    return Sighting(
        at=line.at + each.began,
        outcome=each.outcome,
        seconds=each.seconds,
        tokens=tokens,
        size=line.tokens,
        delay=each.delay,
        told=each.told,
    )


def _is_explained(each: Sighting, spent: Mapping[Limit, Tally]) -> bool:
    return any(
        tally.used(limit, each.at) >= EXPLAINED * limit.amount for limit, tally in spent.items()
    )


def _at(sighting: Sighting) -> float:
    return sighting.at


def _size(sighting: Sighting) -> int:
    return sighting.size


def _start(trouble: Trouble) -> float:
    return trouble.start


def _between(one: Sighting, other: Sighting) -> float:
    return (one.at + other.at) / 2


def _nearest(sightings: Sequence[Sighting], at: float) -> Sighting | None:
    place = bisect_left(sightings, at, key=_at)
    around = sightings[max(0, place - 1) : place + 1]
    return min(around, key=lambda sighting: abs(sighting.at - at), default=None)
