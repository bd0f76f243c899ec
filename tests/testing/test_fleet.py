"""The providers of a fleet speak OpenAI's API and enforce their own limits."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from stepwell.testing import Call, DialectName, Failure, FakeClock, Fleet, Reply, SimLimit, ToolCall
from stepwell.testing.dialects import go_duration

Ask = Callable[..., Awaitable[httpx.Response]]


def events(response: httpx.Response) -> list[Any]:
    """Return the decoded events of a stream, `[DONE]` as text."""
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


async def test_a_buffered_answer_is_a_chat_completion(fleet: Fleet, ask: Ask) -> None:
    """The answer names provider and call, and counts tokens by the stated rule."""
    body = (await ask(fleet.add("alpha"))).json()
    assert body["object"] == "chat.completion"
    message = body["choices"][0]["message"]
    assert message["content"] == "This is alpha answering call 1."
    # "hi" is one token and 3 for the message; the answer has 31 characters.
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12}


async def test_a_stream_has_role_content_finish_and_done(fleet: Fleet, ask: Ask) -> None:
    """A stream's deltas join to the buffered text, with a role before and a finish after."""
    response = await ask(fleet.add("alpha"), stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = events(response)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    words = [delta["content"] for delta in deltas[1:-1]]
    assert len(words) == 6
    assert "".join(words) == "This is alpha answering call 1."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert done == "[DONE]"


async def test_usage_is_streamed_if_it_was_asked_for(fleet: Fleet, ask: Ask) -> None:
    """`include_usage` adds one event with empty choices before `[DONE]`."""
    response = await ask(fleet.add("alpha"), stream=True, stream_options={"include_usage": True})
    last = events(response)[-2]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 12


async def test_several_choices_are_given(fleet: Fleet, ask: Ask) -> None:
    """`n` choices come with their indexes, buffered and streamed."""
    alpha = fleet.add("alpha")
    assert [c["index"] for c in (await ask(alpha, n=3)).json()["choices"]] == [0, 1, 2]
    streamed = events(await ask(alpha, n=3, stream=True))[:-1]
    assert {chunk["choices"][0]["index"] for chunk in streamed} == {0, 1, 2}


async def test_max_tokens_cuts_the_answer(fleet: Fleet, ask: Ask) -> None:
    """An answer longer than `max_tokens` ends with `length`."""
    choice = (await ask(fleet.add("alpha"), max_tokens=2)).json()["choices"][0]
    assert choice["message"]["content"] == "This is "
    assert choice["finish_reason"] == "length"


async def test_a_demanded_tool_is_called(fleet: Fleet, ask: Ask) -> None:
    """`tool_choice` gets a call of that function, streamed in pieces that join."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    alpha = fleet.add("alpha")
    body = (await ask(alpha, tools=[tool], tool_choice="required")).json()
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"
    alpha.fail(Failure("arguments", change=lambda _: Reply(tool_calls=(ToolCall("f", '{"a":1}'),))))
    chunks = events(await ask(alpha, tools=[tool], stream=True))[:-1]
    calls = [c["choices"][0]["delta"].get("tool_calls", [None])[0] for c in chunks]
    assert "".join(c["function"].get("arguments", "") for c in calls if c) == '{"a":1}'


async def test_a_named_tool_is_called_and_auto_is_text(fleet: Fleet, ask: Ask) -> None:
    """A function that is named is called; with `auto` the model speaks."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    alpha, named = fleet.add("alpha"), {"type": "function", "function": {"name": "look"}}
    called = (await ask(alpha, tools=[tool], tool_choice=named)).json()["choices"][0]
    assert called["message"]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    spoken = (await ask(alpha, tools=[tool], tool_choice="auto")).json()["choices"][0]
    assert spoken["finish_reason"] == "stop"


async def test_reasoning_and_refusals_are_streamed(fleet: Fleet, ask: Ask) -> None:
    """Both have deltas of their own, before and after the content."""
    alpha = fleet.add("alpha", reply=Reply(text="a", reasoning="r", refusal="no"))
    chunks = events(await ask(alpha, stream=True))[:-1]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[1:-1] == [{"reasoning_content": "r"}, {"content": "a"}, {"refusal": "no"}]


async def test_only_text_parts_cost_tokens(fleet: Fleet, ask: Ask) -> None:
    """A prompt in parts counts its texts: 8 characters and the message."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "12345678"}, image]
    body = (await ask(fleet.add("alpha"), messages=[{"role": "user", "content": parts}])).json()
    assert body["usage"]["prompt_tokens"] == 5


async def test_json_is_answered_where_it_is_asked_for(fleet: Fleet, ask: Ask) -> None:
    """`response_format` makes the text a JSON object."""
    body = (await ask(fleet.add("alpha"), response_format={"type": "json_object"})).json()
    content = body["choices"][0]["message"]["content"]
    assert json.loads(content) == {"provider": "alpha", "call": 1}


async def test_a_reply_may_be_computed_from_the_call(fleet: Fleet, ask: Ask) -> None:
    """`reply` is text, a Reply, or a function of the call."""
    fleet.add("alpha", reply=lambda call: Reply(reasoning="hm", text=f"to {call.key}"))
    message = (await ask(fleet["alpha"])).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "to sk-alpha")


async def test_a_prefill_is_continued_only_by_who_can(fleet: Fleet, ask: Ask) -> None:
    """`prefill` answers with what is left of the reply; others begin anew."""
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "one "}]
    can = fleet.add("can", reply="one two", prefill=True)
    cannot = fleet.add("cannot", reply="one two")
    texts = [
        (await ask(provider, messages=messages)).json()["choices"][0]["message"]["content"]
        for provider in (can, cannot)
    ]
    assert texts == ["two", "one two"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"key": "sk-wrong"}, 401, "invalid_api_key"),
        ({"model": "other"}, 404, "model_not_found"),
        ({"messages": None}, 400, None),
    ],
)
async def test_wrong_requests_are_refused(
    fleet: Fleet, ask: Ask, fields: dict[str, Any], status: int, code: str | None
) -> None:
    """A wrong key, model or body gets OpenAI's envelope and takes no quota."""
    alpha = fleet.add("alpha", limits=["1 requests/60s"])
    response = await ask(alpha, **fields)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert (alpha.refused, alpha.room()) == (1, True)


async def test_models_are_listed(fleet: Fleet) -> None:
    """`GET /models` needs the key and is no call."""
    alpha = fleet.add("alpha", models=["a", "b"])
    async with httpx.AsyncClient(transport=fleet.transport(), base_url=alpha.base_url) as client:
        bearer = {"authorization": "Bearer sk-alpha"}
        listed = (await client.get("/models", headers=bearer)).json()
        assert [model["id"] for model in listed["data"]] == ["a", "b"]
        assert (await client.get("/models")).status_code == 401
        assert (await client.get("/nothing", headers=bearer)).status_code == 404
    assert alpha.calls == []


async def test_limits_are_enforced_and_come_back(clock: FakeClock, fleet: Fleet, ask: Ask) -> None:
    """`room` is what a request finds, and `wait` is when that changes."""
    alpha = fleet.add("alpha", limits=["2 requests/60s"], window="fixed", offset=10)
    assert [(await ask(alpha)).status_code for _ in range(3)] == [200, 200, 429]
    assert (alpha.served, alpha.refused, alpha.room(), alpha.wait()) == (2, 1, False, 10)
    assert fleet.has_room() is False
    await clock.advance(fleet.wait())
    assert fleet.has_room() is True
    assert (await ask(alpha)).status_code == 200


async def test_keys_and_models_have_their_own_quota(fleet: Fleet, ask: Ask) -> None:
    """Quota belongs to a key, and to a model where the limit says so."""
    alpha = fleet.add(
        "alpha", limits=["1 requests/60s"], keys=["one", "two"], models=["sim-model", "other"]
    )
    assert (await ask(alpha)).status_code == 200
    assert (await ask(alpha)).status_code == 429
    assert (await ask(alpha, key="two")).status_code == 200
    assert (await ask(alpha, model="other")).status_code == 200
    assert alpha.room(key="one", model="sim-model") is False
    assert alpha.room(key="two") is True


@pytest.mark.parametrize("dialect", ["openai", "groq", "gemini", "retry-after", "silent"])
async def test_a_refusal_for_concurrency_tells_no_time(
    fleet: Fleet, ask: Ask, clock: FakeClock, dialect: DialectName
) -> None:
    """Nobody knows when a call in flight ends: no dialect says when to come back."""
    alpha = fleet.add("alpha", concurrency=0, dialect=dialect)
    refused = await ask(alpha)
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    assert "try again in" not in refused.text
    assert alpha.wait() == float("inf")


async def test_calls_in_flight_are_limited(clock: FakeClock, fleet: Fleet, ask: Ask) -> None:
    """The third of three calls at once is refused by a concurrency of two; later it is not."""
    alpha = fleet.add("alpha", concurrency=2, latency=1.0)
    client = httpx.AsyncClient(transport=fleet.transport())

    async def one() -> int:
        body = {"model": "sim-model", "messages": []}
        headers = {"authorization": "Bearer sk-alpha"}
        url = f"{alpha.base_url}/chat/completions"
        return (await client.post(url, json=body, headers=headers)).status_code

    async def three() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(3)))

    assert await clock.run(three()) == [200, 200, 429]
    assert await clock.run(one()) == 200
    await client.aclose()


