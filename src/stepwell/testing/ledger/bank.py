"""Bank: a ledger under test, and short words for what scenarios do and demand."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

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
class Plain:
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
        return expect(Reservation, await self.ask(*targets, tokens=tokens, arrived=arrived))

    async def block(
        self, *targets: Reservable, tokens: int = 1, arrived: float | None = None
    ) -> Block:
        """Ask where there must be no room at all, and return why the first target has none."""
        return expect(Exhausted, await self.ask(*targets, tokens=tokens, arrived=arrived)).blocks[0]

    async def wait(self, *targets: Reservable, arrived: float | None = None) -> Wait:
        """Ask where evidence must be on its way."""
        return expect(Wait, await self.ask(*targets, arrived=arrived))

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
        return expect(Block, (await self.status(target)).block)

    async def remaining(self, target: Reservable, at: int = 0) -> int | None:
        return (await self.status(target)).limits[at].remaining


Scenario = Callable[[Bank], Awaitable[None]]


def check(holds: bool, wrong: str) -> None:  # not `assert`: it must work with python -O, too
    if not holds:
        raise AssertionError(wrong)


def expect(kind: type[T], answer: object) -> T:
    if not isinstance(answer, kind):
        raise AssertionError(f"expected {kind.__name__}, got {answer!r}")  # noqa: TRY004 - a check
    return answer


def equal(what: str, found: object, expected: object) -> None:
    check(found == expected, f"{what} is {found!r}, expected {expected!r}")


def near(what: str, found: float | None, expected: float) -> None:
    close = found is not None and abs(found - expected) < 1e-3
    check(close, f"{what} is {found!r}, expected {expected!r}")


def make_target(
    name: str,
    *limits: str,
    account: str | None = None,
    scope: Scope = Scope.MODEL,
    concurrency: int | None = None,
) -> Plain:
    """Make a target; without limits of its own it has one so wide that slow start stays out."""
    parsed = [Limit.parse(limit) for limit in limits or ("1000000 requests/day",)]
    scoped = tuple(replace(each, scope=scope) for each in parsed)
    return Plain(f"{account or name}/{name}", account or name, scoped, concurrency)


def make_stranger(name: str, account: str | None = None) -> Plain:
    """Make a target of which nothing is known."""
    return Plain(f"{account or name}/{name}", account or name)


def make_siblings(account: str = "a") -> list[Plain]:
    """Make two free models of an account, and one that costs money."""
    return [make_target(name, account=account) for name in ("one:free", "two:free", "paid")]


def reasons(seen: Preview) -> list[str | None]:
    return [None if block is None else block.reason for block in seen.blocks]


def requests_left(remaining: int | None, *, limit: int = 10, reset: float | None = 60.0) -> Reading:
    return Reading(Metric.REQUESTS, window=60.0, limit=limit, remaining=remaining, reset=reset)


def refused_for(seconds: float, *, scope: Scope = Scope.MODEL) -> Report:
    return Report(Ended.REFUSED, bench=Bench.RATE, delay=seconds, scope=scope, words="slow down")
