"""Who gets in: a key, the host's word, or nobody."""

from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message

from stepwell import Anonymous, HostAuth, Principal, SettingsError, create_app
from stepwell.app import PUBLIC
from stepwell.testing import FakeClock, Fleet, open_stream

KEY = "sk-Client.1"
GOOD = {"authorization": f"Bearer {KEY}"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
BODY = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}

NOT_PUBLIC = [
    "/",
    "",
    "/v1",
    "/v1/",
    "/v1/models/",
    "//v1/models",
    "/v1//models",
    "/v1/chat/completions/",
    "/v1/chat%2fcompletions",
    "/V1/MODELS",
    "/health/",
    "//health",
    "/%2fhealth",
    "/health%2f",
    "/health%00",
    "/Health",
    "/health/../v1/models",
    "/v1/models/../../health",
    "/v1/models;/health",
    "/nothing/here",
]


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(FakeClock())
    fleet.add("alpha")
    return fleet


@pytest.fixture
def app(fleet: Fleet) -> Starlette:
    return make_app(fleet)


def make_app(fleet: Fleet, *, api_keys: Sequence[Any] = (KEY,), **more: Any) -> Starlette:
    return create_app(
        fleet.settings(api_keys=api_keys), transport=fleet.transport(), clock=fleet.clock, **more
    )


def protected(app: Starlette) -> list[str]:
    """Every path of the route table that is not public, with its parameters filled in."""
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    assert set(PUBLIC) < set(paths)
    return [path.replace("{model:path}", "default") for path in paths if path not in PUBLIC]


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    **extra: Any,
) -> httpx.Response:
    """Send one request with these headers as they are; an odd path travels as it is, too."""
    async with open_stream(
        app, method, path, extra={"headers": [(b"host", b"testserver"), *headers], **extra}
    ) as stream:
        start = await stream.start()
        return httpx.Response(start.status, headers=start.headers.raw, content=await stream.body())


def assert_refused(response: httpx.Response) -> None:
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"] == {
        "message": "No valid API key: send it as 'Authorization: Bearer <key>'.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize("mounts", [(), ("/llm",), ("/outer", "/inner")], ids=repr)
async def test_every_route_and_method_without_a_key_is_a_401(
    app: Starlette, mounts: tuple[str, ...]
) -> None:
    """The route table is walked; only what PUBLIC lists answers a stranger, mounted or not."""
    host: ASGIApp = app
    for mount in reversed(mounts):
        host = Starlette(routes=[Mount(mount, host)])
    for path in (*protected(app), *(odd for odd in NOT_PUBLIC if odd)):
        for method in METHODS:
            assert_refused(await ask(host, method, "".join(mounts) + path))
    for path in PUBLIC:
        assert (await ask(host, "GET", "".join(mounts) + path)).status_code == 200


async def test_public_routes_are_public_under_every_method(app: Starlette) -> None:
    """A wrong method of a public route is a 405, which tells nothing that is not known anyway."""
    for path in PUBLIC:
        assert (await ask(app, "HEAD", path)).status_code == 200
        assert (await ask(app, "POST", path)).status_code == 405


@pytest.mark.parametrize("path", NOT_PUBLIC)
async def test_no_spelling_of_a_path_gets_past_the_key(app: Starlette, path: str) -> None:
    """Slashes, cases, dots and percent signs make no other path a public one."""
    assert_refused(await ask(app, "GET", path))


@pytest.mark.parametrize("root_path", ["/health", "/v1", "/x"])
async def test_a_root_path_opens_no_door(app: Starlette, root_path: str) -> None:
    """A server that runs under a prefix, even one that looks like a route of ours."""
    for path in protected(app):
        assert_refused(await ask(app, "GET", root_path + path, root_path=root_path))
    async with open_stream(app, "GET", "/health", root_path=root_path) as stream:
        assert (await stream.start()).status == 200


async def test_a_stranger_learns_nothing_of_the_routes(app: Starlette) -> None:
    """An unknown path, a wrong method and a broken body look the same without a key."""
    bodies = [
        (await ask(app, "GET", "/v1/nothing")).content,
        (await ask(app, "PUT", "/v1/models")).content,
        (await ask(app, "POST", "/v1/chat/completions")).content,
    ]
    assert len(set(bodies)) == 1


