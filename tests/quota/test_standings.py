"""How a target was found to stand is kept until anything may have changed that."""

from collections.abc import Callable

import pytest

from stepwell.ledgers.memory import MemoryLedger
from stepwell.quota.ledger import Bench, Ended, Report, Reservation
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.reading import Reading
from stepwell.quota.standings import Standings
from stepwell.routing.chain import Target
from stepwell.testing import FakeClock

LIMITS = ("2 requests/day from 00:00 UTC", "60000 tokens/hour")
EMPTY = (Reading(Metric.REQUESTS, 3600.0, 2, 0, 3600.0),)
SERVED = Report(Ended.SUCCESS, tokens=10)
# What the third call comes to in a chain that is shut by a count, and the first by a reading.
SHUT = {
    "count": [SERVED, SERVED, Report(Ended.REFUSED, bench=Bench.RATE)],
    "reading": [SERVED._replace(readings=EMPTY)],
    "cooldown": [Report(Ended.REFUSED, bench=Bench.RATE, delay=600.0)],
    "out_of_service": [Report(Ended.REFUSED, bench=Bench.MODEL)],
}


class Scene:
    """One target that is shut, and another of its account with calls under way."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryLedger(self.clock)
        self.target = Target("a", "a", "m", tuple(map(Limit.parse, LIMITS)))
        self.sibling = Target("a", "a", "n", ())

    async def take(self, target: Target) -> Reservation:
        taken = await self.ledger.reserve([target], 100, arrived=self.clock.monotonic())
        assert isinstance(taken, Reservation)
        return taken

    async def shut(self, reason: str) -> None:
        for report in SHUT[reason]:
            self.ledger.settle(await self.take(self.target), report)
            await self.clock.advance(1.0)
        await self.ask()

    async def ask(self, tokens: int = 100) -> None:
        answer = await self.ledger.reserve([self.target], tokens, arrived=self.clock.monotonic())
        assert not isinstance(answer, Reservation)

    @property
    def standings(self) -> Standings:
        return self.ledger._desks[self.target.key].standings

    def keeps(self, tokens: int = 100) -> bool:
        return self.standings.kept(self.clock.monotonic(), tokens) is not None


@pytest.mark.parametrize("reason", SHUT)
async def test_what_is_hard_for_everybody_is_kept(reason: str) -> None:
    """For as many tokens or fewer; whoever needs more is looked at again, and then that is kept."""
    scene = Scene()
    await scene.shut(reason)
    kept = scene.standings.kept(scene.clock.monotonic(), 100)
    assert kept is not None
    assert kept.block.reason == reason
    assert scene.keeps(1)
    assert not scene.keeps(101)
    await scene.ask(101)
    assert scene.keeps(101)


@pytest.mark.parametrize("reason", SHUT)
async def test_nothing_is_kept_for_long(reason: str) -> None:
    """A second at most: wall clocks are set."""
    scene = Scene()
    await scene.shut(reason)
    await scene.clock.advance(1.1)
    assert not scene.keeps()


CHANGES: dict[str, Callable[[Scene, Reservation], object]] = {
    "a settlement": lambda scene, taken: scene.ledger.settle(taken, SERVED),
    "a release": lambda scene, taken: scene.ledger.release(taken),
    "a reading": lambda scene, taken: scene.ledger.observe(taken, EMPTY),
    "a cooldown": lambda scene, _: scene.ledger.cool_down(scene.target, 30.0),
}


@pytest.mark.parametrize("reason", ["count", "reading", "cooldown"])
@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_happens_at_the_account_ends_it(reason: str, change: str) -> None:
    """It is not known which of these would open the target."""
    scene = Scene()
    under_way = await scene.take(scene.sibling)
    await scene.shut(reason)
    assert scene.keeps()
    CHANGES[change](scene, under_way)
    assert not scene.keeps()


async def test_what_depends_on_tokens_is_not_kept() -> None:
    """A smaller request might fit."""
    scene = Scene()
    readings = (Reading(Metric.TOKENS, 60.0, 60000, 50, 60.0),)
    scene.ledger.settle(await scene.take(scene.target), SERVED._replace(readings=readings))
    await scene.ask()
    assert not scene.keeps()


async def test_a_reading_is_not_kept_until_it_ends() -> None:
    """Just before, it may be over already, and the next one is worth a wait."""
    scene = Scene()
    readings = (Reading(Metric.REQUESTS, 3600.0, 2, 0, 5.5),)
    taken = await scene.take(scene.target)
    await scene.clock.advance(0.8)
    scene.ledger.settle(taken, SERVED._replace(readings=readings))
    await scene.clock.advance(4.2)
    await scene.ask()
    assert scene.keeps()
    await scene.clock.advance(0.6)
    assert not scene.keeps()
    assert "kept until" in repr(scene.standings)
