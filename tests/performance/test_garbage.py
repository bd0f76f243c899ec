"""What a request leaves is freed at once: a collection of garbage stops everyone for milliseconds."""

import asyncio
import gc
import json
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message

from stepwell import create_app
from stepwell.testing import FakeClock, Fleet


class Cycle:
    """A request as servers hold it: with its scope, and a method that sends its answer."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = json.dumps(body).encode()
        headers = [(b"authorization", b"Bearer sk-1"), (b"content-type", b"application/json")]
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
        }
        self.status = 0

    async def receive(self) -> Message:
        if body := self.body:
            self.body = b""
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.get_running_loop().create_future()  # the client stays
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.status = message.get("status", self.status)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nothing be freed but by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_of_a_request_waits_for_the_garbage_collector(stream: bool) -> None:
    """Neither the server's cycle nor its scope, once the answer was sent."""
    clock = FakeClock()
    fleet = Fleet(clock)
    fleet.add("p0", latency=0.0)
    app = create_app(fleet.settings(api_keys=["sk-1"]), transport=fleet.transport(), clock=clock)
    body = {"model": "default", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}

    async def ask() -> "weakref.ref[Cycle]":
        cycle = Cycle(body)
        await app(cycle.scope, cycle.receive, cycle.send)
        assert cycle.status == 200
        return weakref.ref(cycle)

    async def both() -> list[Cycle | None]:
        left = [await ask() for _ in range(2)]
        for _ in range(4):
            await asyncio.sleep(0)
        return [cycle() for cycle in left]

    assert await clock.run(both()) == [None, None]
