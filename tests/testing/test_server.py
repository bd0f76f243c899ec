"""The same providers on real sockets, with plain clients.

Only events are waited for: a closed connection, or a record that ends.
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import httpx
import pytest

from stepwell.testing import Failure, Fleet, FleetServer, SimProvider

BODY = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def alpha() -> SimProvider:
    return Fleet().add("alpha", keys=[], reply="one two three")


@pytest.fixture
async def server(alpha: SimProvider) -> AsyncIterator[FleetServer]:
    async with FleetServer([alpha]) as server:
        yield server


@pytest.fixture
async def client(server: FleetServer, alpha: SimProvider) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=alpha.base_url, timeout=None) as client:
        yield client


async def in_flight(provider: SimProvider, count: int) -> None:
    """Wait until so many calls are open; the event loop has to turn for it, no time has to pass."""
    while provider.in_flight != count:  # noqa: ASYNC110 - a socket announces itself to nobody
        await asyncio.sleep(0)


async def test_answers_are_the_same_as_without_sockets(
    client: httpx.AsyncClient, alpha: SimProvider
) -> None:
    """Buffered answers have a length, streams are chunked, both are whole."""
    buffered = await client.post("/chat/completions", json=BODY)
    assert buffered.json()["choices"][0]["message"]["content"] == "one two three"
    assert int(buffered.headers["content-length"]) == len(buffered.content)
    streamed = await client.post("/chat/completions", json={**BODY, "stream": True})
    assert streamed.headers["transfer-encoding"] == "chunked"
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert alpha.served == 2


async def test_every_provider_has_a_port_of_its_own() -> None:
    """Base URLs are on loopback while the fleet serves, and what they were before and after."""
    fleet = Fleet()
    providers = [fleet.add("alpha"), fleet.add("beta")]
    async with fleet.serve() as server:
        urls = {provider.base_url for provider in providers}
        assert len(urls) == 2
        assert all(url.startswith("http://127.0.0.1:") for url in urls)
        assert all(url in repr(server) for url in urls)
        assert fleet.settings()["providers"]["beta"]["base_url"] == providers[1].base_url
    assert providers[0].base_url == "http://alpha.fleet.test/v1"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure.cut(1), httpx.RemoteProtocolError),
        (Failure.cut_bytes(200), httpx.RemoteProtocolError),
        (Failure.reset(), httpx.ReadError),
        (Failure.connect_error(), httpx.ReadError),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_connections_break_as_scripted(
    client: httpx.AsyncClient,
    alpha: SimProvider,
    failure: Failure,
    error: type[Exception],
    stream: bool,
) -> None:
    """A cut closes in the middle of the message, a reset before its first byte."""
    alpha.fail(failure)
    with pytest.raises(error):
        await client.post("/chat/completions", json={**BODY, "stream": stream})
    assert alpha.calls[0].outcome == "failed"


@pytest.mark.parametrize(
    ("failure", "size"),
    [
        (Failure.ends_early(2), 2),
        (Failure.empty_stream(), 0),
        (Failure.no_done(), 5),
        (Failure.in_band_error(429, after=1), 3),
        (Failure.bytewise(), 6),
        (Failure.gzip(), 6),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_streams_end_as_scripted(
    client: httpx.AsyncClient, alpha: SimProvider, failure: Failure, size: int
) -> None:
    """Damaged and unusual streams arrive event by event as they would without sockets."""
    alpha.fail(failure)
    response = await client.post("/chat/completions", json={**BODY, "stream": True})
    assert response.text.count("data: ") == size


@pytest.mark.parametrize("failure", [Failure.status(503), Failure.html(), Failure.redirect()])
async def test_whole_answers_arrive(
    client: httpx.AsyncClient, alpha: SimProvider, failure: Failure
) -> None:
    """Refusals have their status and body, and the connection lives on."""
    alpha.fail(failure)
    refused = await client.post("/chat/completions", json=BODY)
    assert refused.status_code == alpha.calls[0].status
    assert (await client.post("/chat/completions", json=BODY)).status_code == 200


@pytest.mark.parametrize("failure", [Failure.hang(), Failure.hang_after(1)], ids=lambda f: f.name)
async def test_a_client_that_leaves_is_seen(
    client: httpx.AsyncClient, alpha: SimProvider, failure: Failure
) -> None:
    """A cancelled request closes its connection, and the provider notices while it says nothing."""
    alpha.fail(failure)
    task = asyncio.create_task(client.post("/chat/completions", json={**BODY, "stream": True}))
    await in_flight(alpha, 1)
    task.cancel()
    await asyncio.wait([task])
    await in_flight(alpha, 0)
    assert alpha.calls[0].aborted


async def test_aiohttp_reads_it_too(server: FleetServer, alpha: SimProvider) -> None:
    """Another client sees the same events, and the same cut."""
    url = f"{alpha.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json={**BODY, "stream": True}) as response:
            assert (await response.text()).count("data: ") == 6
        alpha.fail(Failure.cut(1))
        async with session.post(url, json={**BODY, "stream": True}) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.text()


async def test_a_stopped_provider_cannot_be_reached(
    client: httpx.AsyncClient, server: FleetServer, alpha: SimProvider
) -> None:
    """`stop` closes port and connections, `start` opens the same port again."""
    alpha.fail(Failure.hang())
    task = asyncio.create_task(client.post("/chat/completions", json=BODY))
    await in_flight(alpha, 1)
    await server.stop(alpha)
    with pytest.raises(httpx.TransportError):
        await task
    assert alpha.calls[0].outcome == "failed"
    with pytest.raises(httpx.ConnectError):
        await client.post("/chat/completions", json=BODY)
    await server.start(alpha)
    assert (await client.post("/chat/completions", json=BODY)).status_code == 200


async def test_held_events_pass_one_at_a_time(
    client: httpx.AsyncClient, alpha: SimProvider
) -> None:
    """The gate works over sockets: one event let go, one event read."""
    alpha.hold()
    request = {**BODY, "stream": True}
    async with client.stream("POST", "/chat/completions", json=request) as response:
        chunks = response.aiter_raw()
        for _ in range(3):
            alpha.let()
            assert (await anext(chunks)).startswith(b"data: ")
        assert alpha.calls[0].sent == 3
        alpha.release()
        assert b"".join([chunk async for chunk in chunks]).endswith(b"[DONE]\n\n")
