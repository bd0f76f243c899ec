"""The one loop that awaits: asks `routing` for a move, carries it out, reports back.

Buffered and streamed requests share it. It ends with an Answer, or raises RequestRejected or
AllProvidersExhausted; a cancellation at any await leaves nothing reserved and nothing open.
"""

import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, Self

from stepwell.chat import ChatRequest
from stepwell.clock import Clock, Deadline
from stepwell.errors import AllProvidersExhausted, RequestRejected, StreamBroken
from stepwell.providers.dialects import BodyError, error_of
from stepwell.quota.ledger import Block, Ended, Exhausted, Ledger, Reservable, Reservation, Wait
from stepwell.routing.chain import Step
from stepwell.routing.size import Sizes
from stepwell.routing.trail import Attempt, Trail
from stepwell.routing.verdict import Outcome, Verdict
from stepwell.routing.waterfall import Deliver, GiveUp, Pause, Reserve, Send, Waterfall
from stepwell.upstream.client import Endpoint, Patience, Reply
from stepwell.upstream.relay import DONE, Relay
from stepwell.upstream.resume import Splice
from stepwell.waiting import WaitingRoom

# Before the second pass: long enough for a connection or a worker to come back, short beside any
# model's answer, and never the same for requests that failed together.
SECOND_PASS_PAUSE: Final = (0.1, 0.5)

# The trail's words are a sentence or two for people, not a page.
LONGEST_WORDS: Final = 200

# A 503 without a known reset still says when to try again; less than a second is a hammer.
LEAST_RETRY_AFTER: Final = 1.0
UNKNOWN_RETRY_AFTER: Final = 5.0

# What a call comes to that is cancelled: the client left, or the request's time is up.
_CUT_SHORT: Final = Reply(Verdict(Outcome.ABANDONED), detail="given up")


@dataclass(slots=True)
class Call:
    """One request on its way.

    Attributes:
        request: What the client sent.
        steps: Where it may go.
        arrived: Monotonic time of its arrival.
        trail: What has been tried.
        doing: What it waits for now, for the comments that keep a connection alive.
        splice: What makes its answer part of a stream that broke; None if it is no continuation.
        origin: The client's request, if this is a continuation.
    """

    request: ChatRequest
    steps: Sequence[Step]
    arrived: float
    trail: Trail = field(default_factory=Trail)
    doing: str = "quota"
    splice: Splice | None = None
    origin: ChatRequest | None = None


