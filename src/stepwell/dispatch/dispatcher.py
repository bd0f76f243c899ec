"""Dispatcher: the one loop that awaits: asks `routing` for a move, carries it out, reports back.

Buffered and streamed requests share it. It ends with an Answer, or raises RequestRejected or
AllProvidersExhausted; a cancellation at any await leaves nothing reserved and nothing open.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import TypeAlias

from stepwell.clock import Alarm, Clock, Deadline
from stepwell.dispatch.answer import Answer
from stepwell.dispatch.call import Call, able_steps
from stepwell.dispatch.continuation import Continuation
from stepwell.dispatch.end import exhaustion, finished, rejection, retry_after
from stepwell.dispatch.reservations import Reservations, pause
from stepwell.dispatch.sender import Sender
from stepwell.errors import AllProvidersExhausted, BadRequest
from stepwell.observe import Observer
from stepwell.quota.ledger import Ended, Exhausted, Ledger
from stepwell.routing.asides import Asides
from stepwell.routing.chain import Step
from stepwell.routing.explanation import Explanation, explained, rejected
from stepwell.routing.size import Sizes
from stepwell.routing.verdict import Outcome
from stepwell.routing.waterfall import (
    Deliver,
    GiveUp,
    Hop,
    Pause,
    Reserve,
    Send,
    Waterfall,
    hops_of,
)
from stepwell.upstream.client import Endpoint, Reply
from stepwell.upstream.sink import Sink

Sent: TypeAlias = tuple[Send, Reply]  # a call that was made, and what came back


class Dispatcher:
    """Carries requests down their chains.

    Args:
        clock: For all time.
        ledger: Who has room.
        endpoints: The way to each account, by its name.
        total: Seconds until an answer must have begun.
        first_token: Seconds until an attempt's stream must have begun.
        queue_size: Requests that may wait for quota at once.
        resume: Let another model go on with a broken stream.
        redact: Takes secrets out of a text.
        logger: Gets a line for every attempt.
        observers: Told of every attempt and of every request's end.

    Attributes:
        asides: What providers have said that no ledger counts.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        endpoints: Mapping[str, Endpoint],
        total: float,
        first_token: float,
        queue_size: int,
        resume: bool,
        redact: Callable[[str], str],
        logger: logging.Logger,
        observers: Iterable[Observer],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._total = total
        self._first_token = first_token
        self._alarm = Alarm(clock)
        self._resume = resume
        self._redact = redact
        self._observers = tuple(observers)
        self._sizes = Sizes()
        self.asides = Asides()
        self._numbers = count()
        self._reservations = Reservations(clock, ledger, total=total, queue_size=queue_size)
        self._sender = Sender(
            endpoints,
            clock=clock,
            ledger=ledger,
            sizes=self._sizes,
            asides=self.asides,
            redact=redact,
            logger=logger,
            observers=self._observers,
        )

    async def descend(self, call: Call) -> Answer:
        """Return the first answer that the call's steps give.

        Raises:
            BadRequest: No step can ever serve it.
            RequestRejected: Providers refuse the request itself.
            AllProvidersExhausted: Nothing could serve, or not in time.
        """
        call.steps = able_steps(call)
        if call.number is None:
            call.number = next(self._numbers)
        fitting = self._sizes.fitting(call.steps, call.request.tokens)
        waterfall: Waterfall[Sent] = Waterfall(self._hops(fitting))
        try:
            soonest = call.steps[0].timeout
            if call.request.stream:
                soonest = min(soonest, self._first_token)
            with Deadline(
                self._clock, self._total, alarm=self._alarm, soonest=soonest
            ) as call.deadline:
                end = await self._walk(call, waterfall)
        except TimeoutError:  # what is held by then is the answer
            held = waterfall.best_so_far()
            end = GiveUp(None) if held is None else Deliver(held)
        if isinstance(end, GiveUp):
            raise await self._exhaustion(call, end.exhausted)
        move, reply = end.reply
        verdict = reply.verdict
        if verdict.rule.ended is Ended.SUCCESS or verdict.outcome is Outcome.EMPTY:
            call.answer = Answer(self._ledger, call.request, move, reply)
            return call.answer
        raise rejection(reply, call.trail, self._redact)

    async def go_on(self, call: Call, broken: Answer, sink: Sink) -> bytes:
        """Write what follows where a stream broke.

        Returns:
            The last of it, which is to be sent together with the end.

        Raises:
            StreamBroken: No other model could go on.
        """
        continuation = Continuation(
            call,
            broken,
            is_allowed=self._resume,
            clock=self._clock,
            redact=self._redact,
            descend=self.descend,
        )
        return await continuation.pour(sink)

    def finish(self, call: Call, error: BaseException | None) -> None:
        """Tell the observers that a request is over, and what it ended with."""
        if self._observers:
            event = finished(call, error, self._clock)
            for observe in self._observers:
                observe(event)

    async def explain(self, call: Call) -> Explanation:
        """Say what `descend` would do first; do nothing, and change nothing."""
        try:
            steps = self._sizes.fitting(able_steps(call), call.request.tokens)
        except BadRequest as refusal:
            return rejected(call.steps, call.needs, refusal)
        targets = [target for _, target in self._hops(steps)]
        seen, waits = await self._reservations.preview(call, targets)
        return explained(call.steps, call.needs, steps, targets, seen, waits=waits)

    def doing(self, call: Call) -> str:
        """Say what a request waits for, for the comments that keep its connection alive."""
        return self._reservations.doing(call)

    async def _walk(self, call: Call, waterfall: Waterfall[Sent]) -> Deliver[Sent] | GiveUp:
        """Carry out one move after the other. This is the loop."""
        move = waterfall.next()
        while True:
            match move:
                case Reserve():
                    room = await self._reservations.take(call, move.targets, may_wait=move.may_wait)
                    if isinstance(room, Exhausted):
                        move = waterfall.exhausted(room)
                    else:
                        move = waterfall.reserved(room)
                case Send():
                    reply = await self._sender.send(call, move)
                    move = waterfall.judged(reply.verdict, (move, reply))
                case Deliver():
                    return move
                case Pause():
                    await pause(self._clock, call)
                    move = waterfall.next()
                case GiveUp() if self._reservations.is_patient(call):
                    # Later there may be room anywhere in the chain; what failed is tried again.
                    await self._reservations.rest(call, waterfall.failed)
                    room = await self._reservations.wait(call, waterfall.anew())
                    if isinstance(room, Exhausted):
                        return GiveUp(room)
                    move = waterfall.reserved(room)
                case _:
                    return move

    def _hops(self, steps: Sequence[Step]) -> Sequence[Hop]:
        """Return whom to ask, in order."""
        return self.asides.sorted(hops_of(tuple(steps)), self._clock.monotonic())

    async def _exhaustion(self, call: Call, last: Exhausted | None) -> AllProvidersExhausted:
        """Return the error that says what stands in the way, and until when."""
        blocks = await self._reservations.blocks(call, last)
        call.trail.blocks = tuple(blocks.values())
        # Only those for which the request is probably not too large.
        fitting = self._sizes.fitting(call.steps, call.request.tokens)
        return exhaustion(call, retry_after(fitting, blocks, self._clock.monotonic()))
