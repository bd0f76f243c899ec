"""HTTP to clients: what leaves together, what uvicorn is left to write, how a leaving is noticed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from stepwell.api.connection import Connection, connection_of
from stepwell.cli.protocol import ClientProtocol, replying

GET = b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n"
LARGE = 100_000

Headers = list[tuple[bytes, bytes]]


class Wire(asyncio.Transport):
    """A socket that keeps what is written to it."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.written: list[bytes] = []
        self.reads = True
        self.is_closed = False

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def write(self, data: bytes) -> None:  # type: ignore[override] # as uvicorn writes
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


Answer = Callable[[Send], Awaitable[None]]
Connect = Callable[[Answer], tuple[ClientProtocol, Wire]]


def connected(
    answer: Answer, *, is_ours: bool = True, own: Headers | None = None
) -> tuple[ClientProtocol, Wire]:
    """Return a server's end of a connection, of which each request is answered so.

    Args:
        answer: What is sent.
        is_ours: By us, and not by uvicorn alone.
        own: The server's own headers.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    config = uvicorn.Config(
        replying(app) if is_ours else app,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    config.load()
    state = ServerState()
    state.default_headers = own or []
    protocol = ClientProtocol(config, state, {})
    wire = Wire(protocol)
    protocol.connection_made(wire)
    return protocol, wire


def connection(send: Send) -> Connection:
    found = connection_of(send)
    assert found is not None
    return found


async def whole(send: Send, body: bytes, **start: Any) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers, **start})
    await send({"type": "http.response.body", "body": body})


async def streamed(send: Send, *words: bytes, **start: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [], **start})
    for word in words:
        await send({"type": "http.response.body", "body": word, "more_body": True})
    await send({"type": "http.response.body"})


async def exchanged(answer: Answer, request: bytes = GET, **options: Any) -> Wire:
    """Return the wire after the request was sent twice."""
    protocol, wire = connected(answer, **options)
    for _ in range(2):
        protocol.data_received(request)
        for _ in range(4):  # turns of the tasks, one for each that was sent ahead
            await asyncio.sleep(0)
    protocol.connection_lost(None)
    return wire


@pytest.mark.parametrize(("size", "writes"), [(0, 1), (5, 1), (LARGE, 2)])
async def test_a_head_leaves_with_its_body(size: int, writes: int) -> None:
    """In one call of the system, unless the body is so large that a copy would cost more."""
    body = b"x" * size
    wire = await exchanged(lambda send: whole(send, body), own=[(b"server", b"us")])
    head = b"HTTP/1.1 200 OK\r\nserver: us\r\ncontent-length: %d\r\n\r\n" % size
    assert len(wire.written) == 2 * writes
    assert b"".join(wire.written) == 2 * (head + body)


async def test_the_head_of_a_stream_leaves_with_its_first_words() -> None:
    """What comes after them leaves as it comes."""
    wire = await exchanged(lambda send: streamed(send, b"one", b"two"))
    first, *others = wire.written[: len(wire.written) // 2]
    assert first == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
    assert others == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]


ORDINARY: Headers = [(b"content-length", b"2"), (b"x-word", "w\xf6rd".encode("latin-1"))]
POST = b"POST / HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nhi"


def variants() -> Iterator[Any]:
    """Yield answers and requests: the ordinary ones, and one thing about each that is not."""
    for name, start in {
        "plain": {},
        "named": {"headers": ORDINARY},
        "upper case": {"headers": [(b"Content-Length", b"2")]},
        "refused": {"status": 429, "headers": ORDINARY},
        "unchanged": {"status": 304, "headers": []},
        "nothing": {"status": 204, "headers": []},
        "closing": {"headers": [*ORDINARY, (b"connection", b"close")]},
        "chunked": {"headers": [(b"transfer-encoding", b"chunked")]},
        "without a length": {"headers": []},
    }.items():
        yield pytest.param(GET, start, id=name)
    for name, request in {
        "head": GET.replace(b"GET", b"HEAD"),
        "old": GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
        "last": GET.replace(b"host:", b"connection: close\r\nhost:"),
        "expectant": POST,
        "pipelined": GET + GET,
    }.items():
        yield pytest.param(request, {}, id=name)


@pytest.mark.parametrize(("request_", "start"), tuple(variants()))
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_leaves_is_what_uvicorn_sends(
    request_: bytes, start: dict[str, Any], is_stream: bool
) -> None:
    """Byte for byte, and the connection lives or ends alike."""

    async def answer(send: Send) -> None:
        is_empty = start.get("status") in (204, 304)
        if not is_stream:
            await whole(send, b"" if is_empty else b"ok", **start)
        elif (b"content-length", b"2") in start.get("headers", ()):
            await streamed(send, b"o", b"k", **start)
        else:
            await streamed(send, b"one", b"two", **start)

    ours = await exchanged(answer, request_)
    theirs = await exchanged(answer, request_, is_ours=False)
    assert theirs.written
    assert b"".join(ours.written) == b"".join(theirs.written)
    assert ours.is_closed == theirs.is_closed


@pytest.mark.parametrize("bad", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\x00b", b"a\x7f"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_header_with_a_control_character_is_not_sent(bad: bytes, is_stream: bool) -> None:
    """Least of all one that would end the line and begin another."""

    async def answer(send: Send) -> None:
        start = {"headers": [(b"content-length", b"2"), (b"x-word", bad)][is_stream:]}
        await (streamed(send, b"one", **start) if is_stream else whole(send, b"ok", **start))

    written = b"".join((await exchanged(answer)).written)
    assert b"x-word" not in written
    assert b"set-cookie" not in written


async def test_an_answer_that_fails_before_its_body_is_an_error() -> None:
    """Nothing of it has left, so that the client can be told."""

    async def answer(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broken")

    wire = await exchanged(answer)
    assert b"".join(wire.written).startswith(b"HTTP/1.1 500 Internal Server Error")
    assert wire.is_closed


async def test_what_comes_after_the_first_words_can_be_pushed() -> None:
    """At once, framed as the others are; not before the response has begun, nor after its end."""
    pushed: list[bool] = []

    async def answer(send: Send) -> None:
        push = connection(send).push
        await send({"type": "http.response.start", "status": 200, "headers": []})
        pushed.append(push(b"early"))
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        pushed.append(push(b"two"))
        await send({"type": "http.response.body"})
        pushed.append(push(b"late"))

    protocol, wire = connected(answer)
    protocol.data_received(GET)
    await asyncio.sleep(0)
    assert pushed == [False, True, False]
    assert wire.written[1:] == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]
    protocol.connection_lost(None)


@pytest.mark.parametrize("trouble", ["slow", "gone"])
async def test_nothing_is_pushed_to_who_does_not_take_it(trouble: str) -> None:
    """A client that reads too slowly slows its provider; to one that left nothing is written."""
    pushed: list[bool] = []

    async def answer(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        if trouble == "slow":
            protocol.pause_writing()
        else:
            wire.close()
        pushed.append(connection(send).push(b"two"))

    protocol, wire = connected(answer)
    protocol.data_received(GET)
    await asyncio.sleep(0)
    assert (pushed, len(wire.written)) == ([False], 1)
    protocol.connection_lost(None)


@pytest.mark.parametrize("is_early", [True, False])
async def test_who_watches_is_told_once_that_the_client_has_left(is_early: bool) -> None:
    """Also if it had left before the request was looked at; and not after the watch has ended."""
    told: list[str] = []

    async def answer(send: Send) -> None:
        connection(send).watch(lambda: told.append("gone"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        connection(send).watch(None)
        await send({"type": "http.response.start", "status": 200})

    protocol, _ = connected(answer)
    protocol.data_received(GET)
    if not is_early:
        await asyncio.sleep(0)
    protocol.connection_lost(ConnectionResetError())
    for _ in range(4):
        await asyncio.sleep(0)
    assert told == ["gone"]


async def test_a_connection_that_is_watched_is_read_on() -> None:
    """A large body pauses the reading, and a socket that is not read does not tell of its end."""
    was_paused = False

    async def answer(send: Send) -> None:
        nonlocal was_paused
        was_paused = not wire.reads
        connection(send).watch(lambda: None)
        connection(send).watch(None)
        await whole(send, b"ok")

    protocol, wire = connected(answer)
    protocol.data_received(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % LARGE + b"x" * LARGE)
    await asyncio.sleep(0)
    assert (was_paused, wire.reads) == (True, True)
    protocol.connection_lost(None)


def test_a_send_of_others_has_no_connection() -> None:
    """Whoever stands between sees all that is sent: nothing may go past them."""

    async def send(message: object) -> None:
        raise AssertionError

    assert connection_of(send) is None
