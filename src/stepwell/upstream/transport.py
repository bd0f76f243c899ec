"""HttpTransport: the engine that calls providers, HTTP/1.1 with pools of kept connections.

It is an httpx transport, but whoever calls often prepares a Line once and saves what httpx's objects
cost: about as much as the call itself. Why not httpx's own engine: its pool scans every connection on
every request and loses slots for good when calls are cancelled. Why not aiohttp: `docs/design.md` has
the figures.

Deliberate choices:

1. At most one request reaches the wire. A server that closed an idle connection just as it was used
   again cannot be told from one that took the request and died, so the waterfall, the one retry
   authority, decides. Another connection is taken only where the first was found closed before a
   byte was written to it.
2. No limit on connections. How many calls run at once is the ledger's business; a pool that queues
   would be a second queue below the first. So there is no PoolTimeout.
3. Redirects, cookies, decompression, `HTTP_PROXY` and `.netrc` are left alone; no header is added
   but Host and what frames the body.
4. A call given up, by cancellation or `close`, loses its socket at once: `abort`, because closing
   it in order waits for as long as the peer does not read what is still to be written.
5. Connections live as long as their event loop: if nobody called `aclose`, they are closed when the
   loop shuts its asynchronous generators down, as `asyncio.run` and every server do. A new loop
   gets new connections.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from typing import Final, TypeVar

import httpx

from stepwell.upstream.answer import Answer
from stepwell.upstream.connection import PIECE, Connection
from stepwell.upstream.dial import Dialer, Origin
from stepwell.upstream.seam import RawHeaders

_ResultT = TypeVar("_ResultT")

# Idle seconds after which a connection is not used again. Below the 60 s of AWS's load balancers
# and the 75 s of nginx, so that we let go first; servers that close sooner say so in time.
KEEPALIVE: Final = 45.0

# New connections that may be found closed, one after the other, before a request is given up.
MAX_STALE: Final = 3

# RFC 9110, section 5.5, with the bytes above ASCII that it calls obsolete.
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING: Final = (b"content-length", b"transfer-encoding")


class HttpTransport(httpx.AsyncBaseTransport):
    """See the module's text.

    As httpx's transport it takes timeouts from `request.extensions["timeout"]`: `connect` covers
    name, TCP and TLS; `read` each wait for bytes, the first included; `write` each piece of a large
    or streamed body. Without the extension nothing times out.

    A cancelled read ends the response, as with httpx's own transport: there is no reading on.

    Args:
        proxy: URL of an HTTP proxy, `http://user:password@host:port`.
        ca_file: PEM file of certificates to trust besides the system's.
        keepalive: Seconds for which an idle connection is kept.

    Raises:
        ValueError: The proxy's scheme is neither http nor https.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        keepalive: float = KEEPALIVE,
    ) -> None:
        if proxy is not None and not proxy.startswith(("http://", "https://")):
            raise ValueError("the proxy must be an http:// or https:// URL")
        self._dialer = Dialer(None if proxy is None else httpx.URL(proxy), ca_file)
        self._keepalive = keepalive
        self._pool: _Pool | None = None
        self._guard: AsyncGenerator[None, None] | None = None

    def __repr__(self) -> str:
        return f"<HttpTransport: {self._pool.busy if self._pool else 0} responses open>"

    def prepare(self, url: httpx.URL, headers: Sequence[tuple[str, str]]) -> "PreparedLine":
        """Return a way to send POST requests with these headers to this URL.

        Raises:
            httpx.LocalProtocolError: A header cannot be written.
            httpx.UnsupportedProtocol: The URL is neither http nor https.
        """
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        return PreparedLine(self, Origin.of(url), self._head("POST", url, raw))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        origin = Origin.of(request.url)
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        content = _content(request)
        head = self._head(request.method, request.url, _framed(request.headers.raw, content))
        connection = self.kept(origin) or await self.connect(origin, timeouts.get("connect"))
        whole = (content,) if content is not None and len(content) <= PIECE else None
        has_no_body = request.method == "HEAD"
        answer = connection.ask(head + b"\r\n", whole, has_no_body=has_no_body)
        body = _Body(answer, self, timeouts.get("read"))
        try:
            if whole is None:
                await _upload(connection, answer, request, content, timeouts.get("write"))
            await body.head()
        except BaseException:
            answer.close()
            raise
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=body,
            extensions={
                "http_version": b"HTTP/" + answer.version.encode(),
                "reason_phrase": answer.reason,
            },
        )

    def kept(self, origin: Origin) -> Connection | None:
        """Return an idle connection to ask on, the one that was used last; None if none is kept."""
        pool = self._pool
        if pool is None or pool.loop is not asyncio.get_running_loop():
            return None
        return pool.take(origin)

    async def connect(self, origin: Origin, connect: float | None) -> Connection:
        """Return a new connection to ask on.

        Raises:
            httpx.TransportError: There is none; see `Dialer.dial`.
        """
        pool = self._pool
        if pool is None or pool.loop is not asyncio.get_running_loop():
            pool = await self._start()
        for _ in range(MAX_STALE):
            connection = await self._dialer.dial(origin, connect)
            if connection.is_open:
                pool.adopt(connection, origin)
                return connection
        raise httpx.ConnectError("every connection was closed before a byte was sent")

    async def aclose(self) -> None:
        """Cut open responses off and close all connections. The next request starts anew."""
        pool, self._pool = self._pool, None
        guard, self._guard = self._guard, None
        if pool is not None and guard is not None:
            await _end(pool, guard)

    async def _start(self) -> "_Pool":
        # Nothing may wait before the new pool is in place: two first requests must share one.
        old, old_guard = self._pool, self._guard
        pool = _Pool(self._keepalive)
        guard = pool.until_loop_ends()
        await anext(guard)  # runs to its yield, and makes the loop know of it
        self._pool, self._guard = pool, guard
        if old is not None and old_guard is not None:
            await _end(old, old_guard)
        return pool

    def _head(self, method: str, url: httpx.URL, headers: RawHeaders) -> bytes:
        """Return request line and headers, without the blank line.

        Raises:
            httpx.LocalProtocolError: A header cannot be written.
        """
        target, names = url.raw_path, {name.lower() for name, _ in headers}
        extra = b""
        if self._dialer.is_told_whole_url(Origin.of(url)):
            target = b"http://" + url.netloc + target
            extra = self._dialer.proxy_header
        if b"host" not in names:
            headers = [(b"host", url.netloc), *headers]
        if not all(_NAME.fullmatch(n) and _VALUE.fullmatch(v) for n, v in headers):
            raise httpx.LocalProtocolError("a header cannot be written as HTTP")
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"%b %b HTTP/1.1\r\n%b%b" % (method.encode("ascii"), target, lines, extra)


