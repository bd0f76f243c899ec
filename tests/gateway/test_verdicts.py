"""The verdict table, row by row, through the whole application.

Provider `a` fails as the row says and `b` is healthy. Each row holds what the client must get, what
each provider must be asked, and for how long `a` is left alone afterwards.
"""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from stepwell.routing.verdict import TABLE, Outcome
from stepwell.testing import Failure, FakeClock, Fleet

HOUR = 3600.0


@dataclass(frozen=True)
class Row:
    """One failure of the first provider.

    Attributes:
        name: For pytest.
        failure: What happens.
        outcome: What it must be called.
        status: The HTTP status that the trail must show.
        bench: Seconds for which the provider must not be asked again; None for none.
        took: Seconds until the gateway steps down: buffered, streamed.
        modes: Which requests the row is about; streams that break after content are not here.
    """

    name: str
    failure: Failure
    outcome: Outcome
    status: int | None
    bench: float | None = None
    took: tuple[float, float] = (0.0, 0.0)
    modes: tuple[bool, ...] = (False, True)


BUFFERED, STREAMED = (False,), (True,)
PATIENCE = (60.0, 20.0)  # timeouts.attempt, streams.first_token_timeout

ROWS = [
    Row("429 told", Failure.rate_limit(17), Outcome.RATE_LIMITED, 429, 17),
    Row("429 told in the body", Failure.rate_limit(), Outcome.RATE_LIMITED, 429, 2),
    Row("429 inside a 200", Failure.error_in_200(429), Outcome.RATE_LIMITED, 429, 30),
    Row("429 in band, first", Failure.in_band_error(429), Outcome.RATE_LIMITED, 429, 30),
    Row("429 in band", Failure.in_band_error(429, after=0), Outcome.RATE_LIMITED, 429, 30),
    Row("429 about credit", Failure.credit(), Outcome.NO_CREDIT, 429, 300),
    Row("402", Failure.credit(402), Outcome.NO_CREDIT, 402, 300),
    Row("403 about credit", Failure.credit(403), Outcome.NO_CREDIT, 403, 300),
    Row("credit in a 200", Failure.error_in_200("insufficient_quota"), Outcome.NO_CREDIT, 402, 300),
    Row("401", Failure.unauthorized(), Outcome.KEY_REFUSED, 401, HOUR),
    Row("403", Failure.forbidden(), Outcome.KEY_REFUSED, 403, HOUR),
    Row("403 as a page", Failure.html(403), Outcome.KEY_REFUSED, 403, HOUR),
    Row("404", Failure.not_found(), Outcome.MODEL_GONE, 404, HOUR),
    Row("400", Failure.bad_request(), Outcome.REFUSED, 400),
    Row("422", Failure.bad_request(status=422), Outcome.REFUSED, 422),
    Row("400 too large", Failure.too_large(), Outcome.TOO_LARGE, 400),
    Row("413", Failure.too_large(status=413), Outcome.TOO_LARGE, 413),
    Row("no connection", Failure.connect_error(), Outcome.UNREACHABLE, None),
    Row("reset", Failure.reset(), Outcome.UNREACHABLE, None),
    Row("hang", Failure.hang(), Outcome.UNREACHABLE, None, took=PATIENCE),
    Row("hang in body", Failure.hang_after(0), Outcome.UNREACHABLE, None, took=PATIENCE),
    Row("hang after role", Failure.hang_after(1), Outcome.UNREACHABLE, None, took=PATIENCE),
    Row("408", Failure.status(408), Outcome.UNREACHABLE, 408),
    Row("body cut", Failure.cut(0), Outcome.UNREACHABLE, None, modes=BUFFERED),
    Row("stream cut", Failure.cut(0), Outcome.FAULT, 200, modes=STREAMED),
    Row("stream cut after role", Failure.cut(1), Outcome.FAULT, 200, modes=STREAMED),
    Row("cut in an event", Failure.cut_bytes(20), Outcome.FAULT, 200, modes=STREAMED),
    Row("500", Failure.status(500), Outcome.FAULT, 500),
    Row("502", Failure.status(502), Outcome.FAULT, 502),
    Row("502 as a page", Failure.html(502), Outcome.FAULT, 502),
    Row("503", Failure.status(503), Outcome.FAULT, 503),
    Row("503 told", Failure.status(503, retry_after=9), Outcome.FAULT, 503, 9),
    Row("529", Failure.status(529), Outcome.FAULT, 529),
    Row("redirect", Failure.redirect(), Outcome.FAULT, 302),
    Row("page in a 200", Failure.html(), Outcome.FAULT, 200),
    Row("500 inside a 200", Failure.error_in_200(500), Outcome.FAULT, 500),
    Row("500 in band, first", Failure.in_band_error(500), Outcome.FAULT, 500),
    Row("500 in band", Failure.in_band_error(500, after=0), Outcome.FAULT, 500),
    Row("broken JSON", Failure.malformed(), Outcome.FAULT, 200),
    Row("broken JSON after role", Failure.malformed(1), Outcome.FAULT, 200),
    Row("half a body", Failure.ends_early(), Outcome.FAULT, 200, modes=BUFFERED),
    Row("nothing", Failure.empty_stream(), Outcome.FAULT, 200),
    Row("a role and the end", Failure.ends_early(1), Outcome.FAULT, 200, modes=STREAMED),
    Row("empty", Failure.empty(), Outcome.EMPTY, 200),
]

