"""What is booked later is booked as if it had been at once."""

from functools import partial
from math import inf
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.ledgers import MemoryLedger
from stepwell.quota.ledger import Bench, Ended, Report, Reservation
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.routing.chain import Target
from stepwell.testing.clock import FakeClock

LIMITS = (
    Limit(Metric.REQUESTS, 400, window=6.0),
    Limit(Metric.TOKENS, 60_000, window=60.0),
    Limit(Metric.REQUESTS, 600, window=10.0, scope=Scope.ACCOUNT),
)
TARGETS = (
    Target("a", "a", "m", LIMITS, concurrency=300),
    Target("a", "a", "n:free", LIMITS),
    Target("b", "b", "m", LIMITS[:1]),
)
ENDS = st.one_of(
    st.one_of(st.none(), st.integers(0, 300)).map(partial(Report, Ended.SUCCESS)),
    st.integers(0, 300).map(partial(Report, Ended.SUCCESS)),
    st.just(Report(Ended.NEUTRAL)),
    st.just(Report(Ended.SUCCESS, was_sent=False)),
    st.just(Report(Ended.REFUSED, bench=Bench.RATE)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 2), st.integers(0, 150)),
        st.tuples(st.just("reserve"), st.just(0), st.integers(0, 150)),
        st.tuples(st.just("observe"), st.integers(0, 9), st.none()),
        st.tuples(st.just("observe"), st.integers(0, 9), st.none()),
        st.tuples(st.just("settle"), st.integers(0, 9), ENDS),
        st.tuples(st.just("settle"), st.integers(0, 9), st.just(Report(Ended.SUCCESS, 40))),
        st.tuples(st.just("release"), st.integers(0, 9), st.none()),
        st.tuples(st.just("snapshot"), st.just(0), st.none()),
        st.tuples(st.just("wait"), st.just(0), st.floats(0.0, 0.08)),
        st.tuples(st.just("wait"), st.just(0), st.floats(0.0, 0.4)),
    ),
    max_size=80,
)


async def _played(history: list[tuple[str, int, Any]]) -> tuple[list[object], bool]:
    """Return all that a ledger says, and whether anything was ever booked later."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    flying: list[Reservation] = []
    said: list[object] = []
    was_open = False
    for word, number, what in history:
        if word == "reserve":
            answer = await ledger.reserve(TARGETS[number:], what, arrived=clock.monotonic())
            if isinstance(answer, Reservation):
                flying.append(answer)
                said.append((answer.target.key, answer.tokens, answer.probe))
            else:  # all it asked for has refused
                said.append(answer)
        elif word == "wait":
            clock.shift(what)
        elif word == "snapshot":
            said.append(await ledger.snapshot())
        elif flying and word == "observe":
            ledger.observe(flying[number % len(flying)], ())
        elif flying and word == "settle":
            ledger.settle(flying.pop(number % len(flying)), what)
        elif flying:
            ledger.release(flying.pop(number % len(flying)))
        was_open |= any(desk.tab.is_open for desk in ledger._desks.values())
    said.extend((await ledger.snapshot(TARGETS), list(ledger.export())))
    return said, was_open


@settings(deadline=None, max_examples=150)
@given(STEPS)
async def test_a_ledger_with_tabs_says_what_one_without_says(
    history: list[tuple[str, int, Any]],
) -> None:
    """Every answer, every snapshot and all that is written down are the same."""
    later, _ = await _played(history)
    with patch("stepwell.quota.desk.PLENTY", inf):
        at_once, was_open = await _played(history)
    assert later == at_once
    assert not was_open


async def test_such_histories_use_tabs() -> None:
    """Else nothing would have been compared."""
    _, was_open = await _played([("reserve", 0, 10), ("reserve", 0, 10)])
    assert was_open
