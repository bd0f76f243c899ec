"""check_ledger: the suite that every keeper of quota passes, ours or yours.

    async def test_my_ledger():
        await check_ledger(lambda clock: MyLedger(clock))

Each scenario is a small function with a fresh ledger and a fresh clock, and its docstring is the
rule.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from stepwell.clock import Clock
from stepwell.quota.ledger import (
    Bench,
    Block,
    Ended,
    Exhausted,
    Ledger,
    Preview,
    Report,
    Reservable,
    Reservation,
    TargetStatus,
    Wait,
)
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.reading import Reading
from stepwell.testing.clock import FakeClock

T = TypeVar("T")

SUCCESS: Final = Report(Ended.SUCCESS)
NEUTRAL: Final = Report(Ended.NEUTRAL)
REFUSED: Final = Report(Ended.REFUSED, bench=Bench.RATE)
GUESSED_FREE: Final = Report(Ended.REFUSED, bench=Bench.RATE, scope=Scope.FREE)
FAILED: Final = Report(Ended.FAILED, bench=Bench.FAULT)


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """The least that a ledger reserves for."""

    key: str
    account: str
    limits: tuple[Limit, ...] = ()
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Bank:
    """A ledger under test, its clock, and short words for what scenarios do."""

    ledger: Ledger
    clock: FakeClock

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    async def ask(
        self, *targets: Reservable, tokens: int = 1, arrived: float | None = None
    ) -> Reservation | Wait | Exhausted:
        moment = self.now if arrived is None else arrived
        return await self.ledger.reserve(targets, tokens, arrived=moment)

    async def ask_patiently(
        self, *targets: Reservable, seconds: float, tokens: int = 1
    ) -> Reservation | Wait | Exhausted:
        """Ask for a request that can wait so long."""
        now = self.now
        return await self.ledger.reserve(targets, tokens, arrived=now, waits_until=now + seconds)

    async def take(
        self, *targets: Reservable, tokens: int = 1, arrived: float | None = None
    ) -> Reservation:
        """Reserve where there must be room."""
        return _is(Reservation, await self.ask(*targets, tokens=tokens, arrived=arrived))

    async def block(
        self, *targets: Reservable, tokens: int = 1, arrived: float | None = None
    ) -> Block:
        """Ask where there must be no room at all, and return why the first target has none."""
        return _is(Exhausted, await self.ask(*targets, tokens=tokens, arrived=arrived)).blocks[0]

    async def wait(self, *targets: Reservable, arrived: float | None = None) -> Wait:
        """Ask where evidence must be on its way."""
        return _is(Wait, await self.ask(*targets, arrived=arrived))

    async def call(self, *targets: Reservable, report: Report = SUCCESS) -> Reservation:
        """Reserve and settle at once."""
        reservation = await self.take(*targets)
        self.ledger.settle(reservation, report)
        return reservation

    async def preview(self, *targets: Reservable, tokens: int = 1) -> Preview:
        return await self.ledger.preview(targets, tokens, arrived=self.now)

    async def status(self, target: Reservable) -> TargetStatus:
        return next(each for each in await self.ledger.snapshot() if each.key == target.key)

    async def standing(self, target: Reservable) -> Block:
        """Return what the snapshot shows in a target's way; there must be something."""
        return _is(Block, (await self.status(target)).block)

    async def remaining(self, target: Reservable, at: int = 0) -> int | None:
        return (await self.status(target)).limits[at].remaining


Scenario = Callable[[Bank], Awaitable[None]]


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


def _check(holds: bool, wrong: str) -> None:  # not `assert`: it must work with python -O, too
    if not holds:
        raise AssertionError(wrong)


def _is(kind: type[T], answer: object) -> T:
    if not isinstance(answer, kind):
        raise AssertionError(f"expected {kind.__name__}, got {answer!r}")  # noqa: TRY004 - a check
    return answer


def _equal(what: str, found: object, expected: object) -> None:
    _check(found == expected, f"{what} is {found!r}, expected {expected!r}")


def _near(what: str, found: float | None, expected: float) -> None:
    close = found is not None and abs(found - expected) < 1e-3
    _check(close, f"{what} is {found!r}, expected {expected!r}")


