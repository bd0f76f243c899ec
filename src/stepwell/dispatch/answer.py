"""Answer: one target's reply on its way to the client."""

import asyncio
from typing import Final

import msgspec

from stepwell.chat import ChatRequest
from stepwell.quota.ledger import Ledger
from stepwell.routing.verdict import Outcome, Verdict
from stepwell.routing.waterfall import Send
from stepwell.upstream.client import OpenStream, Reply
from stepwell.upstream.relay import DONE
from stepwell.upstream.sink import Sink

# The task's name; without one Python makes up a new one each time.
_POURING: Final = "stepwell-stream"

# What a stream comes to.
_ENDS: Final = {
    outcome: Verdict(outcome) for outcome in (Outcome.ANSWER, Outcome.BROKEN, Outcome.ABANDONED)
}


class Answer(msgspec.Struct):
    """One target's reply: a whole body, or a stream to where it ends or breaks.

    A stream holds quota and its upstream: whoever takes one closes it.

    Attributes:
        ledger: Is told what a stream came to.
        request: What the target was asked.
        move: Which target it is, and the reservation.
        reply: What it answered.
        is_settled: The ledger was told.
    """

    ledger: Ledger
    request: ChatRequest
    move: Send
    reply: Reply
    is_settled: bool = False

    @property
    def tokens(self) -> int | None:
        """Total tokens as the provider counted so far; None if it did not say."""
        reply = self.reply
        return reply.tokens if reply.stream is None else reply.stream.relay.tokens

    @property
    def stream(self) -> OpenStream:
        """The stream, of one that is."""
        assert self.reply.stream is not None
        return self.reply.stream

    async def pour(self, sink: Sink) -> bytes:
        """Write the stream, whole events at a time, to where it ends or breaks.

        Returns:
            The last of it, which is to be sent together with the end; nothing where it broke.
        """
        stream = self.stream
        relay, upstream = stream.relay, stream.answer
        last = relay.ahead()
        if not relay.is_done:
            if last:
                await sink.write(last)
            # Each event that is read wakes all frames of a task down to the one that waits, and around
            # this one stand those of the server, the host and ourselves. So it gets a task of its own,
            # unless the sink takes nearly all of them by itself, or the upstream is bound to this task.
            pouring, stays = relay.pour(sink), sink.pushes or upstream.is_bound
            last = await (pouring if stays else asyncio.create_task(pouring, name=_POURING))
        if relay.broken:
            self._settle(Outcome.BROKEN)
            await upstream.aclose()
            return b""
        self._settle(Outcome.ANSWER)
        return last if relay.is_done else last + DONE

    async def drain(self) -> None:
        """After the last piece was sent: let the upstream end, so that its connection is kept."""
        stream = self.stream
        if not stream.answer.is_complete:
            await stream.relay.drain()

    async def aclose(self) -> None:
        """Settle the quota and let go of the upstream, wherever the stream stands."""
        self._settle(Outcome.ABANDONED)
        await self.stream.answer.aclose()

    def _settle(self, outcome: Outcome) -> None:
        """Tell the ledger what the stream came to; the first word counts."""
        if self.is_settled:
            return
        self.is_settled = True
        tokens = self.tokens
        if tokens is None and outcome is not Outcome.ANSWER:
            tokens = self.request.prompt_tokens + self.stream.relay.events
        self.ledger.settle(self.move.reservation, _ENDS[outcome].report(tokens))
