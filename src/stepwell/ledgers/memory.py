"""MemoryLedger: the keeper for one process.

It is atomic because nothing awaits between look and take, and needs no task, timer or lock: what
has expired is found on look-up. State is kept for each target ever asked for, which configuration
bounds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stepwell.clock import Clock
from stepwell.quota.choice import choose
from stepwell.quota.desk import Desk
from stepwell.quota.ledger import (
    Ended,
    Exhausted,
    Report,
    Reservable,
    Reservation,
    TargetStatus,
    Wait,
)
from stepwell.quota.limit import Scope
from stepwell.quota.pool import Pool
from stepwell.quota.reading import Reading


@dataclass(slots=True, eq=False, kw_only=True)
class _Held(Reservation):
    """A reservation as this ledger keeps it.

    Attributes:
        call: Its number; a lower number is an older call.
        desk: Where it was taken.
        observed: Its request ages.
        ended: It was settled or released.
    """

    call: int
    desk: Desk = field(repr=False)
    observed: bool = False
    ended: bool = False


class MemoryLedger:
    """A Ledger in this process's memory.

    Args:
        clock: Only its `monotonic()` is asked.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._desks: dict[str, Desk] = {}
        self._accounts: dict[str, Pool] = {}
        self._calls = 0
        self._subscribers: dict[object, Callable[[], object]] = {}

    def __repr__(self) -> str:
        flying = sum(pool.in_flight for pool in self._accounts.values())
        return f"<MemoryLedger {len(self._desks)} targets, {flying} in flight>"

    async def reserve(
        self, targets: Sequence[Reservable], tokens: int, *, arrived: float
    ) -> Reservation | Wait | Exhausted:
        """See `Ledger.reserve`; never waits."""
        now = self._clock.monotonic()
        for target in targets:
            desk = self._desk(target)
            if desk.is_open(now, tokens):
                return self._take(desk, target, tokens, now)
        standings = [self._desk(target).standing(now, tokens, arrived) for target in targets]
        chosen = choose(standings, now)
        if isinstance(chosen, int):
            target = targets[chosen]
            return self._take(self._desk(target), target, tokens, now, probe=True)
        return chosen

    def observe(self, reservation: Reservation, readings: Sequence[Reading]) -> None:
        held = _running(reservation)
        if held is not None:
            self._observe(held, readings, self._clock.monotonic())
            if readings:
                self._notify()

    def settle(self, reservation: Reservation, report: Report) -> None:
        held = _running(reservation)
        if held is None:
            return
        held.ended = True
        now = self._clock.monotonic()
        if report.was_sent:
            self._observe(held, report.readings, now)
            held.desk.spend(held.call, _cost(held.tokens, report), now)
        else:
            held.desk.give_back(held.call, request=not held.observed)
        held.desk.judge(held.call, self._calls, report, now)
        self._notify()

    def release(self, reservation: Reservation) -> None:
        held = _running(reservation)
        if held is None:
            return
        held.ended = True
        held.desk.give_back(held.call, request=not held.observed)
        self._notify()

    def cool_down(
        self, target: Reservable, seconds: float, *, scope: Scope = Scope.MODEL, words: str = ""
    ) -> None:
        now = self._clock.monotonic()
        self._desk(target).tell(self._calls, seconds, scope, words, now)
        self._notify()

    async def snapshot(self) -> tuple[TargetStatus, ...]:
        """See `Ledger.snapshot`; never waits."""
        now = self._clock.monotonic()
        return tuple(desk.status(now) for desk in self._desks.values())

    def subscribe(self, callback: Callable[[], object]) -> Callable[[], None]:
        token = object()
        self._subscribers[token] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    def _desk(self, target: Reservable) -> Desk:
        desk = self._desks.get(target.key)
        if desk is None:
            shared = self._accounts.setdefault(target.account, Pool(Scope.ACCOUNT))
            desk = self._desks[target.key] = Desk(target.key, target.account, shared)
        if desk.target is not target:
            desk.adopt(target)
        return desk

    def _take(
        self, desk: Desk, target: Reservable, tokens: int, now: float, *, probe: bool = False
    ) -> Reservation:
        self._calls += 1
        probe = desk.take(self._calls, tokens, now, probe=probe)
        return _Held(
            target=target, tokens=tokens, started=now, probe=probe, call=self._calls, desk=desk
        )

    def _observe(self, held: _Held, readings: Iterable[Reading], now: float) -> None:
        held.desk.read(held.call, readings, now)
        if not held.observed:
            held.observed = True
            held.desk.age(held.call, now)

    def _notify(self) -> None:
        for callback in tuple(self._subscribers.values()):
            callback()


def _running(reservation: Reservation) -> _Held | None:
    """Return a reservation that is still to be settled; None for any other, also a foreign one."""
    return reservation if isinstance(reservation, _Held) and not reservation.ended else None


def _cost(estimate: int, report: Report) -> int:
    """Return the tokens that a call came to: the provider's count, else the estimate, else nothing.

    A call that was refused or failed costs none; one that ended otherwise may have cost what was
    taken.
    """
    if report.tokens is not None:
        return max(0, report.tokens)
    return estimate if report.ended in (Ended.SUCCESS, Ended.NEUTRAL) else 0
