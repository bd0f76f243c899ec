import asyncio
import contextlib
import gc
import gzip
import random
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepwell.upstream import transport as engine
from stepwell.upstream.connection import Connection
from stepwell.upstream.tls import trusting
from stepwell.upstream.transport import HttpTransport

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[["Exchange"], Awaitable[None]]

NO_TIMEOUT = {"connect": None, "read": None, "write": None, "pool": None}


class Exchange:
    """One request as the server sees it, and the wire to answer on."""

    def __init__(self, server: "Server", head: bytes, reader: Reader, writer: Writer) -> None:
        self.server = server
        self.head = head
        self.reader = reader
        self.writer = writer

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name.lower(), value) for name, _, value in (x.partition(b": ") for x in lines)]

    async def body(self) -> bytes:
        headers = dict(self.headers)
        if headers.get(b"transfer-encoding") != b"chunked":
            return await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return body

    async def send(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def peer_gone(self) -> None:
        """Wait until the client has closed its side."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        self.writer.transport.abort()


class Server:
    """A server whose handler writes raw bytes; it keeps every head and counts connections."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None, host: str) -> None:
        self._handler = handler
        self._context = context
        self._host = host
        self.heads: list[bytes] = []
        self.accepted = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.events: dict[str, asyncio.Event] = {}

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, self._host, 0, ssl=self._context, limit=2**20
        )
        port = self._server.sockets[0].getsockname()[1]
        name = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{'https' if self._context else 'http'}://{name}:{port}"

    def event(self, name: str) -> asyncio.Event:
        return self.events.setdefault(name, asyncio.Event())

    async def close(self) -> None:
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until every client has gone."""
        while self.tasks:
            await asyncio.wait(self.tasks)

    def _accept(self, reader: Reader, writer: Writer) -> None:
        self.accepted += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self._handler(Exchange(self, head, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[Server] = []

    async def start(
        handler: Handler, *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> Server:
        server = Server(handler, context, host)
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport()
    yield transport
    await transport.aclose()


def post(
    url: str, content: bytes | AsyncIterator[bytes] = b"{}", **timeouts: float
) -> httpx.Request:
    extensions = {"timeout": {**NO_TIMEOUT, **timeouts}}
    return httpx.Request("POST", url, content=content, extensions=extensions)


def answering(*pieces: bytes) -> Handler:
    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        for piece in pieces:
            await exchange.send(piece)

    return handler


def closing_after(*pieces: bytes) -> Handler:
    async def handler(exchange: Exchange) -> None:
        await answering(*pieces)(exchange)
        exchange.writer.close()

    return handler


async def read(transport: HttpTransport, request: httpx.Request) -> tuple[httpx.Response, bytes]:
    """Send and read the body undecoded."""
    response = await transport.handle_async_request(request)
    try:
        return response, b"".join([chunk async for chunk in response.aiter_raw()])
    finally:
        await response.aclose()


def held(transport: HttpTransport) -> int:
    """Count the connections that are neither closed nor idle."""
    return 0 if transport._pool is None else transport._pool.busy


def idle(transport: HttpTransport) -> list[Connection]:
    """Return the connections that are kept for the next request."""
    assert transport._pool is not None
    return transport._pool.kept


def open_files() -> int:
    """Count this process's file descriptors, where the system tells."""
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.is_dir() else 0


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_a_response_comes_as_it_was_sent(serve: Serve, transport: HttpTransport) -> None:
    """Status, reason, and headers with their order, case and duplicates stay what they are."""
    server = await serve(
        answering(
            b"HTTP/1.1 429 Slow Down\r\nX-Limit: a\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"x-limit: b\r\ncontent-length: 2\r\n\r\nno"
        )
    )
    response, body = await read(transport, post(server.url + "/v1/chat?x=%2F"))
    assert (response.status_code, response.reason_phrase, body) == (429, "Slow Down", b"no")
    assert response.http_version == "HTTP/1.1"
    assert response.headers.raw == [
        (b"X-Limit", b"a"),
        (b"set-cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"x-limit", b"b"),
        (b"content-length", b"2"),
    ]
    assert server.heads[0].startswith(b"POST /v1/chat?x=%2F HTTP/1.1\r\n")


async def test_no_header_is_added_to_a_request(serve: Serve, transport: HttpTransport) -> None:
    """What a provider sees is what the caller wrote, cookies of earlier answers included not."""
    server = await serve(answering(OK.replace(b"\r\n", b"\r\nset-cookie: a=1; Path=/\r\n", 1)))
    request = httpx.Request(
        "POST",
        server.url.replace("://", "://user:secret@") + "/",
        headers=[("X-A", "1"), ("x-a", "2"), ("Authorization", "Bearer key")],
        content=b"{}",
    )
    await read(transport, request)
    await read(transport, request)
    exchange = Exchange(server, server.heads[1], Reader(), None)  # type: ignore[arg-type]
    assert sorted(exchange.headers) == [
        (b"authorization", b"Bearer key"),
        (b"content-length", b"2"),
        (b"host", server.url.removeprefix("http://").encode()),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
    ]


async def test_a_finished_response_leaves_its_connection_to_the_next(
    serve: Serve, transport: HttpTransport
) -> None:
    """Keep-alive: many requests one after the other use one connection."""
    server = await serve(answering(OK))
    for _ in range(5):
        await read(transport, post(server.url))
    assert server.accepted == 1
    assert held(transport) == 0


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"content-length: 6", [b"abc", b"def"]),
        (b"transfer-encoding: chunked", [b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"]),
        (b"connection: close", [b"abc", b"def"]),
        (b"content-length: 6", [b"a", b"b", b"c", b"d", b"e", b"f"]),
    ],
    ids=["length", "chunked", "until-close", "byte-by-byte"],
)
async def test_chunks_are_handed_on_as_they_arrive(
    serve: Serve, transport: HttpTransport, head: bytes, pieces: list[bytes]
) -> None:
    """A piece is readable before the next one has been sent: nothing waits for more."""

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        for piece in pieces:
            await exchange.server.event("go").wait()
            exchange.server.event("go").clear()
            await exchange.send(piece)
        exchange.writer.close()

    server = await serve(handler)
    response = await transport.handle_async_request(post(server.url))
    body = b""
    stream = aiter(response.stream)  # type: ignore[arg-type]
    for _ in pieces:
        server.event("go").set()
        body += await anext(stream)
    assert body == b"abcdef"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert held(transport) == 0