class Answer:
    """A reply that goes to the client: whole in `body`, or as `pieces()` of a stream.

    Use it as an async context manager: leaving it settles the quota and lets go of the upstream,
    wherever the stream stands.

    Attributes:
        step: Who answers.
        trail: How it came to that.
        body: The whole completion; empty for a stream.
    """

    def __init__(self, dispatcher: "Dispatcher", call: Call, move: Send, reply: Reply) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self._move = move
        self._stream = reply.stream
        self.step = move.step
        self.trail = call.trail
        self.body = reply.body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._stream is not None:
            self._settle(Outcome.ABANDONED)
            await self._stream.response.aclose()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream, whole events at a time, to its true end.

        Raises:
            StreamBroken: It broke after content and no other model could go on.
        """
        assert self._stream is not None
        relay = self._stream.relay
        # A generator left behind is closed by a task of the event loop's, at some later time.
        async with aclosing(relay.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        if not relay.broken:
            self._settle(Outcome.ANSWER)
            if not relay.is_done:
                yield DONE
            return
        self._settle(Outcome.BROKEN)
        await self._stream.response.aclose()
        async with aclosing(self._dispatcher.go_on(self._call, self._move, relay)) as more:
            async for piece in more:
                yield piece

    async def drain(self) -> None:
        """After the last piece was sent: let the upstream end, so that its connection is kept."""
        if self._stream is not None:
            await self._stream.relay.drain()

    def _settle(self, outcome: Outcome) -> None:
        """Tell the ledger what the stream came to; the first word counts."""
        assert self._stream is not None
        relay = self._stream.relay
        tokens = relay.tokens
        if tokens is None and outcome is not Outcome.ANSWER:
            tokens = self._call.request.prompt_tokens + relay.events
        self._dispatcher.ledger.settle(self._move.reservation, Verdict(outcome).report(tokens))


class Dispatcher:
    """Carries requests down their chains.

    Args:
        clock: For all time.
        ledger: Who has room.
        endpoints: By account.
        patience: How long one attempt may take, for a step.
        total: Seconds until an answer must have begun.
        resume: Let another model go on with a broken stream.
        redact: Takes secrets out of a text.
        observers: Called with each Attempt when it is over.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        endpoints: Mapping[str, Endpoint],
        patience: Callable[[Step], Patience],
        total: float,
        resume: bool,
        redact: Callable[[str], str],
        observers: Iterable[Callable[[Attempt], object]],
    ) -> None:
        self.ledger = ledger
        self._clock = clock
        self._endpoints = endpoints
        self._patience = patience
        self._total = total
        self._resume = resume
        self._redact = redact
        self._observers = observers
        self._sizes = Sizes()
        self._waiting = WaitingRoom(clock)
        ledger.subscribe(self._waiting.changed)

    async def descend(self, call: Call) -> Answer:
        """Return the first answer that the call's steps give.

        Raises:
            RequestRejected: Providers refuse the request itself.
            AllProvidersExhausted: Nothing could serve, or not in time.
        """
        steps = self._sizes.fitting(call.steps, call.request.tokens)
        waterfall: Waterfall[tuple[Send, Reply]] = Waterfall(steps)
        try:
            async with Deadline(self._clock, self._total):
                end = await self._walk(call, waterfall)
        except TimeoutError:
            held = waterfall.best_so_far()
            end = GiveUp(None) if held is None else Deliver(held)
        if isinstance(end, GiveUp):
            raise await self._exhausted(call, end.exhausted)
        move, reply = end.reply
        if reply.verdict.rule.ended is Ended.SUCCESS or reply.verdict.outcome is Outcome.EMPTY:
            return Answer(self, call, move, reply)
        raise self._rejected(call, reply)

    async def _walk(
        self, call: Call, waterfall: Waterfall[tuple[Send, Reply]]
    ) -> Deliver[tuple[Send, Reply]] | GiveUp:
        move = waterfall.start()
        while True:
            match move:
                case Reserve(targets):
                    room = await self._room(call, targets)
                    if isinstance(room, Exhausted):
                        move = waterfall.exhausted(room)
                    else:
                        move = waterfall.reserved(room)
                case Send(step):
                    call.doing = step.name
                    reply = await self._send(call, move)
                    move = waterfall.judged(reply.verdict, (move, reply))
                case Pause():
                    call.doing = "a second try"
                    await self._clock.sleep(random.uniform(*SECOND_PASS_PAUSE))  # noqa: S311 - jitter
                    move = waterfall.rested()
                case _:
                    return move

    async def _room(self, call: Call, targets: Sequence[Reservable]) -> Reservation | Exhausted:
        """Take room at the first of these that has it; wait while evidence is on its way."""
        while True:
            seen = self._waiting.changes
            room = await self.ledger.reserve(targets, call.request.tokens, arrived=call.arrived)
            if not isinstance(room, Wait):
                return room
            call.doing = "quota"
            since = self._clock.monotonic()
            await self._waiting.wait(seen, room.until)
            call.trail.waited += self._clock.monotonic() - since

    async def _send(self, call: Call, move: Send) -> Reply:
        """Call one upstream and settle, unless a stream is open, which settles at its end."""
        started = self._clock.monotonic()
        reservation = move.reservation
        reply = _CUT_SHORT
        try:
            reply = await self._endpoints[move.target.account].attempt(
                call.request,
                move.step,
                self._patience(move.step),
                lambda readings: self.ledger.observe(reservation, readings),
            )
            return reply
        finally:
            self._record(call, move, reply, self._clock.monotonic() - started)

    def _record(self, call: Call, move: Send, reply: Reply, seconds: float) -> None:
        verdict = reply.verdict
        words = self._words(reply)
        is_open = reply.stream is not None and verdict.outcome is Outcome.ANSWER
        if not is_open:
            report = verdict.report(reply.tokens, words)
            self.ledger.settle(move.reservation, replace(report, was_sent=reply.was_sent))
        if verdict.outcome is Outcome.TOO_LARGE:
            self._sizes.refused(move.target.key, call.request.tokens)
        elif verdict.outcome is Outcome.ANSWER:
            self._sizes.served(move.target.key, call.request.tokens)
        attempt = Attempt(
            target=move.step.name,
            account=move.target.account,
            outcome=verdict.outcome,
            status=reply.status,
            seconds=seconds,
            delay=verdict.hint.delay,
            words=words,
        )
        call.trail.attempts.append(attempt)
        for observe in self._observers:
            observe(attempt)

    def _words(self, reply: Reply) -> str:
        """Return the provider's words, redacted before they are cut: half a key is not found."""
        said = error_of(reply.error)
        words = said.message if said is not None and said.message else reply.detail
        return " ".join(self._redact(words).split())[:LONGEST_WORDS]

    async def go_on(self, call: Call, broken: Send, relay: Relay) -> AsyncGenerator[bytes, None]:
        """Let another model go on where a stream broke, if that can be done honestly.

        Where a continuation breaks as well, the next one goes on inside of it, and the outermost
        splices them all.

        Raises:
            StreamBroken: It can't, or all that could have broken too.
        """
        splice = call.splice or Splice(relay.kept or (), relay.text())
        can = self._resume and relay.kept is not None and splice.text
        steps = _prefilled(call.steps, broken) if can else []
        if not steps:
            raise self._broken(relay)
        splice.resume(prompt=call.request.prompt_tokens, completion=relay.events)
        try:
            answer = await self.descend(self._onward(call, steps, splice))
        except (AllProvidersExhausted, RequestRejected) as error:
            raise self._broken(relay) from error
        async with answer, aclosing(answer.pieces()) as pieces:
            yield f": resumed by {answer.step.name}\n\n".encode("ascii", "replace")
            async for piece in pieces:
                if spliced := piece if call.splice else splice.feed(piece):
                    yield spliced

    def _onward(self, call: Call, steps: Sequence[Step], splice: Splice) -> Call:
        origin = call.origin or call.request
        return Call(
            origin.continued(splice.text, splice.spent),
            steps,
            self._clock.monotonic(),
            call.trail,
            splice=splice,
            origin=origin,
        )

    def _broken(self, relay: Relay) -> StreamBroken:
        error = error_of(relay.error)
        detail = f": {self._redact(error.message)}" if error and error.message else "."
        return StreamBroken(f"The provider's stream broke off ({relay.broken}){detail}")

    def _rejected(self, call: Call, reply: Reply) -> RequestRejected:
        said = error_of(reply.error) or BodyError()
        too_large = reply.verdict.outcome is Outcome.TOO_LARGE
        error = {
            "message": self._redact(said.message or "The provider refused the request."),
            "type": self._redact(said.type or RequestRejected.type),
            "param": self._redact(said.param) or None,
            "code": "context_length_exceeded" if too_large else self._redact(said.code) or None,
        }
        return RequestRejected(reply.status or 400, error, call.trail)

    async def _exhausted(self, call: Call, last: Exhausted | None) -> AllProvidersExhausted:
        blocks = await self._blocks(call, last)
        call.trail.blocks = tuple(blocks.values())
        return AllProvidersExhausted(
            "No provider of the chain can serve this request now.",
            trail=call.trail,
            retry_after=max(LEAST_RETRY_AFTER, self._soonest(call, blocks)),
        )

    async def _blocks(self, call: Call, last: Exhausted | None) -> dict[str, Block]:
        """Return what stands in the way of each target, those just tried included."""
        statuses = await self.ledger.snapshot()
        found = {status.key: status.block for status in statuses if status.block is not None}
        found |= {block.key: block for block in (last.blocks if last else ())}
        keys = [target.key for step in call.steps for target in step.targets]
        return {key: found[key] for key in keys if key in found}

    def _soonest(self, call: Call, blocks: Mapping[str, Block]) -> float:
        """Return the seconds until some target may serve; a guess where nobody can tell."""
        now = self._clock.monotonic()
        ends = [block.until for block in blocks.values()]
        waits = [end - now for end in ends if end is not None]
        # After an accident, and behind a block that only an event ends. A target for which the
        # request is too large is open too, but not for this request.
        fitting = self._sizes.fitting(call.steps, call.request.tokens)
        is_open = any(target.key not in blocks for step in fitting for target in step.targets)
        if is_open or None in ends or not waits:
            waits.append(UNKNOWN_RETRY_AFTER)
        return min(waits)


def _prefilled(steps: Sequence[Step], broken: Send) -> list[Step]:
    """Return the steps that continue an assistant's message, what just broke off last."""
    able = [step for step in steps if step.prefill]
    others = [
        replace(step, targets=tuple(t for t in step.targets if t is not broken.target))
        for step in able
    ]
    again = [
        replace(step, targets=(broken.target,)) for step in able if broken.target in step.targets
    ]
    return [step for step in (*others, *again[:1]) if step.targets]