def _target(
    name: str,
    *limits: str,
    account: str | None = None,
    scope: Scope = Scope.MODEL,
    concurrency: int | None = None,
) -> _Target:
    """Make a target; without limits of its own it has one so wide that slow start stays out."""
    parsed = [Limit.parse(limit) for limit in limits or ("1000000 requests/day",)]
    scoped = tuple(Limit(each.metric, each.amount, each.window, scope) for each in parsed)
    return _Target(f"{account or name}/{name}", account or name, scoped, concurrency)


def _stranger(name: str, account: str | None = None) -> _Target:
    """Make a target of which nothing is known."""
    return _Target(f"{account or name}/{name}", account or name)


def _siblings(account: str = "a") -> list[_Target]:
    """Make two free models of an account, and one that costs money."""
    return [_target(name, account=account) for name in ("one:free", "two:free", "paid")]


def _reasons(seen: Preview) -> list[str | None]:
    return [None if block is None else block.reason for block in seen.blocks]


def _requests(remaining: int | None, *, limit: int = 10, reset: float | None = 60.0) -> Reading:
    return Reading(Metric.REQUESTS, window=60.0, limit=limit, remaining=remaining, reset=reset)


def _told(seconds: float, *, scope: Scope = Scope.MODEL) -> Report:
    return Report(Ended.REFUSED, bench=Bench.RATE, delay=seconds, scope=scope, words="slow down")


# --- choosing


async def the_first_target_with_room_is_taken(bank: Bank) -> None:
    """Targets are asked in order; a blocked one is passed over, the next one with room serves."""
    first, second = _target("first", "1 request/minute"), _target("second")
    _equal("the first choice", (await bank.take(first, second)).target, first)
    _equal("the second choice", (await bank.take(first, second)).target, second)


async def concurrent_questions_never_take_the_same_room(bank: Bank) -> None:
    """Looking and taking are one: concurrent questions take exactly what the limits hold."""
    targets = [_target(f"t{number}", "10 requests/minute") for number in range(8)]
    answers = await asyncio.gather(*(bank.ask(*targets) for _ in range(64)))
    taken = [answer for answer in answers if isinstance(answer, Reservation) and not answer.probe]
    _equal("reservations with room", len(taken), 64)
    busiest = max(sum(each.target is target for each in taken) for target in targets)
    _check(busiest <= 10, f"{busiest} calls at a target of 10")


async def concurrency_is_hard_and_only_an_event_opens_it(bank: Bank) -> None:
    """Slots belong to the account; when all are taken the end of a call is all that helps."""
    one = _target("one", account="a", concurrency=1)
    other = _target("other", account="a", concurrency=1)
    running = await bank.take(one)
    block = await bank.block(other)
    _equal("the block", (block.reason, block.until, block.hard), ("concurrency", None, True))
    bank.ledger.settle(running, SUCCESS)
    await bank.take(other)


async def release_gives_all_of_it_back(bank: Bank) -> None:
    """Nothing was sent: request, slot and tokens are free again, for counts and readings alike."""
    target = _target("t", "1 request/minute", "100 tokens/minute", concurrency=1)
    held = await bank.take(target, tokens=100)
    bank.ledger.release(held)
    status = await bank.status(target)
    _equal("remaining", [limit.remaining for limit in status.limits], [1, 100])
    _equal("in flight", status.in_flight, 0)
    await bank.take(target, tokens=100)


async def a_failure_before_sending_costs_nothing(bank: Bank) -> None:
    """A call that never left gives everything back, however it is reported."""
    target = _target("t", "2 requests/minute")
    await bank.call(target, report=Report(Ended.FAILED, bench=Bench.FAULT, was_sent=False))
    _equal("remaining", await bank.remaining(target), 2)


async def the_end_of_a_call_is_told_once(bank: Bank) -> None:
    """Settling twice, settling what was released, or observing what ended changes nothing."""
    target = _target("t", "10 requests/minute")
    held = await bank.take(target)
    bank.ledger.settle(held, SUCCESS)
    bank.ledger.settle(held, _told(60))
    bank.ledger.release(held)
    bank.ledger.observe(held, [_requests(0)])
    released = await bank.take(target)
    bank.ledger.release(released)
    bank.ledger.settle(released, _told(60))
    status = await bank.status(target)
    _equal("block", status.block, None)
    _equal("remaining", status.limits[0].remaining, 9)