async def test_latency_and_speed_take_time(clock: FakeClock, fleet: Fleet, ask: Ask) -> None:
    """8 tokens at 4 a second after 1 s of latency take 3 s, buffered and streamed."""
    alpha = fleet.add("alpha", latency=1.0, tokens_per_second=4.0)
    for stream in (False, True):
        start = clock.monotonic()
        await ask(alpha, stream=stream)
        assert clock.monotonic() - start == pytest.approx(3.0)


async def test_a_call_tells_all_about_itself(clock: FakeClock, fleet: Fleet, ask: Ask) -> None:
    """A record holds time, key, model, body, cost and outcome."""
    alpha = fleet.add("alpha", latency=2.0)
    start = clock.monotonic()
    await ask(alpha, stream=True, temperature=0.5)
    (call,) = fleet.calls
    assert (call.number, call.time, call.ended) == (1, start, start + 2)
    assert (call.key, call.model, call.stream) == ("sk-alpha", "sim-model", True)
    assert (call.body["temperature"], call.status, call.outcome) == (0.5, 200, "served")
    assert (call.tokens, call.sent, call.failure) == (12, 9, "")


async def test_a_client_that_leaves_is_seen(clock: FakeClock, fleet: Fleet) -> None:
    """Closing a stream before its end marks the call aborted, with the time, and frees its slot."""
    alpha = fleet.add("alpha", tokens_per_second=1.0)
    client = httpx.AsyncClient(transport=fleet.transport(), timeout=None)
    request = httpx.Request(
        "POST",
        f"{alpha.base_url}/chat/completions",
        headers={"authorization": "Bearer sk-alpha"},
        json={"model": "sim-model", "messages": [], "stream": True},
    )
    response = await clock.run(client.send(request, stream=True))
    assert alpha.in_flight == 1
    await clock.advance(1)
    await response.aclose()
    assert (alpha.calls[0].aborted, alpha.calls[0].ended) == (True, clock.monotonic())
    assert (alpha.aborted, alpha.in_flight) == (1, 0)
    await client.aclose()