SOUND = [
    Failure.crlf(),
    Failure.bytewise(),
    Failure.bytewise(7),
    Failure.lump(),
    Failure.slow(1),
    Failure.comments(),
    Failure.gzip(),
    Failure.no_done(),
]

CASES = [
    pytest.param(row, stream, id=f"{row.name}, {'streamed' if stream else 'buffered'}")
    for row in ROWS
    for stream in row.modes
]


def test_the_matrix_holds_every_outcome() -> None:
    """A row added to the verdict table needs a failure here, or a test below."""
    below = {Outcome.ANSWER, Outcome.BROKEN, Outcome.ABANDONED}
    assert {row.outcome for row in ROWS} | below == set(TABLE)


def text_of(response: httpx.Response) -> str:
    """Return what the model said, buffered or streamed."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return str(response.json()["choices"][0]["message"]["content"])
    datas = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert datas.pop() == "[DONE]"
    events = [httpx.Response(200, content=data).json() for data in datas]
    return "".join(choice["delta"].get("content") or "" for e in events for choice in e["choices"])


def trail_of(row: Row) -> str:
    status = f"({row.status})" if row.status else ""
    return f"a/sim-model:{row.outcome}{status}, b/sim-model:answer"


@pytest.mark.parametrize(("row", "stream"), CASES)
async def test_a_failure_is_a_step_down(
    row: Row, stream: bool, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """The client gets the next provider's whole answer, and each provider is asked once."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(row.failure)
    site = serve(streams={"ping": 0})
    began = clock.monotonic()
    response = await site.ask(stream=stream)
    assert (response.status_code, text_of(response)) == (200, "This is b answering call 1.")
    assert response.headers["x-stepwell-target"] == "b/sim-model"
    assert response.headers["x-stepwell-attempts"] == "2"
    assert response.headers["x-stepwell-trail"] == trail_of(row)
    assert "x-stepwell-waited-ms" not in response.headers
    assert (len(a.calls), len(b.calls)) == (1, 1)
    assert clock.monotonic() - began == pytest.approx(row.took[stream])
    assert await site.in_flight() == 0
    assert a.in_flight == 0


