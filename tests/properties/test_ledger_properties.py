"""What holds of the memory keeper whatever happens in whatever order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.ledgers import MemoryLedger
from stepwell.quota.ledger import (
    Bench,
    Ended,
    Exhausted,
    Report,
    Reservable,
    Reservation,
    TargetStatus,
    Wait,
)
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target
from stepwell.testing.clock import FakeClock

few = settings(deadline=None, max_examples=60)

LIMITS = (
    Limit(Metric.REQUESTS, 3, window=6.0),
    Limit(Metric.TOKENS, 200, window=60.0),
    Limit(Metric.REQUESTS, 5, window=10.0, scope=Scope.ACCOUNT),
)
FREE_LIMITS = (Limit(Metric.REQUESTS, 2, window=5.0, scope=Scope.FREE),)
TARGETS = (
    Target("a", "a", "known", LIMITS, concurrency=4),
    Target("a", "a", "stranger:free", concurrency=4),
    Target("a", "a", "known:free", FREE_LIMITS, concurrency=4),
    Target("b", "b", "stranger"),
)

scopes = st.sampled_from(Scope)
moments = st.one_of(st.just(0.0), st.floats(0.01, 40.0))
delays = st.one_of(st.none(), st.floats(0.0, 30.0))
readings = st.builds(
    Reading,
    metric=st.sampled_from(Metric),
    window=st.sampled_from([None, 6.0, 60.0]),
    limit=st.one_of(st.none(), st.integers(0, 12)),
    remaining=st.one_of(st.none(), st.integers(0, 12)),
    reset=st.one_of(st.none(), st.floats(0.0, 30.0)),
    scope=scopes,
    refills=st.booleans(),
)


def reports_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Report]:
    """Return reports with these fields; `builds` would fill in the others of a named tuple too."""
    return st.fixed_dictionaries(fields).map(lambda chosen: Report(**chosen))


reports = reports_of(
    ended=st.sampled_from(Ended),
    tokens=st.one_of(st.none(), st.integers(0, 300)),
    bench=st.one_of(st.none(), st.sampled_from(Bench)),
    delay=delays,
    scope=scopes,
    readings=st.lists(readings, max_size=2).map(tuple),
    was_sent=st.booleans(),
)
# What happens to a ledger: each step is a word and what it needs.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 7), st.integers(0, 150)),
        st.tuples(st.just("observe"), st.integers(0, 9), st.lists(readings, max_size=2)),
        st.tuples(st.just("settle"), st.integers(0, 9), reports),
        st.tuples(st.just("release"), st.integers(0, 9), st.none()),
        st.tuples(st.just("cool_down"), st.integers(0, 3), st.floats(0.0, 30.0)),
        st.tuples(st.just("wait"), st.just(0), moments),
    ),
    max_size=40,
)


@dataclass
class World:
    """A ledger, what is in flight, and the answers it gave."""

    clock: FakeClock = field(default_factory=FakeClock)
    flying: list[Reservation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(self.clock)

    async def play(self, step: tuple[str, int, Any]) -> Reservation | Wait | Exhausted | None:
        word, number, what = step
        if word == "reserve":
            return await self.reserve(TARGETS[number % len(TARGETS) :], what)
        if word == "wait":
            self.clock.shift(what)
        elif word == "cool_down":
            self.ledger.cool_down(TARGETS[number], what)
        elif self.flying:
            self.end(word, number % len(self.flying), what)
        return None

    async def reserve(
        self, targets: Sequence[Target], tokens: int
    ) -> Reservation | Wait | Exhausted:
        answer = await self.ledger.reserve(targets, tokens, arrived=self.clock.monotonic())
        if isinstance(answer, Reservation):
            self.flying.append(answer)
        return answer

    def end(self, word: str, number: int, what: Any) -> None:
        if word == "observe":
            self.ledger.observe(self.flying[number], what)
        elif word == "settle":
            self.ledger.settle(self.flying.pop(number), what)
        else:
            self.ledger.release(self.flying.pop(number))


async def after(history: list[tuple[str, int, Any]]) -> World:
    world = World()
    for step in history:
        await world.play(step)
    return world


def covered(target: Reservable, scope: Scope) -> list[str]:
    """Return the keys of what a refusal of this scope keeps off."""
    account = [each.key for each in TARGETS if each.account == target.account]
    free = [key for key in account if key.endswith(":free")]
    whole = {Scope.ACCOUNT: account, Scope.FREE: free, Scope.MODEL: []}[scope]
    return whole if target.key in whole else [target.key]


def counts(statuses: Sequence[TargetStatus]) -> list[tuple[object, ...]]:
    """What is counted, without health."""
    return [(each.key, each.in_flight, each.limits) for each in statuses]


@few
@given(steps)
async def test_what_is_left_never_leaves_zero_to_limit(history: list[tuple[str, int, Any]]) -> None:
    """No history makes a remainder negative or larger than its limit."""
    world = World()
    for step in history:
        await world.play(step)
        for status in await world.ledger.snapshot():
            assert status.in_flight >= 0
            for limit in status.limits:
                assert limit.remaining is not None
                assert limit.remaining >= 0
                assert limit.limit is None or limit.remaining <= limit.limit


@few
@given(steps, st.integers(0, 3), st.integers(0, 150))
async def test_reserve_then_release_changes_nothing(
    history: list[tuple[str, int, Any]], start: int, tokens: int
) -> None:
    """Whatever happened before, a reservation that is given back leaves no trace."""
    world = await after(history)
    for target in TARGETS:  # so that the question itself brings no target into sight
        world.ledger.cool_down(target, 0.0)
    before = await world.ledger.snapshot()
    answer = await world.reserve(TARGETS[start:], tokens)
    if isinstance(answer, Reservation):
        world.ledger.release(answer)
    assert await world.ledger.snapshot() == before


@few
@given(steps, st.lists(reports, min_size=2, max_size=6), st.randoms(use_true_random=False))
async def test_the_order_of_settlements_does_not_matter(
    history: list[tuple[str, int, Any]], ends: list[Report], random: Any
) -> None:
    """Calls that end at one moment leave the same counts in whatever order they are settled."""
    order = list(range(len(ends)))
    random.shuffle(order)
    worlds = [await after(history), await after(history)]
    for world, sequence in zip(worlds, (range(len(ends)), order), strict=True):
        count = min(len(world.flying), len(ends))
        calls = world.flying[:count]
        for number in sequence:
            if number < count:
                silent = ends[number]._replace(readings=(), bench=None)
                world.ledger.settle(calls[number], silent)
    first, second = [await world.ledger.snapshot() for world in worlds]
    assert counts(first) == counts(second)


@few
@given(steps, st.floats(0.0, 100.0), st.floats(0.0, 100.0))
async def test_time_only_frees_quota(
    history: list[tuple[str, int, Any]], sooner: float, later: float
) -> None:
    """If nothing happens, what is left by our counts never falls, whatever readings hide of them."""
    world = await after(history)
    pools = {pool for desk in world.ledger._desks.values() for pool in desk.pools}
    tallies = [count for pool in pools for count in pool.counts]
    lefts = []
    for seconds in (0.0, sooner, later):
        world.clock.shift(seconds)
        now = world.clock.monotonic()
        lefts.append([count.status(now).remaining or 0 for count in tallies])
    for earlier, then in pairwise(lefts):
        assert all(before <= after for before, after in zip(earlier, then, strict=True))


@few
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("reserve"), st.integers(0, 3), st.just(1)),
            st.tuples(
                st.just("settle"),
                st.integers(0, 9),
                st.one_of(
                    st.just(Report(Ended.SUCCESS)),
                    st.just(Report(Ended.REFUSED, bench=Bench.RATE)),
                    reports_of(
                        ended=st.just(Ended.REFUSED),
                        bench=st.just(Bench.RATE),
                        delay=st.floats(0.0, 30.0),
                        scope=scopes,
                    ),
                ),
            ),
            st.tuples(st.just("wait"), st.just(0), moments),
        ),
        max_size=60,
    )
)
async def test_nothing_is_dispatched_before_a_told_reset(
    history: list[tuple[str, int, Any]],
) -> None:
    """No interleaving of starts, refusals, successes and jumps in time calls a cooled target."""
    world, told = World(), dict[str, float]()
    for step in history:
        word, number, what = step
        now = world.clock.monotonic()
        if word == "settle" and world.flying and what.delay is not None:
            target = world.flying[number % len(world.flying)].target
            for name in covered(target, what.scope):
                told[name] = max(told.get(name, 0.0), now + what.delay)
        answer = await world.play(step)
        if isinstance(answer, Reservation):
            assert now >= told.get(answer.target.key, 0.0)


@few
@given(steps, st.integers(0, 3), st.integers(0, 150))
async def test_a_wait_always_ends(
    history: list[tuple[str, int, Any]], start: int, tokens: int
) -> None:
    """Every Wait names a later moment, or a call is in flight whose end is an event."""
    world = await after(history)
    arrived = world.clock.monotonic()
    for _ in range(60):
        answer = await world.ledger.reserve(TARGETS[start:], tokens, arrived=arrived)
        if not isinstance(answer, Wait):
            return
        if answer.until is not None:
            assert answer.until > world.clock.monotonic()
            world.clock.shift(answer.until - world.clock.monotonic())
        else:
            assert world.flying
            world.ledger.settle(world.flying.pop(0), Report(Ended.NEUTRAL))
    raise AssertionError("sixty rounds did not bring an answer")
