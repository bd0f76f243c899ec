"""Every error inside the mount has OpenAI's envelope, and none of them reaches the host."""

import gzip
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from stepwell import create_app
from stepwell.testing import Failure, FakeClock, Fleet, SimProvider, open_stream

KEY = "sk-client-1"
CANARY = "sk-alpha"  # the provider's key, which must show nowhere
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    return Fleet(clock)


@pytest.fixture
def alpha(fleet: Fleet) -> SimProvider:
    return fleet.add("alpha")


@pytest.fixture
def app(fleet: Fleet, alpha: SimProvider) -> Starlette:
    return make_app(fleet)


def make_app(fleet: Fleet, *, more: dict[str, Any] | None = None, **parts: Any) -> Starlette:
    settings = {**fleet.settings(api_keys=[KEY]), **(more or {})}
    return create_app(settings, **{"transport": fleet.transport(), "clock": fleet.clock, **parts})


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(app) as client:
        yield client


def connect(app: Starlette) -> httpx.AsyncClient:
    """A client that sees what the application raises, so that a test fails if it raises."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=True),
        base_url="http://gateway",
        headers={"authorization": f"Bearer {KEY}"},
    )


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check the envelope, and return what is in it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert int(response.headers["content-length"]) == len(response.content)
    error: dict[str, Any] = response.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["message"]
    assert isinstance(error["type"], str)
    return error


async def post(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"content-type": "application/json", **given}
    return await client.post(CHAT, content=body, headers=sent)


# Routes.


async def test_an_unknown_path_is_a_404(client: httpx.AsyncClient) -> None:
    """With the path, so that a doubled /v1 is seen at once."""
    error = error_of(await client.get("/v1/v1/models"), 404)
    assert error["code"] == "not_found"
    assert "/v1/v1/models" in error["message"]


async def test_a_wrong_method_is_a_405(client: httpx.AsyncClient) -> None:
    """It says which methods there are."""
    response = await client.get(CHAT)
    assert error_of(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "POST"


async def test_an_unknown_path_is_shown_short_and_in_ascii(app: Starlette) -> None:
    """An error repeats no megabyte, no line end and no odd Host."""
    headers = {"authorization": f"Bearer {KEY}", "host": "[nonsense"}
    path = "/v1/%0d%0a%e2%98%83" + "x" * 10_000
    async with open_stream(app, "GET", path, headers=headers) as stream:
        assert (await stream.start()).status == 404
        body = await stream.body()
    assert len(body) < 500
    assert body.isascii()


# Bodies.


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "", "json", "*/*"])
async def test_another_content_type_is_a_415(client: httpx.AsyncClient, content_type: str) -> None:
    """It says which type is wanted."""
    error = error_of(await post(client, b"{}", content_type=content_type), 415)
    assert error["code"] == "unsupported_media_type"
    assert "application/json" in error["message"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"],
)
async def test_json_by_any_name_is_taken(client: httpx.AsyncClient, content_type: str) -> None:
    """Parameters, cases and suffixes are all right."""
    body = json.dumps({"messages": MESSAGES}).encode()
    assert (await post(client, body, content_type=content_type)).status_code == 200


async def test_no_content_type_is_taken_for_json(client: httpx.AsyncClient) -> None:
    """`curl -d` without -H would say form data, but some clients say nothing."""
    body = json.dumps({"messages": MESSAGES}).encode()
    assert (await client.post(CHAT, content=body)).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"])
async def test_a_compressed_body_is_a_415(client: httpx.AsyncClient, encoding: str) -> None:
    """A small one could unfold to any size; it says what to do instead."""
    body = gzip.compress(json.dumps({"messages": MESSAGES}).encode())
    error = error_of(await post(client, body, content_encoding=encoding), 415)
    assert "uncompressed" in error["message"]


TOO_MUCH = 33 * 1024 * 1024


async def test_33_mb_are_a_413_before_they_are_read(app: Starlette) -> None:
    """The declared length is enough to refuse; nothing is asked of the client's body."""
    headers = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(TOO_MUCH),
    }
    async with open_stream(app, "POST", CHAT, headers=headers) as stream:
        assert (await stream.start()).status == 413
        error = json.loads(await stream.body())["error"]
    assert error["code"] == "request_too_large"
    assert str(32 * 1024 * 1024) in error["message"]
    assert "limits.max_body" in error["message"]


