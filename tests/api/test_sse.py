"""One SSE response: what is sent at once, and what keeps it alive."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.types import Message

from stepwell.api.connection import Connection
from stepwell.api.sse import EventStream
from stepwell.testing import FakeClock

EVENT = b"data: {}\n\n"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Client(Connection):
    """Takes what is sent, in order; while it is `busy` a send waits, and nothing can be pushed."""

    pushes = True

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.busy: asyncio.Event | None = None

    async def send(self, message: Message) -> None:
        if self.busy is not None:
            await self.busy.wait()
        if message.get("body"):
            self.taken.append(message["body"])

    def watch(self, lost: Callable[[], object] | None) -> None:
        """See Connection: it stays."""

    def push(self, body: bytes) -> bool:
        if self.busy is None:
            self.taken.append(body)
        return self.busy is None

    def stream(self, clock: FakeClock) -> EventStream:
        return EventStream(
            self.send, self.send, self, clock=clock, ping=10.0, doing=lambda: "a model"
        )


async def test_what_is_pushed_is_no_silence(clock: FakeClock) -> None:
    """A comment goes out a ping's time after the last event, however that went."""
    client = Client()
    with client.stream(clock) as events:
        await events.open([])
        for _ in range(3):
            await clock.advance(9.0)
            assert events.push(EVENT)
        assert client.taken == [EVENT] * 3
        await clock.advance(9.0)
        assert len(client.taken) == 3
        await clock.advance(1.0)
        assert client.taken[3:] == [b": waiting 37s for a model\n\n"]


async def test_nothing_is_pushed_into_a_ping_or_after_the_end(clock: FakeClock) -> None:
    """Two parts of a response are not sent at once, and none follows the last."""
    client = Client()
    with client.stream(clock) as events:
        await events.open([])
        client.busy = asyncio.Event()
        await clock.advance(10.0)
        is_taken = client.busy
        client.busy = None
        assert not events.push(EVENT)
        is_taken.set()
        await clock.advance(0.0)
        assert events.push(EVENT)
        await events.close()
        assert not events.push(EVENT)
    assert client.taken == [b": waiting 10s for a model\n\n", EVENT]