@pytest.mark.parametrize(("row", "stream"), CASES)
async def test_a_failure_benches_for_as_long_as_its_row_says(
    row: Row, stream: bool, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Until then the provider is not asked, and from that very moment it is."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(row.failure)
    site = serve(streams={"ping": 0})
    await site.ask(stream=stream)
    if row.bench is not None:
        assert (await site.ask()).headers["x-stepwell-trail"] == "b/sim-model:answer"
        clock.shift(row.bench - 0.001)
        assert (await site.ask()).headers["x-stepwell-trail"] == "b/sim-model:answer"
        clock.shift(0.001)
    assert len(a.calls) == 1
    assert (await site.ask()).headers["x-stepwell-trail"] == "a/sim-model:answer"
    assert len(a.calls) == 2


@pytest.mark.parametrize(
    "failure",
    [Failure.malformed(1), Failure.in_band_error(500, after=0), Failure.in_band_error(401)],
    ids=["nonsense", "an error", "an error at once"],
)
async def test_a_stream_that_fails_early_is_let_go_of_at_once(
    failure: Failure, fleet: Fleet, serve: Any
) -> None:
    """A provider that has said enough and does not close is not held on to."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(failure, Failure.hang_after(9))
    assert (await serve().ask(stream=True)).headers["x-stepwell-target"] == "b/sim-model"
    assert (a.calls[0].outcome, a.calls[0].ended) == ("aborted", 1000.0)


@pytest.mark.parametrize("failure", SOUND, ids=lambda failure: failure.name)
@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
async def test_an_unusual_form_is_an_answer(
    failure: Failure, stream: bool, fleet: Fleet, serve: Any
) -> None:
    """However the bytes are cut, packed or delayed, it is the first provider's answer."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(failure)
    response = await serve().ask(stream=stream)
    assert text_of(response) == "This is a answering call 1."
    assert response.headers["x-stepwell-trail"] == "a/sim-model:answer"
    assert "content-encoding" not in response.headers
    assert (len(a.calls), len(b.calls)) == (1, 0)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
async def test_an_empty_completion_that_says_why_is_an_answer(
    reason: str, stream: bool, fleet: Fleet, serve: Any
) -> None:
    """Nobody else is asked to say what a filter or a limit has cut."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(Failure.empty(reason))
    response = await serve().ask(stream=stream)
    assert f'"finish_reason":"{reason}"' in response.text
    assert text_of(response) == ""
    assert (len(a.calls), len(b.calls)) == (1, 0)


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
async def test_two_empty_completions_are_the_answer(stream: bool, fleet: Fleet, serve: Any) -> None:
    """One other target is asked, the third is not; nobody is benched for having nothing to say."""
    a, b, c = fleet.add("a"), fleet.add("b"), fleet.add("c")
    a.fail(Failure.empty())
    b.fail(Failure.empty())
    site = serve()
    response = await site.ask(stream=stream)
    assert (response.status_code, text_of(response)) == (200, "")
    assert response.headers["x-stepwell-target"] == "b/sim-model"
    assert response.headers["x-stepwell-trail"] == "a/sim-model:empty(200), b/sim-model:empty(200)"
    assert [len(p.calls) for p in (a, b, c)] == [1, 1, 0]
    assert await site.in_flight() == 0
    assert (await site.ask()).headers["x-stepwell-target"] == "a/sim-model"


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize("status", [400, 422])
async def test_two_refusals_are_the_clients_to_read(
    status: int, stream: bool, fleet: Fleet, serve: Any
) -> None:
    """The first refusal's status, message and param reach the client; a third is not asked."""
    a, b, c = fleet.add("a", keys=["sk-one", "sk-two"]), fleet.add("b"), fleet.add("c")
    a.fail(Failure.bad_request("Bad temperature.", "temperature", status), times=None)
    b.fail(Failure.bad_request("Something else."))
    response = await serve().ask(stream=stream)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    told = error.pop("stepwell")
    assert error == {
        "message": "Bad temperature.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": None,
    }
    assert [attempt["target"] for attempt in told["attempts"]] == ["a/sim-model", "b/sim-model"]
    assert [len(p.calls) for p in (a, b, c)] == [1, 1, 0]


async def test_a_refusal_without_a_second_opinion_is_told(fleet: Fleet, serve: Any) -> None:
    """If the other providers are dry, the client learns of its mistake and not of exhaustion."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(Failure.bad_request("Bad temperature."))
    b.fail(Failure.rate_limit(60))
    response = await serve().ask()
    assert (response.status_code, response.json()["error"]["message"]) == (400, "Bad temperature.")
    assert [len(p.calls) for p in (a, b)] == [1, 1]


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
async def test_too_large_for_all_is_a_context_length_error(
    stream: bool, fleet: Fleet, serve: Any
) -> None:
    """SDKs and agents know what to do with 400 `context_length_exceeded`."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(Failure.too_large(4096))
    b.fail(Failure.too_large(8192))
    response = await serve().ask(stream=stream)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert "4096" in response.json()["error"]["message"]
    assert [len(p.calls) for p in (a, b)] == [1, 1]


async def test_what_was_too_large_is_not_sent_there_again(fleet: Fleet, serve: Any) -> None:
    """A target that refused a size is left out for that size, and asked for smaller ones."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(Failure.too_large(), when=lambda call: len(call.raw) > 1000, times=None)
    site = serve()
    large = [{"role": "user", "content": "x" * 1000}]
    assert (await site.ask(messages=large)).headers["x-stepwell-attempts"] == "2"
    assert (await site.ask(messages=large)).headers["x-stepwell-trail"] == "b/sim-model:answer"
    assert (await site.ask()).headers["x-stepwell-trail"] == "a/sim-model:answer"


@pytest.mark.parametrize(
    "failure",
    [Failure.bad_request(), Failure.too_large(), Failure.error_in_200(400), Failure.status(500)],
    ids=["refused", "too large", "refused in a 200", "fault"],
)
async def test_a_refused_request_costs_no_tokens(
    failure: Failure, fleet: Fleet, serve: Any
) -> None:
    """It counts as a request; the tokens that were reserved for its answer come back."""
    a = fleet.add("a", limits=["100 requests/60s", "10000 tokens/60s"])
    fleet.add("b")
    a.fail(failure)
    site = serve()
    await site.ask()
    (status, _) = await site.gateway.ledger.snapshot()
    assert [limit.used for limit in status.limits if limit.source == "configured"] == [1, 0]


async def test_a_redirect_is_not_followed(fleet: Fleet, serve: Any) -> None:
    """A provider cannot send a request, and the key in it, to somebody else."""
    a, b, elsewhere = fleet.add("a"), fleet.add("b"), fleet.add("elsewhere")
    a.fail(Failure.redirect("http://elsewhere.fleet.test/v1/chat/completions"), times=None)
    site = serve(chains={"default": ["a/sim-model", "b/sim-model"]})
    assert (await site.ask()).status_code == 200
    assert [len(p.calls) for p in (a, b, elsewhere)] == [1, 1, 0]


async def test_of_three_keys_two_dead_ones_are_passed_over(fleet: Fleet, serve: Any) -> None:
    """Each key is an account: 401 benches one, and the next is asked; an hour later they are too."""
    a = fleet.add("a", keys=["sk-one", "sk-two", "sk-three"])
    a.fail(Failure.unauthorized(), when=lambda call: call.key != "sk-three", times=None)
    site = serve()
    first = await site.ask()
    assert text_of(first) == "This is a answering call 3."
    assert first.headers["x-stepwell-trail"] == (
        "a/sim-model:key_refused(401), a/sim-model:key_refused(401), a/sim-model:answer"
    )
    for _ in range(3):
        assert (await site.ask()).headers["x-stepwell-attempts"] == "1"
    assert [call.key for call in a.calls] == ["sk-one", "sk-two", *["sk-three"] * 4]


async def test_a_broken_stream_is_no_cooldown(fleet: Fleet, serve: Any) -> None:
    """One stream that breaks after content is an accident; the provider is asked again."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(Failure.cut(3))
    site = serve()
    assert "upstream_stream_truncated" in (await site.ask(stream=True)).text
    assert (await site.ask()).headers["x-stepwell-trail"] == "a/sim-model:answer"


async def test_three_broken_streams_open_the_breaker(fleet: Fleet, serve: Any) -> None:
    """Streams that break count as faults, though their client has had the beginning."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(Failure.cut(3), times=3)
    site = serve()
    for _ in range(3):
        await site.ask(stream=True)
    assert (await site.ask()).headers["x-stepwell-trail"] == "b/sim-model:answer"
    assert len(a.calls) == 3