async def test_a_cancelled_request_is_seen(clock: FakeClock, fleet: Fleet, ask: Ask) -> None:
    """Cancelling the task that waits for headers aborts the call at once."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.hang())
    task = asyncio.ensure_future(ask(alpha))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert alpha.calls[0].aborted


async def test_a_read_timeout_runs_on_the_fleets_clock(clock: FakeClock, fleet: Fleet) -> None:
    """The read timeout of httpx ends a hanging call after so many seconds of fake time."""
    alpha = fleet.add("alpha", keys=[])
    alpha.fail(Failure.hang())
    start = clock.monotonic()
    async with httpx.AsyncClient(transport=fleet.transport(), timeout=7.0) as client:
        url = f"{alpha.base_url}/chat/completions"
        with pytest.raises(httpx.ReadTimeout):
            await clock.run(client.post(url, json={"model": "sim-model", "messages": []}))
    assert clock.monotonic() - start == 7.0
    assert alpha.calls[0].aborted


async def test_held_events_pass_one_at_a_time(clock: FakeClock, fleet: Fleet) -> None:
    """`hold` keeps events back until `let`; the client sees exactly those let go."""
    alpha = fleet.add("alpha", keys=[])
    alpha.hold()
    client = httpx.AsyncClient(transport=fleet.transport(), timeout=None)
    seen: list[bytes] = []

    async def read() -> None:
        body = {"model": "sim-model", "messages": [], "stream": True}
        url = f"{alpha.base_url}/chat/completions"
        async with client.stream("POST", url, json=body) as response:
            async for chunk in response.aiter_raw():
                seen.append(chunk)  # noqa: PERF401 - it is read while it grows

    task = asyncio.create_task(read())
    await clock.advance(0)
    assert (alpha.calls[0].status, seen) == (200, [])
    alpha.let()
    await clock.advance(0)
    assert len(seen) == 1
    alpha.let(2)
    await clock.advance(0)
    assert len(seen) == alpha.calls[0].sent == 3
    alpha.release()
    await clock.run(task)
    assert seen[-1] == b"data: [DONE]\n\n"
    await client.aclose()


async def test_a_stream_does_not_run_ahead_of_its_reader(clock: FakeClock, fleet: Fleet) -> None:
    """Without a reader no event leaves the provider: backpressure shows in `sent`."""
    alpha = fleet.add("alpha", keys=[])
    client = httpx.AsyncClient(transport=fleet.transport(), timeout=None)
    body = {"model": "sim-model", "messages": [], "stream": True}
    async with client.stream("POST", f"{alpha.base_url}/chat/completions", json=body) as response:
        chunks = response.aiter_raw()
        await clock.advance(60)
        assert alpha.calls[0].sent == 0
        await anext(chunks)
        assert alpha.calls[0].sent == 1
        await chunks.aclose()  # type: ignore[attr-defined]
    await client.aclose()


async def test_openai_headers_tell_the_truth(fleet: Fleet, ask: Ask, clock: FakeClock) -> None:
    """Counts and resets of the shortest windows, on success and on refusal."""
    limits = ["2 requests/60s", "600 tokens/60s", "50 requests/day"]
    alpha = fleet.add("alpha", limits=limits, window="bucket")
    headers = (await ask(alpha)).headers
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-reset-requests"] == "30s"
    assert headers["x-ratelimit-remaining-tokens"] == "588"
    # 12 of 600 tokens a minute are back after 1.2 s.
    assert headers["x-ratelimit-reset-tokens"] == "1.2s"
    await ask(alpha)
    refused = await ask(alpha)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "30"
    error = refused.json()["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert "on requests per min (RPM): Limit 2, Used 2, Requested 1. Please" in error["message"]
    assert alpha.wait() == pytest.approx(30)


async def test_groq_tells_the_day_in_headers_and_the_rest_in_words(fleet: Fleet, ask: Ask) -> None:
    """Request headers are the day's; the minute that binds is named in the message only."""
    alpha = fleet.add("alpha", limits=["1 requests/60s", "864 requests/day"], dialect="groq")
    assert (await ask(alpha)).headers["x-ratelimit-limit-requests"] == "864"
    refused = await ask(alpha)
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["x-ratelimit-remaining-requests"] == "863"
    assert refused.json()["error"]["message"].startswith(
        "Rate limit reached for model `sim-model` in organization `org_1` service tier `on_demand`"
        " on requests per minute (RPM): Limit 1, Used 1, Requested 1. Please try again in 1m0s."
    )


