"""AiohttpTransport: aiohttp behind httpx's transport seam, the engine that calls providers.

Why not httpx's own: its pool scans every connection on every request (28 ms of CPU a request at 100
concurrent ones) and loses slots for good when calls are cancelled. aiohttp does neither.

Deliberate choices:

1. At most one request reaches the wire. aiohttp sends a GET again if a reused connection turns out
   to be dead; here it does not, nor a POST. A server that closed an idle connection just as it was
   used again cannot be told from one that took the request and died, so the waterfall, the one
   retry authority, decides. Another connection is taken only where the first was found closed
   before a byte was written to it.
2. No limit on connections. How many calls run at once is the ledger's business; a pool that queues
   would be a second queue below the first. So there is no PoolTimeout.
3. Redirects, cookies, decompression, `HTTP_PROXY` and `.netrc` are left alone; no header is added
   but Host and what frames the body.
4. A call given up, by cancellation or `aclose`, loses its socket at once: `abort`, because `close`
   waits for as long as the peer does not read what is still to be written.
5. The session lives as long as its event loop: it is made at the first request and, if nobody
   called `aclose`, closed when the loop shuts its asynchronous generators down, as `asyncio.run`
   and every server do. A new loop gets a new session.
"""

import asyncio
import contextlib
import functools
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

# Idle seconds after which a connection is not used again. Below the 60 s of AWS's load balancers
# and the 75 s of nginx, so that we let go first; servers that close sooner say so in time.
KEEPALIVE = 45.0

# The longest header line. aiohttp's 8 KiB is less than some gateways' cookies and policies take;
# curl, as a client, allows 100 KiB.
MAX_HEADER_LINE = 64 * 1024

# What is written in one go: a larger body is cut, so that for a slow peer one piece waits in the
# socket's buffer and not a copy of the whole.
PIECE = 128 * 1024

# Written at once, without a piece's timer: it fits the buffer below asyncio's high-water mark of
# 64 KiB, so that writing it never waits.
SMALL_BODY = 32 * 1024

# Connections that may be found closed, one after the other, before a request is given up. All that a
# server closed at once are noticed at once, so a second one is rare.
MAX_STALE = 3

# Seconds that closing waits for peers to take what is still to be written.
CLOSE_GRACE = 1.0

# What a failure of aiohttp is to httpx; the first row that matches, so narrow before wide.
_FAILURES: tuple[tuple[type[Exception], type[httpx.TransportError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "no connection in time"),
    (aiohttp.SocketTimeoutError, httpx.ReadTimeout, "no byte in time"),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError, "the proxy refused the tunnel"),
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError, "cannot connect to the proxy"),
    (aiohttp.ClientConnectorError, httpx.ConnectError, "cannot connect"),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError, "closed without an answer"),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, "the answer is not HTTP"),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, "the body stopped before its end"),
    (aiohttp.ClientOSError, httpx.ReadError, "the connection broke"),
    (aiohttp.ClientConnectionError, httpx.WriteError, "the request could not be sent"),
    (TimeoutError, httpx.WriteTimeout, "no byte of the request taken in time"),
    (ValueError, httpx.LocalProtocolError, "the request cannot be written as HTTP"),
)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests through aiohttp.

    Timeouts come from `request.extensions["timeout"]`: `connect` covers name, TCP and TLS; `read`
    each wait for bytes, the first included; `write` each piece of a large or streamed body. Without
    the extension nothing times out.

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
        self._proxy = proxy
        self._ca_file = ca_file
        self._keepalive = keepalive
        self._pool: _Pool | None = None
        self._guard: AsyncGenerator[None, None] | None = None

    def __repr__(self) -> str:
        responses = self._pool.open if self._pool is not None else ()
        reading = sum(response.connection is not None for response in responses)
        return f"<AiohttpTransport: {reading} responses open>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pool = self._pool
        if pool is None or not pool.serves(asyncio.get_running_loop()):
            pool = await self._start()
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        response = await pool.session.request(
            request.method,
            _address(str(request.url)),
            headers=_headers(request),
            data=_upload(request, timeouts.get("write")),
            timeout=_client_timeout(timeouts.get("connect"), timeouts.get("read")),
            allow_redirects=False,
        )
        assert isinstance(response, _Response)
        pool.open.add(response)
        return _answer(response, _Body(response, self))

    async def aclose(self) -> None:
        """Cut open responses off and close all connections. The next request starts anew."""
        pool, self._pool = self._pool, None
        guard, self._guard = self._guard, None
        if pool is not None and guard is not None:
            await _end(pool, guard)

    async def _start(self) -> "_Pool":
        # Nothing may wait before the new pool is in place: two first requests must share one.
        old, old_guard = self._pool, self._guard
        pool = _Pool(self._session())
        guard = pool.until_loop_ends()
        await anext(guard)  # runs to its yield, and makes the loop know of it
        self._pool, self._guard = pool, guard
        if old is not None and old_guard is not None:
            await _end(old, old_guard)
        return pool

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=self._keepalive,
            ssl=True if self._ca_file is None else self._ssl_context,
            # aiodns, where installed, would be taken instead; it does not read /etc/nsswitch.conf.
            resolver=aiohttp.ThreadedResolver(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            auto_decompress=False,
            middlewares=(_send_once,),
            proxy=self._proxy,
            read_bufsize=64 * 1024,
            max_line_size=MAX_HEADER_LINE,
            max_field_size=MAX_HEADER_LINE,
        )

    @functools.cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        # Without a ca_file aiohttp's own context serves, which it makes once for all at its import.
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=self._ca_file)
        context.set_alpn_protocols(["http/1.1"])
        return context


