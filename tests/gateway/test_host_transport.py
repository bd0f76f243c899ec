"""A host's transport may keep a scope open while its body is read, as code on anyio does.

Only the task that entered such a scope may leave it; in another one anyio raises RuntimeError.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from stepwell.testing import Failure, FakeClock, Fleet


class Scoped(httpx.AsyncByteStream):
    """A body that is read inside a cancel scope; `ends` is told how it was left."""

    def __init__(self, inner: httpx.AsyncByteStream, ends: list[str]) -> None:
        self._inner = inner
        self._ends = ends

    async def __aiter__(self) -> AsyncIterator[bytes]:
        end = "in another task"
        task = asyncio.current_task()
        try:
            with anyio.CancelScope():
                async for chunk in self._inner:
                    yield chunk
        finally:
            if asyncio.current_task() is task:
                end = "in its own"
            self._ends.append(end)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Host(httpx.AsyncBaseTransport):
    """A transport of scoped bodies."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.ends: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        stream = Scoped(response.stream, self.ends)
        return httpx.Response(response.status_code, headers=response.headers, stream=stream)


@pytest.fixture
def host(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The transport of whatever gateway is served."""
    host = Host(fleet.transport())
    monkeypatch.setattr(fleet, "transport", lambda: host)
    return host


@pytest.mark.parametrize(
    ("failure", "stream"),
    [
        (None, False),
        (None, True),
        (Failure.no_done(), True),
        (Failure.lump(), True),
        (Failure.bytewise(7), True),
    ],
)
async def test_a_body_is_read_to_its_end_by_one_task(
    failure: Failure | None, *, stream: bool, fleet: Fleet, host: Host, serve: Any
) -> None:
    """However its stream ends, the answer is whole."""
    a = fleet.add("a")
    a.fail(*[failure] if failure else ())
    answer = await serve().ask(stream=stream)

    assert answer.status_code == 200
    assert "error" not in answer.text
    assert host.ends == ["in its own"]


@pytest.mark.parametrize(
    "failure", [Failure.cut(3), Failure.ends_early(3), Failure.in_band_error(after=3)]
)
async def test_a_broken_body_is_left_by_the_task_that_read_it(
    failure: Failure, fleet: Fleet, host: Host, serve: Any
) -> None:
    """The client is told of the break, and of nothing else."""
    fleet.add("a").fail(failure)
    answer = await serve().ask(stream=True)

    assert "broke off" in answer.text
    assert host.ends == ["in its own"]


@pytest.mark.parametrize("events", [0, 4])
async def test_the_client_leaves_amid_a_body(
    events: int, clock: FakeClock, fleet: Fleet, host: Host, serve: Any
) -> None:
    """Before the first word or after it: the body is closed then, by the task that read it."""
    a = fleet.add("a")
    a.hold()
    a.let(events)
    site = serve()
    async with site.open(stream=True) as stream:
        await clock.advance(1)
        await stream.disconnect()
        assert host.ends == ["in its own"]
        assert await site.in_flight() == 0
