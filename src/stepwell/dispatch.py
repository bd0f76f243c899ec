"""The one loop that awaits: asks `routing` for a move, carries it out, reports back.

Buffered and streamed requests share it. It ends with an Answer, or raises RequestRejected or
AllProvidersExhausted; a cancellation at any await leaves nothing reserved and nothing open.
"""

import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from types import TracebackType
from typing import Final, Self

from stepwell.chat import ChatRequest
from stepwell.clock import Clock, Deadline
from stepwell.errors import (
    AllProvidersExhausted,
    BadRequest,
    QueueFull,
    RequestRejected,
    StepwellError,
    StreamBroken,
)
from stepwell.observe import Event, Finished, Observer, end_of
from stepwell.providers.catalogue import choosing_fields
from stepwell.providers.dialects import BodyError, error_of
from stepwell.quota.ledger import Block, Ended, Exhausted, Ledger, Reservable, Reservation, Wait
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Step, Target
from stepwell.routing.explanation import Explanation, explained, rejected
from stepwell.routing.fit import Needs, fit, refuse_choosing
from stepwell.routing.line import Place
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

# A request that can wait may come by such a target again and again; its pauses double up to 16 times
# that, about what the circuit breaker begins with.
MOST_DOUBLINGS: Final = 4

# The trail's words are a sentence or two for people, not a page.
LONGEST_WORDS: Final = 200

