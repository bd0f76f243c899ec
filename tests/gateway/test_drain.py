"""Gateway.drain: how a server stops without cutting anyone off who can still be served."""

import asyncio
import json
from typing import Any

from stepwell.testing import Failure, FakeClock, Fleet


async def test_a_draining_gateway_takes_no_new_requests(fleet: Fleet, serve: Any) -> None:
    """503 with `shutting_down` and a Retry-After, so that a balancer sends them elsewhere."""
    a = fleet.add("a")
    site = serve()
    await site.gateway.drain(10)
    for stream in (False, True):
        response = await site.ask(stream=stream)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error"]["code"] == "shutting_down"
    assert a.calls == []


async def test_drain_waits_for_those_under_way(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """It returns when the last one has its answer, not when the grace is over."""
    fleet.add("a", latency=3)
    site = serve()
    asked = [asyncio.ensure_future(site.post(stream=stream)) for stream in (False, True)]
    await clock.advance(1)
    await clock.run(site.gateway.drain(10))
    assert clock.monotonic() == 1003
    await clock.run(asyncio.wait(asked))
    assert [task.result().status_code for task in asked] == [200, 200]
    assert asked[1].result().text.endswith("data: [DONE]\n\n")


async def test_drain_ends_an_open_stream_in_band(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """After the grace the client has its words, an error event, and the end."""
    a = fleet.add("a", reply="word " * 50, tokens_per_second=1)
    site = serve()
    asked = asyncio.ensure_future(site.post(stream=True))
    await clock.advance(5)
    await clock.run(site.gateway.drain(10))
    assert clock.monotonic() == 1015
    body = (await clock.run(asked)).text
    assert body.startswith("data: ")
    last = body.rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "shutting_down"
    assert last.endswith("}\n\n")
    assert (a.calls[0].outcome, a.calls[0].ended) == ("aborted", 1015)
    assert await site.in_flight() == 0


async def test_drain_ends_what_has_not_begun_with_a_503(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Buffered requests, and streams of which nothing was sent, get a real status."""
    a = fleet.add("a")
    a.fail(Failure.hang(), times=None)
    site = serve()
    asked = [asyncio.ensure_future(site.post(stream=stream)) for stream in (False, True)]
    await clock.advance(1)
    await clock.run(site.gateway.drain(10))
    responses = await clock.run(asyncio.gather(*asked))
    assert [response.status_code for response in responses] == [503, 503]
    assert {response.json()["error"]["code"] for response in responses} == {"shutting_down"}
    assert [call.outcome for call in a.calls] == ["aborted", "aborted"]


async def test_drain_returns_only_when_those_it_ended_are_gone(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """So that a host may close its loop, or its server, right after it."""
    fleet.add("a").fail(Failure.hang())
    site = serve()
    asked = asyncio.ensure_future(site.post())
    await clock.advance(1)
    await clock.run(site.gateway.drain(0))
    assert "0 active" in repr(site.gateway)
    assert await site.in_flight() == 0
    assert (await asked).status_code == 503


async def test_a_client_that_reads_nothing_does_not_keep_drain(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Who is ended has a second to take the news."""
    fleet.add("a", reply="word " * 50)
    site = serve()
    async with site.open(stream=True, ahead=0):
        await clock.advance(1)
        await clock.run(site.gateway.drain(5))
        assert clock.monotonic() == 1000 + 1 + 5 + 1


async def test_drain_is_idempotent(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """A second call waits as the first does; a third, with nobody left, returns at once."""
    fleet.add("a", latency=3)
    site = serve()
    asked = asyncio.ensure_future(site.post())
    await clock.advance(1)
    await clock.run(asyncio.gather(site.gateway.drain(10), site.gateway.drain(20)))
    assert clock.monotonic() == 1003
    await site.gateway.drain(10)
    assert (await clock.run(asked)).status_code == 200
    assert (await site.gateway.health())["gateway"] == "draining"
