"""MemoryLedger: the keeper for one process.

It is atomic because nothing awaits between look and take, and needs no task, timer or lock: what
has expired is found on look-up. State is kept for each target ever asked for, which configuration
bounds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from stepwell.clock import Clock
from stepwell.ledgers.record import Memory, Record
from stepwell.quota.choice import Standing, choose, exhausted
from stepwell.quota.cooldown import RULES
from stepwell.quota.desk import Desk
from stepwell.quota.ledger import (
    Ended,
    Exhausted,
    Preview,
    Report,
    Reservable,
    Reservation,
    TargetStatus,
    Wait,
)
from stepwell.quota.limit import Scope
from stepwell.quota.period import Wall
from stepwell.quota.pool import Pool
from stepwell.quota.reading import Reading


@dataclass(slots=True, eq=False, kw_only=True)
class _Held(Reservation):
    """A reservation as this ledger keeps it.

    Attributes:
        call: Its number; a lower number is an older call.
        desk: Where it was taken.
        estimate: The tokens that were estimated for it, before the target's calibration.
        observed: Its request ages.
        answered: Monotonic time at which its response began; inf before.
        ended: It was settled or released.
    """

    call: int
    desk: Desk = field(repr=False)
    estimate: int = 0
    observed: bool = False
    answered: float = inf
    ended: bool = False


class MemoryLedger:
    """A Ledger in this process's memory.

    Args:
        clock: For all time; its `time()` only for limits of the calendar.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = Wall()
        self._desks: dict[str, Desk] = {}
        # What targets share, by account and by the name of its record.
        self._shared: dict[tuple[str, str | None], Pool] = {}
        self._calls = 0
        self._subscribers: dict[object, Callable[[], object]] = {}
        self._memory: Memory | None = None
        # Records of what nobody has asked for yet, and when they were read.
        self._records: dict[tuple[str, str | None], tuple[Record, float]] = {}

    def __repr__(self) -> str:
        flying = sum(desk.own.in_flight for desk in self._desks.values())
        return f"<MemoryLedger {len(self._desks)} targets, {flying} in flight>"

    async def reserve(
        self,
        targets: Sequence[Reservable],
        tokens: int,
        *,
        arrived: float,
        waits_until: float = -inf,
    ) -> Reservation | Wait | Exhausted:
        """See `Ledger.reserve`; waits for nothing but, once, the records of an earlier process."""
        memory = self._memory
        if memory is not None and not memory.is_recalled:
            await memory.recall()
        now = self._now()
        shut: list[Standing] = []
        for target in targets:
            desk = self._desks.get(target.key)
            if desk is None or desk.target is not target:
                desk = self._desk(target)
            elif now < desk.standings.until and (kept := desk.standings.kept(now, tokens)):
                shut.append(kept)
                continue
            elif desk.standings.is_shut(now, tokens):
                continue
            need = desk.calibration.likely(tokens)
            if desk.tab.is_open and desk.tab.admits(now, need):
                return self._admit(desk, target, tokens, need, now)
            desk.post()
            if desk.is_open(now, tokens, need):
                held = self._take(desk, target, tokens, need, now)
                desk.open_tab(now, need)
                return held
        if len(shut) == len(targets):
            return exhausted(shut)
        return self._choose(targets, tokens, now, arrived, waits_until)

    async def preview(
        self,
        targets: Sequence[Reservable],
        tokens: int,
        *,
        arrived: float,
        waits_until: float = -inf,
    ) -> Preview:
        """See `Ledger.preview`; waits as `reserve` does."""
        await self._recall()
        now = self._now()
        desks = [self._glimpse(target) for target in targets]
        blocks = tuple(desk.block(now, tokens) for desk in desks)
        if None in blocks:
            return Preview(blocks.index(None), blocks)
        standings = [desk.standing(now, tokens, arrived, waits_until) for desk in desks]
        chosen = choose(list(filter(None, standings)), now, waits_until)
        if isinstance(chosen, int):
            return Preview(chosen, blocks)
        return Preview(None, blocks, chosen.until, waits=isinstance(chosen, Wait))

    def observe(self, reservation: Reservation, readings: Sequence[Reading]) -> None:
        held = _running(reservation)
        if held is None:
            return
        tab = held.desk.tab
        if tab.is_open and not held.observed:
            held.observed, held.answered = True, self._clock.monotonic()
            tab.answer(held.call, readings, held.started, held.answered)
        else:
            held.desk.post()
            now = self._now()
            self._hear(held, readings, now, Ended.SUCCESS)
            if not held.observed:
                held.observed = True
                held.desk.age(held.call, held.started, now)
            self._note(held.desk)
        if self._subscribers:
            self._notify()  # from now on its end can be told

    def settle(self, reservation: Reservation, report: Report) -> None:
        held = _running(reservation)
        if held is None:
            return
        held.ended = True
        if held.desk.tab.is_open and held.observed and _is_plain(report):
            self._end(held, report)
        else:
            held.desk.post()
            self._settle(held, report, self._now())
            self._note(held.desk, urgent=_is_sure(report))
        if self._subscribers:
            self._notify()

    def release(self, reservation: Reservation) -> None:
        held = _running(reservation)
        if held is None:
            return
        held.ended = True
        held.desk.post()
        held.desk.give_back(held.call, request=not held.observed)
        self._note(held.desk)
        self._notify()

    def cool_down(
        self, target: Reservable, seconds: float, *, scope: Scope = Scope.MODEL, words: str = ""
    ) -> None:
        now = self._now()
        desk = self._desk(target)
        desk.post()
        desk.tell(self._calls, seconds, scope, words, now)
        self._note(desk, urgent=True)
        self._notify()

    async def snapshot(self, targets: Sequence[Reservable] = ()) -> tuple[TargetStatus, ...]:
        """See `Ledger.snapshot`; waits as `reserve` does."""
        await self._recall()
        now = self._now()
        desks = self._desks | {target.key: self._glimpse(target) for target in targets}
        for desk in desks.values():
            desk.post()
        return tuple(desk.status(now) for desk in desks.values())

    def subscribe(self, callback: Callable[[], object]) -> Callable[[], None]:
        token = object()
        self._subscribers[token] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    # --- memory

    def remember(self, memory: Memory) -> None:
        """Write through to `memory` from now on."""
        self._memory = memory

    def export(self, targets: Iterable[str] | None = None) -> Iterator[Record]:
        """Yield the records of these targets, all by default, and of what they share with others.

        Each is of the moment at which it is taken.
        """
        keys = list(self._desks) if targets is None else targets
        desks = [self._desks[key] for key in keys if key in self._desks]
        for desk in desks:
            desk.post()
            yield Record(desk.account, desk.key, desk.export(self._now()))
        for name in {name: None for desk in desks for name in _names(desk.account, desk.key)}:
            self._shared[name].post()
            yield Record(*name, self._shared[name].export(self._now()))

    def restore(self, records: Iterable[Record], targets: Iterable[Reservable] = ()) -> None:
        """Know again what was exported; what is known already is added to.

        Args:
            records: Those of targets that nobody has asked for are kept until somebody does.
            targets: They show in the snapshot from now on.
        """
        now = self._now()
        self._records |= {(record.account, record.target): (record, now) for record in records}
        for name, pool in self._shared.items():
            self._restore(pool, *name)
        for desk in self._desks.values():
            desk.post()
            self._restore(desk, desk.account, desk.key)
        for target in targets:
            self._desk(target)
        self._notify()

    def _restore(self, part: Desk | Pool, account: str, target: str | None) -> None:
        record, read_at = self._records.pop((account, target), (None, 0.0))
        if record is not None:
            # What somebody has edited is worth less than the request that meets it.
            with suppress(LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
                part.restore(record.state, read_at - record.age, read_at)

    async def _recall(self) -> None:
        if self._memory is not None and not self._memory.is_recalled:
            await self._memory.recall()

    def _note(self, desk: Desk, *, urgent: bool = False) -> None:
        if self._memory is not None:
            self._memory.note(desk.key, urgent=urgent)

    # --- inner

    def _now(self) -> float:
        now = self._clock.monotonic()
        self._wall.ahead = self._clock.time() - now
        return now

    def _desk(self, target: Reservable) -> Desk:
        desk = self._desks.get(target.key)
        if desk is None:
            desk = self._desks[target.key] = self._make_desk(target)
        if desk.target is not target:
            desk.post()
            desk.adopt(target)
        return desk

    def _admit(self, desk: Desk, target: Reservable, tokens: int, need: int, now: float) -> _Held:
        """Take what the desk's tab admits."""
        self._calls += 1
        desk.tab.take(self._calls, need, now)
        return _Held(
            target=target, tokens=need, started=now, call=self._calls, desk=desk, estimate=tokens
        )

    def _choose(
        self,
        targets: Sequence[Reservable],
        tokens: int,
        now: float,
        arrived: float,
        waits_until: float,
    ) -> Reservation | Wait | Exhausted:
        """None was found open: take one that is after all, probe one, or say what to wait for."""
        standings = []
        for target in targets:
            desk = self._desk(target)
            standing = desk.standing(now, tokens, arrived, waits_until)
            if standing is None:
                need = desk.calibration.likely(tokens)
                return self._take(desk, target, tokens, need, now)
            standings.append(standing)
        chosen = choose(standings, now, waits_until)
        if isinstance(chosen, int):
            target = targets[chosen]
            desk = self._desk(target)
            need = desk.calibration.likely(tokens)
            return self._take(desk, target, tokens, need, now, probe=True)
        return chosen

    def _glimpse(self, target: Reservable) -> Desk:
        """Return a target's desk; for one never asked for a desk that is not kept."""
        desk = self._desks.get(target.key)
        if desk is not None:
            desk.post()
        else:
            shared = [
                self._shared.get(name) or Pool(scope, self._wall)
                for name, scope in _names(target.account, target.key).items()
            ]
            desk = Desk(target.key, target.account, *shared)
            desk.adopt(target)
        return desk

    def _make_desk(self, target: Reservable) -> Desk:
        names = _names(target.account, target.key)
        for name, scope in names.items():
            if name not in self._shared:
                self._shared[name] = Pool(scope, self._wall)
                self._restore(self._shared[name], *name)
        desk = Desk(target.key, target.account, *(self._shared[name] for name in names))
        self._restore(desk, target.account, target.key)
        return desk

    def _take(
        self,
        desk: Desk,
        target: Reservable,
        tokens: int,
        need: int,
        now: float,
        *,
        probe: bool = False,
    ) -> _Held:
        self._calls += 1
        probe = desk.take(self._calls, need, now, probe=probe)
        self._note(desk)
        return _Held(
            target=target,
            tokens=need,
            started=now,
            probe=probe,
            call=self._calls,
            desk=desk,
            estimate=tokens,
        )

    def _end(self, held: _Held, report: Report) -> None:
        """An answer has ended while its target's tab was open."""
        cost = _cost(held.tokens, report)
        if report.tokens is not None:
            held.desk.calibration.learn(held.estimate, cost)
        now = self._clock.monotonic()
        held.desk.tab.end(held.call, held.tokens, cost, held.started, now)

    def _settle(self, held: _Held, report: Report, now: float) -> None:
        """It has ended."""
        desk, ended = held.desk, report.ended
        if report.was_sent:
            cost = _cost(held.tokens, report)
            self._hear(held, report.readings, now, ended)
            desk.learn(report, held.tokens, held.estimate, held.started, held.answered)
            if ended is Ended.SUCCESS and report.tokens is not None:
                desk.calibration.learn(held.estimate, cost)
            request = not held.observed
            desk.spend(held.call, cost, held.started, now, ended=ended, request=request)
        else:
            desk.give_back(held.call, request=not held.observed)
        desk.judge(held.call, self._calls, report, held.started, now)

    def _hear(self, held: _Held, readings: Sequence[Reading], now: float, ended: Ended) -> None:
        if not held.observed:
            held.answered = now
        if readings:
            served = ended is Ended.SUCCESS
            held.desk.read(held.call, readings, held.started, now, served=served)

    def _notify(self) -> None:
        for callback in tuple(self._subscribers.values()):
            callback()


def _names(account: str, target: str) -> dict[tuple[str, str | None], Scope]:
    """Return what a target shares with others, by the names of its records: the account first."""
    names: dict[tuple[str, str | None], Scope] = {(account, None): Scope.ACCOUNT}
    if Scope.FREE.covers(target):
        names[account, f"{account}/*:free"] = Scope.FREE
    return names


def _running(reservation: Reservation) -> _Held | None:
    """Return a reservation that is still to be settled; None for any other, also a foreign one."""
    return reservation if isinstance(reservation, _Held) and not reservation.ended else None


def _is_sure(report: Report) -> bool:
    """Tell whether a call brought a cooldown that is no mere guess about rates and faults."""
    return report.bench is not None and (report.delay is not None or RULES[report.bench].hard)


def _is_plain(report: Report) -> bool:
    """Tell whether a call was served, and nothing is to be learned from its end but its cost."""
    return report.ended is Ended.SUCCESS and report.was_sent and not report.readings


def _cost(estimate: int, report: Report) -> int:
    """Return the tokens that a call came to: the provider's count, else the estimate, else nothing.

    A call that was refused or failed costs none; one that ended otherwise may have cost what was
    taken.
    """
    if report.tokens is not None:
        return max(0, report.tokens)
    return estimate if report.ended in (Ended.SUCCESS, Ended.NEUTRAL) else 0
