"""What the ledger's question may cost over a chain of ten targets with three limits, counted as calls.

`test_budgets` has the reasons, and what to do when a test here fails.
"""

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final

import pytest

from stepwell.ledgers.memory import MemoryLedger
from stepwell.quota.ledger import Bench, Ended, Exhausted, Report, Reservation
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target
from stepwell.testing import FakeClock

LIMITS: Final = ("5 requests/minute", "60000 tokens/minute", "1000 requests/day")
DAILY: Final = ("60000 tokens/minute", "1000 requests/minute", "5 requests/day from 00:00 UTC")
AMPLE: Final = ("100000 requests/minute", "100000000 tokens/minute", "1000000 requests/day")
SERVED: Final = Report(Ended.SUCCESS, tokens=100)
TOLD: Final = Report(Ended.REFUSED, tokens=0, bench=Bench.RATE, delay=600.0)

EMPTY: Final = (Reading(Metric.REQUESTS, 60.0, 5, 0, 600.0),)

# As counted, and a tenth: the first target has room; nine before it are full; all are full by counts
# that refusals have confirmed, by readings, by the provider's word.
BUDGETS: Final = {"open": 52, "full": 80, "counted": 57, "read": 57, "cooled": 57}
SLACK: Final = 0.8

# What the last call of each target came to.
END: Final = {
    "counted": Report(Ended.REFUSED, tokens=0, bench=Bench.RATE),
    "read": SERVED._replace(readings=EMPTY),
    "cooled": TOLD,
}


def _target(number: int, limits: Sequence[str]) -> Target:
    account = f"account-{number}"
    return Target(account, account, "m", tuple(map(Limit.parse, limits)))


async def _take(ledger: MemoryLedger, *targets: Target) -> Reservation:
    taken = await ledger.reserve(targets, 100, arrived=0.0)
    assert isinstance(taken, Reservation)
    return taken


async def _chain(ledger: MemoryLedger, clock: FakeClock, name: str) -> list[Target]:
    """Return ten targets in that state."""
    targets = [
        _target(number, DAILY if name == "counted" else LIMITS)
        for number in range(9 if name in {"open", "full"} else 10)
    ]
    for target in targets if name in {"full", "counted"} else ():
        for _ in range(5):
            taken = await _take(ledger, target)
            ledger.observe(taken, ())
            ledger.settle(taken, SERVED)
    await clock.advance(1.0)
    if name in END:
        for target in targets:
            ledger.settle(await _take(ledger, target), END[name])
    if len(targets) < 10:
        targets.insert(0 if name == "open" else 9, _target(9, AMPLE))
    return targets


async def _count_calls(name: str) -> int:
    """Return the calls of functions for one question that was asked before."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    targets = await _chain(ledger, clock, name)
    count = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    for is_counted in (False, True):
        await clock.advance(0.1)
        before = sys.getprofile()
        sys.setprofile(see if is_counted else before)
        try:
            answer = await ledger.reserve(targets, 100, arrived=0.0)
        finally:
            sys.setprofile(before)
        assert isinstance(answer, Exhausted if name in END else Reservation)
    return count


@pytest.mark.parametrize("name", BUDGETS)
async def test_a_question_calls_as_many_functions_as_its_budget_says(name: str) -> None:
    """No more, and not so few that the budget would let a regression pass."""
    calls = await _count_calls(name)
    budget = f"{calls} calls, so BUDGETS[{name!r}] would be {1.1 * calls:.0f}"
    assert SLACK * BUDGETS[name] <= calls <= BUDGETS[name], budget