# Streams of one target that may break within one answer. The second chance is for a chain whose other
# steps fail before a word; whoever breaks twice in one answer will hardly finish it.
MOST_BREAKS: Final = 2

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
        doing: What it is about now; see `Dispatcher.doing`.
        client: Whose it is: clients take turns in the queue.
        max_wait: Seconds that it may wait for quota in all.
        free_only: It must cost nothing.
        number: Its place among all requests by arrival; the dispatcher gives it.
        place: Where it stands in the queue now.
        rests: How often it paused before it went down again.
        was_turned_away: It could have waited, but the queue was full.
        route: The name by which it found its steps, for records.
        is_continuation: It goes on where another call's stream broke, and is no request of its own.
    """

    request: ChatRequest
    steps: Sequence[Step]
    arrived: float
    trail: Trail = field(default_factory=Trail)
    doing: str = "quota"
    client: str = ""
    max_wait: float = 0.0
    free_only: bool = False
    number: int | None = None
    place: Place | None = None
    rests: int = 0
    was_turned_away: bool = False
    route: str = ""
    is_continuation: bool = False


class Answer:
    """A reply that goes to the client: whole in `body`, or as `pieces()` of a stream.

    Use it as an async context manager: leaving it settles the quota and lets go of the upstream,
    wherever the stream stands.

    Attributes:
        step: Who answers.
        target: With which of its accounts.
        prompt_tokens: Estimated tokens of the prompt that it was given.
        trail: How it came to that.
        body: The whole completion; empty for a stream.
    """

    def __init__(self, dispatcher: "Dispatcher", call: Call, move: Send, reply: Reply) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self._move = move
        self._stream = reply.stream
        self._tokens = reply.tokens
        self.step = move.step
        self.target = move.target
        self.prompt_tokens = call.request.prompt_tokens
        self.trail = call.trail
        self.body = reply.body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._stream is not None:
                self._settle(Outcome.ABANDONED)
                await self._stream.response.aclose()
        finally:
            self._dispatcher.finish(self._call, exc, self)

    @property
    def tokens(self) -> int | None:
        """Total tokens as the provider counted so far; None if it did not say."""
        return self._tokens if self._stream is None else self._stream.relay.tokens

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream, whole events at a time, to its true end.

        Raises:
            StreamBroken: It broke after content and no other model could go on.
        """
        # A generator left behind is closed by a task of the event loop's, at some later time.
        async with aclosing(self.relayed()) as pieces:
            async for piece in pieces:
                yield piece
        if self.relay.broken:
            async with aclosing(self._dispatcher.go_on(self._call, self)) as more:
                async for piece in more:
                    yield piece

    async def relayed(self) -> AsyncGenerator[bytes, None]:
        """Yield what this one upstream sends, to its end or to where it breaks."""
        assert self._stream is not None
        relay = self.relay
        async with aclosing(relay.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        if relay.broken:
            self._settle(Outcome.BROKEN)
            await self._stream.response.aclose()
            return
        self._settle(Outcome.ANSWER)
        if not relay.is_done:
            yield DONE

    @property
    def relay(self) -> Relay:
        """What relays the stream."""
        assert self._stream is not None
        return self._stream.relay

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
        queue_size: Requests that may wait for quota at once.
        resume: Let another model go on with a broken stream.
        redact: Takes secrets out of a text.
        observers: Told of every attempt and of every request's end.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        endpoints: Mapping[str, Endpoint],
        patience: Callable[[Step], Patience],
        total: float,
        queue_size: int,
        resume: bool,
        redact: Callable[[str], str],
        observers: Iterable[Observer],
    ) -> None:
        self.ledger = ledger
        self._clock = clock
        self._endpoints = endpoints
        self._patience = patience
        self._total = total
        self._resume = resume
        self._redact = redact
        self._observers = tuple(observers)
        self._sizes = Sizes()
        self._numbers = count()
        self._waiting = WaitingRoom(clock, ledger, queue_size)

    async def descend(self, call: Call) -> Answer:
        """Return the first answer that the call's steps give.

        Raises:
            BadRequest: No step can ever serve it.
            RequestRejected: Providers refuse the request itself.
            AllProvidersExhausted: Nothing could serve, or not in time.
        """
        try:
            return await self._descend(call)
        except BaseException as error:
            self.finish(call, error)
            raise

    def finish(self, call: Call, error: BaseException | None, answer: Answer | None = None) -> None:
        """Tell the observers that a request is over; a continuation is a part of another one.

        Args:
            call: The request.
            error: What it ended with; None if it was served.
            answer: What was served, or begun.
        """
        if call.is_continuation:
            return
        seconds = self._clock.monotonic() - call.arrived
        request, trail = call.request, call.trail
        self._tell(
            Finished(
                arrived=self._clock.time() - seconds,
                seconds=seconds,
                route=call.route,
                client=call.client,
                stream=request.stream,
                prompt_tokens=request.prompt_tokens,
                tokens=request.tokens,
                max_tokens=request.max_tokens,
                needs=request.capabilities,
                free_only=call.free_only,
                max_wait=call.max_wait,
                waited=trail.waited,
                end=end_of(error),
                target="" if answer is None else answer.step.name,
                account="" if answer is None else answer.target.account,
                used=None if answer is None else answer.tokens,
                retry_after=getattr(error, "retry_after", None),
                attempts=tuple(trail.attempts),
            )
        )

    def _tell(self, event: Event) -> None:
        for observe in self._observers:
            observe(event)

    async def _descend(self, call: Call) -> Answer:
        """See `descend`."""
        call.steps = self._fitting(call)
        if call.number is None:
            call.number = next(self._numbers)
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

    def _fitting(self, call: Call) -> list[Step]:
        """Return the steps that can serve a request at all.

        Raises:
            BadRequest: None can.
        """
        if call.free_only:
            refuse_choosing(filter(call.request.has, call.request.fields), choosing_fields())
        return fit(call.steps, _needs(call))

    async def explain(self, call: Call) -> Explanation:
        """Say what `descend` would do first; do nothing, and change nothing."""
        try:
            steps = self._sizes.fitting(self._fitting(call), call.request.tokens)
        except BadRequest as refusal:
            return rejected(call.steps, _needs(call), refusal)
        targets = [target for step in steps for target in step.targets]
        deadline = self._waits_until(call)
        seen = await self.ledger.preview(
            targets, call.request.tokens, arrived=call.arrived, waits_until=deadline
        )
        waits = not self._waiting.is_free(targets) or (seen.taken is None and deadline > -inf)
        return explained(call.steps, _needs(call), steps, targets, seen, waits=waits)

    def doing(self, call: Call) -> str:
        """Say what a request waits for, for the comments that keep its connection alive."""
        return call.doing if call.place is None else self._waiting.describe(call.place)

    async def _walk(
        self, call: Call, waterfall: Waterfall[tuple[Send, Reply]]
    ) -> Deliver[tuple[Send, Reply]] | GiveUp:
        move = waterfall.start()
        while True:
            match move:
                case Reserve(targets):
                    # What is held is delivered; nobody waits for something better.
                    may_wait = waterfall.best_so_far() is None
                    room = await self._room(call, targets, may_wait=may_wait)
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
                case GiveUp() if self._waits_until(call) > -inf:
                    room = await self._later(call, waterfall)
                    if isinstance(room, Exhausted):
                        return GiveUp(room)
                    move = waterfall.reserved(room)
                case _:
                    return move

    async def _room(
        self, call: Call, targets: Sequence[Reservable], *, may_wait: bool
    ) -> Reservation | Exhausted:
        """Take room at the first of these that has it; wait while evidence is on its way.

        A request that can wait for quota does so later, for its whole chain and not only for what
        is left of this pass.
        """
        patient = may_wait and not self._waiting.is_full
        place = self._place(call, targets, self._waits_until(call) if patient else -inf)
        room: Reservation | Wait | Exhausted = Wait(None, ())
        if self._waiting.is_free(targets):
            room = await self._waiting.ask(place)
        if not isinstance(room, Wait):
            return room
        if place.is_patient:
            return Exhausted(room.until, room.blocks)
        return await self._wait(call, place)

    async def _later(
        self, call: Call, waterfall: Waterfall[tuple[Send, Reply]]
    ) -> Reservation | Exhausted:
        """Wait for room anywhere in the chain; what was tried may be tried again."""
        await self._rest(call, waterfall)
        targets = waterfall.anew()
        if not targets:
            return Exhausted(None, ())
        call.was_turned_away = self._waiting.is_full
        deadline = -inf if call.was_turned_away else self._waits_until(call)
        return await self._wait(call, self._place(call, targets, deadline))

    async def _rest(self, call: Call, waterfall: Waterfall[tuple[Send, Reply]]) -> None:
        """Pause before a target that has just failed, if the ledger has nothing against it.

        An accident does not cool down at once, nor does a refusal with a told delay of nothing.
        """
        if waterfall.failed <= (await self._blocks(call, None)).keys():
            return
        call.doing = "a second try"
        longer = 2 ** min(call.rests, MOST_DOUBLINGS)
        call.rests += 1
        await self._clock.sleep(longer * random.uniform(*SECOND_PASS_PAUSE))  # noqa: S311 - jitter

    async def _wait(self, call: Call, place: Place) -> Reservation | Exhausted:
        since = self._clock.monotonic()
        call.place = place
        try:
            return await self._waiting.reserve(place)
        finally:
            call.place = None
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
        )

    def _waits_until(self, call: Call) -> float:
        """Return the monotonic time until which a request may wait for quota; -inf if it may not."""
        left = call.max_wait - call.trail.waited
        if left <= 0:
            return -inf
        return min(self._clock.monotonic() + left, call.arrived + self._total)

    async def _send(self, call: Call, move: Send) -> Reply:
        """Call one upstream and settle, unless a stream is open, which settles at its end."""
        reservation = move.reservation
        if call.free_only and move.step.paid:  # the last door: whatever led here, nothing is sent
            self.ledger.release(reservation)
            raise StepwellError(f"{move.step.name} costs money, and the request is free only.")
        started = self._clock.monotonic()
        reply = _CUT_SHORT
        told: list[Reading] = []

        def observe(readings: Sequence[Reading]) -> None:
            told.extend(readings)
            self.ledger.observe(reservation, readings)

        try:
            reply = await self._endpoints[move.target.account].attempt(
                call.request, move.step, self._patience(move.step), observe
            )
            return reply
        finally:
            self._record(call, move, reply, self._clock.monotonic() - started, told)

    def _record(
        self, call: Call, move: Send, reply: Reply, seconds: float, told: Sequence[Reading]
    ) -> None:
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
            began=self._clock.time() - seconds,
            tokens=reply.tokens,
            readings=verdict.hint.readings or tuple(told),
        )
        call.trail.attempts.append(attempt)
        self._tell(attempt)

    def _words(self, reply: Reply) -> str:
        """Return the provider's words, redacted before they are cut: half a key is not found."""
        said = error_of(reply.error)
        words = said.message if said is not None and said.message else reply.detail
        return " ".join(self._redact(words).split())[:LONGEST_WORDS]

    async def go_on(self, call: Call, broken: Answer) -> AsyncGenerator[bytes, None]:
        """Let other models go on where a stream broke, as long as that can be done honestly.

        Each begins with the client's own request and all text that the client has so far, so that a
        continuation that breaks is no other case than the first stream.

        Raises:
            StreamBroken: It can't, or all that could have broken too.
        """
        splice = Splice(broken.relay.kept or (), broken.relay.text())
        broke: list[Target] = []
        while broken.relay.broken:
            broke.append(broken.target)
            answer = await self._next(call, broken, splice, broke)
            async with answer, aclosing(answer.relayed()) as pieces:
                yield _resumed_by(answer.step)
                async for piece in pieces:
                    if spliced := splice.feed(piece):
                        yield spliced
            broken = answer

    async def _next(
        self, call: Call, broken: Answer, splice: Splice, broke: Sequence[Target]
    ) -> Answer:
        """Return the answer of the first that goes on; see `go_on`."""
        relay = broken.relay
        can = self._resume and relay.kept is not None and splice.text
        steps = _able_to_go_on(call.steps, broke) if can else []
        if not steps:
            raise self._broken(relay)
        splice.resume(prompt=broken.prompt_tokens, completion=relay.events)
        call.doing = "a model that goes on"
        request = call.request.continued(splice.text, splice.spent)
        onward = replace(
            call,
            request=request,
            steps=steps,
            arrived=self._clock.monotonic(),
            is_continuation=True,
        )
        try:
            return await self.descend(onward)
        except (AllProvidersExhausted, RequestRejected, BadRequest) as error:
            raise self._broken(relay) from error

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
        kind = QueueFull if call.was_turned_away else AllProvidersExhausted
        also = ", and the queue is full" if call.was_turned_away else ""
        return kind(
            f"No provider of the chain can serve this request now{also}.",
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


def _needs(call: Call) -> Needs:
    request = call.request
    return Needs(
        request.prompt_tokens, request.max_tokens or 0, request.capabilities, call.free_only
    )


def _resumed_by(step: Step) -> bytes:
    """Return the comment before a continuation; it says what headers cannot say any more."""
    paid = ": x-stepwell-paid: 1\n" if step.paid else ""
    return f": resumed by {step.name}\n{paid}\n".encode("ascii", "replace")


def _able_to_go_on(steps: Sequence[Step], broke: Sequence[Target]) -> list[Step]:
    """Return the steps that continue an assistant's message.

    A target whose stream broke comes after those whose did not, the last one last; after its second
    break it does not come any more, so that a stream ends however its providers behave.

    Args:
        steps: Of the chain.
        broke: Whose stream broke, in order.
    """
    able = [step for step in steps if step.prefill]
    fresh = [
        replace(step, targets=tuple(t for t in step.targets if t not in broke)) for step in able
    ]
    again = [
        replace(step, targets=(target,))
        for target in broke
        for step in able
        if target in step.targets and broke.count(target) < MOST_BREAKS
    ]
    return [step for step in (*fresh, *again) if step.targets]
