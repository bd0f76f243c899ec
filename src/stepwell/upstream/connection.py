"""Connection: HTTP/1.1 over one socket, as a client speaks it, a request at a time.

What arrives goes through httptools (llhttp, node's parser) and is there for whoever reads the
Answer. Nothing is copied that need not be, no task and no timer belongs to a connection, and the
only waits are those of the request's own task: for the head, for more of the body, and for a large
request to leave. Time limits and cancellation are that task's business; a wait that is cut short
drops the socket.

1. When an answer's last byte has come in, the connection is free for the next request at once,
   whether or not it has been read. What had come of the body belongs to the Answer.
2. Reading pauses while HIGH_WATER bytes wait to be read, so that a slow client slows its provider.
3. Only a body without a length ends with the connection, and only with its clean end.
4. Bytes that nobody asked for, and a peer's end while idle, end the connection.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, MutableSequence, Sequence
from typing import Any, Final, cast

import httptools
import httpx

from stepwell.upstream.answer import Answer
from stepwell.upstream.seam import RawHeaders

# Bytes of the head of an answer. The 8 KiB that servers take of a request are less than some gateways'
# cookies and policies fill; curl, as a client, allows 100 KiB for one line.
MAX_HEAD: Final = 64 * 1024

# What of a request is written at once. A socket's buffer takes it, as a rule; of a larger one, for a
# slow peer, one piece waits and no copy of all.
PIECE: Final = 256 * 1024

Part = bytes | memoryview
"""Some of a body."""

# Where goes what belongs to no answer: trailers, and what nobody asked for.
_NOWHERE: Final = deque[Any](maxlen=0)


class Connection(asyncio.Protocol):
    """See the module's text.

    Args:
        loop: The running event loop.

    Attributes:
        on_free: Called when it can take another request.
        on_lost: Called when it never can.
        idle_since: The loop's time at which its last answer was complete.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.idle_since = 0.0
        self.on_free: Callable[[Connection], object] = _nobody
        self.on_lost: Callable[[Connection], object] = _nobody
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: MutableSequence[tuple[bytes, bytes]] = _NOWHERE  # the answer's, as `_chunks`
        self._chunks: MutableSequence[bytes] = _NOWHERE
        self._has_no_body = False  # of the answer that is awaited
        self._is_reading = True
        self._is_writing_paused = False
        self._is_whole = True  # the request; after half of one no other can follow
        self._may_write: asyncio.Future[None] | None = None
        self._head_size = 0

    @property
    def is_open(self) -> bool:
        transport = self._transport
        return transport is not None and not transport.is_closing()

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def over(self, transport: asyncio.Transport) -> None:
        """Speak over another transport from now on: TLS, inside a tunnel that was opened."""
        self._transport = transport

    # --- the request

    def ask(
        self, head: bytes, body: Sequence[Part] | None = (), *, has_no_body: bool = False
    ) -> Answer:
        """Begin a request: all of it if its body is no more than a PIECE.

        Args:
            head: Request line and headers, with the blank line.
            body: In parts that follow each other; None if it follows, by `send`.
            has_no_body: Its answer has none whatever it says: to a HEAD or a CONNECT.
        """
        self._answer = answer = Answer(self)
        self._headers, self._chunks = answer.headers, answer.chunks
        self._has_no_body = has_no_body
        self._is_whole = body is not None
        self._head_size = 0
        if body is not None and len(body) > 1:
            self._write((head, *body))
        else:  # two buffers cost more than to join them
            self._write((head + body[0] if body else head,))
        return answer

    async def send(
        self, answer: Answer, body: Sequence[Part], seconds: float | None = None
    ) -> None:
        """Write a large body, piece by piece; once the answer has begun, only as far as it is wanted.

        Args:
            answer: Its own.
            body: In parts that follow each other.
            seconds: For which the socket may take nothing.

        Raises:
            httpx.WriteTimeout: The socket took nothing for so many seconds.
        """
        pieces = deque(_cut(body))
        while pieces and self._wants_more(answer):
            piece = pieces.popleft()
            self._is_whole = not pieces
            await self.write(piece, seconds)
        if pieces and answer is self._answer and answer.status < 300:
            self._is_whole = True
            for piece in pieces:
                self._write(piece)  # who answers so reads on

    async def send_stream(
        self, answer: Answer, pieces: AsyncIterable[bytes], seconds: float | None = None
    ) -> None:
        """Write a body as it comes, framed already; once the answer has begun no more of it."""
        async for piece in pieces:
            if not self._wants_more(answer):
                return
            await self.write((piece,), seconds)
        self._is_whole = self._wants_more(answer)

    async def write(self, piece: Sequence[Part], seconds: float | None) -> None:
        """Write some of a body, at once, and wait until the socket takes more.

        Raises:
            httpx.WriteTimeout: It took nothing for so many seconds.
        """
        self._write(piece)
        if self._is_writing_paused:
            await self._writable(seconds)

    def _write(self, parts: Iterable[Part]) -> None:
        """Write, by no `writelines`: before Python 3.13.2 asyncio's own never pauses whoever writes.

        See gh-127655 of CPython; gh-136234 and gh-155888 are others that it has.
        """
        assert self._transport is not None
        for part in parts:
            self._transport.write(part)

    def _wants_more(self, answer: Answer) -> bool:
        return answer is self._answer and not answer.status

    async def _writable(self, seconds: float | None) -> None:
        self._may_write = self.loop.create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._may_write
        except TimeoutError as error:
            self.abort(_not_taken())
            raise _not_taken() from error
        except BaseException:
            self.drop()
            raise
        finally:
            self._may_write = None

    def drop(self) -> None:
        """Drop the socket; whoever reads is told that it was closed."""
        self.abort(httpx.ReadError("the response was closed"))

    def abort(self, error: httpx.TransportError) -> None:
        """Drop the socket, without waiting for what is unsent; whoever reads gets the error."""
        if self._transport is not None:
            self._transport.abort()
        self._end(error)

    def _pause(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()

    def _end(self, error: httpx.TransportError | None) -> None:
        answer, self._answer, self._chunks = self._answer, None, _NOWHERE
        if answer is not None:
            answer.end(error)
        self._go_on_writing()
        self._parser = None  # it holds this object
        self.on_lost(self)

    def _go_on_writing(self) -> None:
        if self._may_write is not None and not self._may_write.done():
            self._may_write.set_result(None)

    # --- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        parser, answer = self._parser, self._answer
        if parser is None:
            return
        if answer is None:
            self.abort(_broken())
            return
        if not answer.status:
            self._head_size += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.abort(_not_http())
        except httptools.HttpParserError:
            self.abort(_cut_body() if answer.status else _not_http())
        else:
            if self._head_size > MAX_HEAD and _is_too_large(answer):
                self.abort(_not_http())
            elif answer is self._answer and answer.chunks and answer.arrived(len(data)):
                self._pause()

    def eof_received(self) -> None:
        self._lose(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc)

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self._go_on_writing()

    def _lose(self, exc: Exception | None) -> None:
        if self._parser is None:
            return
        answer = self._answer
        if answer is None:
            self._end(None)
        elif not answer.status:
            self._end(_unanswered() if exc is None else _broken())
        elif exc is None and _ends_with_connection(answer.headers):
            self._end(None)
        else:
            self._end(_cut_body() if exc is None else _broken())
        if self._transport is not None:
            self._transport.abort()  # also where something is still to be sent: nobody reads it

    # --- the parser's calls

    def on_message_begin(self) -> None:
        if self._answer is None and self._parser is not None:
            self.abort(_broken())

    def on_status(self, reason: bytes) -> None:
        if self._answer is not None:
            self._answer.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        answer, parser = self._answer, self._parser
        if answer is None or parser is None:
            return
        status = parser.get_status_code()
        if status < 200:
            answer.headers.clear()  # 100 and 103 come before the answer and are none
            return
        self._headers = _NOWHERE
        answer.status = status
        answer.version = parser.get_http_version()
        if self._has_no_body:
            # The parser does not know, and would wait for a body.
            self._parser = httptools.HttpResponseParser(self)
            self._complete(answer, keep=(b"connection", b"close") not in answer.headers)
        answer.wake()
        if self._may_write is not None:
            self._go_on_writing()

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        answer, parser = self._answer, self._parser
        if answer is not None and parser is not None and answer.status:
            self._complete(answer, keep=parser.should_keep_alive())

    def _complete(self, answer: Answer, *, keep: bool) -> None:
        self._answer, self._chunks = None, _NOWHERE
        answer.end()
        if self._may_write is not None:
            self._go_on_writing()
        if not self._is_reading:
            self.resume()
        transport = self._transport
        assert transport is not None
        # A request that has not left when its answer is whole was not read to its end.
        is_sent = self._is_whole and not transport.get_write_buffer_size()
        if keep and is_sent and not transport.is_closing():
            self.on_free(self)
        else:
            self.abort(_broken())


def _cut(body: Sequence[Part]) -> Iterator[list[memoryview]]:
    """Yield the parts of a body as pieces of PIECE bytes, a row of views each; the last has the rest."""
    piece: list[memoryview] = []
    room = PIECE
    for part in body:
        view = memoryview(part)
        while view:
            piece.append(view[:room])
            view = view[len(piece[-1]) :]
            room -= len(piece[-1])
            if not room:
                yield piece
                piece, room = [], PIECE
    if piece:
        yield piece


def _nobody(connection: Connection) -> None:
    """Whoever does not care."""


def _unanswered() -> httpx.TransportError:
    return httpx.RemoteProtocolError("closed without an answer")


def _not_taken() -> httpx.TransportError:
    return httpx.WriteTimeout("no byte of the request taken in time")


def _not_http() -> httpx.TransportError:
    return httpx.RemoteProtocolError("the answer is not HTTP")


def _cut_body() -> httpx.TransportError:
    return httpx.RemoteProtocolError("the body stopped before its end")


def _broken() -> httpx.TransportError:
    return httpx.ReadError("the connection broke")


def _is_too_large(answer: Answer) -> bool:
    """Tell whether a head is, of which more than MAX_HEAD came together with some of the body."""
    if not answer.status:
        return True
    return sum(len(name) + len(value) for name, value in answer.headers) > MAX_HEAD


def _ends_with_connection(headers: RawHeaders) -> bool:
    return not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