async def test_groq_calls_an_oversized_request_413(fleet: Fleet, ask: Ask) -> None:
    """A request larger than the minute's tokens is never worth waiting for."""
    alpha = fleet.add("alpha", limits=["5 tokens/60s"], dialect="groq")
    refused = await ask(alpha)
    assert refused.status_code == 413
    assert "on tokens per minute (TPM): Limit 5, Requested 12" in refused.json()["error"]["message"]
    assert alpha.wait(tokens=12) == float("inf")


async def test_gemini_tells_in_the_body(fleet: Fleet, ask: Ask) -> None:
    """No headers; an array with the quota's name and a delay, which is short for a day's quota."""
    for limit, window, delay in (
        ("1 requests/60s", "Minute", "60s"),
        ("1 requests/d", "Day", "34.07s"),
    ):
        provider = fleet.add(f"g-{window.lower()}", limits=[limit], dialect="gemini")
        await ask(provider)
        refused = await ask(provider)
        assert not [name for name in refused.headers if "ratelimit" in name or "retry" in name]
        error = refused.json()[0]["error"]
        failure, info = error["details"]
        assert error["status"] == "RESOURCE_EXHAUSTED"
        quota = f"GenerateRequestsPer{window}PerProjectPerModel-FreeTier"
        assert failure["violations"][0]["quotaId"] == quota
        assert info["retryDelay"] == delay


