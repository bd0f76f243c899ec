"""HTTP to clients: what leaves together, and how a client's leaving is noticed."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from stepwell.api.connection import CONNECTION, Connection
from stepwell.cli.protocol import ClientProtocol

GET = b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n"
LARGE = 100_000


class Wire(asyncio.Transport):
    """A socket that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reads = True
        self.is_closed = False

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


Answer = Callable[[Connection, Send], Awaitable[None]]


def connected(answer: Answer) -> tuple[ClientProtocol, Wire]:
    """Return a server's end of a connection, of which each request is answered so."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope[CONNECTION], send)

    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, date_header=False)
    config.load()
    protocol = ClientProtocol(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def whole(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("holds", "size", "writes"), [(True, 5, 1), (True, LARGE, 2), (False, 5, 2)]
)
async def test_a_head_that_is_held_leaves_with_its_body(
    holds: bool, size: int, writes: int
) -> None:
    """In one call of the system, unless the body is so large that a copy would cost more."""

    async def answer(connection: Connection, send: Send) -> None:
        if holds:
            connection.hold()
        await whole(send, b"x" * size)

    protocol, wire = connected(answer)
    for count in (1, 2):
        protocol.data_received(GET)
        await asyncio.sleep(0)
        assert len(wire.written) == count * writes
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
    assert b"".join(wire.written) == 2 * (head + b"x" * size)
    protocol.connection_lost(None)


async def test_a_stream_is_held_until_its_first_words() -> None:
    """What comes after them leaves as it comes."""

    async def answer(connection: Connection, send: Send) -> None:
        connection.hold()
        await send({"type": "http.response.start", "status": 200})
        for word in (b"one", b"two"):
            await send({"type": "http.response.body", "body": word, "more_body": True})
        await send({"type": "http.response.body"})

    protocol, wire = connected(answer)
    protocol.data_received(GET)
    await asyncio.sleep(0)
    first, *others = wire.written
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert first.endswith(b"3\r\none\r\n")
    assert others == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]
    protocol.connection_lost(None)


async def test_a_head_that_is_held_leaves_also_where_nothing_follows() -> None:
    """A client that was told of an answer sees it cut, instead of nothing."""

    async def answer(connection: Connection, send: Send) -> None:
        connection.hold()
        await send({"type": "http.response.start", "status": 200})
        raise RuntimeError("broken")

    protocol, wire = connected(answer)
    protocol.data_received(GET)
    await asyncio.sleep(0)
    assert b"".join(wire.written).startswith(b"HTTP/1.1 200 OK")
    assert wire.is_closed


@pytest.mark.parametrize("is_early", [True, False])
async def test_who_watches_is_told_once_that_the_client_has_left(is_early: bool) -> None:
    """Also if it had left before the request was looked at; and not after the watch has ended."""
    told: list[str] = []

    async def answer(connection: Connection, send: Send) -> None:
        connection.watch(lambda: told.append("gone"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        connection.watch(None)
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

    async def answer(connection: Connection, send: Send) -> None:
        nonlocal was_paused
        was_paused = not wire.reads
        connection.watch(lambda: None)
        connection.watch(None)
        await whole(send, b"ok")

    protocol, wire = connected(answer)
    protocol.data_received(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % LARGE + b"x" * LARGE)
    await asyncio.sleep(0)
    assert (was_paused, wire.reads) == (True, True)
    protocol.connection_lost(None)
