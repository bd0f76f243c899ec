"""POST /v1/chat/completions as a contract: what is read, what travels, what comes back."""

import json
from typing import Any

import httpx
import pytest

from stepwell import create_app
from stepwell.testing import Failure, FakeClock, Fleet

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    fleet = Fleet(clock)
    fleet.add("a", models=["sim-model", "other/model"])
    fleet.add("b")
    return fleet


@pytest.fixture
def client(clock: FakeClock, fleet: Fleet) -> httpx.AsyncClient:
    settings = {
        **fleet.settings(),
        "chains": {
            "default": ["a/sim-model", "b/sim-model", "a/other/model"],
            "second": ["b/sim-model"],
        },
        "limits": {"max_body": 20_000, "max_depth": 10},
    }
    app = create_app(settings, transport=fleet.transport(), clock=clock)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://gateway.test",
        headers={"authorization": "Bearer sk-test"},
    )


async def test_a_whole_answer_is_the_providers_own_bytes(
    client: httpx.AsyncClient, fleet: Fleet
) -> None:
    """JSON with its length, the target, the attempts and the trail; no header of the provider's."""
    response = await client.post(PATH, json={"messages": MESSAGES})
    assert response.json()["id"] == "chatcmpl-a-1"
    headers = dict(response.headers)
    assert len(headers.pop("x-request-id")) == 32
    assert headers == {
        "content-type": "application/json",
        "content-length": str(len(response.content)),
        "x-stepwell-target": "a/sim-model",
        "x-stepwell-attempts": "1",
        "x-stepwell-trail": "a/sim-model:answer",
    }


async def test_a_stream_forbids_buffering(client: httpx.AsyncClient) -> None:
    """Proxies must neither store, nor compress, nor hold back."""
    response = await client.post(PATH, json={"messages": MESSAGES, "stream": True})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_id_is_kept_or_given(stream: bool, client: httpx.AsyncClient) -> None:
    """The caller's own, if it is fit to be repeated in a header."""
    for given, kept in [("mine-1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False)]:
        response = await client.post(
            PATH,
            json={"messages": MESSAGES, "stream": stream},
            headers={"x-request-id": given},
        )
        assert (response.headers["x-request-id"] == given) is kept


@pytest.mark.parametrize(
    ("model", "provider", "asked"),
    [
        (None, "a", "sim-model"),
        ("", "a", "sim-model"),
        ("default", "a", "sim-model"),
        ("second", "b", "sim-model"),
        ("b/sim-model", "b", "sim-model"),
        ("a/other/model", "a", "other/model"),
        ("other/model", "a", "other/model"),
        ("sim-model", "a", "sim-model"),
        ("gpt-4o", "a", "sim-model"),
    ],
)
async def test_model_picks_the_way(
    model: str | None, provider: str, asked: str, client: httpx.AsyncClient, fleet: Fleet
) -> None:
    """A chain, a step, a model, or else the default chain."""
    await client.post(PATH, json={"model": model, "messages": MESSAGES})
    (call,) = fleet.calls
    assert call in fleet[provider].calls
    assert call.model == asked


async def test_fields_travel_with_their_own_bytes(client: httpx.AsyncClient, fleet: Fleet) -> None:
    """A parameter invented tomorrow works today, and 1.10 stays 1.10."""
    sent = (
        b'{"messages": [ {"role":"user","content":"h\\u00efgh \xf0\x9f\x98\x80"} ],'
        b' "temperature": 1.10, "invented": {"a": [1e3, null]}, "model": "second"}'
    )
    await client.post(PATH, content=sent, headers={"content-type": "application/json"})
    raw = fleet["b"].calls[0].raw
    assert b'"temperature":1.10' in raw.replace(b'": 1.10', b'":1.10')
    assert b'{"a": [1e3, null]}' in raw
    assert b'[ {"role":"user","content":"h\\u00efgh \xf0\x9f\x98\x80"} ]' in raw
    assert json.loads(raw) == {**json.loads(sent), "model": "sim-model"}


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_request", None),
        (b"{", 400, "invalid_request", None),
        (b"[]", 400, "invalid_request", None),
        (b"null", 400, "invalid_request", None),
        (b"{}", 400, "invalid_request", "messages"),
        (b'{"messages":"hi"}', 400, "invalid_request", "messages"),
        (b'{"messages":[ ]}', 400, "invalid_request", "messages"),
        (b'{"messages":[{}],"model":1}', 400, "invalid_request", "model"),
        (b'{"messages":[{}],"stream":"yes"}', 400, "invalid_request", "stream"),
        (b'{"messages":[{}],"n":"two"}', 400, "invalid_request", "n"),
        (b'{"messages":[{}],"max_tokens":1.5}', 400, "invalid_request", "max_tokens"),
        (b'{"messages":[{}],"stream_options":[]}', 400, "invalid_request", "stream_options"),
        (b'{"messages":' + b"[" * 11 + b"]" * 11 + b"}", 400, "invalid_request", None),
        (b'{"messages":[{"content":"' + b"x" * 20_000 + b'"}]}', 413, "request_too_large", None),
        (b'{"messages":[{"content":"\xff"}]}', 400, "invalid_request", None),
    ],
)
async def test_a_wrong_request_asks_nobody(
    body: bytes,
    status: int,
    code: str,
    param: str | None,
    *,
    client: httpx.AsyncClient,
    fleet: Fleet,
) -> None:
    """OpenAI's envelope, the field at fault, and not one call upstream."""
    headers = {"content-type": "application/json"}
    response = await client.post(PATH, content=body, headers=headers)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert fleet.calls == []


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-encoding": "gzip"}],
    ids=["type", "encoding"],
)
async def test_what_is_no_plain_json_is_a_415(
    headers: dict[str, str], client: httpx.AsyncClient, fleet: Fleet
) -> None:
    """Said before the body is read."""
    plain = {"content-type": "application/json"}
    response = await client.post(PATH, content=b"{}", headers=plain | headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"
    assert fleet.calls == []


async def test_a_steps_params_are_set(clock: FakeClock, fleet: Fleet) -> None:
    """What a line of the chain says goes over what the client says, at that step alone."""
    step = {"provider": "a", "model": "sim-model", "params": {"temperature": 0.2, "seed": None}}
    settings = {**fleet.settings(), "chains": {"default": [step, "b/sim-model"]}}
    fleet["a"].fail(Failure.status(500))
    app = create_app(settings, transport=fleet.transport(), clock=clock)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        body: dict[str, Any] = {"messages": MESSAGES, "temperature": 1, "top_p": 0.5}
        headers = {"authorization": "Bearer sk-test"}
        assert (await client.post(PATH, json=body, headers=headers)).status_code == 200
    first, second = fleet["a"].calls[0].body, fleet["b"].calls[0].body
    assert (first["temperature"], first["seed"], first["top_p"]) == (0.2, None, 0.5)
    assert (second["temperature"], second["top_p"]) == (1, 0.5)
    assert "seed" not in second


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_told_which_one_is_right(
    method: str, client: httpx.AsyncClient
) -> None:
    """405 with Allow, in the envelope."""
    response = await client.request(method, PATH)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"