async def test_a_compressed_body_passes_untouched(serve: Serve, transport: HttpTransport) -> None:
    """Decoding is the caller's: httpx decodes on request, and a relay does not."""
    data = gzip.compress(b"hello" * 100)
    server = await serve(
        answering(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
            % (len(data), data)
        )
    )
    _, raw = await read(transport, post(server.url))
    assert raw == data
    response = await transport.handle_async_request(post(server.url))
    assert await response.aread() == b"hello" * 100


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 Not")]
)
async def test_answers_without_a_body_end_at_once(
    serve: Serve, transport: HttpTransport, method: str, status: bytes
) -> None:
    """HEAD, 204 and 304 have no body, whatever their headers say of one."""
    length = b"content-length: 5\r\n" if method == "HEAD" else b""
    server = await serve(answering(b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n"))
    for _ in range(2):
        _, body = await read(transport, httpx.Request(method, server.url))
        assert body == b""
    assert server.accepted == 1


async def test_what_follows_an_answer_is_none_of_it(serve: Serve, transport: HttpTransport) -> None:
    """A second answer that nobody asked for ends the connection, and is given to nobody."""
    server = await serve(answering(OK + OK.replace(b"ok", b"no")))
    for _ in range(2):
        _, body = await read(transport, post(server.url))
        assert body == b"ok"
    assert server.accepted == 2


async def test_a_reader_that_is_slow_slows_the_server(
    serve: Serve, transport: HttpTransport
) -> None:
    """What it has not read does not pile up here."""
    size = 50_000_000

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        exchange.server.event("begun").set()
        await exchange.send(b"x" * size)
        exchange.server.event("sent").set()

    server = await serve(handler)
    response = await transport.handle_async_request(post(server.url))
    await server.event("begun").wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not server.event("sent").is_set()
    assert len(await response.aread()) == size
    assert server.event("sent").is_set()


async def test_informational_answers_are_skipped(serve: Serve, transport: HttpTransport) -> None:
    """100 and 103 come before the answer and are none."""
    server = await serve(
        answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK)
    )
    response, body = await read(transport, post(server.url))
    assert (response.status_code, body) == (200, b"ok")


async def test_what_comes_after_a_body_is_no_header(serve: Serve, transport: HttpTransport) -> None:
    """Trailers are left alone, and the connection is kept."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-first: 1\r\n\r\n"
    server = await serve(answering(head + b"2\r\nok\r\n0\r\nx-last: 1\r\n\r\n"))
    for _ in range(2):
        response, body = await read(transport, post(server.url))
        assert (dict(response.headers), body) == (
            {"transfer-encoding": "chunked", "x-first": "1"},
            b"ok",
        )
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([OK], b"ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        ([CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"], b"ok"),
        ([CHUNKED + b"2\r\nok\r\n"], None),
        ([OK[:-1]], None),
        ([OK[:-2]], None),
    ],
)
async def test_a_small_answer_is_there_with_its_head(
    serve: Serve, transport: HttpTransport, pieces: list[bytes], whole: bytes | None
) -> None:
    """All of it, or nothing is said; whoever goes on to read it gets it all the same."""
    server = await serve(answering(*pieces))
    line = transport.prepare(httpx.URL(server.url), [])
    answer = await line.open([b"{}"], 1.0)
    assert answer.whole() == answer.whole() == whole
    if whole is not None:
        assert await answer.read() == whole
        assert await answer.read() == b""
    await answer.aclose()
    assert len(idle(transport)) == (whole is not None)


async def test_redirects_are_not_followed(serve: Serve, transport: HttpTransport) -> None:
    """A provider cannot send a request, and the key in it, elsewhere."""
    head = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n"
    server = await serve(answering(head))
    response, _ = await read(transport, post(server.url))
    assert response.status_code == 307
    assert len(server.heads) == 1


async def test_long_headers_are_taken(serve: Serve, transport: HttpTransport) -> None:
    """A header line may be far longer than the 8 KiB that servers take."""
    server = await serve(answering(OK.replace(b"\r\n", b"\r\nx-long: %b\r\n" % (b"x" * 60_000), 1)))
    response, _ = await read(transport, post(server.url))
    assert len(response.headers["x-long"]) == 60_000


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"], httpx.RemoteProtocolError),
        (
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"],
            httpx.RemoteProtocolError,
        ),
        (
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"no length\r\nabc\r\n"],
            httpx.RemoteProtocolError,
        ),
        ([b"HTTP/1.1 200 OK\r\ncontent-le"], httpx.RemoteProtocolError),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], httpx.RemoteProtocolError),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000 + b"\r\n\r\n"], httpx.RemoteProtocolError),
        ([], httpx.RemoteProtocolError),
    ],
    ids=["length", "last chunk", "chunk size", "head", "not HTTP", "huge header", "nothing"],
)
async def test_an_answer_that_is_cut_or_broken_is_never_a_clean_end(
    serve: Serve,
    transport: HttpTransport,
    pieces: list[bytes],
    expected: type[httpx.TransportError],
) -> None:
    """Who reads a cut body learns of it, and the connection is not used again."""
    server = await serve(closing_after(*pieces))
    with pytest.raises(expected):
        await read(transport, post(server.url))
    assert held(transport) == 0
    assert len(server.heads) == 1


@pytest.mark.parametrize("head", [b"content-length: 9", b"connection: close"])
async def test_a_reset_inside_a_body_is_an_error(
    serve: Serve, transport: HttpTransport, head: bytes
) -> None:
    """Also where the connection's end is the body's: a reset is not that end."""

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nabc")
        await exchange.server.event("read").wait()
        # Linger 0 makes the kernel send RST, not FIN.
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        sock = exchange.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        exchange.reset()

    server = await serve(handler)
    response = await transport.handle_async_request(post(server.url))
    stream = aiter(response.stream)  # type: ignore[arg-type]
    assert await anext(stream) == b"abc"
    server.event("read").set()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await anext(stream)
    await response.aclose()
    assert held(transport) == 0


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_request_reaches_the_wire_once(
    serve: Serve, transport: HttpTransport, method: str
) -> None:
    """A reused connection that dies is an error and no second request, not even for a GET."""

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        if len(exchange.server.heads) == 1:
            await exchange.send(OK)
        else:
            exchange.writer.close()

    server = await serve(handler)
    await read(transport, httpx.Request(method, server.url))
    with pytest.raises(httpx.RemoteProtocolError, match="closed without an answer"):
        await read(transport, httpx.Request(method, server.url))
    assert (len(server.heads), server.accepted) == (2, 1)


async def test_a_connection_closed_while_idle_is_not_used_again(
    serve: Serve, transport: HttpTransport
) -> None:
    """The server's FIN is noticed when it comes, not when the connection is needed."""
    server = await serve(closing_after(OK))
    for _ in range(3):
        await read(transport, post(server.url))
        await server.idle()
        while any(wire.is_open for wire in idle(transport)):  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0)
    assert (len(server.heads), server.accepted) == (3, 3)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("closed", [1, 2, 3])