@pytest.mark.parametrize("declared", [None, b"10", b"-5", b"ten", b"9" * 5000])
async def test_a_body_is_counted_whatever_its_length_says(
    fleet: Fleet, alpha: SimProvider, declared: bytes | None
) -> None:
    """Chunked, or with a length that lies or is nonsense: reading ends at the limit."""
    app = make_app(fleet, more={"limits": {"max_body": 1000}})
    chunks = [{"type": "http.request", "body": b" " * 100, "more_body": True}] * 50
    messages: list[Message] = list(chunks)
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        sent.append(dict(message))

    length = [] if declared is None else [(b"content-length", declared)]
    headers = [(b"authorization", f"Bearer {KEY}".encode()), *length]
    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "root_path": "",
        "headers": headers,
        "query_string": b"",
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert len(messages) >= 39


async def test_a_body_of_the_very_limit_is_taken(fleet: Fleet, alpha: SimProvider) -> None:
    """One byte more is not."""
    body = json.dumps({"messages": MESSAGES}).encode()
    limit = {"limits": {"max_body": len(body)}}
    async with connect(make_app(fleet, more=limit)) as client:
        assert (await post(client, body)).status_code == 200
        error_of(await post(client, body + b" "), 413)


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """A request whose deepest brackets are `levels` deep, the body's own two included."""
    inside = opening * (levels - 1) + closing * (levels - 1)
    return b'{"messages":[{"role":"user","content":"hi"}],"x":' + inside.encode() + b"}"


@pytest.mark.parametrize("levels", [65, 66, 100, 1000, 100_000])
async def test_a_body_nested_deeper_than_64_levels_is_a_400(
    client: httpx.AsyncClient, alpha: SimProvider, levels: int
) -> None:
    """65 levels are too many, and any number more does no harm to the decoder."""
    error = error_of(await post(client, nested(levels)), 400)
    assert "64 levels" in error["message"]
    assert not alpha.calls


@pytest.mark.parametrize(
    "body",
    [
        nested(64),
        nested(64, '{"a":', "}").replace(b":}", b":1}"),
        b'{"messages":[{"role":"user","content":"' + b"[{" * 500 + b'"}]}',
        b'{"messages":[{"role":"user","content":"\\"' + b"[" * 500 + b'\\\\"}]}',
        b'{"messages":[{"role":"user","content":"\\\\"},{"role":"user","content":"[[[["}],"x":"'
        + b"{" * 100
        + b'\\\\\\""}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":[' + b"[]," * 500 + b"[]]}",
    ],
    ids=["64 lists", "64 objects", "in a string", "escaped", "backslashes", "wide"],
)
async def test_what_is_not_nested_deeper_passes(
    client: httpx.AsyncClient, alpha: SimProvider, body: bytes
) -> None:
    """64 levels, a wide body, and brackets inside strings, whatever is escaped there."""
    response = await post(client, body)
    assert response.status_code == 200, response.text
    assert alpha.calls[0].body["messages"]