async def questions_change_nothing(bank: Bank) -> None:
    """Snapshots and refused questions leave everything as it was."""
    target = _target("t", "2 requests/minute")
    await bank.call(target, report=_told(5))
    before = await bank.ledger.snapshot()
    for _ in range(3):
        await bank.block(target)
    _equal("the snapshot", await bank.ledger.snapshot(), before)
    _equal("remaining", await bank.remaining(target), 1)


async def a_preview_says_what_would_be_taken(bank: Bank) -> None:
    """The first with room, else the one that would be probed, else nobody and until when."""
    a, b = _target("a", "1 requests/minute"), _target("b")
    seen = await bank.preview(a, b)
    _equal("what is open", (seen.taken, seen.blocks), (0, (None, None)))
    await bank.call(a)
    seen = await bank.preview(a, b)
    _equal("the next", (seen.taken, _reasons(seen)), (1, ["count", None]))
    bank.ledger.cool_down(b, 60.0)
    seen = await bank.preview(a, b)
    _equal("the probe", (seen.taken, _reasons(seen)), (0, ["count", "cooldown"]))
    bank.ledger.cool_down(a, 20.0)
    seen = await bank.preview(a, b)
    _equal("nobody", (seen.taken, _reasons(seen)), (None, ["cooldown", "cooldown"]))
    _near("the soonest reset", seen.until, bank.now + 20.0)


async def a_preview_changes_nothing(bank: Bank) -> None:
    """Nobody is known who was not, nothing is reserved, no probe begins."""
    known, new = _target("t", "1 requests/minute"), _target("new", account="t")
    await bank.call(known)
    before = await bank.ledger.snapshot()
    for _ in range(3):
        _equal("what would be taken", (await bank.preview(known)).taken, 0)
        _equal("what would be taken", (await bank.preview(new)).taken, 0)
    _equal("the snapshot", await bank.ledger.snapshot(), before)
    _check((await bank.take(known)).probe, "the probe was still to be had")


async def changes_are_announced(bank: Bank) -> None:
    """Subscribers hear of every settle, release, reading and cooldown, until they have left."""
    target, heard = _target("t"), list[str]()
    leave = bank.ledger.subscribe(lambda: heard.append("change"))
    held, unused = await bank.take(target), await bank.take(target)
    acts: dict[str, Callable[[], None]] = {
        "beginning": lambda: bank.ledger.observe(held, ()),
        "reading": lambda: bank.ledger.observe(held, [_requests(5)]),
        "settle": lambda: bank.ledger.settle(held, SUCCESS),
        "release": lambda: bank.ledger.release(unused),
        "cooldown": lambda: bank.ledger.cool_down(target, 1.0),
    }
    for name, act in acts.items():
        heard.clear()
        act()
        _check(bool(heard), f"a {name} was not announced")
    leave()
    leave()
    heard.clear()
    bank.ledger.cool_down(target, 2.0)
    _equal("what was heard after leaving", heard, [])


# --- counting


async def requests_age_from_the_response(bank: Bank) -> None:
    """A request counts from its reservation and leaves a window after its response began."""
    target, other = _target("t", "1 request/minute"), _target("other")
    held = await bank.take(target)
    bank.clock.shift(100)
    bank.ledger.observe(held, ())
    bank.clock.shift(59)
    _equal("with the window not over", (await bank.take(target, other)).target, other)
    bank.clock.shift(1)
    _equal("a window later", (await bank.take(target, other)).target, target)


async def tokens_are_corrected_by_the_real_count(bank: Bank) -> None:
    """A success costs what the provider counted, or the estimate where it did not say."""
    target = _target("t", "1000 tokens/minute")
    bank.ledger.settle(await bank.take(target, tokens=500), Report(Ended.SUCCESS, tokens=100))
    _equal("after a count", await bank.remaining(target), 900)
    bank.ledger.settle(await bank.take(target, tokens=300), SUCCESS)
    _equal("without a count", await bank.remaining(target), 600)


async def a_refused_call_costs_its_request_and_no_tokens(bank: Bank) -> None:
    """What was declined was not computed; but many providers count the request."""
    target = _target("t", "10 requests/minute", "1000 tokens/minute")
    held = await bank.take(target, tokens=500)
    bank.ledger.settle(held, Report(Ended.REFUSED))
    limits = (await bank.status(target)).limits
    _equal("remaining", [limit.remaining for limit in limits], [9, 1000])