class _Pool:
    """The session of one event loop, and its responses.

    A response is there for as long as its connection is open, also if its caller forgot it.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.open: weakref.WeakSet[_Response] = weakref.WeakSet()
        self.loop = asyncio.get_running_loop()

    def serves(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self.loop is loop and not self.session.closed

    async def until_loop_ends(self) -> AsyncGenerator[None, None]:
        """Close when the loop closes this generator, or when nobody holds it any more."""
        try:
            yield
        finally:
            await self.close()

    async def close(self) -> None:
        for response in tuple(self.open):
            response.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_GRACE):
                await self.session.close()


async def _end(pool: _Pool, guard: AsyncGenerator[None, None]) -> None:
    """Close a pool from whichever loop runs now."""
    if pool.loop is asyncio.get_running_loop():
        await guard.aclose()
    elif pool.loop.is_closed():
        # Nothing of it can run any more; this only tells its objects so, which else would warn.
        with contextlib.suppress(RuntimeError):
            await pool.session.close()
    # Else the loop runs elsewhere: letting the guard go has that loop close the pool.


class _Response(aiohttp.ClientResponse):
    """aiohttp's response, which drops its socket at once if there will be no answer."""

    wire: ResponseHandler | None = None
    is_cut = False

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        self.wire = connection.protocol
        transport = connection.transport
        try:
            return await super().start(connection)
        except BaseException:
            if transport is not None:
                transport.abort()
            raise

    def cut(self) -> None:
        """Drop the socket if it is still ours; after the body's end it has gone to the pool."""
        self.is_cut = True
        connection = self.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self.close()

    def was_reset(self) -> bool:
        """Tell whether a body that ends with the connection was cut off by an error.

        aiohttp ends such a body cleanly whatever closed the connection. Other bodies know their
        length, and their connection may belong to another request by now.
        """
        has_end = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        if has_end or self.method == "HEAD" or self.status in (204, 304):
            return False
        return self.wire is not None and isinstance(self.wire.exception(), OSError)


class _Body(httpx.AsyncByteStream):
    """A response's body: chunks as they arrive, as they are on the wire.

    When its last byte has come in, the connection is in the pool again, whether or not it has been
    read from here.
    """

    def __init__(self, response: _Response, owner: AiohttpTransport) -> None:
        self._response = response
        self._owner = owner  # keeps the session alive, should only the response be held

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except Exception as exc:
            if self._response.is_cut:
                raise httpx.ReadError("the response was closed") from exc
            self._response.cut()
            raise _translated(exc) from exc
        except BaseException:
            self._response.cut()
            raise
        if chunk:
            return chunk
        if self._response.was_reset():
            raise httpx.ReadError("the connection broke")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Let go of the connection: to the pool after the body's end, else it is dropped."""
        self._response.cut()