@pytest.mark.parametrize("opening", [b"[", b"{", b'{"a":', b'{"messages":['])
async def test_brackets_that_never_close_are_no_json(
    client: httpx.AsyncClient, opening: bytes
) -> None:
    """However many there are."""
    error_of(await post(client, opening * 10_000), 400)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"hello", "byte 0"),
        (b'{"messages":', "truncated"),
        (b'{"messages":[]} trailing', "trailing"),
        (b'{"messages":[],"temperature":NaN}', "byte 29"),
        (b'{"messages":[],"temperature":Infinity}', "byte 29"),
        (b'{"messages":[],"x":01}', "byte"),
        (b"{'messages':[]}", "byte 1"),
        (b'{"messages":["\x01"]}', "byte 14"),
        (b'{"messages":["\xff"]}', "not UTF-8 at byte 14"),
        (b'{"\xff":1}', "not UTF-8 at byte 2"),
        ('{"messages":["ü"]}'.encode("latin-1"), "UTF-8"),
        ('{"messages":[]}'.encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"messages"', "must be a JSON object"),
        (b"12", "must be a JSON object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400(
    client: httpx.AsyncClient, alpha: SimProvider, body: bytes, words: str
) -> None:
    """The message names the place, or what is wanted."""
    error = error_of(await post(client, body), 400)
    assert words in error["message"]
    assert error["code"] == "invalid_request"
    assert not alpha.calls


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"messages": None}, "messages", "must be a list"),
        ({"messages": "hi"}, "messages", "must be a list"),
        ({"messages": {"role": "user"}}, "messages", "must be a list"),
        ({"messages": []}, "messages", "at least one"),
        ({"model": 7}, "model", "a string"),
        ({"model": ["a"]}, "model", "a string"),
        ({"stream": "true"}, "stream", "true or false"),
        ({"stream": 1}, "stream", "true or false"),
        ({"n": "2"}, "n", "a whole number"),
        ({"n": 1.5}, "n", "a whole number"),
        ({"n": True}, "n", "a whole number"),
        ({"n": 0}, "n", "from 1 to 128"),
        ({"n": -1}, "n", "from 1 to 128"),
        ({"n": 10**30}, "n", "from 1 to 128"),
        ({"max_tokens": "many"}, "max_tokens", "a whole number"),
        ({"max_completion_tokens": {}}, "max_completion_tokens", "a whole number"),
        ({"stream_options": []}, "stream_options", "an object"),
    ],
    ids=repr,
)
async def test_a_field_of_the_wrong_type_is_named(
    client: httpx.AsyncClient, alpha: SimProvider, fields: dict[str, Any], param: str, words: str
) -> None:
    """`param` is the field, the message says what it must be, and no provider is asked."""
    error = error_of(await client.post(CHAT, json={"messages": MESSAGES, **fields}), 400)
    assert error["param"] == param
    assert f"'{param}'" in error["message"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert not alpha.calls


async def test_missing_messages_are_named(client: httpx.AsyncClient) -> None:
    """The commonest mistake of all has its own words."""
    error = error_of(await client.post(CHAT, json={"model": "default"}), 400)
    assert error["param"] == "messages"
    assert "missing" in error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": None, "stream": None, "n": None, "max_tokens": None, "stream_options": None},
        {"max_tokens": -1},
        {"max_tokens": 10**30},
        {"invented_tomorrow": {"deep": [1.10, None]}},
    ],
    ids=repr,
)
async def test_nulls_and_unknown_fields_travel_on(
    client: httpx.AsyncClient, alpha: SimProvider, fields: dict[str, Any]
) -> None:
    """What OpenAI's API takes, and what it may take one day, is not refused here."""
    response = await client.post(CHAT, json={"messages": MESSAGES, **fields})
    assert response.status_code == 200
    sent = alpha.calls[0].body
    assert {name: sent[name] for name in fields if name != "model"} == {
        name: value for name, value in fields.items() if name != "model"
    }


async def test_of_a_key_given_twice_the_last_counts(
    client: httpx.AsyncClient, alpha: SimProvider
) -> None:
    """Here and upstream alike: the provider gets each field once."""
    body = b'{"model":7,"model":"default","n":0,"n":1,"messages":[{"role":"user","content":"hi"}]}'
    assert (await post(client, body)).status_code == 200
    assert alpha.calls[0].raw.count(b'"n"') == 1


@pytest.mark.parametrize("half", [b"\\ud83d", b"\\ude00"])
async def test_half_a_surrogate_pair_is_a_400_with_its_place(
    client: httpx.AsyncClient, half: bytes
) -> None:
    """An emoji cut in two, as JavaScript cuts them, is no text that a provider could read."""
    body = b'{"messages":[{"role":"user","content":"so ' + half + b'"}],"temperature":1}'
    assert "byte 4" in error_of(await post(client, body), 400)["message"]


