import asyncio
from collections.abc import Callable, Sequence
from math import inf

import pytest

from stepwell.clock import Clock
from stepwell.ledgers import MemoryLedger
from stepwell.quota.ledger import (
    Bench,
    Ended,
    Exhausted,
    Ledger,
    Report,
    Reservable,
    Reservation,
    Wait,
)
from stepwell.quota.limit import Limit, Scope
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target
from stepwell.testing.clock import FakeClock
from stepwell.testing.ledger import SCENARIOS, check_ledger
from stepwell.testing.ledger.bank import Bank, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_memory_keeper_holds_the_contract(scenario: Scenario) -> None:
    """Each scenario of the public suite, one by one."""
    clock = FakeClock()
    await scenario(Bank(MemoryLedger(clock), clock))


class Forgetful(MemoryLedger):
    """Shortens and erases what was told."""

    def cool_down(
        self, target: Reservable, seconds: float, *, scope: Scope = Scope.MODEL, words: str = ""
    ) -> None:
        self._desks.pop(target.key, None)
        super().cool_down(target, seconds, scope=scope, words=words)


class Deaf(MemoryLedger):
    """Believes no reading."""

    def observe(self, reservation: Reservation, readings: Sequence[Reading]) -> None:
        super().observe(reservation, ())


class Eager(MemoryLedger):
    """Admits anyone anywhere."""

    async def reserve(
        self,
        targets: Sequence[Reservable],
        tokens: int,
        *,
        arrived: float,
        waits_until: float = -inf,
    ) -> Reservation | Wait | Exhausted:
        desk = self._desk(targets[0])
        return self._take(desk, targets[0], tokens, tokens, self._clock.monotonic())


class Mute(MemoryLedger):
    """Tells nobody."""

    def _notify(self) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "scenario"),
    [
        (Forgetful, "a_told_time_is_never_shortened"),
        (Deaf, "a_reading_lowers_room_at_once"),
        (Eager, "the_first_target_with_room_is_taken"),
        (Mute, "changes_are_announced"),
    ],
)
async def test_the_suite_finds_a_broken_keeper(
    broken: Callable[[Clock], Ledger], scenario: str
) -> None:
    """It names the scenario and the rule that does not hold."""
    with pytest.raises(AssertionError, match=rf"^{scenario}: .* The rule: "):
        await check_ledger(broken)


async def test_the_suite_passes_a_sound_keeper() -> None:
    """The one call that a keeper's author makes."""
    await check_ledger(MemoryLedger)


