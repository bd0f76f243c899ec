"""Continuation: other models go on where a stream broke, as long as that can be done honestly."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import msgspec

from stepwell.clock import Clock
from stepwell.dispatch.answer import Answer
from stepwell.dispatch.call import Call
from stepwell.dispatch.end import Redact, broken_stream
from stepwell.errors import AllProvidersExhausted, BadRequest, RequestRejected
from stepwell.routing.chain import Step, Target
from stepwell.upstream.resume import Splice
from stepwell.upstream.sink import Sink

# Streams of one target that may break within one answer. The second chance is for a chain whose other
# steps fail before a word; whoever breaks twice in one answer will hardly finish it.
MOST_BREAKS: Final = 2


class Continuation:
    """What follows where a call's stream broke.

    Each model that goes on begins with the client's own request and all text that the client has so
    far, so that a continuation that breaks is no other case than the first stream.

    Args:
        call: The request.
        broken: Whose stream broke.
        is_allowed: The settings let another model go on.
        clock: For all time.
        redact: Takes secrets out of a text.
        descend: Finds who serves a call.
    """

    def __init__(
        self,
        call: Call,
        broken: Answer,
        *,
        is_allowed: bool,
        clock: Clock,
        redact: Redact,
        descend: Callable[[Call], Awaitable[Answer]],
    ) -> None:
        self._call = call
        self._first = broken
        self._is_allowed = is_allowed
        self._clock = clock
        self._redact = redact
        self._descend = descend
        self._splice = Splice(broken.stream.relay.kept or (), broken.stream.relay.text())
        self._broke: list[Target] = []

    async def pour(self, sink: Sink) -> bytes:
        """Write more events of the first stream, to its true end.

        Returns:
            The last of them, which is to be sent together with the end.

        Raises:
            StreamBroken: Nobody can go on, or all that could have broken too.
        """
        spliced = _Spliced(self._splice, sink)
        answer, last = self._first, b""
        while answer.stream.relay.broken:
            answer = await self._after(answer)
            async with aclosing(answer):
                await sink.write(_resumed_by(answer.move.step))
                last = self._splice.feed(await answer.pour(spliced))
        return last

    async def _after(self, broken: Answer) -> Answer:
        """Return who goes on; see `pour`."""
        self._broke.append(broken.move.target)
        steps = self._steps(broken)
        if not steps:
            raise broken_stream(broken.stream.relay, self._redact)
        onward = self._onward(broken, steps)
        try:
            return await self._descend(onward)
        except (AllProvidersExhausted, RequestRejected, BadRequest) as error:
            raise broken_stream(broken.stream.relay, self._redact) from error

    def _steps(self, broken: Answer) -> list[Step]:
        """Return the steps that may go on; none if what was sent cannot be gone on with."""
        if self._is_allowed and broken.stream.relay.kept is not None and self._splice.text:
            return _able_to_go_on(self._call.steps, self._broke)
        return []

    def _onward(self, broken: Answer, steps: Sequence[Step]) -> Call:
        """Return the call by which another model goes on after all text so far."""
        splice, call = self._splice, self._call
        splice.resume(prompt=broken.request.prompt_tokens, completion=broken.stream.relay.events)
        call.doing = "a model that goes on"
        return msgspec.structs.replace(
            call,
            request=call.request.continued(splice.text, splice.spent),
            steps=steps,
            arrived=self._clock.monotonic(),
        )


class _Spliced:
    """A sink of the events of other streams, which go on as events of the first one."""

    pushes = False

    def __init__(self, splice: Splice, sink: Sink) -> None:
        self._splice = splice
        self._sink = sink

    def push(self, events: bytes) -> bool:
        """See Sink: nothing can be taken before it is spliced."""
        return False

    async def write(self, events: bytes) -> None:
        if spliced := self._splice.feed(events):
            await self._sink.write(spliced)


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
