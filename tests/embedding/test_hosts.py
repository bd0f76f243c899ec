"""A host keeps what is its own: middleware, users, routes, error handlers, state, logging."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from stepwell import Anonymous, HostAuth, Principal, create_app
from stepwell.testing import Fleet, open_stream

MakeApp = Callable[..., Starlette]
Connect = Callable[..., httpx.AsyncClient]

CHAT = "/llm/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}


class Marking(BaseHTTPMiddleware):
    """The kind of middleware most hosts write."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-host"] = "seen"
        return response


class Staff(AuthenticationBackend):
    """Knows its users by a cookie of its own."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.cookies.get("user")
        if name is None:
            return None
        scopes = ["authenticated", "llm"] if name == "ada" else ["authenticated"]
        return AuthCredentials(scopes), SimpleUser(name)


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


def host_of(app: Starlette, *middleware: Middleware, **options: Any) -> Starlette:
    routes = [Route("/hello", hello), Mount("/llm", app)]
    return Starlette(routes=routes, middleware=middleware, **options)


@pytest.mark.parametrize(
    "middleware",
    [
        Middleware(Marking),
        Middleware(GZipMiddleware, minimum_size=1),
        Middleware(CORSMiddleware, allow_origins=["*"]),
    ],
    ids=lambda middleware: middleware.cls.__name__,
)
async def test_host_middleware_wraps_every_answer(
    make_app: MakeApp, connect: Connect, fleet: Fleet, middleware: Middleware
) -> None:
    """Answers, streams and errors pass through it whole."""
    client = connect(host_of(make_app(fleet), middleware), origin="http://elsewhere")
    whole = await client.post(CHAT, json=BODY)
    assert whole.json()["choices"][0]["finish_reason"] == "stop"
    streamed = await client.post(CHAT, json=STREAM)
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert "content-encoding" not in streamed.headers  # a compressed stream is held back
    refused = await client.get("/llm/v1/models", headers={"authorization": ""})
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert (await client.get("/hello")).text == "hello"


async def test_a_stream_passes_base_http_middleware_event_by_event(
    make_app: MakeApp, fleet: Fleet
) -> None:
    """Also there a client that hangs up is noticed at once."""
    alpha = fleet["alpha"]
    alpha.hold()
    host = host_of(make_app(fleet), Middleware(Marking))
    headers = {"authorization": "Bearer sk-client-1"}
    async with open_stream(host, "POST", CHAT, json=STREAM, headers=headers) as stream:
        alpha.let(2)
        assert (await stream.start()).headers["x-host"] == "seen"
        await stream.chunk()
        alpha.let()
        assert (await stream.chunk() or b"").startswith(b"data: ")
        assert alpha.calls[0].sent == 3
        await stream.disconnect()
        while alpha.in_flight:  # noqa: ASYNC110 - a record, not an event
            await asyncio.sleep(0)
    assert alpha.aborted == 1


async def test_a_host_s_users_are_admitted_by_their_scopes(
    make_app: MakeApp, connect: Connect, fleet: Fleet
) -> None:
    """AuthenticationMiddleware says who they are, HostAuth who may; the gateway's keys open nothing."""
    app = make_app(fleet, authenticate=HostAuth(scopes=["llm"]))
    client = connect(host_of(app, Middleware(AuthenticationMiddleware, backend=Staff())))
    for cookie, status in [("", 401), ("user=bob", 401), ("user=ada", 200)]:
        headers = {"cookie": cookie}
        assert (await client.post(CHAT, json=BODY, headers=headers)).status_code == status
        assert (await client.get("/llm/v1/models", headers=headers)).status_code == status
        assert (await client.get("/llm/health", headers=headers)).status_code == 200


async def test_without_the_middleware_host_auth_admits_nobody(
    make_app: MakeApp, connect: Connect, fleet: Fleet
) -> None:
    """A host that forgot it has a closed door, not an open one, and not an error either."""
    client = connect(host_of(make_app(fleet, authenticate=HostAuth())))
    response = await client.get("/llm/v1/models")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"