async def an_account_limit_is_shared_by_its_models(bank: Bank) -> None:
    """A limit of scope account counts the calls of all its models, and only of this account."""
    one = _target("one", "1 request/minute", account="a", scope=Scope.ACCOUNT)
    other = _target("other", "1 request/minute", account="a", scope=Scope.ACCOUNT)
    elsewhere = _target("one", "1 request/minute", account="b", scope=Scope.ACCOUNT)
    await bank.call(one)
    _equal("the choice", (await bank.take(other, elsewhere)).target, elsewhere)


async def a_limit_of_free_models_is_shared_by_them_alone(bank: Bank) -> None:
    """A limit of scope free counts the calls of an account's `:free` models, and of no others."""
    limit = "1 request/minute"
    names = ("one:free", "two:free", "paid")
    one, two, paid = (_target(name, limit, account="a", scope=Scope.FREE) for name in names)
    await bank.call(paid)
    _equal("the choice", (await bank.call(one)).target, one)
    _equal("the scope", (await bank.status(one)).limits[0].scope, Scope.FREE)
    _equal("the choice", (await bank.take(two, paid)).target, paid)


async def our_own_count_never_refuses(bank: Bank) -> None:
    """A full count is soft: where nothing else serves, one probe at a time goes past it."""
    target = _target("t", "1 request/minute")
    await bank.call(target)
    probe = await bank.take(target)
    _equal("probe", probe.probe, True)
    await bank.wait(target)
    bank.ledger.settle(probe, SUCCESS)
    await bank.take(target)


# --- readings


async def a_reading_lowers_room_at_once(bank: Bank) -> None:
    """What remains by a reading is all there is until its reset, hard, whatever we counted."""
    target = _target("t", "100 requests/minute")
    bank.ledger.observe(await bank.take(target), [_requests(0, reset=7.0)])
    block = await bank.block(target)
    _equal("the block", (block.reason, block.told, block.hard), ("reading", True, True))
    _near("until", block.until, bank.now + 7)
    bank.clock.shift(7)
    await bank.take(target)


async def a_reading_is_lowered_by_what_it_may_not_contain(bank: Bank) -> None:
    """Older calls still unanswered and all calls made since are taken off; its own is not."""
    target = _target("t", "100 requests/minute")
    await bank.take(target)
    reader = await bank.take(target)
    bank.ledger.settle(await bank.take(target), SUCCESS)
    await bank.take(target)
    bank.ledger.observe(reader, [_requests(5)])
    _equal("remaining", await bank.remaining(target, 1), 5 - 3)


async def an_older_answer_never_raises_room(bank: Bank) -> None:
    """Answers out of order: the older call's reading may lower the room and not raise it."""
    target = _target("t", "100 requests/minute")
    older, younger = await bank.take(target), await bank.take(target)
    bank.ledger.observe(younger, [_requests(3)])
    bank.ledger.settle(younger, SUCCESS)
    _equal("room by the younger", await bank.remaining(target, 1), 2)
    bank.ledger.settle(older, Report(Ended.SUCCESS, readings=(_requests(9),)))
    _equal("room after the older", await bank.remaining(target, 1), 2)


async def room_rises_only_with_nothing_older_in_flight(bank: Bank) -> None:
    """A better reading counts once all that started before it has been answered."""
    target = _target("t", "100 requests/minute")
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(_requests(3),)))
    older, younger = await bank.take(target), await bank.take(target)
    bank.ledger.settle(younger, Report(Ended.SUCCESS, readings=(_requests(9),)))
    _equal("with an older call in flight", await bank.remaining(target, 1), 1)
    bank.ledger.settle(older, SUCCESS)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(_requests(8),)))
    _equal("with none", await bank.remaining(target, 1), 8)


async def silence_erases_nothing(bank: Bank) -> None:
    """No headers, or a counter without its rest, leave a reading as it was."""
    target = _target("t", "100 requests/minute")
    first, second = await bank.take(target), await bank.take(target)
    bank.ledger.settle(first, Report(Ended.SUCCESS, readings=(_requests(1, reset=30.0),)))
    bank.ledger.settle(second, Report(Ended.SUCCESS, readings=(_requests(None),)))
    _near("until", (await bank.block(target)).until, bank.now + 30)