class SilentProvider:
    """Serves so many calls in fixed windows of a minute, and never says how many are left."""

    def __init__(self, clock: FakeClock, amount: int, latency: float) -> None:
        self._clock = clock
        self._amount = amount
        self._latency = latency
        self._served: dict[int, int] = {}
        self.refusals = 0

    async def call(self) -> Report:
        minute = int(self._clock.monotonic() // 60)
        self._served[minute] = self._served.get(minute, 0) + 1
        is_full = self._served[minute] > self._amount
        self.refusals += is_full
        await self._clock.sleep(0.05 if is_full else self._latency)
        return Report(Ended.REFUSED, bench=Bench.RATE) if is_full else Report(Ended.SUCCESS)


async def ask(
    ledger: MemoryLedger,
    clock: FakeClock,
    providers: dict[str, SilentProvider],
    chain: list[Target],
) -> bool:
    """Walk down the chain as a request does, and return whether it was served."""
    arrived, changed, left = clock.monotonic(), asyncio.Event(), list(chain)
    leave = ledger.subscribe(changed.set)
    try:
        while left:
            changed.clear()
            answer = await ledger.reserve(left, 100, arrived=arrived)
            if isinstance(answer, Exhausted):
                return False
            if isinstance(answer, Wait):
                timer = answer.until and clock.call_later(
                    answer.until - clock.monotonic(), changed.set
                )
                await changed.wait()
                if timer:
                    timer.cancel()
                continue
            report = await providers[answer.target.key].call()
            ledger.settle(answer, report)
            if report.ended is Ended.SUCCESS:
                return True
            left = [target for target in left if target is not answer.target]
        return False
    finally:
        leave()


async def crowd(limits: tuple[Limit, ...]) -> tuple[list[bool], int]:
    """Send 64 requests at once down 8 targets of 10 a minute; return who was served, and refusals."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    chain = [Target(f"p{number}", f"p{number}", "m", limits) for number in range(8)]
    providers = {target.key: SilentProvider(clock, 10, 0.4) for target in chain}
    requests = asyncio.gather(*(ask(ledger, clock, providers, chain) for _ in range(64)))
    served = await clock.run(requests, limit=30.0)
    assert all(status.in_flight == 0 for status in await ledger.snapshot())
    return served, sum(provider.refusals for provider in providers.values())


async def test_a_crowd_gets_through_strangers_that_say_nothing() -> None:
    """64 requests on 8 unknown targets of 10 a minute are all served, at little cost."""
    served, refusals = await crowd(())
    assert all(served)
    assert refusals <= 16


async def test_a_crowd_on_configured_limits_is_never_refused() -> None:
    """With the limits known nobody is sent where there is no room."""
    served, refusals = await crowd((Limit.parse("10 requests/minute"),))
    assert all(served)
    assert refusals == 0


async def test_an_overloaded_chain_fails_in_about_a_second() -> None:
    """Evidence, not patience: who cannot be served learns it when every target has refused."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    target = Target("p", "p", "m")
    providers = {target.key: SilentProvider(clock, 10, 0.4)}
    started = clock.monotonic()
    requests = asyncio.gather(*(ask(ledger, clock, providers, [target]) for _ in range(40)))
    served = await clock.run(requests, limit=30.0)
    assert sum(served) == 10
    assert clock.monotonic() - started < 4.0
    late = await clock.run(ask(ledger, clock, providers, [target]), limit=3.0)
    assert not late


async def test_a_failed_call_does_not_send_the_queue_home() -> None:
    """Behind a slow start an accident of one call is no evidence against the others' turn."""
    clock = FakeClock()
    bank = Bank(MemoryLedger(clock), clock)
    target = Target("p", "p", "m")
    calls = [await bank.take(target) for _ in range(3)]
    arrived = clock.monotonic()
    waiting = await bank.wait(target, arrived=arrived)
    assert waiting.blocks[0].reason == "slow_start"
    bank.ledger.settle(calls[2], Report(Ended.FAILED, bench=Bench.FAULT))
    await bank.wait(target, arrived=arrived)
    bank.ledger.settle(calls[1], Report(Ended.SUCCESS))
    assert not (await bank.take(target, arrived=arrived)).probe


async def test_the_last_moment_of_a_told_delay_is_seen_however_often_it_is_asked_for() -> None:
    """Until it comes the answer is the same and kept; then a request waits, as the rest is rounding."""
    clock = FakeClock()
    bank = Bank(MemoryLedger(clock), clock)
    target = Target("p", "p", "m")
    bank.ledger.settle(await bank.take(target), Report(Ended.REFUSED, bench=Bench.RATE, delay=7.0))
    answers = []
    for _ in range(13):
        clock.shift(0.5)
        answers.append(await bank.ask(target))
    assert [type(answer) for answer in answers] == [Exhausted] * 11 + [Wait] * 2


async def test_one_probe_answers_for_a_guess_about_the_whole_account() -> None:
    """A guess of scope account is tried by one of its models; the other's requests wait for it."""
    clock = FakeClock()
    bank = Bank(MemoryLedger(clock), clock)
    limits = (Limit.parse("1000 requests/day"),)
    one, other = Target("a", "a", "one", limits), Target("a", "a", "other", limits)
    refused = Report(Ended.REFUSED, bench=Bench.RATE, scope=Scope.ACCOUNT)
    bank.ledger.settle(await bank.take(one), refused)
    clock.shift(1.0)
    arrived = clock.monotonic()
    probe = await bank.take(one, other, arrived=arrived)
    assert probe.probe
    await bank.wait(other, arrived=arrived)
    bank.ledger.settle(probe, refused)
    assert (await bank.block(other, arrived=arrived)).reason == "refused"


async def test_what_a_call_costs_depends_on_how_it_ended() -> None:
    """The provider's count, else the estimate for what may have been computed, else nothing."""
    clock = FakeClock()
    bank = Bank(MemoryLedger(clock), clock)
    target = Target("a", "a", "m", (Limit.parse("1000 tokens/minute"),))
    left = 1000
    for ended, tokens, cost in (
        (Ended.SUCCESS, None, 100),
        (Ended.SUCCESS, 30, 30),
        (Ended.NEUTRAL, None, 100),
        (Ended.FAILED, None, 0),
        (Ended.FAILED, 20, 20),
        (Ended.REFUSED, None, 0),
        (Ended.SUCCESS, -5, 0),
    ):
        bank.ledger.settle(await bank.take(target, tokens=100), Report(ended, tokens=tokens))
        left -= cost
        assert await bank.remaining(target) == left


async def test_another_ledgers_reservation_is_nobodys() -> None:
    """Settling, observing or releasing it changes nothing and raises nothing."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    foreign = Reservation(Target("a", "a", "m"), 1, clock.monotonic())
    ledger.observe(foreign, ())
    ledger.settle(foreign, Report(Ended.SUCCESS))
    ledger.release(foreign)
    assert await ledger.snapshot() == ()


async def test_a_reconfigured_target_keeps_what_was_counted() -> None:
    """New limits join the old ones; a new concurrency replaces the old one."""
    clock = FakeClock()
    bank = Bank(MemoryLedger(clock), clock)
    minute, day = Limit.parse("5 requests/minute"), Limit.parse("50 requests/day")
    await bank.call(Target("a", "a", "m", (minute,), concurrency=1))
    held = await bank.take(Target("a", "a", "m", (minute, day), concurrency=2))
    status = await bank.status(held.target)
    assert [limit.remaining for limit in status.limits] == [3, 49]
    assert repr(bank.ledger) == "<MemoryLedger 1 targets, 1 in flight>"
