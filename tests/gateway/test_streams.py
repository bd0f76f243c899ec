"""Streams: when they begin, what is relayed, how they end."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stepwell.testing import Failure, FakeClock, Fleet, Reply, SimProvider, ToolCall

TEXT = "This is a answering call 1."
DONE = b"data: [DONE]\n\n"


def events_of(body: bytes) -> list[bytes]:
    """Cut a stream of LF events; each keeps its blank line."""
    return [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]


def datas_of(body: bytes) -> list[Any]:
    """Return the JSON of a stream's events."""
    datas = (event[6:] for event in events_of(body) if event.startswith(b"data: "))
    return [json.loads(data) for data in datas if data.strip() != b"[DONE]"]


def text_of(body: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for data in datas_of(body)
        for choice in data.get("choices", ())
        if choice["index"] == 0
    )


async def straight_from(provider: SimProvider, fleet: Fleet, clock: FakeClock) -> bytes:
    """Return the bytes that a client without a gateway gets."""
    request = httpx.Request(
        "POST",
        f"{provider.base_url}/chat/completions",
        headers={"authorization": f"Bearer {provider.keys[0]}"},
        json={
            "model": "sim-model",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    )
    async with httpx.AsyncClient(transport=fleet.transport(), timeout=None) as client:
        return (await clock.run(client.send(request))).content


def same_call(body: bytes) -> bytes:
    """Make a provider's first two answers comparable: they count their calls."""
    return body.replace(b"a-2", b"a-1").replace(b" 2.", b" 1.")


# --- the beginning


@pytest.mark.parametrize(
    ("reply", "before"),
    [
        pytest.param(Reply("one two"), 1, id="content"),
        pytest.param(Reply("two", reasoning="one"), 1, id="reasoning"),
        pytest.param(Reply(refusal="no"), 1, id="refusal"),
        pytest.param(Reply(tool_calls=(ToolCall("f", '{"a":1}'),)), 1, id="tool call"),
        pytest.param(Reply(finish_reason="length"), 1, id="a finish that says why"),
    ],
)
async def test_the_answer_begins_with_the_first_meaningful_event(
    reply: Reply, before: int, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A role preamble does not start the response; the first event that says something does."""
    a = fleet.add("a", reply=reply)
    a.hold()
    async with serve().open(stream=True, ahead=0) as stream:
        a.let(before)
        await clock.advance(1)
        assert (a.calls[0].sent, stream.sent) == (before, [])
        a.let(1)
        started = await stream.start()
        assert (started.status, started.headers["x-stepwell-target"]) == (200, "a/sim-model")
        first = await stream.chunk()
        assert first is not None
        assert len(datas_of(first)) == before + 1
        a.release()
        await clock.run(stream.body())


async def test_comments_do_not_start_the_answer(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """A provider that sends `: PROCESSING` and then nothing is stepped over in silence."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(Failure.comments(), Failure.hang_after(3))
    site = serve()
    async with site.open(stream=True) as stream:
        await clock.advance(10)
        assert stream.sent == []
        body = await clock.run(stream.body())
    assert text_of(body) == "This is b answering call 1."
    assert b"PROCESSING" not in body
    assert (len(a.calls), len(b.calls)) == (1, 1)


async def test_a_provider_that_takes_too_long_for_its_first_word_is_stepped_over(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """`streams.first_token_timeout` counts from the sending to the first meaningful event."""
    a, b = fleet.add("a", latency=1.5), fleet.add("b")
    a.fail(Failure.slow(1.0))  # the role after 2.5 s, the first word after 3.5 s
    response = await serve(streams={"first_token_timeout": "3s"}).ask(stream=True)
    assert response.headers["x-stepwell-trail"] == "a/sim-model:unreachable, b/sim-model:answer"
    assert (a.calls[0].outcome, a.calls[0].ended) == ("aborted", 1003.0)
    assert b.calls[0].time == 1003.0


async def test_after_its_first_word_a_stream_may_take_its_time(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Neither the first token's timeout, nor the attempt's, nor the total bounds its length."""
    fleet.add("a", reply="word " * 100, tokens_per_second=1)
    began = clock.monotonic()
    response = await serve(timeouts={"attempt": "30s", "total": "40s"}).ask(stream=True)
    assert text_of(response.content) == "word " * 100
    assert clock.monotonic() - began > 100


# --- what is relayed


async def test_the_client_has_each_event_before_the_next_one_is_there(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Nothing is held back: in lockstep, one event goes in and the same one comes out."""
    a = fleet.add("a")
    whole = events_of(await straight_from(a, fleet, clock))
    a.hold()
    got = []
    async with serve().open(stream=True, ahead=0, stream_options={"include_usage": True}) as stream:
        a.let(2)
        got += events_of(await clock.run(stream.chunk()))
        while len(got) < len(whole):
            a.let(1)
            chunk = await clock.run(stream.chunk())
            got.append(chunk)
            assert a.calls[1].sent == len(got)
        assert await stream.chunk() is None
    assert [same_call(event) for event in got] == whole


async def test_a_slow_reader_slows_the_provider(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """Backpressure: while the client reads nothing, no more than the next event is fetched."""
    a = fleet.add("a", reply="word " * 200)
    async with serve().open(stream=True, ahead=0) as stream:
        await clock.run(stream.chunk())
        await clock.advance(29)
        assert a.calls[0].sent <= 4
        assert text_of(await clock.run(stream.body())).startswith(" word")
    assert a.calls[0].outcome == "served"


@pytest.mark.parametrize(
    "form",
    [Failure.bytewise(), Failure.bytewise(5), Failure.lump(), Failure.gzip(), Failure.comments()],
    ids=lambda form: form.name,
)
async def test_events_keep_their_bytes(
    form: Failure, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """However the bytes arrive, the events that go out are the provider's own, byte for byte."""
    a = fleet.add("a")
    straight = await straight_from(a, fleet, clock)
    a.fail(form)
    response = await serve().ask(stream=True, stream_options={"include_usage": True})
    relayed = same_call(response.content).replace(b": PROCESSING\n\n", b"")
    assert relayed == straight


async def test_line_ends_are_kept(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """A provider that ends lines with CR LF is relayed with CR LF."""
    a = fleet.add("a")
    straight = await straight_from(a, fleet, clock)
    a.fail(Failure.crlf(), Failure.bytewise(3))
    response = await serve().ask(stream=True, stream_options={"include_usage": True})
    assert same_call(response.content) == straight.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, False),
        ({"stream_options": {"include_usage": True}}, True),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {}}, False),
    ],
)
async def test_usage_is_asked_for_and_passed_on_only_if_the_client_asked(
    options: dict[str, Any], passes: bool, fleet: Fleet, serve: Any
) -> None:
    """The gateway wants to know the tokens; the client gets the extra event only on demand."""
    a = fleet.add("a")
    body = (await serve().ask(stream=True, **options)).content
    assert a.calls[0].body["stream_options"] == {"include_usage": True}
    assert any("usage" in data for data in datas_of(body)) is passes
    assert body.endswith(DONE)
    assert text_of(body) == TEXT


async def test_a_provider_that_knows_no_usage_is_not_asked_for_it(fleet: Fleet, serve: Any) -> None:
    """`stream_usage: false` leaves the field out, which some providers refuse; the rest travels."""
    a = fleet.add("a")
    site = serve(providers={"a": {"stream_usage": False}})
    await site.ask(stream=True)
    await site.ask(
        stream=True, stream_options={"include_usage": True, "include_obfuscation": False}
    )
    assert "stream_options" not in a.calls[0].body
    assert a.calls[1].body["stream_options"] == {"include_obfuscation": False}


async def test_real_token_counts_settle_the_estimate(fleet: Fleet, serve: Any) -> None:
    """After a stream the ledger holds what the provider counted, not what was guessed."""
    fleet.add("a", limits=["10000 tokens/60s"])
    site = serve()
    await site.ask(stream=True)
    (status,) = await site.gateway.ledger.snapshot()
    assert status.limits[0].used == fleet["a"].calls[0].tokens


async def test_all_choices_of_one_stream_are_relayed(fleet: Fleet, serve: Any) -> None:
    """With n=2 the stream ends when both have finished."""
    fleet.add("a")
    body = (await serve().ask(stream=True, n=2)).content
    indexes = [choice["index"] for data in datas_of(body) for choice in data["choices"]]
    assert indexes.count(0) == indexes.count(1)
    assert body.endswith(DONE)


# --- the end


async def test_a_forgotten_done_is_added(fleet: Fleet, serve: Any) -> None:
    """The finish came: the answer is whole, and clients wait for `[DONE]`."""
    fleet.add("a").fail(Failure.no_done())
    body = (await serve().ask(stream=True)).content
    assert body.endswith(DONE)
    assert body.count(b"[DONE]") == 1
    assert datas_of(body)[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_provider_that_does_not_close_holds_nobody_up(
    clock: FakeClock, fleet: Fleet, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The client has its end at `[DONE]`; the connection gets a quarter of a second to end too."""
    a = fleet.add("a")
    a.fail(Failure.hang_after(99))
    site = serve()
    with caplog.at_level("DEBUG", logger="stepwell"):
        async with site.open(stream=True) as stream:
            body = await stream.body()
            assert (clock.monotonic(), stream.ended) == (1000, False)
            await clock.advance(1)
            assert stream.ended
    assert body.endswith(DONE)
    assert (a.calls[0].outcome, a.calls[0].ended) == ("aborted", 1000.25)
    assert "went away" not in caplog.text
    assert await site.in_flight() == 0


@pytest.mark.parametrize(
    "failure",
    [Failure.cut(9), Failure.ends_early(9), Failure.hang_after(9), Failure.malformed(9)],
    ids=lambda failure: failure.name,
)
async def test_an_accident_after_the_finish_is_none(
    failure: Failure, fleet: Fleet, serve: Any
) -> None:
    """The text is whole, so nothing is resumed and no error is made of it."""
    a, b = fleet.add("a", prefill=True), fleet.add("b", prefill=True)
    a.fail(failure, times=None)
    prefill = {"prefill": True}
    site = serve(providers={"a": prefill, "b": prefill}, streams={"ping": 0})
    for call in range(4):  # nor does the breaker open
        body = (await site.ask(stream=True)).content
        assert text_of(body) == f"This is a answering call {call + 1}."
        assert datas_of(body)[-1]["choices"][0]["finish_reason"] == "stop"
        assert body.endswith(DONE)
    assert (len(a.calls), len(b.calls)) == (4, 0)


@pytest.mark.parametrize(
    ("failure", "words", "after"),
    [
        (Failure.cut(3), "connection lost", 0.0),
        (Failure.cut_bytes(700), "connection lost", 0.0),
        (Failure.ends_early(3), "truncated", 0.0),
        (Failure.no_finish(), "truncated", 0.0),
        (Failure.in_band_error(500, after=2), "Upstream failed.", 0.0),
        (Failure.in_band_error(429, after=2), "Upstream failed.", 0.0),
        (Failure.malformed(3), "malformed event", 0.0),
        (Failure.hang_after(3), "stalled", 30.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_a_stream_that_breaks_after_content_ends_in_an_error_event(
    failure: Failure, words: str, after: float, *, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """What came is delivered, then OpenAI's envelope, then the end: never a made-up finish."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(failure)
    site = serve(streams={"ping": 0})
    began = clock.monotonic()
    response = await site.ask(stream=True)
    assert response.status_code == 200
    assert clock.monotonic() - began == after
    *before, last = datas_of(response.content)
    assert set(last) == {"error"}
    assert last["error"]["code"] == "upstream_stream_truncated"
    assert last["error"]["type"] == "server_error"
    assert words in last["error"]["message"]
    assert b"[DONE]" not in response.content
    assert all(choice["finish_reason"] is None for data in before for choice in data["choices"])
    assert TEXT.startswith(text_of(response.content))
    assert text_of(response.content) != ""
    assert (len(a.calls), len(b.calls)) == (1, 0)
    assert (a.in_flight, await site.in_flight()) == (0, 0)


async def test_done_without_a_finish_is_a_broken_stream(fleet: Fleet, serve: Any) -> None:
    """`[DONE]` alone does not make an answer whole."""
    said = Failure("no_finish_but_done", damage=_without_finish)
    fleet.add("a").fail(said)
    body = (await serve().ask(stream=True)).content
    assert b"[DONE]" not in body
    assert datas_of(body)[-1]["error"]["code"] == "upstream_stream_truncated"


async def test_one_unfinished_choice_of_two_is_a_broken_stream(fleet: Fleet, serve: Any) -> None:
    """With n=2 a finish of the first choice says nothing of the second."""
    fleet.add("a", reply="one").fail(Failure.ends_early(5))  # two roles, two words, one finish
    body = (await serve().ask(stream=True, n=2)).content
    finishes = [c["finish_reason"] for d in datas_of(body)[:-1] for c in d["choices"]]
    assert finishes == [None, None, None, None, "stop"]
    assert datas_of(body)[-1]["error"]["code"] == "upstream_stream_truncated"


@pytest.mark.parametrize(
    ("failure", "idle"),
    [(Failure.slow(29.9), "30s"), (Failure.slow(4.9), "5s")],
    ids=["30s", "5s"],
)
async def test_a_slow_stream_is_no_stalled_one(
    failure: Failure, idle: str, fleet: Fleet, serve: Any
) -> None:
    """Each event starts the idle timeout anew."""
    a = fleet.add("a")
    a.fail(failure)
    streams = {"idle_timeout": idle, "first_token_timeout": "100s"}
    response = await serve(streams=streams, timeouts={"total": "200s"}).ask(stream=True)
    assert text_of(response.content) == TEXT
    assert response.content.endswith(DONE)


async def test_a_reader_who_pauses_is_no_stalled_stream(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """The idle timeout measures the provider's silence, not the client's pace."""
    fleet.add("a")
    body = b""
    async with serve().open(stream=True, ahead=0) as stream:
        while (chunk := await clock.run(stream.chunk())) is not None:
            body += chunk
            await clock.advance(31)
    assert text_of(body) == TEXT
    assert body.endswith(DONE)


def _without_finish(acts: Any) -> Any:
    def kept() -> Iterator[Any]:
        for act in acts:
            if getattr(act, "part", "") not in ("finish", "usage"):
                yield act

    return tuple(kept())
