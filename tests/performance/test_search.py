"""What the search for a limit that nobody told may cost at once, counted as calls.

Some providers refuse for reasons of their own, whatever was asked of them, and each refusal starts a
search that no window ends. It is done in one go, so all other requests wait until it is over.
`test_budgets` has the reasons to count calls, and what to do when a test here fails.
"""

import sys
from collections.abc import Iterator
from itertools import count
from random import Random
from types import FrameType
from typing import Final

import pytest

from stepwell.quota.laws.law import Outcome
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.suspicion import Log
from stepwell.quota.traffic import Traffic

# The dearest of many searches, with a tenth: nothing is told; a delay is.
BUDGETS: Final = {None: 73_000, 7.0: 73_000}
SLACK: Final = 0.5
"""Of its budget, the dearest search uses at least this; else the budget is an old one."""

REFUSED: Final = 20
"""One call in so many is refused, whatever was asked."""

SEARCHES: Final = 60
LOGGED: Final = 1_000


def _outcomes(delay: float | None) -> Iterator[Outcome]:
    """Yield calls of a busy hour, of all sizes, as they end; some are refused at random."""
    dice, now = Random(1), 0.0
    for number in count():
        now += dice.expovariate(1.0)
        served = number < LOGGED or dice.randrange(REFUSED) > 0
        told = None if served or delay is None else round(dice.random() * delay, 2)
        yield Outcome(now, now + 0.5, dice.randrange(10, 3000), served=served, delay=told)


def _searches(delay: float | None) -> Iterator[int]:
    """Yield the calls of functions of each search."""
    log = Log()
    for outcome in _outcomes(delay):
        if outcome.served:
            log.add(Metric.REQUESTS, outcome.sent, outcome.answered, 1)
            log.add(Metric.TOKENS, outcome.sent, outcome.answered, outcome.need)
        else:
            yield _count_calls(log, outcome)
            log.refuse(outcome)


def _count_calls(log: Log, outcome: Outcome) -> int:
    calls = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    flying = {metric: Traffic() for metric in Metric}
    flying[Metric.REQUESTS].start(1, 1)
    flying[Metric.TOKENS].start(1, outcome.need)
    before = sys.getprofile()
    sys.setprofile(see)
    try:
        log.suspect(outcome, Scope.MODEL, flying.__getitem__)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("delay", BUDGETS)
def test_a_search_that_nothing_ends_is_short(delay: float | None) -> None:
    """However much is remembered, and however often it is in vain."""
    dearest = max(calls for _, calls in zip(range(SEARCHES), _searches(delay), strict=False))
    budget = f"{dearest} calls, so BUDGETS[{delay}] would be {1.1 * dearest:.0f}"
    assert SLACK * BUDGETS[delay] <= dearest <= BUDGETS[delay], budget
