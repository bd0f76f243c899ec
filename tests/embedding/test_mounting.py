"""However it is mounted, the gateway answers as it does alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Router

import stepwell
from stepwell.testing import FakeClock, Fleet, open_stream

MakeApp = Callable[..., Starlette]
Connect = Callable[..., httpx.AsyncClient]

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = "/v1/chat/completions"

# Every kind of answer: from memory, whole, streamed, refused by us, by the router, by nobody.
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/health", {}),
    ("GET", "/health", {"headers": {"authorization": ""}}),
    ("GET", "/v1/models", {}),
    ("GET", "/v1/models/alpha/sim-model", {}),
    ("GET", "/v1/models/none", {}),
    ("GET", "/v1/models", {"headers": {"authorization": "Bearer wrong"}}),
    ("POST", CHAT, {"json": {"messages": MESSAGES}}),
    ("POST", CHAT, {"json": {"messages": MESSAGES, "model": "alpha/sim-model"}}),
    ("POST", CHAT, {"json": {"messages": MESSAGES, "stream": True}}),
    ("POST", CHAT, {"json": {"messages": []}}),
    ("POST", CHAT, {"content": b"{"}),
    ("POST", CHAT + "/", {"json": {"messages": MESSAGES}}),
    ("GET", CHAT, {}),
    ("PUT", "/v1/models", {}),
    ("OPTIONS", CHAT, {}),
    ("GET", "/v1/none", {}),
    ("GET", "/", {}),
]


@dataclass(frozen=True)
class Place:
    """Where the gateway is mounted: the path that leads there, and the host with it inside."""

    prefix: str
    build: Callable[[Starlette], Any]


def fastapi_with(path: str, app: Any, **options: Any) -> FastAPI:
    host = FastAPI(**options)
    host.mount(path, app)
    return host


def fastapi_router(app: Starlette) -> FastAPI:
    router = APIRouter(prefix="/api")
    router.mount("/llm", app)
    host = FastAPI()
    host.include_router(router)
    return host


def starlette_with(path: str, app: Any, **options: Any) -> Starlette:
    return Starlette(routes=[Mount(path, app)], **options)


PLACES = {
    "starlette": Place("/llm", lambda app: starlette_with("/llm", app)),
    "starlette at its root": Place("", lambda app: starlette_with("/", app)),
    "starlette under /v1": Place("/v1", lambda app: starlette_with("/v1", app)),
    "starlette by parameter": Place(
        "/tenants/7", lambda app: starlette_with("/tenants/{tenant:int}", app)
    ),
    "starlette by host name": Place("", lambda app: Router(routes=[Host("host", app)])),
    "starlette nested": Place("/a/b", lambda app: starlette_with("/a", starlette_with("/b", app))),
    "fastapi": Place("/llm", lambda app: fastapi_with("/llm", app)),
    "fastapi nested": Place("/a/b", lambda app: fastapi_with("/a", fastapi_with("/b", app))),
    "fastapi in starlette": Place(
        "/a/b", lambda app: starlette_with("/a", fastapi_with("/b", app))
    ),
    "with lifespan": Place(
        "/llm", lambda app: starlette_with("/llm", app, lifespan=stepwell.lifespan(app))
    ),
    "fastapi with lifespan": Place(
        "/llm", lambda app: fastapi_with("/llm", app, lifespan=stepwell.lifespan(app))
    ),
}


async def answers(client: httpx.AsyncClient, prefix: str) -> list[tuple[Any, ...]]:
    """Ask everything; return what came, without the ids that differ each time."""
    seen: list[tuple[Any, ...]] = []
    for method, path, request in REQUESTS:
        response = await client.request(method, prefix + path, **request)
        headers = {k: v for k, v in response.headers.items() if k != "x-request-id"}
        text = response.text.replace(f"'{prefix}/", "'/")
        headers.pop("content-length", None)  # the 404 names the path, which is longer here
        seen.append((method, path, response.status_code, headers, text))
    return seen


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_it_answers_as_it_does_alone(
    make_app: MakeApp, connect: Connect, place: Place
) -> None:
    """Status, headers and body of every kind of answer, mounted and not."""
    alone, mounted = _twin(), _twin()
    expected = await answers(connect(make_app(alone)), "")
    assert {status for _, _, status, _, _ in expected} == {200, 400, 401, 404, 405}
    host = place.build(make_app(mounted))
    assert await answers(connect(host), place.prefix) == expected


@pytest.mark.parametrize("place", ["with lifespan", "fastapi with lifespan", "starlette"])
async def test_it_answers_the_same_inside_the_host_s_lifespan(
    make_app: MakeApp, connect: Connect, place: str
) -> None:
    """Whether the host composes ours, or forgets it."""
    expected = await answers(connect(make_app(_twin())), "")
    host = PLACES[place].build(make_app(_twin()))
    async with LifespanManager(host):
        assert await answers(connect(host), PLACES[place].prefix) == expected


@pytest.mark.parametrize("place", ["starlette", "fastapi", "starlette nested"])
async def test_it_answers_the_same_under_a_root_path(
    make_app: MakeApp, connect: Connect, place: str
) -> None:
    """On a server that runs under a prefix, which is then a part of every path."""
    expected = await answers(connect(make_app(_twin())), "")
    client = connect(PLACES[place].build(make_app(_twin())), root_path="/proxy")
    assert await answers(client, f"/proxy{PLACES[place].prefix}") == expected


@pytest.mark.parametrize("prefix", ["", "/proxy"])
async def test_alone_it_answers_the_same_under_a_root_path(
    make_app: MakeApp, connect: Connect, prefix: str
) -> None:
    """Also behind a proxy that cuts the prefix off, as some do."""
    expected = await answers(connect(make_app(_twin())), "")
    client = connect(make_app(_twin()), root_path="/proxy")
    assert await answers(client, prefix) == expected


async def test_one_gateway_mounted_twice_is_one_gateway(
    make_app: MakeApp, connect: Connect, clock: FakeClock
) -> None:
    """Two prefixes, one quota: what one has spent the other has not."""
    fleet = Fleet(clock)
    fleet.add("alpha", limits=["2 requests/60s"])
    app = make_app(fleet)
    host = Starlette(routes=[Mount("/a", app), Mount("/b", app)])
    client = connect(host)
    body = {"messages": MESSAGES}
    statuses = [
        (await clock.run(client.post(prefix + CHAT, json=body))).status_code
        for prefix in ("/a", "/b", "/a", "/b")
    ]
    assert statuses == [200, 200, 503, 503]


async def test_two_gateways_in_one_process_know_nothing_of_each_other(
    make_app: MakeApp, connect: Connect, clock: FakeClock
) -> None:
    """Keys, models, quota and limits are each one's own."""
    first, second = Fleet(clock), Fleet(clock)
    first.add("alpha", limits=["1 requests/60s"])
    second.add("beta")
    ours = make_app(first)
    theirs = make_app(second, settings={"api_keys": ["sk-other-1"], "limits": {"max_body": 2000}})
    client = connect(Starlette(routes=[Mount("/ours", ours), Mount("/theirs", theirs)]))
    other = {"authorization": "Bearer sk-other-1"}
    body = {"messages": MESSAGES}
    large = {"messages": [{"role": "user", "content": "x" * 2000}]}
    for _ in range(2):
        await clock.run(client.post(f"/ours{CHAT}", json=body))
    assert (await clock.run(client.post(f"/ours{CHAT}", json=body))).status_code == 503
    assert (await client.post(f"/theirs{CHAT}", json=body, headers=other)).status_code == 200
    assert (await client.post(f"/theirs{CHAT}", json=body)).status_code == 401
    assert (await client.post(f"/ours{CHAT}", json=body, headers=other)).status_code == 401
    assert (await client.post(f"/theirs{CHAT}", json=large, headers=other)).status_code == 413
    models = await client.get("/theirs/v1/models", headers=other)
    assert [model["id"] for model in models.json()["data"]] == ["default", "beta/sim-model"]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_stream_flows_and_ends_wherever_it_is_mounted(
    make_app: MakeApp, fleet: Fleet, place: Place
) -> None:
    """In lockstep: an event is passed on before the provider sends the next, and a hang-up is seen."""
    alpha = fleet["alpha"]
    alpha.hold()
    host = place.build(make_app(fleet))
    async with open_stream(
        host,
        "POST",
        place.prefix + CHAT,
        json={"messages": MESSAGES, "stream": True},
        headers={"authorization": "Bearer sk-client-1", "host": "host"},
    ) as stream:
        alpha.let(2)
        assert (await stream.start()).status == 200
        await stream.chunk()
        for sent in (3, 4):
            alpha.let()
            assert (await stream.chunk() or b"").startswith(b"data: ")
            assert alpha.calls[0].sent == sent
        await stream.disconnect()
    assert alpha.aborted == 1
    assert not alpha.in_flight


def _twin() -> Fleet:
    fleet = Fleet(FakeClock())
    fleet.add("alpha")
    return fleet
