"""limits.max_in_flight: how many requests a gateway has under way at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from stepwell import create_app
from stepwell.testing import Failure, FakeClock, Fleet

PATH = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}

Bounded = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def bounded(clock: FakeClock, fleet: Fleet) -> Bounded:
    """Return a function that puts a gateway with such a bound in front of the fleet."""

    @asynccontextmanager
    async def bounded(most: int, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        plain = {**fleet.settings(**settings), "limits": {"max_in_flight": most}}
        app = create_app(plain, transport=fleet.transport(), clock=clock)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://gateway.test",
            headers={"authorization": "Bearer sk-test"},
        ) as client:
            yield client

    return bounded


async def test_one_more_than_may_be_is_told_so_at_once(
    clock: FakeClock, fleet: Fleet, bounded: Bounded
) -> None:
    """A 503 with a Retry-After, whole or streamed, and no call; who was there is served."""
    a = fleet.add("a", latency=3)
    async with bounded(2) as client:
        asked = [
            asyncio.ensure_future(client.post(PATH, json={**BODY, "stream": stream}))
            for stream in (False, True)
        ]
        await clock.advance(1)
        for stream in (False, True):
            response = await client.post(PATH, json={**BODY, "stream": stream})
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["error"]["code"] == "overloaded"
        await clock.run(asyncio.wait(asked))
        assert [task.result().status_code for task in asked] == [200, 200]
        assert len(a.calls) == 2
        assert (await clock.run(client.post(PATH, json=BODY))).status_code == 200


async def test_who_waits_for_quota_counts_as_well(
    clock: FakeClock, fleet: Fleet, bounded: Bounded
) -> None:
    """What is bounded is what the process holds in memory."""
    fleet.add("a", dialect="retry-after").fail(Failure.rate_limit(20))
    async with bounded(1, queue={"max_wait": "30s"}) as client:
        waiting = asyncio.ensure_future(client.post(PATH, json=BODY))
        await clock.advance(1)
        assert (await client.post(PATH, json=BODY)).json()["error"]["code"] == "overloaded"
        assert (await clock.run(waiting)).status_code == 200
