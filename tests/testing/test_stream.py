"""open_stream drives an application message by message and hangs up as a client would."""

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from stepwell.testing import FakeClock, open_stream


def start(status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"x-a", b"1")]}


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Say what came, as JSON."""
    request = Request(scope, receive)
    facts = {
        "method": request.method,
        "path": scope["path"],
        "root_path": scope["root_path"],
        "query": request.url.query,
        "key": request.headers.get("authorization"),
        "type": request.headers.get("content-type"),
        "length": request.headers.get("content-length"),
        "user": scope.get("user"),
        "body": (await request.body()).decode(),
    }
    await JSONResponse(facts, status_code=201)(scope, receive, send)


async def test_a_request_arrives_as_a_server_would_send_it() -> None:
    """Method, path below the root path, query, headers, body, and what the test adds."""
    headers, more = {"Authorization": "Bearer k"}, {"user": "me"}
    async with open_stream(
        echo, "POST", "/v1/x?a=b", json={"n": 1}, headers=headers, root_path="/llm", extra=more
    ) as stream:
        begin = await stream.start()
        assert (begin.status, begin.headers["content-type"]) == (201, "application/json")
        expected = {
            "method": "POST",
            "path": "/llm/v1/x",
            "root_path": "/llm",
            "query": "a=b",
            "key": "Bearer k",
            "type": "application/json",
            "length": "7",
            "user": "me",
            "body": '{"n":1}',
        }

        assert json.loads(await stream.body()) == expected
        assert await stream.chunk() is None
        assert stream.complete


async def test_messages_are_seen_as_they_are_sent(clock: FakeClock) -> None:
    """Each chunk comes when it is sent, long before the application ends."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for word in (b"one", b"", b"two"):
            await clock.sleep(10)
            await send(part(word))
        await send(part(b"", more=False))

    async with open_stream(app, "GET", "/") as stream:
        assert (await stream.start()).headers["x-a"] == "1"
        began = clock.monotonic()
        assert await clock.run(stream.chunk()) == b"one"
        assert clock.monotonic() - began == 10
        assert not stream.ended
        assert await clock.run(stream.chunk()) == b"two"
        assert [chunk async for chunk in stream] == []
        assert len(stream.sent) == 5


async def test_an_application_can_be_held_in_lockstep(clock: FakeClock) -> None:
    """With `ahead=0` a send returns only when the test has read the message."""
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for number in range(3):
            await send(part(b"x"))
            sent.append(number)

    async with open_stream(app, "GET", "/", ahead=0) as stream:
        await stream.start()
        await clock.advance(60)
        assert sent == []
        await stream.chunk()
        await clock.advance(0)
        assert sent == [0]


async def test_a_disconnect_reaches_the_application() -> None:
    """`disconnect` is what receive() says next, and waits until the application has returned."""
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await receive()
        told.append((await receive())["type"])
        await send(part(b"too late"))

    async with open_stream(app, "POST", "/", body=b"x") as stream:
        await stream.start()
        await stream.disconnect()
        assert (told, stream.ended) == (["http.disconnect"], True)
        assert len(stream.sent) == 1
        assert await stream.chunk() is None


async def test_a_disconnect_ends_a_held_send() -> None:
    """An application that waits for its reader goes on when the reader has left."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(part(b"never read"))

    async with open_stream(app, "GET", "/", ahead=0) as stream:
        await stream.start()
        await stream.disconnect()
        assert stream.ended


async def test_the_whole_answer_is_followed_by_a_disconnect() -> None:
    """After its last message an application that listens hears that the client is gone."""
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(start())
        await send(part(b"all", more=False))
        told.append((await receive())["type"])

    async with open_stream(app, "GET", "/") as stream:
        assert await stream.body() == b"all"
    assert told == ["http.disconnect"]


async def test_the_application_is_cancelled_at_the_end_of_the_block() -> None:
    """Leaving the block ends a running application, and waits for its cleaning up."""
    cleaned: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async with open_stream(app, "GET", "/") as stream:
        await stream.start()
    assert cleaned == [True]
    assert repr(stream) == "<OpenStream /: 1 messages, ended>"


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start())
    raise LookupError("mine")


async def test_what_the_application_raises_is_raised() -> None:
    """The reader gets the application's error once the messages before it are read."""
    async with open_stream(broken, "GET", "/") as stream:
        assert (await stream.start()).status == 200
        with pytest.raises(LookupError, match="mine"):
            await stream.chunk()


async def test_an_error_nobody_read_is_raised_by_the_block() -> None:
    """An application's error cannot be overlooked."""

    async def read_only_the_start() -> None:
        async with open_stream(broken, "GET", "/") as stream:
            await stream.start()
            await asyncio.sleep(0)

    with pytest.raises(LookupError, match="mine"):
        await read_only_the_start()


async def test_no_answer_at_all_is_an_error() -> None:
    """An application that returns without a word is reported, as a server would."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async with open_stream(app, "GET", "/") as stream:
        with pytest.raises(RuntimeError, match="without an answer"):
            await stream.start()


async def test_an_unfinished_answer_is_an_error() -> None:
    """An application that returns in the middle is reported, as a server would."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())

    async with open_stream(app, "GET", "/") as stream:
        with pytest.raises(RuntimeError, match="in the middle"):
            await stream.chunk()


async def test_starlette_stops_streaming_when_the_client_leaves(clock: FakeClock) -> None:
    """A real framework's streaming response is cancelled by the disconnect."""
    ended: list[bool] = []

    async def words() -> Any:
        try:
            while True:
                yield b"word"
                await clock.sleep(1)
        finally:
            ended.append(True)

    async with open_stream(StreamingResponse(words()), "GET", "/") as stream:
        assert await stream.chunk() == b"word"
        assert await clock.run(stream.chunk()) == b"word"
        await stream.disconnect()
    assert ended == [True]
