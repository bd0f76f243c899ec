"""WaitingRoom: where requests wait for quota, or for evidence that there is none.

There is no polling and no task of its own. One request at a time is called; it asks the ledger, and
what it hears decides who is called next (`routing.line`). So as many go as there is room for, in
their order and each of its own accord: nobody can be sent off twice, and who is cancelled at any
point simply leaves, and the next one is called.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import inf

from stepwell.clock import Clock, Timer
from stepwell.quota.ledger import Block, Exhausted, Ledger, Reservable, Reservation, Wait
from stepwell.routing.line import Line, Place, soonest


class WaitingRoom:
    """See the module's text.

    Args:
        clock: For the ends of patience and the moments that the ledger names.
        ledger: Who has room.
        size: Requests that may wait for quota at once; those that wait for evidence come on top.
    """

    def __init__(self, clock: Clock, ledger: Ledger, size: int) -> None:
        self._clock = clock
        self._ledger = ledger
        self._size = size
        self._line = Line()
        self._bells: dict[Place, asyncio.Future[None]] = {}
        self._called: Place | None = None
        self._called_in = 0  # which epoch
        self._alarm = _Alarm(clock, self._ledger_changed)
        self._answers: dict[frozenset[str], Wait | Exhausted] = {}  # the last ones, for describe()
        self._stop_listening: Callable[[], None] | None = None  # to the ledger, while anybody waits

    def __repr__(self) -> str:
        return f"<WaitingRoom {len(self._line)} waiting>"

    @property
    def is_full(self) -> bool:
        return self._line.patient >= self._size

    def is_free(self, targets: Iterable[Reservable]) -> bool:
        """Whether a newcomer may ask for these at once, as nobody waits for one of them."""
        return not (self._line.wanted and self._line.wants(targets))

    async def ask(self, place: Place) -> Reservation | Wait | Exhausted:
        """Ask the ledger for what a place asks for, without a wait."""
        return await self._ledger.reserve(
            place.asks,
            place.tokens,
            arrived=place.arrived,
            waits_until=max(place.deadline, place.over),
        )

    async def reserve(self, place: Place) -> Reservation | Exhausted:
        """Line up, and return when there is room, or when there can be none in time."""
        with self._lined_up(place):
            while True:
                await self._turn(place)
                answer = await self.ask(place)
                if (end := self._judged(place, answer)) is not None:
                    return end

    def describe(self, place: Place) -> str:
        """Say for what a place waits, how many are before it, and how long it may take."""
        rank = self._line.rank(place)
        block = self._next_reset(place)
        if block is None or block.until is None:
            return f"quota, {_ordinal(rank)} in line"
        left = max(0.0, block.until - self._clock.monotonic())
        return f"{block.key}, {_ordinal(rank)} in line, about {left:.0f}s"

    @contextmanager
    def _lined_up(self, place: Place) -> Iterator[None]:
        """Keep a place in the line as long as the block runs."""
        if self._stop_listening is None:
            self._stop_listening = self._ledger.subscribe(self._ledger_changed)
        if self._line.alarm <= self._clock.monotonic():
            self._line.renew()  # the timer is late, and those who wait go first
        self._line.join(place)
        timer = None
        if place.is_patient:
            left = place.deadline - self._clock.monotonic()
            timer = self._clock.call_later(left, self._lose_patience, place)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self._leave(place)

    async def _turn(self, place: Place) -> None:
        """Wait until it is this place's turn to ask."""
        self._call_next()
        if self._called is not place:
            bell = self._bells[place] = asyncio.get_running_loop().create_future()
            try:
                await bell
            finally:
                del self._bells[place]
        self._called_in = self._line.epoch

    def _judged(
        self, place: Place, answer: Reservation | Wait | Exhausted
    ) -> Reservation | Exhausted | None:
        """Take in what the place whose turn it was has heard; return it if that ends its wait.

        Room does. That there is none does if the place has no patience, or if there can be none
        before its deadline. Where only evidence can tell, it waits for that, without patience.
        """
        self._called = None
        if isinstance(answer, Reservation):
            self._line.serve(place, answer)
            return answer
        is_late = False
        if place.asks_for_all:
            self._answers[place.keys] = answer
            is_late = place.deadline < soonest(answer.blocks)
        if isinstance(answer, Exhausted) and (is_late or not place.is_patient):
            return answer
        if is_late and place.is_patient:
            self._line.lose_patience(place)
        elif self._called_in == self._line.epoch:  # else something has happened meanwhile
            self._line.send_back(place, answer)
        return None

    def _next_reset(self, place: Place) -> Block | None:
        answer = self._answers.get(place.keys)
        blocks = answer.blocks if answer is not None else ()
        return min(blocks, key=_until, default=None)

    def _call_next(self) -> None:
        """Ring for whoever is to ask now, unless somebody is asking; else set the alarm."""
        if self._called is not None:
            return
        self._called = place = self._line.next()
        if place is None:
            self._alarm.set(self._line.alarm)
        elif (bell := self._bells.get(place)) is not None and not bell.done():
            bell.set_result(None)

    def _ledger_changed(self) -> None:
        """Something happened there, or time has passed: whoever waits may fare better, or fail."""
        self._line.renew()
        self._call_next()

    def _lose_patience(self, place: Place) -> None:
        place.over = place.deadline
        self._line.lose_patience(place)
        self._call_next()

    def _leave(self, place: Place) -> None:
        self._line.leave(place)
        if self._called is place:
            self._called = None
        if not self._line:
            self._answers.clear()
            self._line.renew()
            if self._stop_listening is not None:
                self._stop_listening()
                self._stop_listening = None
        self._call_next()


class _Alarm:
    """One timer, set anew whenever another moment is the next."""

    def __init__(self, clock: Clock, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._timer: Timer | None = None
        self._due = inf

    def set(self, due: float) -> None:
        """Ring at the monotonic time `due`; inf is never."""
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due < inf:
            delay = max(0.0, due - self._clock.monotonic())
            self._timer = self._clock.call_later(delay, self._go_off)

    def _go_off(self) -> None:
        self._timer, self._due = None, inf
        self._ring()


def _until(block: Block) -> float:
    return inf if block.until is None else block.until


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
