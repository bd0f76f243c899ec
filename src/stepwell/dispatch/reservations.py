"""Reservations: how a call comes to room, at once, after evidence, or after a wait in the queue."""

import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from math import inf
from typing import Final

from stepwell.clock import Clock
from stepwell.dispatch.call import Call
from stepwell.quota.ledger import (
    Block,
    Exhausted,
    Ledger,
    Preview,
    Reservable,
    Reservation,
    Wait,
)
from stepwell.routing.line import Place, soonest
from stepwell.waiting import WaitingRoom

# Before the second pass: long enough for a connection or a worker to come back, short beside any
# model's answer, and never the same for requests that failed together.
SECOND_PASS_PAUSE: Final = (0.1, 0.5)

# A request that can wait may come by such a target again and again; its pauses double up to 16 times
# that, about what the circuit breaker begins with.
MOST_DOUBLINGS: Final = 4


# Without a question to the ledger.
_BEHIND_OTHERS: Final = Wait(None, ())


class Reservations:
    """See the module's text.

    Args:
        clock: For all time.
        ledger: Who has room.
        total: Seconds until an answer must have begun.
        queue_size: Requests that may wait for quota at once.
    """

    def __init__(self, clock: Clock, ledger: Ledger, *, total: float, queue_size: int) -> None:
        self._clock = clock
        self._ledger = ledger
        self._total = total
        self._waiting = WaitingRoom(clock, ledger, queue_size)

    def is_patient(self, call: Call) -> bool:
        """Whether it may still wait for quota."""
        return self._waits_until(call) > -inf

    def doing(self, call: Call) -> str:
        """Say what a call is about, or for what it waits."""
        return call.doing if call.place is None else self._waiting.describe(call.place)

    async def take(
        self, call: Call, targets: Sequence[Reservable], *, may_wait: bool
    ) -> Reservation | Exhausted:
        """Take room at the first of these that has it; wait while evidence is on its way.

        A request that can wait for quota does so later (`wait`), for its whole chain and not only
        for what is left of this pass.
        """
        answer: Reservation | Wait | Exhausted = _BEHIND_OTHERS
        deadline = self._deadline(call, may_wait=may_wait)
        if self._waiting.is_free(targets):  # else those who wait for one of them go first
            answer = await self._ledger.reserve(
                targets,
                call.request.tokens,
                arrived=call.arrived,
                waits_until=max(deadline, call.held_from),
            )
        if not isinstance(answer, Wait):
            return answer
        if deadline > -inf:
            return Exhausted(answer.until, answer.blocks)
        return await self._line_up(call, self._place(call, targets, deadline))

    async def wait(self, call: Call, targets: Sequence[Reservable]) -> Reservation | Exhausted:
        """Wait for room at any of these; if the queue is full, for evidence only."""
        if not targets:
            return Exhausted(None, ())
        call.was_turned_away = self._waiting.is_full
        return await self._line_up(
            call, self._place(call, targets, self._deadline(call, may_wait=True))
        )

    async def rest(self, call: Call, failed: AbstractSet[str]) -> None:
        """Pause before a target that has just failed, if the ledger has nothing against it.

        An accident does not cool down at once, nor does a refusal with a told delay of nothing.

        Args:
            call: The request.
            failed: Keys of the targets that failed.
        """
        if failed <= (await self.blocks(call)).keys():
            return
        longer = 2 ** min(call.rests, MOST_DOUBLINGS)
        call.rests += 1
        await pause(self._clock, call, longer)

    async def preview(self, call: Call, targets: Sequence[Reservable]) -> tuple[Preview, bool]:
        """Return what the ledger would answer now, and whether the call would line up or wait."""
        deadline = self._deadline(call, may_wait=True)
        seen = await self._ledger.preview(
            targets,
            call.request.tokens,
            arrived=call.arrived,
            waits_until=max(deadline, call.held_from),
        )
        if not self._waiting.is_free(targets):
            return seen, True
        in_time = -inf < deadline and soonest(seen.blocks) <= deadline
        return seen, seen.taken is None and (seen.waits or in_time)

    async def blocks(self, call: Call, last: Exhausted | None = None) -> dict[str, Block]:
        """Return what stands in the way of each target, by key.

        Args:
            call: Whose targets.
            last: What the ledger said when it was asked for some of them; it goes first.
        """
        targets = [target for step in call.steps for target in step.targets]
        seen = await self._ledger.preview(targets, 1, arrived=call.arrived)
        found = {block.key: block for block in seen.blocks if block is not None}
        found |= {block.key: block for block in (last.blocks if last else ())}
        return {target.key: found[target.key] for target in targets if target.key in found}

    async def _line_up(self, call: Call, place: Place) -> Reservation | Exhausted:
        since = self._clock.monotonic()
        call.place = place
        try:
            return await self._waiting.reserve(place)
        finally:
            call.place, call.held_from = None, place.over
            call.trail.waited += self._clock.monotonic() - since

    def _place(self, call: Call, targets: Sequence[Reservable], deadline: float) -> Place:
        assert call.number is not None
        return Place(
            call.client,
            call.number,
            targets,
            call.request.tokens,
            arrived=call.arrived,
            deadline=deadline,
            over=call.held_from,
        )

    def _deadline(self, call: Call, *, may_wait: bool) -> float:
        """Return until when a call waits for quota, if that is allowed and the queue is not full."""
        if not call.max_wait or not may_wait or self._waiting.is_full:
            return -inf
        return self._waits_until(call)

    def _waits_until(self, call: Call) -> float:
        """Return the monotonic time until which a call may wait for quota; -inf if it may not."""
        left = call.max_wait - call.trail.waited
        if left <= 0:
            return -inf
        return min(self._clock.monotonic() + left, call.arrived + self._total)


async def pause(clock: Clock, call: Call, longer: int = 1) -> None:
    """Wait a moment before a second try, with jitter, and so many times longer."""
    call.doing = "a second try"
    await clock.sleep(longer * random.uniform(*SECOND_PASS_PAUSE))  # noqa: S311 - jitter
