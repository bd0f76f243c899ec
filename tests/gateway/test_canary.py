"""Secrets: distinct canaries in every key field, and everything that comes out is searched."""

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from stepwell import create_app
from stepwell.errors import StepwellError
from stepwell.settings import Settings
from stepwell.testing import Failure, FakeClock, Fleet

CLIENT, OTHER_CLIENT = "canary-client-key-0001", "canary-client-key-0002"
KEY, SECOND_KEY, CUSTOM_KEY = "canary-key-0003", "canary-key-0004", "canary-key-0005"
# A header's value is a secret if it looks like one, a query's here because its name says so.
HEADER, QUERY, PASSWORD = "canary-header-of-a-tenant-0006", "canary-query/0007", "canary-pass-0008"
# What all of them have in common, also URL-quoted, so that no form of one passes unseen.
MARK = "canary-"

# A provider's echo: whatever it was sent, in the words of an error.
ECHO = f"Refused: Bearer {KEY} {SECOND_KEY} {CUSTOM_KEY}, x-tenant {HEADER}, ?api_key={QUERY}, {CLIENT}"
# The key stands where a shortened text would be cut.
ECHO_AT_THE_CUT = "x" * 190 + KEY + " " + SECOND_KEY

FAILURES = [
    Failure.unauthorized(),
    Failure.forbidden(ECHO),
    Failure.bad_request(ECHO, param=KEY),
    Failure.bad_request(ECHO, status=422),
    Failure.status(400, message=ECHO),
    Failure.status(404, message=ECHO),
    Failure.status(413, message=ECHO),
    Failure.status(429, message=ECHO),
    Failure.status(500, message=ECHO),
    Failure.status(500, message=ECHO_AT_THE_CUT),
    Failure.status(503, message=ECHO, retry_after=1),
    Failure.redirect(f"http://elsewhere.fleet.test/?key={KEY}"),
    Failure.html(403),
    Failure.connect_error(),
    Failure.reset(),
    Failure.hang(),
    Failure.cut(3),
    Failure.malformed(3),
    Failure.in_band_error(500, message=ECHO),
    Failure.in_band_error(401, after=2, message=ECHO),
    Failure.error_in_200(400, message=ECHO),
    Failure.error_in_200(401, message=ECHO),
    Failure.credit(),
    Failure.rate_limit(3),
    Failure.empty(),
]


def settings_of(fleet: Fleet) -> dict[str, Any]:
    """Return settings with a canary in every field that may hold a secret."""
    plain = fleet.settings(api_keys=[CLIENT, {"name": "ci", "key": OTHER_CLIENT}])
    plain["providers"]["a"] |= {
        "headers": {"x-tenant": HEADER},
        "query": {"api_key": QUERY},
        "proxy": f"http://user:{PASSWORD}@proxy.test:3128",
    }
    plain["providers"]["b"] |= {"api_keys": [CUSTOM_KEY], "auth": "x-api-key"}
    return plain


@pytest.fixture
def app(clock: FakeClock, fleet: Fleet) -> Starlette:
    fleet.add("a", keys=[KEY, SECOND_KEY])
    fleet.add("b", keys=[])
    return create_app(settings_of(fleet), transport=fleet.transport(), clock=clock)


@pytest.fixture
def site(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://gateway.test",
        headers={"authorization": f"Bearer {CLIENT}"},
    )


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


