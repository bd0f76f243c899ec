"""A desk keeps the answer that it is shut; whatever happens, it must be the answer of its gates.

So it does with how it stands to whoever asks, and then it must stand so to each.
"""

from collections.abc import AsyncIterator
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.ledgers.memory import MemoryLedger
from stepwell.quota.ledger import Bench, Ended, Report, Reservation
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target
from stepwell.testing import FakeClock

TARGETS = [
    Target(
        f"{account}/{model}",
        account,
        model,
        (
            Limit.parse("3 requests/minute"),
            Limit.parse("900 tokens/hour"),
            *([Limit.parse("6 requests/day from 00:00 UTC")] if account == "b" else []),
            Limit.parse({"metric": "requests", "limit": 4, "window": "10s", "scope": "account"}),
        ),
    )
    for account in "ab"
    for model in "mn"
]

REPORTS = (
    Report(Ended.SUCCESS, tokens=90),
    Report(Ended.REFUSED, bench=Bench.RATE),
    Report(Ended.REFUSED, bench=Bench.RATE, delay=7.0, scope=Scope.ACCOUNT),
    Report(Ended.REFUSED, bench=Bench.RATE, delay=30.0),
    Report(Ended.SUCCESS, tokens=90, readings=(Reading(Metric.TOKENS, 60.0, 500, 100, 60.0),)),
    Report(Ended.SUCCESS, tokens=90, readings=(Reading(Metric.REQUESTS, 60.0, 3, 0, 40.0),)),
    Report(Ended.REFUSED, bench=Bench.CREDIT),
    Report(Ended.FAILED, bench=Bench.FAULT),
    Report(Ended.NEUTRAL, was_sent=False),
)

moves = st.one_of(
    st.tuples(st.just("reserve"), st.integers(1, 400)),
    st.tuples(st.just("settle"), st.integers(0, len(REPORTS) - 1)),
    st.tuples(st.just("wait"), st.sampled_from((0.1, 0.9, 5.5, 20.0, 61.0))),
)


async def _play(
    ledger: MemoryLedger, clock: FakeClock, played: list[tuple[str, float]]
) -> AsyncIterator[float]:
    """Make the moves, and yield the time after each."""
    held: list[Reservation] = []
    for move, amount in played:
        if move == "reserve":
            taken = await ledger.reserve(TARGETS, int(amount), arrived=clock.monotonic())
            held += [taken] if isinstance(taken, Reservation) else []
        elif move == "settle" and held:
            ledger.settle(held.pop(0), REPORTS[int(amount)])
        elif move == "wait":
            await clock.advance(amount)
        yield clock.monotonic()


@settings(deadline=None, max_examples=100)
@given(st.lists(moves, max_size=40))
async def test_what_is_kept_is_what_the_gates_say(played: list[tuple[str, float]]) -> None:
    """Asked twice, before and after it is kept, for requests of several sizes."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    async for now in _play(ledger, clock, played):
        for desk in ledger._desks.values():
            for tokens in (200, 200, 50, 50, 600):
                need = desk.calibration.likely(tokens)
                is_shut = desk.block(now, tokens) is not None
                assert not desk.standings.is_shut(now, tokens) or is_shut
                assert desk.is_open(now, tokens, need) is not is_shut


@settings(deadline=None, max_examples=100)
@given(st.lists(moves, max_size=40), st.sampled_from((0.0, 5.0)), st.sampled_from((-inf, 100.0)))
async def test_a_kept_standing_is_that_of_every_request(
    played: list[tuple[str, float]], age: float, patience: float
) -> None:
    """However large and old it is, and however long it can wait."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    async for now in _play(ledger, clock, played):
        for desk in ledger._desks.values():
            for tokens in (200, 50, 450, 600):  # what was kept for the last is asked for next time
                kept = desk.standings.kept(now, tokens)
                stands = desk.standing(now, tokens, now - age, now + patience)
                assert kept is None or kept == stands
