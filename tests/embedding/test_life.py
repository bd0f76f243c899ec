"""The gateway's life: everything starts on first use, ends with the lifespan, and may begin again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

import stepwell
from stepwell import Gateway, Settings, SettingsError, create_app
from stepwell.testing import FakeClock, Fleet, open_stream

MakeApp = Callable[..., Starlette]
Connect = Callable[..., httpx.AsyncClient]

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}
KEY = "sk-client-1"

ANSWER = (
    b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}]}'
)


class Upstream:
    """A provider of few words that keeps connections open and counts them."""

    def __init__(self) -> None:
        self.open = 0
        self.opened = 0
        self.all_closed = asyncio.Event()
        self.url = ""

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.opened += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n" % len(ANSWER) + ANSWER
                )
        except asyncio.IncompleteReadError:
            self.open -= 1
            if not self.open:
                self.all_closed.set()
        finally:
            writer.close()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Upstream"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self

    def settings(self) -> dict[str, Any]:
        return {
            "api_keys": [KEY],
            "providers": {"alpha": {"base_url": self.url, "api_keys": ["sk-alpha"]}},
            "chains": {"default": ["alpha/sim-model"]},
        }


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_the_composed_lifespan_closes_the_connections(
    connect: Connect, framework: Callable[..., Any]
) -> None:
    """One connection serves many requests, and is closed when the host stops."""
    async with Upstream().serve() as upstream:
        app = create_app(upstream.settings())
        host = framework(lifespan=stepwell.lifespan(app))
        host.mount("/llm", app)
        async with LifespanManager(host):
            for _ in range(3):
                response = await connect(host).post(f"/llm{CHAT}", json=BODY)
                assert response.status_code == 200
            assert (upstream.opened, upstream.open) == (1, 1)
        await upstream.all_closed.wait()


async def test_alone_the_server_s_lifespan_closes_the_connections(connect: Connect) -> None:
    """As `uvicorn module:app` runs it."""
    async with Upstream().serve() as upstream:
        app = create_app(upstream.settings())
        async with LifespanManager(app):
            await connect(app).post(CHAT, json=BODY)
        await upstream.all_closed.wait()


async def test_one_lifespan_for_several_gateways_and_the_host_s_own(connect: Connect) -> None:
    """`lifespan(a, b)` composes; a host with one of its own enters ours inside it."""
    async with Upstream().serve() as upstream:
        apps = create_app(upstream.settings()), create_app(upstream.settings())
        story: list[str] = []

        @asynccontextmanager
        async def own(host: Starlette) -> AsyncIterator[None]:
            async with stepwell.lifespan(*apps)(host):
                story.append("up")
                yield
            story.append("down")

        host = Starlette(routes=[Mount("/a", apps[0]), Mount("/b", apps[1])], lifespan=own)
        async with LifespanManager(host):
            for prefix in ("/a", "/b"):
                await connect(host).post(prefix + CHAT, json=BODY)
            assert upstream.open == 2
        await upstream.all_closed.wait()
        assert story == ["up", "down"]


async def test_after_its_end_it_begins_again(connect: Connect) -> None:
    """Closing is idempotent, and a late request opens what it needs."""
    async with Upstream().serve() as upstream:
        app = create_app(upstream.settings())
        gateway: Gateway = app.state.gateway
        await gateway.aclose()
        assert (await connect(app).post(CHAT, json=BODY)).status_code == 200
        await gateway.aclose()
        await gateway.aclose()
        async with LifespanManager(app), connect(app) as client:
            assert (await client.post(CHAT, json=BODY)).status_code == 200
        assert upstream.opened == 2


@pytest.mark.parametrize("with_lifespan", [False, True])
def test_one_app_serves_in_one_event_loop_after_another(
    connect: Connect, with_lifespan: bool
) -> None:
    """A new loop for each test or request: nothing is bound to the first, and nothing is left open."""
    upstream = Upstream()

    async def prepare() -> Starlette:
        async with upstream.serve():
            return create_app(upstream.settings())

    app = asyncio.run(prepare())  # made in a loop that is gone when it is used
    port = int(upstream.url.rpartition(":")[2].partition("/")[0])

    async def use() -> int:
        server = await asyncio.start_server(upstream._connected, "127.0.0.1", port)
        async with server, connect(app) as client:
            if with_lifespan:
                async with LifespanManager(app):
                    return (await client.post(CHAT, json=BODY)).status_code
            return (await client.post(CHAT, json=BODY)).status_code

    assert [asyncio.run(use()) for _ in range(3)] == [200, 200, 200]
    assert upstream.opened == 3


def test_a_loop_that_dies_in_the_middle_leaves_nothing_behind(
    make_app: MakeApp, connect: Connect
) -> None:
    """A stream under way when its loop ends gives back its quota; the next loop has all of it."""
    fleet = Fleet(FakeClock())
    alpha = fleet.add("alpha", concurrency=1)
    app = make_app(fleet)
    headers = {"authorization": f"Bearer {KEY}"}

    async def leave_in_the_middle() -> None:
        alpha.hold()
        async with open_stream(app, "POST", CHAT, json=STREAM, headers=headers) as stream:
            alpha.let(2)
            await stream.start()
            raise KeyError

    async def use() -> int:
        alpha.release()
        async with connect(app) as client:
            return (await client.post(CHAT, json=STREAM)).status_code

    for _ in range(3):
        with pytest.raises(KeyError):
            asyncio.run(leave_in_the_middle())
        assert alpha.in_flight == 0
        assert asyncio.run(use()) == 200


async def test_a_gateway_of_the_host_s_own(
    connect: Connect, fleet: Fleet, clock: FakeClock
) -> None:
    """A host may make the Gateway, use it as a context manager, and look at it."""
    settings = Settings.from_dict(fleet.settings(api_keys=[KEY]))
    async with Gateway(settings, transport=fleet.transport(), clock=clock) as gateway:
        client = connect(create_app(gateway=gateway))
        assert (await client.post(CHAT, json=BODY)).status_code == 200
        assert "0 active" in repr(gateway)


def test_a_gateway_and_what_makes_one_are_not_both_taken(fleet: Fleet, clock: FakeClock) -> None:
    """Which of the two would count nobody could say."""
    settings = Settings.from_dict(fleet.settings(api_keys=[KEY]))
    gateway = Gateway(settings, transport=fleet.transport(), clock=clock)
    parts: list[dict[str, Any]] = [
        {"settings": settings},
        {"clock": clock},
        {"transport": fleet.transport()},
        {"observers": [print]},
    ]
    for more in parts:
        with pytest.raises(SettingsError, match="not both"):
            create_app(gateway=gateway, **more)


async def test_a_host_s_transport_is_the_host_s_to_close(
    connect: Connect, fleet: Fleet, clock: FakeClock
) -> None:
    """The gateway closes what it has opened, and nothing else."""

    class Owned(httpx.AsyncBaseTransport):
        closed = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await fleet.transport().handle_async_request(request)

        async def aclose(self) -> None:
            self.closed = True

    transport = Owned()
    app = create_app(fleet.settings(api_keys=[KEY]), transport=transport, clock=clock)
    async with LifespanManager(app):
        assert (await connect(app).post(CHAT, json=BODY)).status_code == 200
    assert not transport.closed


async def test_draining_lets_a_stream_end_and_takes_no_more(
    make_app: MakeApp, connect: Connect, fleet: Fleet, clock: FakeClock
) -> None:
    """Within the grace a stream under way is heard out; who comes now is told to come again."""
    alpha = fleet["alpha"]
    app = make_app(fleet)
    alpha.hold()
    headers = {"authorization": f"Bearer {KEY}"}
    async with open_stream(app, "POST", CHAT, json=STREAM, headers=headers) as stream:
        alpha.let(2)
        await stream.start()
        draining = asyncio.create_task(app.state.gateway.drain(60))
        await asyncio.sleep(0)
        late = await connect(app).post(CHAT, json=BODY)
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert late.json()["error"]["code"] == "shutting_down"
        alpha.release()
        assert (await stream.body()).endswith(b"data: [DONE]\n\n")
        await draining


async def test_draining_ends_a_stream_that_outlasts_the_grace(
    make_app: MakeApp, fleet: Fleet, clock: FakeClock
) -> None:
    """It gets an error event, so that SDKs raise; the provider is let go."""
    alpha = fleet["alpha"]
    app = make_app(fleet)
    alpha.hold()
    headers = {"authorization": f"Bearer {KEY}"}
    async with open_stream(app, "POST", CHAT, json=STREAM, headers=headers) as stream:
        alpha.let(2)
        await stream.start()
        await clock.run(app.state.gateway.drain(5))
        rest = await stream.body()
    assert b'"code":"shutting_down"' in rest
    assert b"[DONE]" not in rest
    assert alpha.aborted == 1