class PreparedLine:
    """A Line of the engine's own: see `seam`."""

    __slots__ = ("_head", "_origin", "_transport")

    def __init__(self, transport: HttpTransport, origin: Origin, head: bytes) -> None:
        self._transport = transport
        self._origin = origin
        self._head = head + b"content-length: "

    async def open(self, body: Sequence[bytes | memoryview], connect: float) -> Answer:
        """See Line; all other times are the caller's to watch."""
        transport, origin = self._transport, self._origin
        connection = transport.kept(origin) or await transport.connect(origin, connect)
        size = sum(map(len, body))
        head = b"%b%d\r\n\r\n" % (self._head, size)
        is_one = size <= PIECE
        answer = connection.ask(head, body if is_one else None)
        try:
            if not is_one:
                await connection.send(answer, body)
            if not answer.status:
                await answer.read()
        except BaseException:
            answer.close()
            raise
        return answer


class _Pool:
    """The connections of one event loop: those that serve, and those that are kept, by origin."""

    def __init__(self, keepalive: float) -> None:
        self.loop = asyncio.get_running_loop()
        self._keepalive = keepalive
        self._all: set[Connection] = set()
        self._kept: dict[Origin, list[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def busy(self) -> int:
        """How many serve."""
        return len(self._all) - len(self.kept)

    @property
    def kept(self) -> list[Connection]:
        """Those that wait for a request."""
        return [connection for kept in self._kept.values() for connection in kept]

    def take(self, origin: Origin) -> Connection | None:
        """Return the connection that was used last, if one is kept."""
        kept = self._kept.get(origin)
        oldest = self.loop.time() - self._keepalive
        while kept:
            connection = kept.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            connection.drop()
        return None

    def adopt(self, connection: Connection, origin: Origin) -> None:
        """Take in a new connection.

        Raises:
            httpx.ConnectError: The transport was closed meanwhile.
        """
        if self._is_closed:
            connection.drop()
            raise httpx.ConnectError("the transport was closed")
        kept = self._kept.setdefault(origin, [])
        self._all.add(connection)

        def keep(connection: Connection) -> None:
            connection.idle_since = self.loop.time()
            kept.append(connection)
            if self._sweep is None:
                self._sweep = self.loop.call_later(self._keepalive, self._drop_stale)

        def forget(connection: Connection) -> None:
            self._all.discard(connection)
            if connection in kept:
                kept.remove(connection)

        connection.on_free, connection.on_lost = keep, forget

    async def until_loop_ends(self) -> AsyncGenerator[None, None]:
        """Close when the loop closes this generator, or when nobody holds it any more."""
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Drop every connection; whoever reads is told."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self._all):
            connection.drop()

    def _drop_stale(self) -> None:
        """Drop what was idle for too long; look again while anything is kept."""
        self._sweep = None
        oldest = self.loop.time() - self._keepalive
        for connection in self.kept:
            if connection.idle_since <= oldest:
                connection.drop()
        if kept := self.kept:
            first = min(connection.idle_since for connection in kept)
            self._sweep = self.loop.call_at(first + self._keepalive, self._drop_stale)


async def _end(pool: _Pool, guard: AsyncGenerator[None, None]) -> None:
    """Close a pool from whichever loop runs now."""
    if pool.loop is asyncio.get_running_loop():
        await guard.aclose()
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn
    elif pool.loop.is_closed():
        # Nothing of it can run any more; this only tells its objects so, which else would warn.
        with contextlib.suppress(RuntimeError):
            pool.close()
    # Else the loop runs elsewhere: letting the guard go has that loop close the pool.


class _Body(httpx.AsyncByteStream):
    """A response's body for httpx: chunks as they arrive, as they are on the wire.

    Args:
        answer: Whose it is.
        owner: Kept alive with its connections, should only the response be held.
        seconds: For each wait.
    """

    def __init__(self, answer: Answer, owner: HttpTransport, seconds: float | None) -> None:
        self._answer = answer
        self._owner = owner
        self._seconds = seconds

    async def head(self) -> None:
        await self._in_time(self._answer.head())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._in_time(self._answer.read())
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Let go of the connection: it is kept after the body's end, else it is dropped."""
        self._answer.close()

    async def _in_time(self, work: Awaitable[_ResultT]) -> _ResultT:
        try:
            async with asyncio.timeout(self._seconds):
                return await work
        except BaseException as error:
            self._answer.close()
            if isinstance(error, TimeoutError):
                raise httpx.ReadTimeout("no byte in time") from error
            raise


def _content(request: httpx.Request) -> bytes | None:
    """Return a request's body; None for one that is streamed.

    Raises:
        TypeError: It cannot be read without blocking.
    """
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream)  # its one item itself, not a copy
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("an asynchronous transport needs an asynchronous body")
    return None


def _framed(headers: RawHeaders, content: bytes | None) -> RawHeaders:
    """Return the headers with those that frame the body, which are not the caller's to choose."""
    names = [name.lower() for name, _ in headers]
    if content is None:
        is_framed = b"content-length" in names or b"transfer-encoding" in names
        return headers if is_framed else [*headers, (b"transfer-encoding", b"chunked")]
    plain = [header for header in headers if header[0].lower() not in _FRAMING]
    is_told = bool(content) or b"content-length" in names
    return [*plain, (b"content-length", b"%d" % len(content))] if is_told else plain


async def _upload(
    connection: Connection,
    answer: Answer,
    request: httpx.Request,
    content: bytes | None,
    seconds: float | None,
) -> None:
    """Send a large or a streamed body."""
    if content is not None:
        await connection.send(answer, [content], seconds)
        return
    assert isinstance(request.stream, httpx.AsyncByteStream)
    is_chunked = "content-length" not in request.headers
    pieces = _chunked(request.stream) if is_chunked else request.stream
    try:
        await connection.send_stream(answer, pieces, seconds)
    except httpx.TransportError:
        raise
    except Exception as error:  # the body is the host's own stream, and may raise anything
        raise httpx.WriteError("the request could not be sent") from error


async def _chunked(stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
    async for piece in stream:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
