"""Every scripted failure, as an httpx client meets it without a socket."""

import inspect
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from stepwell.testing import Failure, FakeClock, Fleet
from stepwell.testing.dialects import RetryAfterDialect

Ask = Callable[..., Awaitable[httpx.Response]]

# Failure -> status, error code: those that answer by themselves, buffered and streamed alike.
REFUSALS: dict[str, tuple[Failure, int, str | None]] = {
    "rate_limit": (Failure.rate_limit(7), 429, "rate_limit_exceeded"),
    "credit": (Failure.credit(), 429, "insufficient_quota"),
    "credit as 402": (Failure.credit(402), 402, "insufficient_quota"),
    "unauthorized": (Failure.unauthorized(), 401, "invalid_api_key"),
    "forbidden": (Failure.forbidden(), 403, "permission_denied"),
    "not_found": (Failure.not_found(), 404, "model_not_found"),
    "bad_request": (Failure.bad_request(param="n"), 400, None),
    "too_large": (Failure.too_large(), 400, "context_length_exceeded"),
    "too_large as 413": (Failure.too_large(status=413), 413, "context_length_exceeded"),
    "status": (Failure.status(500), 500, None),
    "status 502": (Failure.status(502), 502, None),
    "status 503": (Failure.status(503), 503, "server_is_overloaded"),
    "status 529": (Failure.status(529), 529, None),
    "status 408": (Failure.status(408), 408, None),
    "status 418": (Failure.status(418, message="teapot"), 418, None),
}
# Failure -> what httpx raises, buffered and streamed alike.
BREAKS: dict[str, tuple[Failure, type[Exception]]] = {
    "connect_error": (Failure.connect_error(), httpx.ConnectError),
    "reset": (Failure.reset(), httpx.ReadError),
    "hang": (Failure.hang(), httpx.ReadTimeout),
    "hang_after": (Failure.hang_after(), httpx.ReadTimeout),
    "hang_after 3": (Failure.hang_after(3), httpx.ReadTimeout),
    "cut": (Failure.cut(), httpx.RemoteProtocolError),
    "cut 3": (Failure.cut(3), httpx.RemoteProtocolError),
    "cut_bytes": (Failure.cut_bytes(250), httpx.RemoteProtocolError),
    "cut_bytes 0": (Failure.cut_bytes(0), httpx.RemoteProtocolError),
}
# Failure -> the same text as without it, in an unusual form.
SOUND: dict[str, Failure] = {
    "crlf": Failure.crlf(),
    "bytewise": Failure.bytewise(),
    "lump": Failure.lump(),
    "slow": Failure.slow(1.0),
    "comments": Failure.comments(),
    "gzip": Failure.gzip(),
    "no_done": Failure.no_done(),
}
# Those with tests of their own below.
OTHERS = {
    *("redirect", "html", "ends_early", "empty_stream", "no_finish", "in_band_error"),
    *("error_in_200", "malformed", "empty"),
}


def data(response: httpx.Response) -> list[str]:
    """Return the data of a stream's events."""
    lines = response.text.splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def content(response: httpx.Response) -> str:
    chunks = [json.loads(line) for line in data(response) if line != "[DONE]"]
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])


