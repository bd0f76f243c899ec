"""create_app: the route factory. What it returns mounts into a host, or runs alone."""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from stepwell.api.auth import (
    Authenticate,
    BearerKey,
    BearerKeys,
    Principal,
    RequireAuthentication,
)
from stepwell.api.boundary import Boundary, http_exception
from stepwell.api.chat import ChatCompletions
from stepwell.api.health import Health
from stepwell.api.models import Models
from stepwell.api.quota import Quota
from stepwell.clock import Clock
from stepwell.errors import SettingsError
from stepwell.gateway import Gateway
from stepwell.observe import Observer
from stepwell.quota.ledger import Ledger
from stepwell.settings import Settings

# The routes that answer without a key. A test walks the route table and holds every other one closed.
PUBLIC = ("/health",)

CHAT = "/v1/chat/completions"


def create_app(
    settings: Settings | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    gateway: Gateway | None = None,
    authenticate: Authenticate | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    ledger: Ledger | None = None,
    clock: Clock | None = None,
    observers: Iterable[Observer] = (),
) -> Starlette:
    """Return the gateway as a Starlette application: public `/health`, protected `/v1`.

        app.mount("/llm", create_app("stepwell.yaml"))

    It has no effect outside itself: no logging set-up, signal handlers, global state or open socket.
    Everything starts on first use; compose `lifespan(app)` into the host's so that it is closed.

    Args:
        settings: Settings, the same as a mapping, or the path of a file. None: as `stepwell serve`
            finds them, in STEPWELL_CONFIG, ./stepwell.yaml, or the environment.
        gateway: A gateway made by the host, in place of settings and all that follows but
            `authenticate`.
        authenticate: Takes the connection and returns a principal or None, or an awaitable of that.
            `HostAuth()` and `Anonymous()` are two such. None: the settings' `api_keys`.
        transport: What sends to the providers.
        ledger: What keeps the quota.
        clock: All time.
        observers: Called with each Attempt when it is over, and with a Finished at each request's
            end; they must not block.

    Raises:
        SettingsError: The settings are wrong, or nothing says who may use the gateway.
    """
    if gateway is None:
        gateway = Gateway(
            _settings(settings),
            transport=transport,
            ledger=ledger,
            clock=clock,
            observers=observers,
        )
    elif (settings, transport, ledger, clock, observers) != (None, None, None, None, ()):
        raise SettingsError("create_app takes a gateway, or what to make one of, not both.")
    if authenticate is None:
        authenticate = _bearer_keys(gateway.settings)
    return _application(gateway, authenticate)


def lifespan(*apps: Starlette) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan for the host of these applications, since Starlette does not run theirs.

    llm = create_app(...)
    host = FastAPI(lifespan=stepwell.lifespan(llm))
    host.mount("/llm", llm)
    """

    @asynccontextmanager
    async def run(host: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in apps:
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    return run


def _settings(given: Settings | Mapping[str, Any] | str | os.PathLike[str] | None) -> Settings:
    if isinstance(given, Settings):
        return given
    if given is None:
        return Settings.discover()
    if isinstance(given, Mapping):
        return Settings.from_dict(given)
    return Settings.load(Path(given))


def _application(gateway: Gateway, authenticate: Authenticate) -> Starlette:
    models, health, chat = Models(gateway), Health(gateway), ChatCompletions(gateway)
    routes = [
        Route(CHAT, chat, methods=["POST"]),
        Route("/v1/models", models.list, methods=["GET"]),
        Route("/v1/models/{model:path}", models.get, methods=["GET"]),
        Route("/v1/quota", Quota(gateway).get, methods=["GET"]),
        Route("/health", health.get, methods=["GET"]),
    ]

    @asynccontextmanager
    async def closing(app: Starlette) -> AsyncIterator[None]:
        async with gateway:
            yield

    app = _Application(
        routes=routes,
        middleware=[
            Middleware(Boundary, gateway=gateway),
            Middleware(
                RequireAuthentication,
                authenticate=authenticate,
                public=[route for route in routes if route.path in PUBLIC],
                direct={(CHAT, "POST"): chat},
            ),
        ],
        exception_handlers={HTTPException: http_exception},
        lifespan=closing,
    )
    app.router.redirect_slashes = False  # a redirected POST loses its body in many clients
    app.state.gateway = gateway
    return app


class _Application(Starlette):
    """Starlette without its outermost middleware: ours answers all errors, and each wraps every send."""

    def build_middleware_stack(self) -> ASGIApp:
        outermost = super().build_middleware_stack()
        return outermost.app if isinstance(outermost, ServerErrorMiddleware) else outermost


def _bearer_keys(settings: Settings) -> BearerKeys:
    if not settings.api_keys:
        raise SettingsError(
            "Nobody may use this gateway: set api_keys, or pass authenticate= to create_app "
            "(HostAuth() for the host's own users, Anonymous() for everyone)."
        )
    return BearerKeys(
        [
            BearerKey.of(
                key.key.reveal(),
                Principal(
                    name=key.name or f"key-{number}",
                    chains=None if key.chains is None else frozenset(key.chains),
                    pins=settings.pins_any(key),
                ),
            )
            for number, key in enumerate(settings.api_keys, 1)
        ]
    )