async def test_a_host_s_callable_restricts_to_chains(
    make_app: MakeApp, connect: Connect, fleet: Fleet
) -> None:
    """Its principal carries what its user may use."""
    fleet.add("beta")
    chains = {"default": ["alpha/sim-model"], "fast": ["beta/sim-model"]}

    async def tenant(connection: HTTPConnection) -> Principal | None:
        name = connection.headers.get("x-tenant")
        return Principal(name, chains=frozenset({name})) if name in chains else None

    app = make_app(fleet, settings={"chains": chains}, authenticate=tenant)
    client = connect(host_of(app))
    for name, target in [("fast", "beta/sim-model"), ("default", "alpha/sim-model")]:
        response = await client.post(CHAT, json=BODY, headers={"x-tenant": name})
        assert response.headers["x-stepwell-target"] == target
    assert (await client.post(CHAT, json=BODY, headers={"x-tenant": "no"})).status_code == 401


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_a_host_s_exception_handlers_are_not_asked(
    make_app: MakeApp, connect: Connect, fleet: Fleet, framework: Callable[..., Any]
) -> None:
    """Our errors are ours to the end; the host's own still reach its handlers."""
    asked: list[str] = []

    async def handle(request: Request, error: Exception) -> Response:
        asked.append(request.url.path)
        return PlainTextResponse("the host's", 418)

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise LookupError

    handlers = {404: handle, 405: handle, HTTPException: handle, Exception: handle, 500: handle}
    host = framework(exception_handlers=handlers)
    host.mount("/llm", make_app(fleet, transport=Broken()))
    client = connect(host)
    for method, path, body, status in [
        ("GET", "/llm/v1/none", None, 404),
        ("GET", "/llm/none", None, 404),
        ("GET", CHAT, None, 405),
        ("POST", CHAT, {}, 400),
        ("POST", CHAT, BODY, 500),
        ("POST", CHAT, STREAM, 500),
    ]:
        response = await client.request(method, path, json=body)
        assert (response.status_code, "error" in response.json()) == (status, True)
    assert asked == []
    assert (await client.get("/none")).status_code == 418
    assert asked == ["/none"]


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_a_host_keeps_its_own_routes_and_state(
    make_app: MakeApp, connect: Connect, fleet: Fleet, framework: Callable[..., Any]
) -> None:
    """Routes before and after the mount, `app.state`, and FastAPI's documentation."""
    host = framework()
    host.state.mine = 1
    host.router.routes.insert(0, Route("/hello", hello))
    host.mount("/llm", make_app(fleet))
    host.router.routes.append(Route("/v1/models", hello))
    client = connect(host)
    assert (await client.get("/hello")).text == "hello"
    assert (await client.get("/v1/models")).text == "hello"
    assert (await client.post(CHAT, json=BODY)).status_code == 200
    assert host.state._state == {"mine": 1}
    if isinstance(host, FastAPI):
        assert (await client.get("/docs")).status_code == 200
        assert not host.openapi()["paths"]


async def test_fastapi_s_own_typed_routes_stand_beside_it(
    make_app: MakeApp, connect: Connect, fleet: Fleet
) -> None:
    """Its validation errors stay in its own form."""
    host = FastAPI()

    @host.get("/items/{number}")
    async def item(number: int) -> dict[str, int]:
        return {"number": number}

    host.mount("/llm", make_app(fleet))
    client = connect(host)
    assert (await client.get("/items/7")).json() == {"number": 7}
    assert "detail" in (await client.get("/items/x")).json()
    assert (await client.post(CHAT, json=BODY)).status_code == 200


async def test_the_process_is_left_as_it_was(
    make_app: MakeApp, connect: Connect, fleet: Fleet
) -> None:
    """No logging set-up, signal handler, thread or task of ours, before or after requests."""

    def state() -> tuple[object, ...]:
        loggers = [logging.getLogger(name) for name in (None, "stepwell", "uvicorn", "httpx")]
        return (
            [(list(logger.handlers), logger.level, list(logger.filters)) for logger in loggers],
            [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
            threading.enumerate(),
            asyncio.all_tasks(),
            asyncio.get_running_loop().get_exception_handler(),
        )

    before = state()
    client = connect(host_of(make_app(fleet)))
    for body in (BODY, STREAM, {}):
        await client.post(CHAT, json=body)
    await asyncio.sleep(0)
    assert state() == before


async def test_anonymous_use_behind_the_host_s_own_guard(connect: Connect, fleet: Fleet) -> None:
    """A host that guards the mount by itself needs no keys."""
    app = create_app(
        fleet.settings(api_keys=[]),
        authenticate=Anonymous(),
        transport=fleet.transport(),
        clock=fleet.clock,
    )
    client = connect(host_of(app), authorization="")
    assert (await client.post(CHAT, json=BODY)).status_code == 200