async def test_retry_after_comes_as_seconds_or_as_a_date(
    clock: FakeClock, fleet: Fleet, ask: Ask
) -> None:
    """Both forms lead to a time at which there is room."""
    seconds = fleet.add("seconds", limits=["1 requests/60s"], dialect="retry-after")
    date = fleet.add("date", limits=["1 requests/60s"], dialect="retry-after-date")
    await ask(seconds)
    await ask(date)
    clock.shift(0.5)
    assert (await ask(seconds)).headers["retry-after"] == "60"
    told = (await ask(date)).headers["retry-after"]
    assert 0 <= parsedate_to_datetime(told).timestamp() - clock.time() - date.wait() < 1


async def test_a_silent_provider_says_nothing(fleet: Fleet, ask: Ask) -> None:
    """A bare 429: no header and no word of when."""
    alpha = fleet.add("alpha", limits=["1 requests/60s"], dialect="silent")
    await ask(alpha)
    refused = await ask(alpha)
    assert set(refused.headers) == {"content-type", "content-length", "x-request-id"}
    assert refused.json()["error"]["message"] == "Too many requests."


async def test_settings_describe_the_fleet(fleet: Fleet) -> None:
    """Providers and a chain in order; limits are told or left out."""
    limit = SimLimit("requests", 5, 60.0, scope="account")
    fleet.add("alpha", limits=["10 requests/6s", limit], dialect="groq", concurrency=2)
    fleet.add("beta", models=["x", "y"], dialect="silent")
    settings = fleet.settings(queue={"max_wait": "1s"})
    assert settings["providers"]["alpha"] == {
        "base_url": "http://alpha.fleet.test/v1",
        "api_keys": ["sk-alpha"],
        "dialect": "groq",
        "limits": [
            {"metric": "requests", "limit": 10, "window": "6s", "scope": "model"},
            {"metric": "requests", "limit": 5, "window": "60s", "scope": "account"},
        ],
        "concurrency": 2,
    }
    assert settings["providers"]["beta"]["dialect"] == "auto"
    assert settings["chains"] == {"default": ["alpha/sim-model", "beta/x", "beta/y"]}
    assert settings["queue"] == {"max_wait": "1s"}
    assert set(fleet.settings(limits=False)["providers"]["alpha"]) == {
        "base_url",
        "api_keys",
        "dialect",
    }


async def test_an_unknown_host_cannot_be_reached(fleet: Fleet) -> None:
    """The transport knows the fleet's hosts and no others."""
    async with httpx.AsyncClient(transport=fleet.transport()) as client:
        with pytest.raises(httpx.ConnectError, match=r"nobody\.fleet\.test"):
            await client.get("http://nobody.fleet.test/v1/models")


def test_a_name_is_taken_once(fleet: Fleet) -> None:
    """Two providers cannot share a name."""
    fleet.add("alpha")
    with pytest.raises(ValueError, match="already"):
        fleet.add("alpha")


def test_reprs_state_what_goes_on(fleet: Fleet) -> None:
    """A failing test shows the state of provider, fleet and call."""
    alpha = fleet.add("alpha")
    assert repr(alpha) == "<SimProvider alpha: 0 served, 0 refused, 0 in flight>"
    assert repr(fleet) == "<Fleet of alpha>"
    call = Call(1, 0.0, "k", {}, b"", {"model": "m"})
    assert repr(call) == "<Call 1 to 'm': None open>"


async def test_a_body_that_is_no_json_is_refused(fleet: Fleet) -> None:
    """Garbage gets a 400 and is recorded as it came."""
    alpha = fleet.add("alpha", keys=[])
    async with httpx.AsyncClient(transport=fleet.transport(), base_url=alpha.base_url) as client:
        for raw in (b"{", b"[]"):
            refused = await client.post("/chat/completions", content=raw)
            assert refused.status_code == 400
    assert [call.raw for call in alpha.calls] == [b"{", b"[]"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (7.66, "7.66s"),
        (60.0, "1m0s"),
        (179.56, "2m59.56s"),
        (86_400.0, "24h0m0s"),
    ],
)
def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    """The forms of recorded answers; always rounded up, so that waiting is enough."""
    assert go_duration(seconds) == text
