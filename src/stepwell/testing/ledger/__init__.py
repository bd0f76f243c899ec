"""check_ledger: the suite that every keeper of quota passes, ours or yours.

    async def test_my_ledger():
        await check_ledger(lambda clock: MyLedger(clock))

Each scenario is a small function with a fresh ledger and a fresh clock, and its docstring is the
rule. They stand by subject in the modules beside this one.
"""

from collections.abc import Callable, Sequence
from typing import Final

from stepwell.clock import Clock
from stepwell.quota.ledger import Ledger
from stepwell.testing.clock import FakeClock
from stepwell.testing.ledger import (
    calendars,
    choosing,
    cooldowns,
    counting,
    evidence,
    readings,
    slow_start,
)
from stepwell.testing.ledger.bank import Bank, Scenario

SCENARIOS: Final[Sequence[Scenario]] = (
    *choosing.SCENARIOS,
    *counting.SCENARIOS,
    *calendars.SCENARIOS,
    *readings.SCENARIOS,
    *cooldowns.SCENARIOS,
    *evidence.SCENARIOS,
    *slow_start.SCENARIOS,
)


async def check_ledger(make_ledger: Callable[[Clock], Ledger]) -> None:
    """Run every scenario of the ledger's contract against a keeper.

    Args:
        make_ledger: Makes an empty ledger on the clock it is given. It is called for each scenario.

    Raises:
        AssertionError: The first scenario that does not hold, by its name and its rule.
    """
    for scenario in SCENARIOS:
        clock = FakeClock()
        try:
            await scenario(Bank(make_ledger(clock), clock))
        except AssertionError as error:
            rule = (scenario.__doc__ or "").strip()
            raise AssertionError(f"{scenario.__name__}: {error}. The rule: {rule}") from error
