"""Answer: one target's reply on its way to the client."""

import asyncio
from typing import Final

from stepwell.chat import ChatRequest
from stepwell.quota.ledger import Ledger
from stepwell.routing.verdict import Outcome, Verdict
from stepwell.routing.waterfall import Send
from stepwell.upstream.client import Reply
from stepwell.upstream.relay import DONE, Relay
from stepwell.upstream.sink import Sink

# The task's name; without one Python makes up a new one each time.
_POURING: Final = "stepwell-stream"

# What a stream comes to.
_ENDS: Final = {
    outcome: Verdict(outcome) for outcome in (Outcome.ANSWER, Outcome.BROKEN, Outcome.ABANDONED)
}


class Answer:
    """One target's reply: whole in `body`, or a stream to where it ends or breaks.

    A stream holds quota and its upstream: whoever takes one closes it.

    Args:
        ledger: Is told what a stream came to.
        request: What the target was asked.
        move: Which target it is, and the reservation.
        reply: What it answered.

    Attributes:
        step: Who answers.
        target: With which of its accounts.
        prompt_tokens: Estimated tokens of the prompt that it was given.
        body: The whole completion; empty for a stream.
    """

    def __init__(self, ledger: Ledger, request: ChatRequest, move: Send, reply: Reply) -> None:
        self._ledger = ledger
        self._reservation = move.reservation
        self._stream = reply.stream
        self._tokens = reply.tokens
        self._is_settled = False
        self.step = move.step
        self.target = move.target
        self.prompt_tokens = request.prompt_tokens
        self.body = reply.body

    @property
    def tokens(self) -> int | None:
        """Total tokens as the provider counted so far; None if it did not say."""
        return self._tokens if self._stream is None else self._stream.relay.tokens

    @property
    def relay(self) -> Relay:
        """What relays the stream."""
        assert self._stream is not None
        return self._stream.relay

    async def pour(self, sink: Sink) -> bytes:
        """Write the stream, whole events at a time, to where it ends or breaks.

        Returns:
            The last of it, which is to be sent together with the end; nothing where it broke.
        """
        assert self._stream is not None
        relay = self._stream.relay
        last = relay.ahead()
        if not relay.is_done:
            if last:
                await sink.write(last)
            # In a task of its own, because each event that it reads wakes all frames of a task down to
            # the one that waits, and around this one stand those of the server, the host and ourselves.
            # But only the task that began to read may go on where the stream is bound to it.
            pouring = relay.pour(sink)
            is_bound = self._stream.answer.is_bound
            last = await (pouring if is_bound else asyncio.create_task(pouring, name=_POURING))
        return last + await self._end()

    async def _end(self) -> bytes:
        """After the relay's last piece: settle, and return what a whole stream still lacks."""
        assert self._stream is not None
        if self.relay.broken:
            self._settle(Outcome.BROKEN)
            await self._stream.aclose()
            return b""
        self._settle(Outcome.ANSWER)
        return b"" if self.relay.is_done else DONE

    async def drain(self) -> None:
        """After the last piece was sent: let the upstream end, so that its connection is kept."""
        if self._stream is not None and not self._stream.answer.is_complete:
            await self._stream.relay.drain()

    async def aclose(self) -> None:
        """Settle the quota and let go of the upstream, wherever the stream stands."""
        if self._stream is not None:
            self._settle(Outcome.ABANDONED)
            await self._stream.aclose()

    def _settle(self, outcome: Outcome) -> None:
        """Tell the ledger what the stream came to; the first word counts."""
        if self._is_settled:
            return
        self._is_settled = True
        tokens = self.tokens
        if tokens is None and outcome is not Outcome.ANSWER:
            tokens = self.prompt_tokens + self.relay.events
        self._ledger.settle(self._reservation, _ENDS[outcome].report(tokens))
