"""Limits that follow a calendar, as the memory keeper counts them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from stepwell.ledgers import MemoryLedger
from stepwell.quota.ledger import Bench, Ended, Exhausted, Report, Reservation, Wait
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target
from stepwell.testing.clock import FakeClock

DAILY = Limit.parse("2 requests/day from 00:00 America/Los_Angeles")
MONTHLY = Limit.parse("100 tokens/month")
SUCCESS = Report(Ended.SUCCESS, tokens=1)
REFUSED = Report(Ended.REFUSED, bench=Bench.RATE)
PACIFIC = ZoneInfo("America/Los_Angeles")


def at(*moment: int, zone: ZoneInfo | None = None) -> FakeClock:
    return FakeClock(time=datetime(*moment, tzinfo=zone or UTC).timestamp())  # type: ignore[misc, arg-type]


class Site:
    """One target before a ledger."""

    def __init__(self, clock: FakeClock, limit: Limit) -> None:
        self.clock = clock
        self.ledger = MemoryLedger(clock)
        self.target = Target("a", "a", "m", (limit,))

    async def ask(self, tokens: int = 1) -> Reservation | Wait | Exhausted:
        arrived = self.clock.monotonic()
        return await self.ledger.reserve([self.target], tokens, arrived=arrived)

    async def call(self, report: Report = SUCCESS, tokens: int = 1) -> bool:
        """Make a call if there is room for it, or a probe; return whether it was no probe."""
        reservation = await self.ask(tokens)
        assert isinstance(reservation, Reservation)
        self.ledger.settle(reservation, report)
        return not reservation.probe

    async def used(self) -> int | None:
        [status] = await self.ledger.snapshot()
        return status.limits[0].used

    async def until(self) -> float:
        """Return the Unix time of the reset of a spent limit."""
        [status] = await self.ledger.snapshot()
        assert status.block is not None
        assert status.block.until is not None
        return status.block.until - self.clock.monotonic() + self.clock.time()


@pytest.mark.parametrize(
    ("spent", "reset"),
    [
        ((2026, 7, 1, 12, 0), (2026, 7, 2, 0, 0)),
        ((2026, 3, 8, 1, 0), (2026, 3, 9, 0, 0)),  # a day of 23 hours
        ((2026, 11, 1, 0, 30), (2026, 11, 2, 0, 0)),  # and one of 25
    ],
)
async def test_a_day_is_spent_until_midnight_there(
    spent: tuple[int, ...], reset: tuple[int, ...]
) -> None:
    """However long the day is, its quota is whole at the provider's midnight, and not before."""
    site = Site(at(*spent, zone=PACIFIC), DAILY)
    midnight = datetime(*reset, tzinfo=PACIFIC).timestamp()  # type: ignore[misc, arg-type]
    assert [await site.call(), await site.call()] == [True, True]
    assert await site.until() == pytest.approx(midnight, abs=1e-3)
    site.clock.shift(midnight - site.clock.time() - 1)
    assert not await site.call(REFUSED)
    site.clock.shift(1.1)
    assert await site.used() == 0
    assert await site.call()


async def test_a_month_is_spent_until_its_first() -> None:
    """A month limit counts tokens from the first of the month, midnight UTC."""
    site = Site(at(2026, 2, 27), MONTHLY)
    await site.call(Report(Ended.SUCCESS, tokens=90), tokens=90)
    assert await site.used() == 90
    site.clock.shift(86_400)
    assert await site.used() == 90
    site.clock.shift(86_400)
    assert await site.used() == 0


async def test_a_confirmed_day_is_hard_until_its_reset() -> None:
    """A refusal that the count foresaw shows that it is right: nobody is sent there that day."""
    site = Site(at(2026, 7, 1, 12, zone=PACIFIC), DAILY)
    for report in (SUCCESS, SUCCESS, REFUSED):
        await site.call(report)
    site.clock.shift(3600)
    assert isinstance(await site.ask(), Exhausted)


async def test_a_limit_that_is_larger_than_configured_is_silenced() -> None:
    """A success beyond the count refutes it, and the limit holds nobody back any more."""
    site = Site(at(2026, 7, 1, 12, zone=PACIFIC), DAILY)
    assert [await site.call() for _ in range(4)] == [True, True, False, True]


async def test_a_clock_that_goes_back_over_the_reset_frees_nothing_twice() -> None:
    """What was used on the new day stays used while the clock is back on the old one."""
    site = Site(at(2026, 7, 2, 0, 0, 1, zone=PACIFIC), DAILY)
    await site.call()
    site.clock.jump_wall(-2)
    assert await site.used() == 1
    await site.call()
    site.clock.jump_wall(+2)
    assert await site.used() == 2


async def test_a_spent_day_outlives_the_process() -> None:
    """Another process goes on with what was used, and forgets it when the day is over."""
    clock = at(2026, 7, 1, 12, zone=PACIFIC)
    site = Site(clock, DAILY)
    for report in (SUCCESS, SUCCESS, REFUSED):
        await site.call(report)
    records = list(site.ledger.export())
    again = Site(clock, DAILY)
    again.ledger.restore(records, [again.target])
    assert await again.used() == 2
    assert isinstance(await again.ask(), Exhausted)
    clock.shift(86_400)
    assert await again.used() == 0


async def test_the_provider_corrects_the_count() -> None:
    """A reading of the day's counter names the limit, and what others have used of it."""
    site = Site(at(2026, 7, 1, 12, zone=PACIFIC), DAILY)
    reading = Reading(Metric.REQUESTS, DAILY.window, limit=50, remaining=20)
    await site.call(Report(Ended.SUCCESS, readings=(reading,)))
    [status] = await site.ledger.snapshot()
    assert (status.limits[0].limit, status.limits[0].source) == (50, "told")
    assert status.limits[0].used in (30, 31)