class _Upload(aiohttp.Payload):
    """A request's body; each piece of a large or streamed one is written within the timeout.

    Attributes:
        is_unsent: The connection was found closed before anything, the head included, was written.
    """

    def __init__(self, body: bytes | httpx.AsyncByteStream, timeout: float | None) -> None:
        super().__init__(body)
        self._timeout = timeout
        self._size = len(body) if isinstance(body, bytes) else None
        self.is_unsent = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a request's body is sent, not read back")

    async def write(self, writer: AbstractStreamWriter) -> None:
        # aiohttp holds the head back until the first piece. It runs this in a task of its own, so
        # that an early answer is read meanwhile, and cancels it when that answer is whole.
        transport = writer.transport
        if transport is None or transport.is_closing():
            self.is_unsent = writer.output_size == 0
            raise ConnectionResetError
        try:
            if isinstance(self._value, bytes) and len(self._value) <= SMALL_BODY:
                await writer.write(self._value)
            else:
                await self._write_pieces(writer)
        except BaseException:
            transport.abort()  # half a request makes the connection worthless
            raise

    async def _write_pieces(self, writer: AbstractStreamWriter) -> None:
        async for piece in _pieces(self._value):
            async with asyncio.timeout(self._timeout):
                await writer.write(piece)
                await writer.drain()


async def _pieces(body: bytes | httpx.AsyncByteStream) -> AsyncIterator[bytes | memoryview]:
    if isinstance(body, bytes):
        view = memoryview(body)
        for start in range(0, len(body), PIECE):
            yield view[start : start + PIECE]
    else:
        async for chunk in body:
            yield chunk


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Translate failures inside aiohttp's loop, which sends again on some that it knows."""
    body = request.body if isinstance(request.body, _Upload) else None
    for _ in range(MAX_STALE):
        if body is not None:
            body.is_unsent = False
        try:
            return await handler(request)
        except Exception as exc:
            # Without a body the only write is the head, and it is this error that refuses it.
            head_refused = body is None and isinstance(exc, aiohttp.ClientConnectionResetError)
            if not (head_refused or (body is not None and body.is_unsent)):
                raise _translated(exc) from exc
    raise httpx.ConnectError("every connection was closed before a byte was sent")


def _translated(exc: Exception) -> Exception:
    """Return httpx's word for a failure of aiohttp; anything unknown stays what it is.

    aiohttp's own messages are not repeated, because some hold the whole URL.
    """
    for known, meaning, words in _FAILURES:
        if isinstance(exc, known):
            is_connector = isinstance(exc, aiohttp.ClientConnectorError)
            return meaning(f"{words}: {exc.__cause__}" if is_connector else words)
    return exc


@functools.lru_cache(maxsize=256)
def _address(url: str) -> URL:
    """Parse a URL that httpx has encoded already; providers' addresses are few.

    Raises:
        httpx.UnsupportedProtocol: It is neither http nor https.
    """
    address = URL(url, encoded=True)
    if address.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol(f"cannot call {address.scheme or 'no'}:// addresses")
    # aiohttp would turn a user into an Authorization header; in httpx that is the client's part.
    return address.with_user(None) if address.raw_user is not None else address


@functools.lru_cache(maxsize=64)
def _client_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)


def _headers(request: httpx.Request) -> CIMultiDict[str]:
    """Return the headers as aiohttp wants them.

    Names in lower case, because of duplicates written in different cases aiohttp keeps only one.

    Raises:
        httpx.LocalProtocolError: A value is not UTF-8, the only encoding that aiohttp writes.
    """
    try:
        headers = CIMultiDict(
            [(name.decode("ascii").lower(), value.decode()) for name, value in request.headers.raw]
        )
    except UnicodeDecodeError as exc:
        raise httpx.LocalProtocolError("a header is not UTF-8") from exc
    headers.popall("Transfer-Encoding", None)  # framing is aiohttp's; it refuses to be told
    return headers


def _upload(request: httpx.Request, timeout: float | None) -> _Upload | None:
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        content = b"".join(stream)  # its one item itself, not a copy
        return _Upload(content, timeout) if content else None
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("an asynchronous transport needs an asynchronous body")
    return _Upload(stream, timeout)


def _answer(response: _Response, body: _Body) -> httpx.Response:
    reason = response.reason or ""
    return httpx.Response(
        response.status,
        headers=list(response.raw_headers),
        stream=body,
        extensions={
            "http_version": b"HTTP/1.0" if response.version == (1, 0) else b"HTTP/1.1",
            "reason_phrase": reason.encode("utf-8", "surrogateescape"),
        },
    )
