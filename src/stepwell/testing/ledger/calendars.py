"""What limits of a calendar's days and months say of room."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from stepwell.testing.ledger.bank import (
    REFUSED,
    SUCCESS,
    Bank,
    Scenario,
    equal,
    make_target,
    near,
)

_HOUR: Final = 3600.0


def _be_at(bank: Bank, text: str) -> None:
    """Let time pass until a moment of UTC."""
    moment = datetime.fromisoformat(f"{text}+00:00").timestamp()
    bank.clock.shift(moment - bank.clock.time())


async def _resets_in(bank: Bank, limit: str, seconds: float) -> None:
    """Use up a limit of one, and see it whole after so many seconds, and not a moment before."""
    target = make_target("t", limit)
    await bank.call(target)
    calendar = target.limits[0].calendar
    equal("the calendar", (await bank.status(target)).limits[0].calendar, str(calendar))
    near("the reset", (await bank.status(target)).limits[0].reset, bank.now + seconds)
    bank.clock.shift(seconds - 1)
    equal("remaining before", await bank.remaining(target), 0)
    bank.clock.shift(1)
    equal("remaining after", await bank.remaining(target), 1)
    equal("probe", (await bank.take(target)).probe, False)


async def a_day_begins_when_its_calendar_says(bank: Bank) -> None:
    """All of it comes back at a time of day of the provider's clock, however late it was used."""
    _be_at(bank, "2026-11-20 07:30")
    await _resets_in(bank, "1 request/day from 00:00 America/Los_Angeles", 0.5 * _HOUR)


async def a_day_may_have_25_hours(bank: Bank) -> None:
    """Where clocks are put back, the day is as much longer."""
    _be_at(bank, "2026-10-24 22:00")
    await _resets_in(bank, "1 request/day from 00:00 Europe/Berlin", 25 * _HOUR)


async def a_day_may_have_23_hours(bank: Bank) -> None:
    """Where clocks are put on, the day is as much shorter."""
    _be_at(bank, "2027-03-27 23:00")
    await _resets_in(bank, "1 request/day from 00:00 Europe/Berlin", 23 * _HOUR)


async def a_month_begins_on_its_first(bank: Bank) -> None:
    """It has as many days as the calendar says, here 28, at midnight UTC unless it says otherwise."""
    _be_at(bank, "2027-02-01 00:00")
    await _resets_in(bank, "1 request/month", 28 * 24 * _HOUR)


async def what_was_used_before_the_reset_counts_no_more(bank: Bank) -> None:
    """A period is no stretch of so many hours: what was used a minute ago may be back."""
    target = make_target("t", "2 requests/day from 12:00")
    _be_at(bank, "2026-11-20 11:59")
    await bank.call(target)
    equal("remaining before", await bank.remaining(target), 1)
    bank.clock.shift(60)
    await bank.call(target)
    equal("remaining after", await bank.remaining(target), 1)


async def a_calendars_count_is_soft_until_a_refusal_confirms_it(bank: Bank) -> None:
    """Then it is hard until its reset, and nobody asks before."""
    _be_at(bank, "2026-11-20 12:00")
    target = make_target("t", "1 request/day from 00:00")
    await bank.call(target)
    probe = await bank.take(target)
    equal("probe", probe.probe, True)
    bank.ledger.settle(probe, REFUSED)
    bank.clock.shift(11 * _HOUR)
    block = await bank.block(target)
    equal("the block", (block.reason, block.told, block.hard), ("count", False, True))
    near("until", block.until, bank.now + _HOUR)
    bank.clock.shift(_HOUR)
    equal("probe", (await bank.take(target)).probe, False)


async def a_success_past_a_calendars_count_refutes_it(bank: Bank) -> None:
    """What was configured is wrong then, and limits nothing any more."""
    _be_at(bank, "2026-11-20 12:00")
    target = make_target("t", "1 request/day from 00:00")
    await bank.call(target)
    bank.ledger.settle(await bank.take(target), SUCCESS)
    equal("limits", (await bank.status(target)).limits, ())


SCENARIOS: Final[Sequence[Scenario]] = (
    a_day_begins_when_its_calendar_says,
    a_day_may_have_25_hours,
    a_day_may_have_23_hours,
    a_month_begins_on_its_first,
    what_was_used_before_the_reset_counts_no_more,
    a_calendars_count_is_soft_until_a_refusal_confirms_it,
    a_success_past_a_calendars_count_refutes_it,
)
