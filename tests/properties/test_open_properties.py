"""A desk keeps the answer that it is shut; whatever happens, it must be the answer of its gates."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.ledgers.memory import MemoryLedger
from stepwell.quota.ledger import Bench, Ended, Report, Reservation
from stepwell.quota.limit import Limit, Scope
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
    Report(Ended.FAILED, bench=Bench.FAULT),
    Report(Ended.NEUTRAL, was_sent=False),
)

moves = st.one_of(
    st.tuples(st.just("reserve"), st.integers(1, 400)),
    st.tuples(st.just("settle"), st.integers(0, len(REPORTS) - 1)),
    st.tuples(st.just("wait"), st.sampled_from((0.1, 3.0, 20.0, 61.0))),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(moves, max_size=40))
async def test_what_is_kept_is_what_the_gates_say(played: list[tuple[str, float]]) -> None:
    """Asked twice, before and after it is kept, for requests of several sizes."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    held: list[Reservation] = []
    for move, amount in played:
        if move == "reserve":
            taken = await ledger.reserve(TARGETS, int(amount), arrived=clock.monotonic())
            held += [taken] if isinstance(taken, Reservation) else []
        elif move == "settle" and held:
            ledger.settle(held.pop(0), REPORTS[int(amount)])
        elif move == "wait":
            await clock.advance(amount)
        now = clock.monotonic()
        for desk in ledger._desks.values():
            for tokens in (200, 200, 50, 50, 600):
                need = desk.calibration.likely(tokens)
                assert desk.is_open(now, tokens, need) is (desk.block(now, tokens) is None)