def test_every_failure_is_tested_here() -> None:
    """A constructor without a row or a test of its own fails this test."""
    constructors = {
        name
        for name, member in inspect.getmembers(Failure, inspect.ismethod)
        if not name.startswith("_")
    }
    assert (
        constructors
        == {name.split(maxsplit=1)[0] for name in (*REFUSALS, *BREAKS, *SOUND)} | OTHERS
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_has_its_status_and_code(
    fleet: Fleet, ask: Ask, name: str, stream: bool
) -> None:
    """Refusals are JSON in OpenAI's envelope, take no quota, and are over after one call."""
    failure, status, code = REFUSALS[name]
    alpha = fleet.add("alpha", limits=["1 requests/60s"])
    alpha.fail(failure)
    response = await ask(alpha, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert (alpha.failed, alpha.calls[0].failure) == (1, name.split(maxsplit=1)[0])
    assert (await ask(alpha, stream=stream)).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BREAKS)
async def test_a_break_raises_what_httpx_raises(
    fleet: Fleet, clock: FakeClock, name: str, stream: bool
) -> None:
    """Connection failures and silence reach the client as httpx's own exceptions."""
    failure, error = BREAKS[name]
    alpha = fleet.add("alpha", keys=[])
    alpha.fail(failure)
    body = {"model": "sim-model", "messages": [], "stream": stream}
    async with httpx.AsyncClient(transport=fleet.transport(), timeout=5.0) as client:
        with pytest.raises(error):
            await clock.run(client.post(f"{alpha.base_url}/chat/completions", json=body))
    # Whoever gives up on silence leaves: all else is the provider's doing.
    assert alpha.calls[0].outcome == ("aborted" if name.startswith("hang") else "failed")
    assert alpha.in_flight == 0


@pytest.mark.parametrize("name", SOUND)
async def test_an_unusual_form_carries_the_same_answer(fleet: Fleet, ask: Ask, name: str) -> None:
    """These calls count as served, and their text is whole, buffered and streamed."""
    alpha = fleet.add("alpha", reply="one two three")
    alpha.fail(SOUND[name], times=None)
    buffered = await ask(alpha)
    assert buffered.json()["choices"][0]["message"]["content"] == "one two three"
    assert content(await ask(alpha, stream=True)) == "one two three"
    assert alpha.served == 2


async def chunks_of(fleet: Fleet, clock: FakeClock, failure: Failure | None) -> list[bytes]:
    """Return the chunks of one stream as they came."""
    alpha = fleet.add("alpha", keys=[], reply="one")
    if failure is not None:
        alpha.fail(failure)

    async def read() -> list[bytes]:
        body = {"model": "sim-model", "messages": [], "stream": True}
        url = f"{alpha.base_url}/chat/completions"
        async with (
            httpx.AsyncClient(transport=fleet.transport(), timeout=None) as client,
            client.stream("POST", url, json=body) as response,
        ):
            return [chunk async for chunk in response.aiter_raw()]

    return await clock.run(read())


async def test_the_forms_are_what_they_are_called(clock: FakeClock) -> None:
    """Line ends, chunk sizes, comments, compression and time differ as their names say."""
    plain = await chunks_of(Fleet(clock), clock, None)
    whole = b"".join(plain)
    assert len(plain) == 4
    crlf = b"".join(await chunks_of(Fleet(clock), clock, Failure.crlf()))
    assert crlf == whole.replace(b"\n", b"\r\n")
    assert {len(c) for c in await chunks_of(Fleet(clock), clock, Failure.bytewise())} == {1}
    pieces = await chunks_of(Fleet(clock), clock, Failure.bytewise(7))
    assert (max(map(len, pieces)), b"".join(pieces)) == (7, whole)
    assert await chunks_of(Fleet(clock), clock, Failure.lump()) == [whole]
    assert (await chunks_of(Fleet(clock), clock, Failure.comments()))[0] == b": PROCESSING\n\n"
    assert b"".join(await chunks_of(Fleet(clock), clock, Failure.gzip()))[:2] == b"\x1f\x8b"
    done = b"data: [DONE]\n\n"
    assert await chunks_of(Fleet(clock), clock, Failure.no_done()) == plain[:-1]
    assert plain[-1] == done
    start = clock.monotonic()
    await chunks_of(Fleet(clock), clock, Failure.slow(2.0))
    assert clock.monotonic() - start == 8.0


async def test_cut_bytes_ends_inside_an_event(fleet: Fleet, clock: FakeClock) -> None:
    """The bytes before the cut arrive, to the last one."""
    alpha = fleet.add("alpha", keys=[])
    alpha.fail(Failure.cut_bytes(250))
    seen: list[bytes] = []

    async def read() -> None:
        body = {"model": "sim-model", "messages": [], "stream": True}
        url = f"{alpha.base_url}/chat/completions"
        async with (
            httpx.AsyncClient(transport=fleet.transport()) as client,
            client.stream("POST", url, json=body) as response,
        ):
            async for chunk in response.aiter_raw():
                seen.append(chunk)  # noqa: PERF401 - what came before the error is wanted

    with pytest.raises(httpx.RemoteProtocolError):
        await clock.run(read())
    assert sum(map(len, seen)) == 250


async def test_an_early_end_is_a_proper_end(fleet: Fleet, ask: Ask) -> None:
    """The stream ends in good order after so many events; a buffered body is half a body."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.ends_early(3), times=None)
    assert len(data(await ask(alpha, stream=True))) == 3
    with pytest.raises(json.JSONDecodeError):
        (await ask(alpha)).json()
    assert alpha.failed == 2


async def test_an_empty_stream_has_no_byte(fleet: Fleet, ask: Ask) -> None:
    """200 and the end, streamed and buffered."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.empty_stream(), times=None)
    for stream in (True, False):
        response = await ask(alpha, stream=stream)
        assert (response.status_code, response.content) == (200, b"")


async def test_no_finish_has_all_of_the_content(fleet: Fleet, ask: Ask) -> None:
    """Content is whole, but nothing says that it is."""
    alpha = fleet.add("alpha", reply="one two")
    alpha.fail(Failure.no_finish())
    response = await ask(alpha, stream=True)
    assert content(response) == "one two"
    assert '"finish_reason":"stop"' not in response.text
    assert "[DONE]" not in response.text


@pytest.mark.parametrize(("after", "before"), [(None, 0), (0, 1), (2, 3), (99, 3)])
async def test_an_in_band_error_comes_at_its_place(
    fleet: Fleet, ask: Ask, after: int | None, before: int
) -> None:
    """First of all, after the role, or after so many content events; then the stream ends."""
    alpha = fleet.add("alpha", reply="one two")
    alpha.fail(Failure.in_band_error(429, after=after))
    *sound, error = data(await ask(alpha, stream=True))
    assert len(sound) == before
    assert json.loads(error)["error"]["code"] == 429


async def test_an_error_may_hide_in_a_200(fleet: Fleet, ask: Ask) -> None:
    """Buffered and streamed requests get the same JSON body; so does an in-band error, buffered."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.error_in_200(429), times=2)
    alpha.fail(Failure.in_band_error(500))
    for stream, code in ((False, 429), (True, 429), (False, 500)):
        response = await ask(alpha, stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (200, code)


async def test_malformed_answers_cannot_be_decoded(fleet: Fleet, ask: Ask) -> None:
    """One event of a stream is no JSON; a buffered body breaks off."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.malformed(2), times=None)
    *sound, broken = data(await ask(alpha, stream=True))
    assert [json.loads(line)["object"] for line in sound] == ["chat.completion.chunk"] * 2
    for text in (broken, (await ask(alpha)).text):
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_a_completion_may_be_empty(fleet: Fleet, ask: Ask, reason: str) -> None:
    """No word, but a finish reason, buffered and streamed."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.empty(reason), times=None)
    choice = (await ask(alpha)).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", reason)
    response = await ask(alpha, stream=True)
    assert content(response) == ""
    assert f'"finish_reason":"{reason}"' in response.text


async def test_pages_and_redirects_are_no_json(fleet: Fleet, ask: Ask) -> None:
    """A web page with status 200, and a redirect to somewhere else."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.html())
    alpha.fail(Failure.redirect())
    page, redirect = await ask(alpha), await ask(alpha)
    assert page.headers["content-type"].startswith("text/html")
    assert redirect.headers["location"] == "http://elsewhere.fleet.test/v1"
    assert redirect.status_code == 302


async def test_scripted_delays_are_told_in_the_dialect(fleet: Fleet, ask: Ask) -> None:
    """A scripted 429 or 503 tells its delay where the dialect tells any."""
    alpha, silent = fleet.add("alpha", dialect="groq"), fleet.add("silent", dialect="silent")
    alpha.fail(Failure.rate_limit(1.5))
    assert (await ask(alpha)).headers["retry-after"] == "1.5"
    silent.fail(Failure.rate_limit(1.5))
    assert "retry-after" not in (await ask(silent)).headers
    silent.fail(Failure.rate_limit(1.5, dialect=RetryAfterDialect()))
    assert (await ask(silent)).headers["retry-after"] == "2"
    alpha.fail(Failure.status(503, retry_after=4))
    assert (await ask(alpha)).headers["retry-after"] == "4"


async def test_rules_take_turns(fleet: Fleet, ask: Ask) -> None:
    """Finite rules in the order in which they were made, then the lasting one, until recover."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.status(500), times=None)
    alpha.fail(Failure.status(502), times=2)
    alpha.fail(Failure.status(503))
    seen = [(await ask(alpha)).status_code for _ in range(5)]
    assert seen == [502, 502, 503, 500, 500]
    alpha.recover()
    assert (await ask(alpha)).status_code == 200


async def test_a_rule_may_begin_later(fleet: Fleet, ask: Ask) -> None:
    """`after` lets calls pass, also those that meet another rule."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.status(500), after=2)
    alpha.fail(Failure.status(502))
    assert [(await ask(alpha)).status_code for _ in range(4)] == [502, 200, 500, 200]


async def test_a_rule_may_pick_its_calls(fleet: Fleet, ask: Ask) -> None:
    """`when` decides by the call; others pass and do not count."""
    alpha = fleet.add("alpha", keys=["one", "two"])
    alpha.fail(Failure.status(500), when=lambda call: call.key == "two")
    seen = [(await ask(alpha, key=key)).status_code for key in ("one", "two", "two")]
    assert seen == [200, 500, 200]


async def test_failures_add_up(fleet: Fleet, ask: Ask) -> None:
    """Several failures of one rule are done to the same answer."""
    alpha = fleet.add("alpha")
    alpha.fail(Failure.crlf(), Failure.ends_early(2))
    response = await ask(alpha, stream=True)
    assert response.content.count(b"\r\n\r\n") == 2
    assert alpha.calls[0].failure == "crlf+ends_early"
    alpha.fail(Failure.status(500), Failure.gzip())
    refused = await ask(alpha)
    assert (refused.status_code, refused.headers["content-encoding"]) == (500, "gzip")


async def test_damage_takes_quota_and_waits_for_room(
    fleet: Fleet, ask: Ask, clock: FakeClock
) -> None:
    """A damaged answer was admitted; a refused call neither meets nor uses up the failure."""
    alpha = fleet.add("alpha", limits=["1 requests/60s"])
    assert (await ask(alpha)).status_code == 200
    alpha.fail(Failure.error_in_200())
    assert (await ask(alpha)).status_code == 429
    await clock.advance(60)
    assert "error" in (await ask(alpha)).json()
    assert alpha.room() is False
