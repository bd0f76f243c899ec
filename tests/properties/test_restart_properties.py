"""What a ledger writes down is enough to go on where it stopped."""

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.ledgers import MemoryLedger
from stepwell.ledgers.record import Record
from stepwell.quota.ledger import (
    Bench,
    Ended,
    Exhausted,
    Report,
    Reservation,
    TargetStatus,
    Wait,
)
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target
from stepwell.testing.clock import FakeClock

few = settings(deadline=None, max_examples=60)

TARGETS = (
    Target(
        "a",
        "a",
        "known:free",
        (
            Limit(Metric.REQUESTS, 3, window=6.0),
            Limit(Metric.TOKENS, 200, window=60.0),
            Limit(Metric.REQUESTS, 5, window=10.0, scope=Scope.ACCOUNT),
            Limit(Metric.REQUESTS, 6, window=15.0, scope=Scope.FREE),
        ),
        concurrency=4,
    ),
    Target("a", "a", "stranger:free", concurrency=4),
    Target("b", "b", "stranger"),
)
MOMENTS = (0.0, 0.5, 5.0, 7.0, 33.0, 61.0, 700.0)

Answer = Reservation | Wait | Exhausted

readings = st.builds(
    Reading,
    metric=st.sampled_from(Metric),
    window=st.sampled_from([None, 6.0, 60.0]),
    limit=st.one_of(st.none(), st.integers(0, 12)),
    remaining=st.one_of(st.none(), st.integers(0, 12)),
    reset=st.one_of(st.none(), st.floats(0.0, 30.0)),
    scope=st.sampled_from(Scope),
    refills=st.booleans(),
)


def reports_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Report]:
    """Return reports with these fields; `builds` would fill in the others of a named tuple too."""
    return st.fixed_dictionaries(fields).map(lambda chosen: Report(**chosen))


refusals = reports_of(
    ended=st.sampled_from([Ended.REFUSED, Ended.FAILED]),
    bench=st.sampled_from(Bench),
    delay=st.one_of(st.none(), st.floats(10.0, 90.0)),
    scope=st.sampled_from(Scope),
    words=st.just("slow down"),
)
others = reports_of(
    ended=st.sampled_from([Ended.SUCCESS, Ended.SUCCESS, *Ended]),
    tokens=st.one_of(st.none(), st.integers(0, 300)),
    readings=st.lists(readings, max_size=2).map(tuple),
    was_sent=st.booleans(),
)
steps = st.lists(
    st.tuples(
        st.integers(0, 2),  # the target
        st.integers(0, 150),  # tokens
        st.one_of(st.none(), refusals, others),  # None: the call does not end
        st.one_of(st.just(0.0), st.just(0.0), st.floats(0.01, 40.0)),  # time that passes then
    ),
    max_size=25,
)
Step = tuple[int, int, Report | None, float]


class Process:
    """A ledger, and the calls that it has under way."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ledger = MemoryLedger(clock)
        self.flying: list[Reservation] = []

    async def play(self, history: list[Step]) -> None:
        for at, tokens, report, pause in history:
            answer = await self.ask(at, tokens)
            if isinstance(answer, Reservation):
                self.end(answer, report)
            self.clock.shift(pause)

    async def ask(self, at: int, tokens: int) -> Answer:
        return await self.ledger.reserve(TARGETS[at:], tokens, arrived=self.clock.monotonic())

    def end(self, reservation: Reservation, report: Report | None) -> None:
        if report is None:
            self.flying.append(reservation)
        else:
            self.ledger.settle(reservation, report)

    def land(self) -> None:
        """End what is under way, as if all of it had been used."""
        for reservation in self.flying:
            self.ledger.settle(reservation, Report(Ended.NEUTRAL))
        self.flying.clear()

    def crash(self, down: float = 0.0) -> "Process":
        """Return a process that knows what this one writes now, `down` seconds later."""
        written = [msgspec.json.encode(record) for record in self.ledger.export()]
        self.clock.shift(down)
        again = Process(self.clock)
        records = [msgspec.json.decode(each, type=Record) for each in written]
        again.ledger.restore([replace(record, age=down) for record in records], TARGETS)
        return again


async def hard_blocks(process: Process) -> dict[str, Any]:
    """What must not be called now: for whom, why, and until when."""
    return {
        status.key: (status.block.reason, status.block.told, rounded(status.block.until))
        for status in await process.ledger.snapshot()
        if status.block is not None and status.block.hard
    }


def rounded(moment: float | None) -> float | None:
    return None if moment is None else round(moment, 3)


@few
@given(steps)
async def test_what_was_told_holds_after_a_restart(history: list[Step]) -> None:
    """Every hard block is there again, for the same time; what was only learned may be forgotten."""
    clock = FakeClock(monotonic=10_000.0)
    process = Process(clock)
    await process.play([(0, 0, None, 0.0), (1, 0, None, 0.0), (2, 0, None, 0.0), *history])
    process.land()
    again = process.crash()
    for pause in MOMENTS:
        clock.shift(pause)
        assert await hard_blocks(again) == await hard_blocks(process)


def used(statuses: tuple[TargetStatus, ...]) -> dict[tuple[Any, ...], int | None]:
    return {
        (each.key, limit.metric, limit.window, limit.scope, limit.source): limit.used
        for each in statuses
        for limit in each.limits
        if limit.source == "configured"
    }


@few
@given(steps, st.floats(0.0, 100.0))
async def test_a_crash_frees_nothing(history: list[Step], down: float) -> None:
    """Calls under way may be counted upstream until then: they count as if they had ended."""
    clock = FakeClock(monotonic=10_000.0)
    process = Process(clock)
    await process.play(history)
    again = process.crash(down)
    process.land()
    before, after = used(await process.ledger.snapshot()), used(await again.ledger.snapshot())
    for name, count in after.items():
        if name in before:
            assert (count or 0) >= (before[name] or 0)