async def test_a_stranger_s_body_is_not_read(app: Starlette) -> None:
    """Who has no key cannot make the gateway hold 32 MB of anything."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    async def receive() -> Message:
        raise AssertionError("the body was asked for")

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await app({**scope, "root_path": "", "query_string": b""}, receive, send)
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer sk-Client.1",
        b"bearer sk-Client.1",
        b"BEARER sk-Client.1",
        b"Bearer   sk-Client.1  ",
    ],
)
async def test_the_scheme_has_no_case(app: Starlette, value: bytes) -> None:
    """RFC 9110, section 11.1: a scheme is case-insensitive; a few spaces do no harm."""
    response = await ask(app, "GET", "/v1/models", [(b"authorization", value)])
    assert response.status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer\tsk-Client.1",
        b"sk-Client.1",
        b"Basic sk-Client.1",
        b"Token sk-Client.1",
        b"Bearer sk-client.1",
        b"Bearer sk-Client.1 sk-Client.1",
        b"Bearer sk- Client.1",
        b"Bearer Bearer sk-Client.1",
        b"Bearer sk-Client.1,",
        b"Bearer sk-Client.1\x00",
        b"Bearer sk-Clien",
        b"Bearer \xff\xfe\x00\xed\xa0\x80",
        "Bearer \N{SNOWMAN}\N{PILE OF POO}".encode(),
        b"Bearer " + b"a" * 1_000_000,
        b"\xff" * 100,
    ],
    ids=lambda value: repr(value[:24]),
)
async def test_an_absurd_authorization_is_a_401(app: Starlette, value: bytes) -> None:
    """Whatever stands in the header is compared, and found wrong."""
    assert_refused(await ask(app, "GET", "/v1/models", [(b"authorization", value)]))


@given(value=st.binary(max_size=200))
@example(value=b"Bearer \x80")
async def test_no_bytes_in_the_header_break_the_comparison(value: bytes) -> None:
    """Any bytes at all give a 401, never a 500."""
    fleet = Fleet(FakeClock())
    fleet.add("alpha")
    assert_refused(await ask(make_app(fleet), "GET", "/v1/models", [(b"authorization", value)]))


async def test_two_authorizations_are_none(app: Starlette) -> None:
    """Of two headers nobody can say which one a proxy has checked."""
    good = (b"authorization", b"Bearer sk-Client.1")
    assert_refused(await ask(app, "GET", "/v1/models", [good, good]))
    assert_refused(await ask(app, "GET", "/v1/models", [good, (b"authorization", b"")]))


async def test_a_key_in_the_query_is_no_key(app: Starlette) -> None:
    """Addresses are logged; keys travel in headers."""
    assert_refused(await ask(app, "GET", "/v1/models?api_key=sk-Client.1&key=sk-Client.1"))


def test_a_key_that_no_header_can_hold_is_a_mistake_in_the_settings(fleet: Fleet) -> None:
    """A key with a space or a letter outside ASCII would lock its owner out without a word."""
    for key in ("sk-schlüssel", "sk client"):
        with pytest.raises(SettingsError, match="cannot be sent in a header"):
            make_app(fleet, api_keys=[key])


async def test_a_websocket_is_closed(app: Starlette) -> None:
    """There is nothing to talk to, with a key or without."""
    scope = {"type": "websocket", "path": "/v1/models", "root_path": "", "query_string": b""}
    for headers in ([], [(b"authorization", b"Bearer sk-Client.1")]):
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(dict(message))

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        await app({**scope, "headers": headers}, receive, send)
        assert [message["type"] for message in sent] == ["websocket.close"]


async def test_the_client_s_key_does_not_travel_on(app: Starlette, fleet: Fleet) -> None:
    """Upstream sees the provider's key and no other header of the client's."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")
    headers = {**GOOD, "cookie": "a=b", "x-forwarded-for": "10.0.0.1", "openai-organization": "me"}
    response = await client.post("/v1/chat/completions", json=BODY, headers=headers)
    assert response.status_code == 200
    sent = fleet["alpha"].calls[0].headers
    assert sent["authorization"] == "Bearer sk-alpha"
    assert not {"cookie", "x-forwarded-for", "openai-organization"} & set(sent)
    assert KEY not in repr(sent)


async def _later(connection: HTTPConnection) -> Principal | None:
    return _now(connection)


def _now(connection: HTTPConnection) -> Principal | None:
    return Principal("me") if connection.headers.get("x-me") == "yes" else None


