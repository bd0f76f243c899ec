"""Relay: one upstream's stream, from its first byte to its end.

`look_ahead` reads until the first meaningful delta and holds what came before; until then a failure is
a silent step down. After that, events go out as the bytes that came. An event is decoded only if it
may carry an error, a finish or usage.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

import httpx
import msgspec

from stepwell.clock import Clock, Deadline
from stepwell.upstream.completion import decode, read_content, text_of
from stepwell.upstream.sse import EventSplitter, EventTooLarge, event_data

# How much may come before the first meaningful delta. Role preambles and pings are a few hundred
# bytes; a provider that sends this much without a word is let through rather than held back.
MAX_HELD_EVENTS: Final = 512
MAX_HELD_BYTES: Final = 1024 * 1024

# After its last event a provider ends the body at once, as a rule in the same packet; waiting for that
# keeps the connection for the next request.
DRAIN_SECONDS: Final = 0.25

DONE: Final = b"data: [DONE]\n\n"

# Inside a JSON string these quotes would be escaped, so that text that speaks of errors never matches.
_MARKERS: Final = re.compile(
    rb'"(?:error|usage|base_resp)"\s*:\s*[^n\s]|"finish_reason"\s*:\s*"|"object"\s*:\s*"error"'
    rb"|\[DONE\]"
)


class Relay:
    """See the module's text.

    Args:
        read: Returns the next bytes of the body; none at its end.
        clock: For the idle timeout.
        idle_timeout: Seconds of silence after which a stream is broken.
        drop_usage: The usage event was not asked for by the client.
        every_choice: Decode every event, because several choices must all finish.
        keep: Keep what was sent, so that another model could go on after it.

    Attributes:
        is_answer: Something meaningful came, or a finish that says why nothing did.
        finished: A finish reason came.
        events: How many events were relayed, about one token each.
        tokens: Total tokens as the provider counted; None if it did not say.
        broken: Why the stream ended before its finish; empty while it has not.
        error: The decoded event that held an error, if one did.
        error_status: The status that it stands for.
        is_done: `[DONE]` came and was relayed.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        *,
        clock: Clock,
        idle_timeout: float,
        drop_usage: bool,
        every_choice: bool,
        keep: bool,
    ) -> None:
        self._read_body = read
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._drop_usage = drop_usage
        self._every_choice = every_choice
        self._splitter = EventSplitter()
        self._held: list[bytes] = []
        self._open_choices: set[int] = set()
        self._eof = False
        self.kept: list[bytes] | None = [] if keep else None
        self.events = 0
        self.tokens: int | None = None
        self.broken = ""
        self.error: object = None
        self.error_status: int | None = None
        self.finished = False
        self.is_answer = False
        self.is_done = False

    async def look_ahead(self) -> None:
        """Read until the stream is an answer, has failed, or has ended; nothing is sent yet."""
        size = 0
        while not (self.is_answer or self._has_ended()):
            for event in await self._read():
                size += len(event)
                if not self._has_ended() and event_data(event) is not None and self._take(event):
                    self._held.append(event)
            if size > MAX_HELD_BYTES or len(self._held) > MAX_HELD_EVENTS:
                self.is_answer = True

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield whole events in the bytes that came, until the stream has ended or broken."""
        if self._held:
            held, self._held = self._held, []
            yield self._out(held)
        try:
            async with Deadline(self._clock, self._idle_timeout) as idle:
                while not self._has_ended():
                    events = await self._read()
                    idle.hold()  # the reader's pace is no silence of the provider's
                    if piece := self._out([event for event in events if self._passes(event)]):
                        yield piece
                    idle.extend()
        except TimeoutError:
            self.broken = "stalled"
        if self._is_finished:
            self.broken = ""  # the answer is whole, whatever became of the connection after it
        elif not self.broken:
            self.broken = "truncated"

    async def drain(self) -> None:
        """Read the little that may follow the last event, so that the connection can be kept."""
        try:
            async with Deadline(self._clock, DRAIN_SECONDS):
                while not (self._eof or self.broken):
                    await self._read()
        except TimeoutError:
            return

    def text(self) -> str:
        """Return the plain text that was sent, for a continuation; needs `keep`.

        It is empty as well if nonsense was sent: nobody can go on after that.
        """
        datas = (event_data(event) for event in self.kept or ())
        try:
            bodies = [decode(data) for data in datas if data and data != b"[DONE]"]
        except msgspec.DecodeError:
            return ""
        return "".join(part for body in bodies for part in text_of(body))

    def _has_ended(self) -> bool:
        return bool(self.broken) or self.is_done or self._eof

    @property
    def _is_finished(self) -> bool:
        return self.finished and not (self._every_choice and self._open_choices)

    async def _read(self) -> Sequence[bytes]:
        """Return the next whole events; at the end of the body, what is left of it."""
        try:
            if chunk := await self._read_body():
                return self._splitter.feed(chunk)
        except (httpx.HTTPError, httpx.StreamError, OSError, EventTooLarge) as error:
            self.broken = f"connection lost ({type(error).__name__})"
            return ()
        self._eof = True
        rest = self._splitter.rest()
        if rest.endswith((b"\r\r", b"\n\r")):  # whole: the splitter waited for an LF after the CR
            return [rest]
        return [rest.rstrip(b"\r\n") + b"\n\n"] if rest.strip() else ()

    def _passes(self, event: bytes) -> bool:
        """Whether an event goes out; looks into it only if it may carry what matters."""
        if self.broken or self.is_done:
            return False
        # What is left at the end of the body may be half an event that happens to end in a brace.
        if self._every_choice or self._eof or _MARKERS.search(event):
            return self._take(event)
        data = event_data(event)
        if data is not None and not (data.startswith(b"{") and data.endswith(b"}")):
            self.broken = "malformed event"
            return False
        return True

    def _take(self, event: bytes) -> bool:
        """Take in what an event says; return whether it is one for the client."""
        data = event_data(event)
        if data is None:
            return True
        if data == b"[DONE]":
            self.is_done = self._is_finished
            self.broken = "" if self.is_done else "truncated"
            return self.is_done
        try:
            body = decode(data)
            content = read_content(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.broken = "malformed event"
            return False
        if content.error_status is not None:
            self.broken, self.error, self.error_status = "error", body, content.error_status
            return False
        self.is_answer = self.is_answer or content.is_answer
        self.finished = self.finished or bool(content.finishes)
        self._open_choices = (self._open_choices | content.indexes) - content.finished
        self.tokens = content.tokens if content.tokens is not None else self.tokens
        return not (content.is_usage_only and self._drop_usage)

    def _out(self, events: list[bytes]) -> bytes:
        self.events += len(events)
        if self.kept is not None:
            self.kept += events
        return b"".join(events)
