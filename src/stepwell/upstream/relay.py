"""Relay: one upstream's stream, from its first byte to its end.

`look_ahead` reads until the first meaningful delta and holds what came before; until then a failure is
a silent step down. After that, events go out as the bytes that came. An event is decoded only if it
may carry an error, a finish or usage.
"""

import math
import re
from collections.abc import Sequence
from typing import Final

import httpx
import msgspec

from stepwell.clock import Alarm, Clock, Deadline
from stepwell.upstream.completion import decode, glance, read_content, text_of
from stepwell.upstream.plain import PlainEvents, first_marker, plain_length
from stepwell.upstream.seam import Body, Tap
from stepwell.upstream.sink import Sink
from stepwell.upstream.sse import (
    CR,
    EventSplitter,
    EventTooLarge,
    event_data,
    events_in,
    is_one_data_line,
)

# How much may come before the first meaningful delta. Role preambles and pings are a few hundred
# bytes; a provider that sends this much without a word is let through rather than held back.
MAX_HELD_EVENTS: Final = 512
MAX_HELD_BYTES: Final = 1024 * 1024

# After its last event a provider ends the body at once, as a rule in the same packet; waiting for that
# keeps the connection for the next request.
DRAIN_SECONDS: Final = 0.25

# What reading a body may end with before its end.
BREAKS: Final = (httpx.HTTPError, httpx.StreamError, OSError)

DONE: Final = b"data: [DONE]\n\n"

# Comments and blank lines, by which providers keep a connection alive while they let wait (DeepSeek,
# OpenRouter); each end of a line by itself, so that no text makes the search slow.
_KEEP_ALIVE: Final = re.compile(rb"(?:[\r\n]|:[^\r\n]*+)*+")


def _lost(error: Exception) -> str:
    return f"connection lost ({type(error).__name__})"