@pytest.mark.parametrize("authenticate", [_now, _later])
async def test_the_host_brings_a_callable(
    fleet: Fleet, authenticate: Callable[[HTTPConnection], Any | Awaitable[Any]]
) -> None:
    """`authenticate=` takes the connection and returns a principal, now or later."""
    app = make_app(fleet, authenticate=authenticate, api_keys=())
    assert (await ask(app, "GET", "/v1/models", [(b"x-me", b"yes")])).status_code == 200
    assert_refused(await ask(app, "GET", "/v1/models"))
    assert_refused(await ask(app, "GET", "/v1/models", [(b"authorization", GOOD_BYTES)]))


GOOD_BYTES = GOOD["authorization"].encode()


async def test_a_callable_replaces_the_keys(fleet: Fleet) -> None:
    """With `authenticate=` the settings' keys open nothing by themselves."""
    app = make_app(fleet, authenticate=_now)
    assert_refused(await ask(app, "GET", "/v1/models", [(b"authorization", GOOD_BYTES)]))


async def test_a_host_s_own_principal_may_be_any_object(fleet: Fleet) -> None:
    """Its `chains` restrict it as ours do; an object without any may use everything."""
    for principal, count in [
        ({"sub": "me"}, 2),
        (SimpleNamespace(name="me", chains=["default"]), 2),
        (SimpleNamespace(chains=[]), 0),
    ]:
        app = make_app(fleet, authenticate=lambda _, who=principal: who)
        response = await ask(app, "GET", "/v1/models")
        assert len(response.json()["data"]) == count


@pytest.mark.parametrize("answer", [None, False, "", 0])
async def test_a_falsy_answer_of_a_callable_is_a_no(fleet: Fleet, answer: object) -> None:
    """An authenticator that returns what `if` takes for no has not let anyone in."""
    app = make_app(fleet, authenticate=lambda _: answer)
    assert_refused(await ask(app, "GET", "/v1/models"))


async def test_an_authenticator_that_fails_lets_nobody_in(fleet: Fleet) -> None:
    """Its exception is a 500 in our envelope; the request goes no further."""

    def broken(connection: HTTPConnection) -> Principal:
        raise LookupError("no database sk-secret")

    response = await ask(make_app(fleet, authenticate=broken), "GET", "/v1/models")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert not fleet.calls


async def test_anonymous_admits_everyone(fleet: Fleet) -> None:
    """With no header, and with a wrong one."""
    app = make_app(fleet, authenticate=Anonymous(), api_keys=())
    assert (await ask(app, "GET", "/v1/models")).status_code == 200
    wrong = [(b"authorization", b"Bearer nonsense")]
    assert (await ask(app, "GET", "/v1/models", wrong)).status_code == 200


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ({}, 401),
        ({"user": None}, 401),
        ({"user": SimpleNamespace()}, 401),
        ({"user": SimpleNamespace(is_authenticated=False)}, 401),
        ({"user": SimpleNamespace(is_authenticated=True)}, 401),
        ({"user": SimpleNamespace(is_authenticated=True), "auth": None}, 401),
        (
            {
                "user": SimpleNamespace(is_authenticated=True),
                "auth": SimpleNamespace(scopes=["llm"]),
            },
            200,
        ),
        (
            {
                "user": SimpleNamespace(is_authenticated=False),
                "auth": SimpleNamespace(scopes=["llm"]),
            },
            401,
        ),
    ],
    ids=repr,
)
async def test_host_auth_believes_only_a_user_with_the_scopes(
    fleet: Fleet, extra: dict[str, Any], status: int
) -> None:
    """No user in the scope is a 401, not an error; a key of ours does not help."""
    app = make_app(fleet, authenticate=HostAuth(scopes=["llm"]))
    response = await ask(app, "GET", "/v1/models", [(b"authorization", GOOD_BYTES)], **extra)
    assert response.status_code == status


def test_without_keys_there_is_no_app(fleet: Fleet) -> None:
    """A gateway that nobody was said to use is a mistake, not an open door."""
    with pytest.raises(SettingsError, match="Nobody may use this gateway"):
        make_app(fleet, api_keys=())


async def test_a_callable_that_raises_an_http_error_answers_with_it(fleet: Fleet) -> None:
    """A host's dependency that refuses in Starlette's way is heard, in our envelope."""

    def refuse(connection: HTTPConnection) -> None:
        raise HTTPException(403, "Not today.")

    response = await ask(make_app(fleet, authenticate=refuse), "GET", "/v1/models")
    assert response.status_code == 403
    assert response.json()["error"]["message"] == "Not today."
    assert "x-request-id" in response.headers
