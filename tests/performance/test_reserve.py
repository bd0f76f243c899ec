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
from stepwell.quota.limit import Limit
from stepwell.routing.chain import Target
from stepwell.testing import FakeClock

LIMITS: Final = ("5 requests/minute", "60000 tokens/minute", "1000 requests/day")
AMPLE: Final = ("100000 requests/minute", "100000000 tokens/minute", "1000000 requests/day")
TOLD: Final = Report(Ended.REFUSED, tokens=0, bench=Bench.RATE, delay=600.0)

# As counted, and a tenth: the first target has room; nine before it are full; all are cooled down.
BUDGETS: Final = {"open": 52, "full": 80, "cooled": 57}
SLACK: Final = 0.8


def _target(number: int, limits: Sequence[str]) -> Target:
    account = f"account-{number}"
    return Target(f"{account}/m", account, "m", tuple(map(Limit.parse, limits)))


async def _take(ledger: MemoryLedger, *targets: Target) -> Reservation:
    taken = await ledger.reserve(targets, 100, arrived=0.0)
    assert isinstance(taken, Reservation)
    return taken


async def _chain(ledger: MemoryLedger, name: str) -> list[Target]:
    """Return ten targets in that state."""
    targets = [_target(number, LIMITS) for number in range(9)]
    for target in targets if name == "full" else ():
        for _ in range(5):
            taken = await _take(ledger, target)
            ledger.observe(taken, ())
            ledger.settle(taken, Report(Ended.SUCCESS, tokens=100))
    targets.insert(0 if name == "open" else 9, _target(9, AMPLE))
    for target in targets if name == "cooled" else ():
        ledger.settle(await _take(ledger, target), TOLD)
    return targets


async def _count_calls(name: str) -> int:
    """Return the calls of functions for one question that was asked before."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    targets = await _chain(ledger, name)
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
        assert isinstance(answer, Exhausted if name == "cooled" else Reservation)
    return count


@pytest.mark.parametrize("name", BUDGETS)
async def test_a_question_calls_as_many_functions_as_its_budget_says(name: str) -> None:
    """No more, and not so few that the budget would let a regression pass."""
    calls = await _count_calls(name)
    budget = f"{calls} calls, so BUDGETS[{name!r}] would be {1.1 * calls:.0f}"
    assert SLACK * BUDGETS[name] <= calls <= BUDGETS[name], budget