async def test_an_unknown_model_is_a_404_where_it_is_rejected(
    fleet: Fleet, alpha: SimProvider
) -> None:
    """OpenAI's own code, with the field."""
    async with connect(make_app(fleet, more={"unknown_model": "reject"})) as client:
        body = {"model": "gpt-none", "messages": MESSAGES}
        error = error_of(await client.post(CHAT, json=body), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "gpt-none" in error["message"]


# What providers say.


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_of_the_request_keeps_status_and_words(
    client: httpx.AsyncClient, alpha: SimProvider, status: int, stream: bool
) -> None:
    """400 and 422 come down with the provider's message and field."""
    alpha.fail(Failure.bad_request("No such effort.", "reasoning_effort", status), times=None)
    response = await client.post(CHAT, json={"messages": MESSAGES, "stream": stream})
    error = error_of(response, status)
    assert (error["message"], error["param"]) == ("No such effort.", "reasoning_effort")
    assert error["stepwell"]["attempts"][0]["target"] == "alpha/sim-model"
    assert response.headers["x-stepwell-attempts"] == "1"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_exhausted_chain_is_a_503_with_the_time(
    clock: FakeClock, fleet: Fleet, stream: bool
) -> None:
    """JSON also for streams: the reset in both headers and in the body, and each target's reason."""
    fleet.add("alpha", limits=["1 requests/60s"], dialect="groq")
    async with connect(make_app(fleet)) as client:
        body = {"messages": MESSAGES, "stream": stream}
        assert (await clock.run(client.post(CHAT, json=body))).status_code == 200
        response = await clock.run(client.post(CHAT, json=body))
    error = error_of(response, 503)
    assert (error["code"], error["type"]) == ("all_providers_exhausted", "server_error")
    told = float(response.headers["retry-after-ms"]) / 1000
    assert 0 < told <= 60
    assert int(response.headers["retry-after"]) == -(-told // 1)
    assert error["stepwell"]["retry_after"] == pytest.approx(told, abs=0.01)
    assert error["stepwell"]["blocked"][0]["target"] == "alpha/sim-model"


async def test_no_error_repeats_a_provider_s_key(
    client: httpx.AsyncClient, alpha: SimProvider
) -> None:
    """Some providers repeat the key that they refuse; it is cut out."""
    alpha.fail(Failure.unauthorized(), times=None)
    response = await client.post(CHAT, json={"messages": MESSAGES})
    error_of(response, 503)
    assert CANARY not in response.text
    assert CANARY not in str(response.headers)


# The unexpected.


class BrokenTransport(httpx.AsyncBaseTransport):
    """Raises what no transport should."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise LookupError(f"no route with {request.headers['authorization']}")


class BrokenStream(httpx.AsyncByteStream):
    """One event with content, and then an exception that no transport should raise."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'data: {"choices":[{"index":0,"delta":{"content":"Well"},"finish_reason":null}]}\n\n'
        raise LookupError(f"lost {CANARY}")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mounted", [False, True])
async def test_an_unexpected_exception_is_a_500_and_stays_inside(
    fleet: Fleet,
    alpha: SimProvider,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
    mounted: bool,
) -> None:
    """The client gets the envelope, the log the traceback without secrets, the host nothing."""
    app = make_app(fleet, transport=BrokenTransport())
    if mounted:
        host = Starlette()
        host.mount("/llm", app)
    async with connect(host if mounted else app) as client:
        path = f"/llm{CHAT}" if mounted else CHAT
        response = await client.post(path, json={"messages": MESSAGES, "stream": stream})
    error = error_of(response, 500)
    assert error["type"] == "server_error"
    assert "LookupError" not in response.text
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 1
    assert logged[0].name.startswith("stepwell")
    assert "LookupError" in caplog.text
    assert response.headers["x-request-id"] in caplog.text
    assert CANARY not in caplog.text


async def test_an_unexpected_exception_in_a_stream_is_an_event_in_it(
    fleet: Fleet, alpha: SimProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """After the first byte there is no second answer, but SDKs raise on an error event."""
    head = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers=head, stream=BrokenStream())
    )
    async with connect(make_app(fleet, transport=transport)) as client:
        response = await client.post(CHAT, json={"messages": MESSAGES, "stream": True})
    assert response.status_code == 200
    events = response.text.strip().split("\n\n")
    assert "Well" in events[0]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "internal_error"
    assert "[DONE]" not in response.text
    assert "LookupError" in caplog.text
    assert CANARY not in caplog.text + response.text


# Request ids.


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/none"])
async def test_every_answer_has_a_request_id(client: httpx.AsyncClient, path: str) -> None:
    """Two requests have two; an error has one as well."""
    ids = {(await client.get(path)).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


async def test_a_client_s_request_id_comes_back(client: httpx.AsyncClient) -> None:
    """Alone, and once."""
    response = await client.get("/health", headers={"x-request-id": "trace-1/a.b:c"})
    assert response.headers.get_list("x-request-id") == ["trace-1/a.b:c"]


@pytest.mark.parametrize("absurd", [b"", b"a b", b"\xff", b"a\tb", b"x" * 129, b"\x00", b"\x7f"])
async def test_an_absurd_request_id_is_replaced(app: Starlette, absurd: bytes) -> None:
    """What would not be safe in a log line or a header is not repeated."""
    extra = {"headers": [(b"x-request-id", absurd)]}
    async with open_stream(app, "GET", "/health", extra=extra) as stream:
        given = (await stream.start()).headers["x-request-id"]
    assert given.encode("latin-1") != absurd
    assert len(given) == 32