async def a_bucket_refills_evenly(bank: Bank) -> None:
    """Of a counter that refills, one unit is back after its part of the time to the reset."""
    target = _target("t", "100 requests/minute")
    bucket = Reading(Metric.REQUESTS, limit=10, remaining=0, reset=60.0, refills=True)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(bucket,)))
    _near("until", (await bank.block(target)).until, bank.now + 6)
    bank.clock.shift(6.001)
    await bank.take(target)
    await bank.block(target)


async def tokens_left_must_hold_the_estimate(bank: Bank) -> None:
    """A request larger than what remains is kept off, a smaller one is not."""
    target = _target("t")
    tokens = Reading(Metric.TOKENS, window=60.0, limit=1000, remaining=100, reset=20.0)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(tokens,)))
    _equal("hard", (await bank.block(target, tokens=101)).hard, True)
    await bank.take(target, tokens=100)


async def an_estimate_beyond_the_told_limit_is_only_soft(bank: Bank) -> None:
    """What can never fit by an estimate may be tried: the estimate may be wrong."""
    target = _target("t")
    tokens = Reading(Metric.TOKENS, window=60.0, limit=1000, remaining=1000, reset=20.0)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(tokens,)))
    _equal("probe", (await bank.take(target, tokens=1001)).probe, True)


async def an_account_reading_covers_its_models(bank: Bank) -> None:
    """A counter of the account is empty for all its models, and for no other account."""
    one, other = _target("one", account="a"), _target("other", account="a")
    elsewhere = _target("one", account="b")
    empty = Reading(Metric.REQUESTS, remaining=0, reset=20.0, scope=Scope.ACCOUNT)
    bank.ledger.settle(await bank.take(one), Report(Ended.SUCCESS, readings=(empty,)))
    _equal("the choice", (await bank.take(other, elsewhere)).target, elsewhere)


async def a_reading_of_free_models_covers_them_alone(bank: Bank) -> None:
    """A counter of an account's `:free` models is empty for all of them, and for no others."""
    one, two, paid = _siblings()
    empty = Reading(Metric.REQUESTS, remaining=0, reset=20.0, scope=Scope.FREE)
    bank.ledger.settle(await bank.take(one), Report(Ended.SUCCESS, readings=(empty,)))
    _equal("the choice", (await bank.take(two, paid)).target, paid)
    block = await bank.block(two)
    _equal("the block", (block.reason, block.told, block.hard), ("reading", True, True))


# --- cooldowns


async def a_told_cooldown_is_kept_to_the_moment(bank: Bank) -> None:
    """Nobody asks before a told time, and in the very look-up after it the target is there."""
    target = _target("t")
    await bank.call(target, report=_told(10.5))
    bank.clock.shift(10)
    block = await bank.block(target)
    _equal("the block", (block.reason, block.told, block.hard), ("cooldown", True, True))
    _equal("the words", block.words, "slow down")
    _near("until", block.until, bank.now + 0.5)
    bank.clock.shift(0.5)
    _equal("probe", (await bank.take(target)).probe, False)


async def a_told_time_is_never_shortened(bank: Bank) -> None:
    """Of two told times the later one holds."""
    target = _target("t")
    first, second = await bank.take(target), await bank.take(target)
    bank.ledger.settle(first, _told(3600))
    bank.ledger.settle(second, _told(1))
    bank.ledger.cool_down(target, 2)
    _near("until", (await bank.block(target)).until, bank.now + 3600)


async def a_late_success_erases_no_cooldown(bank: Bank) -> None:
    """A call that started before the refusal says nothing of the time after it."""
    for report, seconds in ((_told(60), 60.0), (REFUSED, 30.0)):
        target = _target(f"t{seconds:g}")
        older, refused = await bank.take(target), await bank.take(target)
        bank.ledger.settle(refused, report)
        bank.ledger.settle(older, SUCCESS)
        _near("until", (await bank.standing(target)).until, bank.now + seconds)


async def cool_down_is_as_if_told(bank: Bank) -> None:
    """A cooldown from outside is hard, and of the scope that was asked for."""
    one, other = _target("one", account="a"), _target("other", account="a")
    bank.ledger.cool_down(one, 5, words="maintenance")
    _equal("the other model", (await bank.take(one, other)).target, other)
    bank.ledger.cool_down(one, 9, scope=Scope.ACCOUNT)
    _is(Exhausted, await bank.ask(one, other))
    _near("until", (await bank.block(other)).until, bank.now + 9)