async def test_a_connection_found_closed_before_writing_is_replaced(
    serve: Serve,
    transport: HttpTransport,
    method: str,
    closed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was sent, so another one may be taken; but the search ends."""
    loop = asyncio.get_running_loop()
    connect = loop.create_connection
    left = iter(range(closed))

    async def connect_closed(*args: Any, **kwargs: Any) -> Any:
        wire, protocol = await connect(*args, **kwargs)
        if next(left, None) is not None:
            wire.close()
        return wire, protocol

    monkeypatch.setattr(loop, "create_connection", connect_closed)
    server = await serve(answering(OK))
    request = httpx.Request(method, server.url, content=b"{}" * (method == "POST"))
    if closed < engine.MAX_STALE:
        assert (await read(transport, request))[1] == b"ok"
        assert len(server.heads) == 1
    else:
        with pytest.raises(httpx.ConnectError, match="before a byte was sent"):
            await transport.handle_async_request(request)
        assert server.heads == []
    assert held(transport) == 0


async def test_a_replacement_that_cannot_connect_is_told_as_such(
    serve: Serve, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last failure counts, not the closed connection that led to it."""
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connect_once(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(loop, "create_connection", refuse)
        wire, protocol = await connect(*args, **kwargs)
        wire.close()
        return wire, protocol

    async def refuse(*args: Any, **kwargs: Any) -> Any:
        kwargs["sock"].close()
        raise ConnectionRefusedError

    monkeypatch.setattr(loop, "create_connection", connect_once)
    server = await serve(answering(OK))
    with pytest.raises(httpx.ConnectError, match="cannot connect"):
        await transport.handle_async_request(post(server.url))


async def test_two_first_requests_share_one_session(serve: Serve, transport: HttpTransport) -> None:
    """Starting is not a race."""
    server = await serve(answering(OK))
    await asyncio.gather(*(read(transport, post(server.url)) for _ in range(8)))
    assert len(idle(transport)) == server.accepted == 8


async def test_a_refused_connection_is_a_connect_error(transport: HttpTransport) -> None:
    """The system's reason is in the message."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(httpx.ConnectError, match="onnect call failed"):
        await transport.handle_async_request(post(f"http://127.0.0.1:{port}/"))
    assert held(transport) == 0


async def test_an_unknown_name_is_a_connect_error(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that does not resolve was never connected to."""

    async def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(httpx.ConnectError, match="not known"):
        await transport.handle_async_request(post("http://nowhere.invalid/"))


async def test_a_server_that_does_not_speak_tls_is_a_connect_error(
    serve: Serve, transport: HttpTransport
) -> None:
    """A failed handshake is a connection that never was."""

    def answer_in_clear(reader: Reader, writer: Writer) -> None:
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(answer_in_clear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(post(f"https://127.0.0.1:{port}/"))


async def test_silence_before_the_head_is_a_read_timeout(
    serve: Serve, transport: HttpTransport
) -> None:
    """`read` bounds the wait for the first byte, and the server sees the connection go."""

    async def handler(exchange: Exchange) -> None:
        await exchange.peer_gone()

    server = await serve(handler)
    with pytest.raises(httpx.ReadTimeout):
        await transport.handle_async_request(post(server.url, read=0.02))
    await server.idle()


async def test_silence_inside_a_body_is_a_read_timeout(
    serve: Serve, transport: HttpTransport
) -> None:
    """`read` bounds each wait for bytes."""

    async def handler(exchange: Exchange) -> None:
        await answering(OK[:-1])(exchange)
        await exchange.peer_gone()

    server = await serve(handler)
    response = await transport.handle_async_request(post(server.url, read=0.02))
    with pytest.raises(httpx.ReadTimeout):
        await response.aread()
    await server.idle()


async def test_a_connection_that_does_not_come_about_is_a_connect_timeout(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`connect` bounds the name look-up too."""

    async def never(*args: object, **kwargs: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    with pytest.raises(httpx.ConnectTimeout):
        await transport.handle_async_request(post("http://slow.invalid/", connect=0.02))


async def test_a_server_that_takes_no_bytes_is_a_write_timeout(
    serve: Serve, transport: HttpTransport
) -> None:
    """`write` bounds each piece of a large body, and nothing lingers to be flushed."""

    async def handler(exchange: Exchange) -> None:
        exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await exchange.server.event("done").wait()
        exchange.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await exchange.peer_gone()

    server = await serve(handler)
    with pytest.raises(httpx.WriteTimeout):
        await transport.handle_async_request(post(server.url, b"x" * 30_000_000, write=0.05))
    server.event("done").set()
    await server.idle()


async def test_an_answer_before_the_body_was_sent_is_read(
    serve: Serve, transport: HttpTransport
) -> None:
    """An early 413 from a server that stops reading neither hangs nor keeps the connection."""

    async def handler(exchange: Exchange) -> None:
        exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await exchange.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await exchange.server.event("done").wait()
        exchange.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await exchange.peer_gone()

    server = await serve(handler)
    response, body = await read(transport, post(server.url, b"x" * 30_000_000))
    assert (response.status_code, body) == (413, b"big")
    assert held(transport) == 0
    server.event("done").set()
    await server.idle()


@pytest.mark.parametrize("size", [0, 1, 40_000, 3_000_000])
async def test_a_body_arrives_whole(serve: Serve, transport: HttpTransport, size: int) -> None:
    """Small ones in one write, large ones in pieces."""
    sent = random.Random(size).randbytes(size)
    received = []

    async def handler(exchange: Exchange) -> None:
        received.append(await exchange.body())
        await exchange.send(OK)

    server = await serve(handler)
    await read(transport, post(server.url, sent))
    assert received == [sent]
    assert b"content-length: %d\r\n" % size in server.heads[0].lower()


@pytest.mark.parametrize("length", [None, "6"])
async def test_a_streamed_body_arrives_whole(
    serve: Serve, transport: HttpTransport, length: str | None
) -> None:
    """Chunked, unless the caller has told its length."""
    received = []

    async def handler(exchange: Exchange) -> None:
        received.append(await exchange.body())
        await exchange.send(OK)

    async def parts() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"

    server = await serve(handler)
    headers = {"content-length": length} if length else {}
    await read(transport, httpx.Request("POST", server.url, content=parts(), headers=headers))
    assert received == [b"abcdef"]
    assert (b"transfer-encoding: chunked" in server.heads[0].lower()) is (length is None)


async def test_a_streamed_body_that_fails_fails_the_request(
    serve: Serve, transport: HttpTransport
) -> None:
    """Half a body is never sent as a whole one."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"abc"
        raise LookupError("lost")

    async def handler(exchange: Exchange) -> None:
        await exchange.peer_gone()

    server = await serve(handler)
    with pytest.raises(httpx.WriteError):
        await transport.handle_async_request(post(server.url, parts()))
    await server.idle()


async def test_a_synchronous_body_is_refused(transport: HttpTransport) -> None:
    """As httpx's own asynchronous transport refuses it."""
    request = httpx.Request("POST", "http://127.0.0.1:1/", content=iter([b"abc"]))
    with pytest.raises(TypeError, match="asynchronous"):
        await transport.handle_async_request(request)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "ws://127.0.0.1/"])
async def test_other_protocols_are_refused(transport: HttpTransport, url: str) -> None:
    """HTTP only, and nothing is connected."""
    with pytest.raises(httpx.UnsupportedProtocol):
        await transport.handle_async_request(httpx.Request("GET", url))


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\x00"])
async def test_a_header_that_cannot_be_written_is_refused(
    serve: Serve, transport: HttpTransport, value: bytes
) -> None:
    """No header can smuggle in another."""
    server = await serve(answering(OK))
    request = httpx.Request("GET", server.url, headers=[(b"x", value)])
    with pytest.raises(httpx.LocalProtocolError):
        await transport.handle_async_request(request)
    assert server.heads == []


async def test_an_ipv6_literal_is_an_address(serve: Serve, transport: HttpTransport) -> None:
    """Brackets and all."""
    try:
        server = await serve(answering(OK), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    _, body = await read(transport, post(server.url))
    assert body == b"ok"
    assert b"host: [::1]:" in server.heads[0].lower()


async def test_closing_a_response_before_its_end_drops_the_connection(
    serve: Serve, transport: HttpTransport
) -> None:
    """The provider learns at once that nobody listens; closing again does nothing."""

    async def handler(exchange: Exchange) -> None:
        await answering(OK[:-1])(exchange)
        await exchange.peer_gone()

    server = await serve(handler)
    response = await transport.handle_async_request(post(server.url))
    assert repr(transport) == "<HttpTransport: 1 responses open>"
    await response.aclose()
    await response.aclose()
    await server.idle()
    assert held(transport) == 0


async def test_closing_the_transport_ends_who_reads_and_allows_new_requests(
    serve: Serve, transport: HttpTransport
) -> None:
    """A reader is told, not left hanging; the next request connects anew."""

    async def handler(exchange: Exchange) -> None:
        await answering(OK[:-1])(exchange)
        await exchange.peer_gone()

    server = await serve(handler)
    response = await transport.handle_async_request(post(server.url))
    reading = asyncio.create_task(response.aread())
    await asyncio.sleep(0)
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(httpx.ReadError):
        await reading
    await server.idle()
    response = await transport.handle_async_request(post(server.url))
    assert response.status_code == 200
    await response.aclose()


@pytest.mark.parametrize("phase", ["connecting", "writing", "waiting", "reading"])
async def test_a_cancelled_call_lets_go_of_its_connection_at_once(
    serve: Serve, transport: HttpTransport, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was waiting for; also where the peer would never have read what is unsent."""

    async def handler(exchange: Exchange) -> None:
        if phase == "writing":
            exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]
            exchange.server.event("there").set()
            await exchange.server.event("done").wait()
            exchange.writer.transport.resume_reading()  # type: ignore[attr-defined]
        elif phase == "reading":
            await answering(OK[:-1])(exchange)
        exchange.server.event("there").set()
        await exchange.peer_gone()

    server = await serve(handler)
    tasks = asyncio.all_tasks()
    if phase == "connecting":

        async def never(*args: object, **kwargs: object) -> None:
            server.event("there").set()
            await asyncio.Event().wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    size = 30_000_000 if phase == "writing" else 2
    call = asyncio.create_task(read(transport, post(server.url, b"x" * size)))
    await server.event("there").wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert held(transport) == 0
    assert asyncio.all_tasks() - server.tasks == tasks
    server.event("done").set()
    await server.idle()


async def test_six_hundred_random_cancellations_leave_nothing_behind(
    serve: Serve, transport: HttpTransport
) -> None:
    """No connection, task or file descriptor is lost, and the pool serves on."""
    dice = random.Random(600)

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        for piece in (OK[:30], OK[30:-1], OK[-1:]):
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            await exchange.send(piece)

    server = await serve(handler)
    await read(transport, post(server.url))
    tasks = asyncio.all_tasks() - server.tasks
    before = open_files()

    async def leave(turns: int) -> None:
        call = asyncio.create_task(read(transport, post(server.url, b"x" * 1000)))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    for _ in range(20):
        await asyncio.gather(*(leave(dice.randrange(40)) for _ in range(30)))
    assert held(transport) == 0
    assert asyncio.all_tasks() - server.tasks == tasks
    assert (await read(transport, post(server.url)))[1] == b"ok"
    await transport.aclose()
    await server.idle()
    assert open_files() <= before


class OneByteShort(socketserver.StreamRequestHandler):
    """Answers `/` whole and any other path up to its last byte, and keeps the connection."""

    def handle(self) -> None:
        while request_line := self.rfile.readline():
            while self.rfile.readline() != b"\r\n":
                pass
            self.wfile.write(OK if request_line.startswith(b"GET / ") else OK[:-1])


@pytest.fixture
def outside() -> Iterator[str]:
    """Return the URL of a server that lives outside of any event loop."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OneByteShort) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


async def leave_things_open(transport: HttpTransport, url: str) -> httpx.Response:
    """Leave one connection idle in the pool, and return a response whose end will not come."""
    await read(transport, httpx.Request("GET", url + "/"))
    return await transport.handle_async_request(httpx.Request("GET", url + "/more"))


def test_a_new_event_loop_gets_a_new_session(outside: str) -> None:
    """One transport serves loop after loop, and none leaves a warning or a socket behind."""
    transport = HttpTransport()
    before = open_files()
    for _ in range(3):
        asyncio.run(leave_things_open(transport, outside))
    gc.collect()
    asyncio.run(transport.aclose())
    assert open_files() <= before + 6  # the server's ends, which close a little later


def test_a_transport_that_nobody_closed_is_closed_with_its_loop(outside: str) -> None:
    """The loop finds nothing unclosed."""
    asyncio.run(leave_things_open(HttpTransport(), outside))
    gc.collect()


def test_a_transport_moves_from_a_running_loop_to_another(outside: str) -> None:
    """The old loop closes what was open on it."""
    transport = HttpTransport()
    with asyncio.Runner() as old, asyncio.Runner() as new:
        response = old.run(leave_things_open(transport, outside))
        new.run(leave_things_open(transport, outside))
        with pytest.raises(httpx.ReadError):
            old.run(response.aread())
        new.run(transport.aclose())
    gc.collect()


def test_a_loop_closed_behind_our_back_is_forgotten(outside: str) -> None:
    """Its connections are not used again, and nobody complains of them."""
    transport = HttpTransport()
    loop = asyncio.new_event_loop()
    with pytest.raises(httpx.ConnectError):
        loop.run_until_complete(transport.handle_async_request(post("http://127.0.0.1:1/")))
    loop.close()
    asyncio.run(leave_things_open(transport, outside))
    gc.collect()


async def test_a_transport_that_nobody_holds_closes_its_connections(serve: Serve) -> None:
    """Also while the loop runs on, and not before its last response has been read."""
    server = await serve(answering(OK))
    assert (await read(HttpTransport(), post(server.url)))[1] == b"ok"
    gc.collect()
    await server.idle()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a PEM file with a key and its certificate for 127.0.0.1, trusted by nobody."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and is not here")
    subject = ["-subj", "/CN=stepwell", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    where = ["-nodes", "-days", "2", "-keyout", f"{path}.key", "-out", str(path)]
    subprocess.run([*new, *subject, *where], check=True, capture_output=True)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")
    return context


async def test_a_certificate_of_the_ca_file_is_trusted(
    serve: Serve, certificate: Path, tls: ssl.SSLContext
) -> None:
    """A private authority's servers can be called; the context is made once."""
    server = await serve(answering(OK), context=tls)
    transport = HttpTransport(ca_file=str(certificate))
    for _ in range(2):
        _, body = await read(transport, post(server.url))
        assert body == b"ok"
        await transport.aclose()
    assert transport._dialer._context is transport._dialer._context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_new_connection_takes_up_the_tls_session_of_the_last(
    serve: Serve, certificate: Path, tls: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """Certificates are shown and checked once, though the connection between was dropped."""
    tls.maximum_version = version
    server = await serve(answering(OK), context=tls)
    transport = HttpTransport(ca_file=str(certificate))
    for _ in range(3):
        await read(transport, post(server.url))
        await transport.aclose()
    statistics = tls.session_stats()
    assert (statistics["accept_good"], statistics["hits"]) == (3, 2)


async def test_a_tls_session_is_not_taken_up_where_the_handshake_failed(
    serve: Serve, transport: HttpTransport, tls: ssl.SSLContext
) -> None:
    """Whoever could not prove who it is has to prove it the next time too."""
    server = await serve(answering(OK), context=tls)
    for _ in range(2):
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            await transport.handle_async_request(post(server.url))
    assert tls.session_stats()["hits"] == 0


def test_a_context_of_another_kind_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has put another one in place of `ssl`'s may check certificates in a way of their own."""

    class Other(ssl.SSLContext):
        pass

    other = Other(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "create_default_context", lambda: other)
    assert type(trusting(None)) is Other


async def test_an_unknown_certificate_is_a_connect_error(
    serve: Serve, transport: HttpTransport, tls: ssl.SSLContext
) -> None:
    """Nothing is sent to a server that cannot prove who it is."""
    server = await serve(answering(OK), context=tls)
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        await transport.handle_async_request(post(server.url))
    assert server.heads == []


async def test_requests_go_through_the_proxy(serve: Serve) -> None:
    """In absolute form, with the proxy's credentials, and not with those for anyone else."""
    proxy = await serve(answering(OK))
    address = proxy.url.replace("://", "://user:pass@")
    async with HttpTransport(proxy=address) as transport:
        _, body = await read(transport, post("http://provider.invalid/v1"))
    assert body == b"ok"
    exchange = Exchange(proxy, proxy.heads[0], Reader(), None)  # type: ignore[arg-type]
    assert exchange.request_line == b"POST http://provider.invalid/v1 HTTP/1.1"
    assert (b"proxy-authorization", b"Basic dXNlcjpwYXNz") in exchange.headers


async def test_tls_goes_through_a_tunnel_of_the_proxy(
    serve: Serve, certificate: Path, tls: ssl.SSLContext
) -> None:
    """The proxy is asked for a tunnel to the provider and sees nothing of the request."""
    server = await serve(answering(OK), context=tls)

    async def tunnel(exchange: Exchange) -> None:
        host, port = server.url.removeprefix("https://").split(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        await exchange.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(_pump(exchange.reader, far_writer), _pump(far_reader, exchange.writer))

    proxy = await serve(tunnel)
    transport = HttpTransport(proxy=proxy.url, ca_file=str(certificate))
    async with transport:
        _, body = await read(transport, post(server.url))
        assert body == b"ok"
    await proxy.idle()
    address = server.url.removeprefix("https://").encode()
    assert [head.split(b"\r\n")[0] for head in proxy.heads] == [
        b"CONNECT " + address + b" HTTP/1.1"
    ]


async def _pump(reader: Reader, writer: Writer) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def test_a_tunnel_refused_is_a_proxy_error(serve: Serve) -> None:
    """The proxy's refusal is not taken for the provider's answer."""
    proxy = await serve(answering(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"))
    async with HttpTransport(proxy=proxy.url) as transport:
        with pytest.raises(httpx.ProxyError, match="refused the tunnel"):
            await transport.handle_async_request(post("https://provider.invalid/"))


async def test_a_proxy_that_cannot_be_reached_is_a_proxy_error() -> None:
    """It is not the provider's fault."""
    async with HttpTransport(proxy="http://127.0.0.1:1") as transport:
        with pytest.raises(httpx.ProxyError, match="cannot connect to the proxy"):
            await transport.handle_async_request(post("http://provider.invalid/"))


def test_a_proxy_of_another_kind_is_refused() -> None:
    """Early, and not at the first request."""
    with pytest.raises(ValueError, match="http:// or https://"):
        HttpTransport(proxy="socks5://127.0.0.1:1080")


async def test_httpx_can_use_it_as_a_transport(serve: Serve) -> None:
    """It keeps the contract of httpx's seam, timeouts included."""
    server = await serve(answering(OK))
    async with httpx.AsyncClient(transport=HttpTransport()) as client:
        response = await client.post(server.url, json={"a": 1})
    assert response.text == "ok"