class Relay:
    """See the module's text.

    Args:
        body: What is relayed.
        clock: For the idle timeout.
        idle_timeout: Seconds of silence after which a stream is broken.
        drop_usage: The usage event was not asked for by the client.
        every_choice: Decode every event, because several choices must all finish.
        keep: Keep what was sent, so that another model could go on after it.
        alarm: The timer that many streams share for their idle timeout; None for one of its own.

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
        body: Body,
        *,
        clock: Clock,
        idle_timeout: float,
        drop_usage: bool,
        every_choice: bool,
        keep: bool,
        alarm: Alarm | None = None,
    ) -> None:
        self._body = body
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._drop_usage = drop_usage
        self._every_choice = every_choice
        self._alarm = alarm
        self._splitter = EventSplitter()
        self._plain = PlainEvents()
        self._held: list[bytes] = []
        # What came together with the first meaningful event: as bytes, or cut into events already.
        self._rest = b""
        self._late: Sequence[bytes] = ()
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
        while self._rest or not self._eof:
            try:
                chunk = self._rest or await self._body.read()
            except BREAKS as error:
                self.broken = _lost(error)
                return
            self._eof = not chunk
            events, self._rest = self._first_of(chunk)
            for number, event in enumerate(events, 1):
                size += len(event)
                data = event_data(event)
                if data is not None and self._take(data):
                    self._held.append(event)
                if self._is_decided():
                    self._late = events[number:]
                    return
            if size > MAX_HELD_BYTES or len(self._held) > MAX_HELD_EVENTS:
                self.is_answer = True
            if self._is_decided():
                return

    async def pour(self, sink: Sink) -> bytes:
        """Write whole events in the bytes that came, until the stream has ended or broken.

        What came while it was looked ahead goes out before: see `ahead`.

        Args:
            sink: Takes them; its errors pass through.

        Returns:
            The last of them, with the `[DONE]`, for whoever can send it together with the end.
        """
        body, seconds, monotonic = self._body, self._idle_timeout, self._clock.monotonic
        is_even, has_ended = self._is_even(), self._has_ended()
        is_plain = self._plain.has
        idle = Deadline(self._clock, seconds, alarm=self._alarm)
        passes = self._passing(sink, idle)
        try:
            with idle:
                while not has_ended:
                    body.tap = passes if is_even and sink.pushes else None
                    try:
                        chunk = await body.read()
                    except BREAKS as error:
                        self.broken = _lost(error)
                        break
                    due = None
                    if is_even and is_plain(chunk):
                        piece = self._counted(chunk)
                    else:
                        if is_even and _KEEP_ALIVE.fullmatch(chunk):
                            due = idle.due  # the connection's sign of life, and not the model's
                        self._eof = not chunk
                        piece = self._relayed(chunk)
                        is_even, has_ended = self._is_even(), self._has_ended()
                        if self.is_done:
                            return piece
                    if piece:
                        idle.due = math.inf  # the writer's pace is no silence of the provider's
                        await sink.write(piece)
                    idle.due = monotonic() + seconds if due is None else due
        except TimeoutError:
            if not idle.has_passed:
                raise  # the writer's own
            self.broken = "stalled"
        finally:
            body.tap = None
        self._judge_end()
        return b""

    def _passing(self, sink: Sink, idle: Deadline) -> Tap:
        """Return what lets plain events through from one socket to the other, without a turn of a task.

        Nearly each event of each stream goes that way: this is the gateway's dearest function.
        """
        is_plain, push = self._plain.has, sink.push
        seconds, monotonic = self._idle_timeout, self._clock.monotonic

        def passes(chunk: bytes) -> bool:
            if not (is_plain(chunk) and push(chunk)):
                return False
            self._counted(chunk)
            idle.due = monotonic() + seconds
            return True

        return passes

    def ahead(self) -> bytes:
        """Return what came while it was looked ahead, as far as it goes out; once."""
        held, self._held = self._out(self._held), []
        if not (self._late or self._rest):
            return held
        late, self._late = self._sifted(self._late), ()
        rest, self._rest = self._rest, b""
        return held + late + (self._relayed(rest) if rest else b"")

    async def drain(self) -> None:
        """Read the little that may follow the last event, so that the connection can be kept."""
        try:
            with Deadline(self._clock, DRAIN_SECONDS):
                while not (self._eof or self.broken):
                    await self._read_chunk()
        except TimeoutError:
            return

    def text(self) -> str:
        """Return the plain text that was sent, for a continuation; needs `keep`.

        It is empty as well if nonsense was sent: nobody can go on after that.
        """
        datas = (event_data(event) for event in events_in(self.kept or ()))
        try:
            bodies = [decode(data) for data in datas if data and data != b"[DONE]"]
        except msgspec.DecodeError:
            return ""
        return "".join(part for body in bodies for part in text_of(body))

    def _has_ended(self) -> bool:
        return bool(self.broken) or self.is_done or self._eof

    def _judge_end(self) -> None:
        if self._is_finished:
            self.broken = ""  # the answer is whole, whatever became of the connection after it
        elif not self.broken:
            self.broken = "truncated"

    def _is_even(self) -> bool:
        """Whether the next chunk begins with an event, and one that may go out undecoded."""
        return not (self._every_choice or self._splitter.held)

    def _is_decided(self) -> bool:
        """Whether it is known that there is an answer, or that there will be none."""
        return self.is_answer or bool(self.broken) or self.is_done

    @property
    def _is_finished(self) -> bool:
        return self.finished and not (self._every_choice and self._open_choices)

    def _first_of(self, chunk: bytes) -> tuple[Sequence[bytes], bytes]:
        """Return the first event of a chunk and the rest, or all events where that is not as easy."""
        if not (self._splitter.held or chunk.startswith(b"\n") or CR in chunk):
            end = chunk.find(b"\n\n") + 2
            if end >= 2:
                return (chunk[:end],), chunk[end:]
        return self._split(chunk), b""

    async def _read_chunk(self) -> bytes:
        """Return the next bytes; none at the end of the body, or where it broke."""
        try:
            chunk = await self._body.read()
        except BREAKS as error:
            self.broken = _lost(error)
            return b""
        self._eof = not chunk
        return chunk

    def _sifted(self, events: Sequence[bytes]) -> bytes:
        return self._out([event for event in events if self._passes(event)])

    def _relayed(self, chunk: bytes) -> bytes:
        """Return what goes out of the next bytes: as they are, as far as they only carry content."""
        if is_one_data_line(chunk) and not self._splitter.held:
            return self._sifted([chunk])
        plain = 0
        if self._is_even() and not self._has_ended():
            plain = plain_length(chunk)
        if plain == len(chunk) > 0:
            return self._counted(chunk, chunk.count(b"\n\n"))
        head = chunk[:plain]
        if head:
            self._counted(head, head.count(b"\n\n"))
        return head + self._sifted(self._split(chunk[plain:]))

    def _counted(self, plain: bytes, events: int = 1) -> bytes:
        """Note that so many events go out as they came."""
        self.events += events
        if self.kept is not None:
            self.kept.append(plain)
        return plain

    def _split(self, chunk: bytes) -> Sequence[bytes]:
        """Return the events that are whole now; at the end of the body, also what is left of it."""
        if chunk:
            try:
                return self._splitter.feed(chunk)
            except EventTooLarge as error:
                self.broken = _lost(error)
        if not self._eof:
            return ()
        rest = self._splitter.rest()
        if rest.endswith((b"\r\r", b"\n\r")):  # whole: the splitter waited for an LF after the CR
            return [rest]
        return [rest.rstrip(b"\r\n") + b"\n\n"] if rest.strip() else ()

    def _passes(self, event: bytes) -> bool:
        """Whether an event goes out; looks into it only if it may carry what matters."""
        if self.broken or self.is_done:
            return False
        # What is left at the end of the body may be half an event that happens to end in a brace.
        data = event_data(event)
        if self._every_choice or self._eof or first_marker(event) >= 0:
            return data is None or self._take(data)
        if data is not None and not (data.startswith(b"{") and data.endswith(b"}")):
            self.broken = "malformed event"
            return False
        return True

    def _take(self, data: bytes) -> bool:
        """Take in what an event's data says; return whether it is one for the client."""
        if data == b"[DONE]":
            self.is_done = self._is_finished
            self.broken = "" if self.is_done else "truncated"
            return self.is_done
        if not self._every_choice and (seen := glance(data)) is not None:
            self.is_answer = self.is_answer or seen.is_answer
            self.finished = self.finished or seen.finishes
            self.tokens = self.tokens if seen.tokens is None else seen.tokens
            return True
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