async def a_told_account_refusal_covers_its_models(bank: Bank) -> None:
    """Scope account keeps off all models of the account; scope model only the one."""
    one, other = _target("one", account="a"), _target("other", account="a")
    await bank.call(one, report=_told(10))
    await bank.call(other, report=_told(20, scope=Scope.ACCOUNT))
    _near("until", (await bank.block(one)).until, bank.now + 20)


async def a_refusal_of_free_models_covers_them_alone(bank: Bank) -> None:
    """Scope free keeps off an account's `:free` models, told or guessed, and no others."""
    for report, seconds in ((_told(10, scope=Scope.FREE), 10.0), (GUESSED_FREE, 30.0)):
        one, two, paid = _siblings(f"account-{seconds:g}")
        await bank.call(one, report=report)
        block = _is(Block, (await bank.preview(two)).blocks[0])
        _near("until", block.until, bank.now + seconds)
        _equal("told", block.told, report.delay is not None)
        _equal("the choice", (await bank.take(two, paid)).target, paid)


async def a_refusal_of_free_models_elsewhere_covers_the_target(bank: Bank) -> None:
    """Where a target is none of them by its name, the refusal is its own all the same."""
    target, sibling = _target("t", account="a"), _target("u:free", account="a")
    await bank.call(target, report=_told(10, scope=Scope.FREE))
    _equal("the choice", (await bank.take(target, sibling)).target, sibling)


async def out_of_service_is_hard_and_doubles(bank: Bank) -> None:
    """Credit 5 min and keys 1 h cover the account, models 1 h the target; each repeat doubles."""
    benches = ((Bench.CREDIT, 300.0), (Bench.KEY, 3600.0), (Bench.MODEL, 3600.0))
    for bench, seconds in benches:
        target = _target(bench)
        sibling = _target(f"{bench}-sibling", account=bench)
        for repeat in range(3):
            await bank.call(target, report=Report(Ended.REFUSED, bench=bench))
            block = await bank.block(target)
            _equal("the block", (block.reason, block.bench), ("out_of_service", bench))
            _near("until", block.until, bank.now + seconds * 2**repeat)
            whole = isinstance(await bank.ask(sibling), Exhausted)
            _equal("covers the account", whole, bench is not Bench.MODEL)
            bank.clock.shift(seconds * 2**repeat)


async def a_half_open_target_lets_one_request_try(bank: Bank) -> None:
    """After a guess or a bench ends one request probes and the others wait; success opens."""
    for bench in (Bench.RATE, Bench.CREDIT):
        target = _target(bench)
        await bank.call(target, report=Report(Ended.REFUSED, bench=bench))
        bank.clock.shift(300)
        probe = await bank.take(target)
        _equal("probe", probe.probe, True)
        _equal("until", (await bank.wait(target)).until, None)
        bank.ledger.settle(probe, SUCCESS)
        _equal("probe", (await bank.take(target)).probe, False)


async def a_half_open_probe_without_a_word_leaves_it_to_the_next(bank: Bank) -> None:
    """A probe that ended neutrally or was released proves nothing, and another may probe."""
    target = _target("t")
    await bank.call(target, report=REFUSED)
    bank.clock.shift(30)
    bank.ledger.settle(await bank.take(target), NEUTRAL)
    bank.ledger.release(await bank.take(target))
    _equal("probe", (await bank.take(target)).probe, True)


async def a_guess_doubles_when_it_proved_too_short(bank: Bank) -> None:
    """Refused at its half-open end it doubles, up to 10 minutes; a burst of refusals is one."""
    target = _target("t")
    burst = [await bank.take(target) for _ in range(5)]
    for held in burst:
        bank.ledger.settle(held, REFUSED)
    for seconds in (30, 60, 120, 240, 480, 600, 600):
        _near("until", (await bank.standing(target)).until, bank.now + seconds)
        bank.clock.shift(seconds)
        await bank.call(target, report=REFUSED)


async def faults_cool_down_after_three_in_a_row(bank: Bank) -> None:
    """One accident is none; the third in a row takes 5 s, softly; a success starts anew."""
    target = _target("t")
    for report in (FAILED, FAILED, SUCCESS, FAILED, FAILED):
        await bank.call(target, report=report)
        _equal("the block", (await bank.status(target)).block, None)
    await bank.call(target, report=FAILED)
    block = await bank.standing(target)
    _equal("hard", block.hard, False)
    _near("until", block.until, bank.now + 5)


