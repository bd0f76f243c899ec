"""Who may use the gateway: bearer keys, the host's own middleware, or anyone."""

import hashlib
import hmac
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from stepwell.errors import AuthenticationError

# What we add to a request's scope: who asks, its headers by name (of doubled ones the last), and what
# sends all of a response but its start, to which the boundary adds.
PRINCIPAL = "stepwell.principal"
HEADERS = "stepwell.headers"
SEND = "stepwell.send"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what they may use.

    Attributes:
        name: For records; never the key.
        chains: The chains they may use; None for all.
        pins: They may name any `provider/model`, not only a chain's steps.
    """

    name: str
    chains: frozenset[str] | None = None
    pins: bool = False


Authenticate = Callable[[HTTPConnection], Any | Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class BearerKey:
    """A client's key as it is kept: only its digest.

    BLAKE2 is Python's own; before OpenSSL digests a first byte it has looked for the algorithm, which
    costs more than all the rest.
    """

    digest: bytes
    principal: Principal

    @classmethod
    def of(cls, key: str, principal: Principal) -> "BearerKey":
        return cls(_digest(key.encode()), principal)


class BearerKeys:
    """Admits requests whose `Authorization: Bearer` header holds one of these keys."""

    def __init__(self, keys: Sequence[BearerKey]) -> None:
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        return f"<BearerKeys of {len(self._keys)}>"

    def __call__(self, connection: HTTPConnection) -> Principal | None:
        return self.admitted(connection.scope)

    def admitted(self, scope: Scope) -> Principal | None:
        """Compare digests, every one of them, so that the time tells nothing."""
        shown = _digest(_bearer(scope))
        found: Principal | None = None
        for key in self._keys:
            if hmac.compare_digest(shown, key.digest):
                found = key.principal
        return found


class HostAuth:
    """Admits whom the host's AuthenticationMiddleware has admitted.

    Args:
        scopes: What `scope["auth"].scopes` must hold.
    """

    def __init__(self, scopes: Sequence[str] = ()) -> None:
        self._scopes = frozenset(scopes)

    def __call__(self, connection: HTTPConnection) -> Principal | None:
        user = connection.scope.get("user")
        if user is None or not getattr(user, "is_authenticated", False):
            return None
        granted = getattr(connection.scope.get("auth"), "scopes", ())
        if not self._scopes <= set(granted):
            return None
        return Principal(str(getattr(user, "display_name", "") or "host"))


class Anonymous:
    """Admits everyone; for loopback, tests, and hosts that guard the mount themselves."""

    def __call__(self, connection: HTTPConnection) -> Principal:
        return Principal("anonymous")


class RequireAuthentication:
    """Lets a request through to the routes only if it is public or has a principal.

    It stands before the router, so that an unknown path or method says nothing to a stranger. It is
    no coroutine but hands on the next one's, which saves each request one.

    Args:
        app: The router, and what stands before it.
        authenticate: See Authenticate.
        public: Routes that need no principal.
        direct: What answers a path and method by itself; the router's way there costs as much as
            all that it does to a small request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticate: Authenticate,
        public: Sequence[BaseRoute],
        direct: Mapping[tuple[str, str], ASGIApp],
    ) -> None:
        self._app = app
        self._admitted: Callable[[Scope], Any | Awaitable[Any]] = (
            authenticate.admitted
            if isinstance(authenticate, BearerKeys)
            else lambda scope: authenticate(HTTPConnection(scope))
        )
        self._public = tuple(public)
        self._direct = direct

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self._next(scope)
        if app is self._app and (scope["type"] == "lifespan" or self._is_public(scope)):
            return app(scope, receive, send)
        principal = self._admitted(scope)
        if isinstance(principal, Principal):
            scope[PRINCIPAL] = principal
            return app(scope, receive, send)
        return self._admit(principal, app, scope, receive, send)

    async def _admit(
        self, principal: Any, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Let through whom the host knows, by an object of its own or one that is to be awaited."""
        if inspect.isawaitable(principal):
            principal = await principal
        if principal:
            scope[PRINCIPAL] = _principal_of(principal)
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "no valid API key"})
        else:
            raise AuthenticationError("No valid API key: send it as 'Authorization: Bearer <key>'.")

    def _next(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http":
            return self._app
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return self._direct.get((path, scope["method"]), self._app)

    def _is_public(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        return any(route.matches(scope)[0] is not Match.NONE for route in self._public)


def _principal_of(principal: Any) -> Principal:
    """Return whom a host's own object stands for, by as much as it has of our attributes."""
    if isinstance(principal, Principal):
        return principal
    chains = getattr(principal, "chains", None)
    return Principal(
        name=str(getattr(principal, "name", "host")),
        chains=None if chains is None else frozenset(chains),
        pins=bool(getattr(principal, "pins", False)),
    )


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=32).digest()


def _bearer(scope: Scope) -> bytes:
    """Return the key as bytes; nothing for a header that is missing, doubled, or another scheme."""
    sent = scope["headers"]
    headers = scope[HEADERS] if HEADERS in scope else dict(sent)
    if len(sent) > len(headers) and [name for name, _ in sent].count(b"authorization") > 1:
        return b""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return bytes(key.strip()) if scheme.lower() == b"bearer" else b""