async def ask(site: httpx.AsyncClient, clock: FakeClock, **fields: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    return await clock.run(site.post("/v1/chat/completions", json=body))


def shown(response: httpx.Response) -> str:
    """Return all that a client sees: status line, headers, body, the body's JSON unescaped."""
    text = f"{response.status_code} {response.headers.raw!r} {response.text}"
    return text + repr(msgspec.json.decode(response.content)) if _is_json(response) else text


def logged(log: pytest.LogCaptureFixture) -> str:
    """Return all that any formatter could print."""
    lines = []
    for record in log.records:
        lines.append(logging.Formatter("%(name)s %(message)s").format(record))
        lines.append(repr(record.__dict__))
        if record.exc_info and record.exc_info[1]:
            lines.extend(traceback.format_exception(record.exc_info[1]))
    return "\n".join(lines)


def internals(app: Starlette) -> Iterator[object]:
    """Yield what somebody might print while looking for a mistake."""
    gateway = app.state.gateway
    yield from (app, app.state, app.routes, app.user_middleware, gateway, gateway.settings)
    yield from (gateway.routes, gateway.redactor, gateway.ledger, gateway.dispatcher)
    yield from gateway._endpoints.items()
    yield from gateway.settings.accounts().items()
    yield from gateway.settings.providers.values()
    yield gateway.settings.model_dump_json()
    yield gateway.settings.secrets()


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
async def test_no_secret_comes_out_of_any_failure(
    failure: Failure,
    stream: bool,
    *,
    clock: FakeClock,
    fleet: Fleet,
    app: Starlette,
    site: httpx.AsyncClient,
    log: pytest.LogCaptureFixture,
) -> None:
    """With one provider failing, then with all, then dry: responses, logs and snapshots are clean."""
    fleet["a"].fail(failure, times=2)
    seen = shown(await ask(site, clock, stream=stream))
    for provider in fleet:
        provider.fail(failure, times=None)
    for _ in range(2):
        seen += shown(await ask(site, clock, stream=stream))
    seen += repr(await app.state.gateway.ledger.snapshot())
    assert MARK not in seen
    assert MARK not in logged(log)
    assert any(record.name == "stepwell.gateway" for record in log.records)


async def test_an_echo_is_redacted_and_not_dropped(
    clock: FakeClock, fleet: Fleet, site: httpx.AsyncClient
) -> None:
    """The client reads what the provider said, with stars where the keys were."""
    for provider in fleet:
        provider.fail(Failure.bad_request(ECHO), times=None)
    message = (await ask(site, clock)).json()["error"]["message"]
    assert message == "Refused: Bearer *** *** ***, x-tenant ***, ?api_key=***, ***"


async def test_half_a_key_is_not_shown_where_words_are_cut(
    clock: FakeClock, fleet: Fleet, site: httpx.AsyncClient
) -> None:
    """Words are redacted before they are shortened, for half a key is not recognised."""
    for provider in fleet:
        provider.fail(Failure.status(500, message=ECHO_AT_THE_CUT), times=None)
    response = await ask(site, clock)
    words = response.json()["error"]["stepwell"]["attempts"][0]["words"]
    assert words == "x" * 190 + "*** ***"


async def test_no_secret_shows_in_a_repr(
    clock: FakeClock, app: Starlette, site: httpx.AsyncClient
) -> None:
    """Neither repr nor str of the application, its parts and its settings holds one."""
    await ask(site, clock)
    for thing in internals(app):
        assert MARK not in repr(thing)
        assert MARK not in str(thing)


async def test_no_secret_shows_in_an_unexpected_error(
    clock: FakeClock, fleet: Fleet, log: pytest.LogCaptureFixture
) -> None:
    """A bug whose text holds a key: the client gets an envelope, the log a traceback with stars."""
    fleet.add("a", keys=[KEY])
    fleet.add("b", keys=[])

    class Buggy(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise RuntimeError(
                f"{request.headers!r} {request.headers['authorization']} {request.url}"
            )

    app = create_app(settings_of(fleet), transport=Buggy(), clock=clock)
    headers = {"authorization": f"Bearer {CLIENT}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway.test", headers=headers
    ) as site:
        response = await ask(site, clock)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert MARK not in shown(response)
    assert MARK not in logged(log)
    assert "RuntimeError" in logged(log)


async def test_a_key_in_the_wrong_field_is_not_repeated(clock: FakeClock, fleet: Fleet) -> None:
    """A client that sends its key as the model's name is not shown it again."""
    fleet.add("a", keys=[KEY])
    fleet.add("b", keys=[])
    settings = settings_of(fleet) | {"unknown_model": "reject"}
    app = create_app(settings, transport=fleet.transport(), clock=clock)
    headers = {"authorization": f"Bearer {CLIENT}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway.test", headers=headers
    ) as site:
        response = await ask(site, clock, model=CLIENT)
    assert response.status_code == 404
    assert "'***' does not exist" in response.json()["error"]["message"]


@pytest.mark.parametrize("shown_key", [SECOND_KEY, CLIENT + "x", CLIENT[:-1], ""])
async def test_a_wrong_key_is_not_repeated(
    shown_key: str, site: httpx.AsyncClient, log: pytest.LogCaptureFixture
) -> None:
    """Nor does a provider's key open the gateway."""
    headers = {"authorization": f"Bearer {shown_key}"}
    response = await site.post("/v1/chat/completions", json={}, headers=headers)
    assert response.status_code == 401
    assert MARK not in response.text + logged(log)


async def test_the_clients_key_does_not_travel_upstream(
    clock: FakeClock, fleet: Fleet, site: httpx.AsyncClient
) -> None:
    """Each provider sees its own key alone, and no header of the client's."""
    body = {"messages": [{"role": "user", "content": "hi"}]}
    extra = {
        "x-tenant": "mine",
        "cookie": "session=1",
        "x-api-key": "stolen",
        "x-forwarded-for": "1",
    }
    fleet["a"].fail(Failure.status(500), times=None)
    await clock.run(site.post("/v1/chat/completions", json=body, headers=extra))
    (first, *_), (last, *_) = fleet["a"].calls, fleet["b"].calls
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["x-tenant"] == HEADER
    assert last.headers["x-api-key"] == CUSTOM_KEY
    assert "authorization" not in last.headers
    for call in (first, last):
        assert not {"cookie", "x-forwarded-for"} & set(call.headers)
        assert CLIENT not in repr(dict(call.headers)) + call.raw.decode()


async def test_settings_errors_do_not_show_what_they_complain_of(fleet: Fleet) -> None:
    """A key in the wrong place is named by its place."""
    fleet.add("a", keys=[KEY])
    plain = fleet.settings(api_keys=[CLIENT])
    plain["providers"]["a"]["api_keys"] = {"one": KEY}
    plain["providers"]["a"]["proxy"] = f"ftp://user:{PASSWORD}@proxy.test"
    with pytest.raises(StepwellError) as caught:
        Settings.from_dict(plain)
    assert MARK not in str(caught.value)
    assert MARK not in repr(caught.value)
    await asyncio.sleep(0)


def _is_json(response: httpx.Response) -> bool:
    return response.headers["content-type"] == "application/json"