# --- evidence


async def a_refusal_after_the_arrival_answers_for_the_target(bank: Bank) -> None:
    """A request fails when its targets refused anyone after it came, and not for older news."""
    target = _target("t")
    arrived = bank.now
    bank.clock.shift(1)
    await bank.call(target, report=REFUSED)
    block = await bank.block(target, arrived=arrived)
    _equal("the block", (block.reason, block.hard), ("refused", False))
    bank.clock.shift(0.5)
    _near("until", (await bank.wait(target)).until, bank.now + 0.5)


async def probes_are_a_second_apart_after_a_refusal(bank: Bank) -> None:
    """Past a soft block one request a second may ask a target whose last answer was a refusal."""
    target = _target("t")
    await bank.call(target, report=REFUSED)
    bank.clock.shift(0.25)
    _near("until", (await bank.wait(target)).until, bank.now + 0.75)
    bank.clock.shift(0.75)
    probe = await bank.take(target)
    _equal("probe", probe.probe, True)
    await bank.wait(target)


async def a_late_success_hurries_no_probe(bank: Bank) -> None:
    """The last answer is the refusal of the younger call, though an older one succeeds after it."""
    target = _target("t")
    older = await bank.take(target)
    await bank.call(target, report=REFUSED)
    bank.ledger.settle(older, SUCCESS)
    bank.clock.shift(0.25)
    _near("until", (await bank.wait(target)).until, bank.now + 0.75)


async def one_soft_target_without_evidence_keeps_hope(bank: Bank) -> None:
    """With the rest hard-blocked, a request waits for the one that may still answer."""
    told, guessed = _target("told"), _target("guessed")
    await bank.call(told, report=_told(0.4))
    await bank.call(guessed, report=REFUSED)
    bank.clock.shift(0.1)
    _near("until", (await bank.wait(told, guessed)).until, bank.now + 0.3)


async def counted_room_is_waited_for_by_who_can(bank: Bank) -> None:
    """A request that can wait until our count has room does not probe; one that cannot does."""
    target = _target("t", "1 request/minute")
    await bank.call(target)
    answer = _is(Wait, await bank.ask_patiently(target, seconds=60))
    _near("until", answer.until, bank.now + 60)
    _is(Reservation, await bank.ask_patiently(target, seconds=59))


async def calls_in_flight_are_waited_for_by_who_can(bank: Bank) -> None:
    """Counted room whose time is not known yet will be known when the calls in flight go on."""
    target = _target("t", "10 tokens/minute")
    held = await bank.take(target, tokens=10)
    _is(Wait, await bank.ask_patiently(target, seconds=1))
    bank.ledger.release(held)
    _equal("probe", (await bank.take(target)).probe, False)


async def what_never_fits_is_not_waited_for(bank: Bank) -> None:
    """No wait makes room for more tokens than the configured limit, so the request probes."""
    target = _target("t", "10 tokens/minute")
    _is(Reservation, await bank.ask_patiently(target, seconds=3600, tokens=11))


async def told_room_is_waited_for_rather_than_probing_elsewhere(bank: Bank) -> None:
    """A told reset in time is surer than a probe past a guess at another target."""
    told, guessed = _target("told"), _target("guessed")
    await bank.call(told, report=_told(5))
    await bank.call(guessed, report=REFUSED)
    bank.clock.shift(1)
    answer = _is(Wait, await bank.ask_patiently(told, guessed, seconds=4))
    _near("until", answer.until, bank.now + 4)
    held = _is(Reservation, await bank.ask_patiently(told, guessed, seconds=3.9))
    _equal("the choice", held.target, guessed)


async def a_guess_is_not_waited_for(bank: Bank) -> None:
    """Nobody told or counted when it ends, so those who can wait probe it as well."""
    target = _target("t")
    await bank.call(target, report=REFUSED)
    bank.clock.shift(1)
    _is(Reservation, await bank.ask_patiently(target, seconds=60))


async def exhausted_names_the_soonest_reset(bank: Bank) -> None:
    """It ends with the soonest of all known ends, and blocks stand in the chain's order."""
    targets = [_target("a"), _target("b"), _target("c")]
    for target, seconds in zip(targets, (50, 20, 90), strict=True):
        bank.ledger.cool_down(target, seconds)
    answer = _is(Exhausted, await bank.ask(*targets))
    _near("until", answer.until, bank.now + 20)
    keys = [block.key for block in answer.blocks]
    _equal("the blocks", keys, [target.key for target in targets])


async def a_told_delay_of_nothing_is_still_a_refusal(bank: Bank) -> None:
    """Zero seconds set no cooldown."""
    target = _target("t")
    await bank.call(target, report=_told(0))
    _equal("the block", (await bank.status(target)).block, None)


# --- slow start


async def a_stranger_is_sent_two_calls_at_first(bank: Bank) -> None:
    """Of an unknown target two calls in flight are admitted; a third goes to the next target."""
    one, other = _stranger("one"), _stranger("other")
    chosen = [(await bank.take(one, other)).target for _ in range(4)]
    _equal("the choices", chosen, [one, one, other, other])


async def each_success_admits_one_more(bank: Bank) -> None:
    """Successes widen slow start by one each, and a refusal about rates starts it anew."""
    target = _stranger("t")
    await bank.call(target)
    three = [await bank.take(target) for _ in range(3)]
    _equal("probes", [held.probe for held in three], [False] * 3)
    bank.ledger.settle(three[0], _told(1))
    bank.clock.shift(1)
    _equal("probe", (await bank.take(target)).probe, True)


async def slow_start_ends_where_something_is_known(bank: Bank) -> None:
    """A living reading says how much there is, and admits that many."""
    target = _stranger("t")
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(_requests(9),)))
    held = [await bank.take(target) for _ in range(9)]
    _equal("probes", any(each.probe for each in held), False)
    _equal("the block", (await bank.block(target)).reason, "reading")


SCENARIOS: Final[Sequence[Scenario]] = (
    the_first_target_with_room_is_taken,
    concurrent_questions_never_take_the_same_room,
    concurrency_is_hard_and_only_an_event_opens_it,
    release_gives_all_of_it_back,
    a_failure_before_sending_costs_nothing,
    the_end_of_a_call_is_told_once,
    questions_change_nothing,
    a_preview_says_what_would_be_taken,
    a_preview_changes_nothing,
    changes_are_announced,
    requests_age_from_the_response,
    tokens_are_corrected_by_the_real_count,
    a_refused_call_costs_its_request_and_no_tokens,
    an_account_limit_is_shared_by_its_models,
    a_limit_of_free_models_is_shared_by_them_alone,
    our_own_count_never_refuses,
    a_reading_lowers_room_at_once,
    a_reading_is_lowered_by_what_it_may_not_contain,
    an_older_answer_never_raises_room,
    room_rises_only_with_nothing_older_in_flight,
    silence_erases_nothing,
    a_bucket_refills_evenly,
    tokens_left_must_hold_the_estimate,
    an_estimate_beyond_the_told_limit_is_only_soft,
    an_account_reading_covers_its_models,
    a_reading_of_free_models_covers_them_alone,
    a_told_cooldown_is_kept_to_the_moment,
    a_told_time_is_never_shortened,
    a_late_success_erases_no_cooldown,
    cool_down_is_as_if_told,
    a_told_account_refusal_covers_its_models,
    a_refusal_of_free_models_covers_them_alone,
    a_refusal_of_free_models_elsewhere_covers_the_target,
    out_of_service_is_hard_and_doubles,
    a_half_open_target_lets_one_request_try,
    a_half_open_probe_without_a_word_leaves_it_to_the_next,
    a_guess_doubles_when_it_proved_too_short,
    faults_cool_down_after_three_in_a_row,
    a_refusal_after_the_arrival_answers_for_the_target,
    probes_are_a_second_apart_after_a_refusal,
    a_late_success_hurries_no_probe,
    one_soft_target_without_evidence_keeps_hope,
    counted_room_is_waited_for_by_who_can,
    calls_in_flight_are_waited_for_by_who_can,
    what_never_fits_is_not_waited_for,
    told_room_is_waited_for_rather_than_probing_elsewhere,
    a_guess_is_not_waited_for,
    exhausted_names_the_soonest_reset,
    a_told_delay_of_nothing_is_still_a_refusal,
    a_stranger_is_sent_two_calls_at_first,
    each_success_admits_one_more,
    slow_start_ends_where_something_is_known,
)
