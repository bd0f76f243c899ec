"""Comments that keep a silent stream's connection alive, and what follows an early opening."""

import json
from typing import Any

from stepwell.testing import Failure, FakeClock, Fleet


async def test_a_silent_stream_is_opened_early(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """After `streams.ping` the response begins, and comments say who is waited for, and how long."""
    fleet.add("a", latency=18)
    async with serve().open(stream=True) as stream:
        await clock.advance(14.999)
        assert stream.sent == []
        await clock.advance(0.001)
        started = await stream.start()
        assert started.status == 200
        assert started.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "x-request-id" in started.headers
        assert not [name for name in started.headers if name.startswith("x-stepwell")]
        assert await stream.chunk() == b": waiting 15s for a/sim-model\n\n"
        story = await clock.run(stream.chunk())
        assert story == (
            b": x-stepwell-target: a/sim-model\n"
            b": x-stepwell-attempts: 1\n"
            b": x-stepwell-trail: a/sim-model:answer\n\n"
        )
        assert clock.monotonic() == 1018
        body = await stream.body()
        assert body.startswith(b"data: ")
        assert body.endswith(b"data: [DONE]\n\n")


async def test_comments_come_at_every_ping(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """Each names the target that is being asked at that moment."""
    fleet.add("a").fail(Failure.hang())
    fleet.add("b", latency=10)
    body = (await serve(streams={"ping": "8s"}).ask(stream=True)).text
    comments = [line for line in body.splitlines() if line.startswith(": waiting")]
    assert comments == [
        ": waiting 8s for a/sim-model",
        ": waiting 16s for a/sim-model",
        ": waiting 24s for b/sim-model",
    ]
    assert "This" in body
    assert ": x-stepwell-trail: a/sim-model:unreachable, b/sim-model:answer\n" in body


async def test_no_pings_if_they_are_switched_off(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """`ping: 0s` leaves the response unopened until there is an answer."""
    fleet.add("a").fail(Failure.hang())
    fleet.add("b")
    response = await serve(streams={"ping": "0s"}).ask(stream=True)
    assert response.headers["x-stepwell-trail"] == "a/sim-model:unreachable, b/sim-model:answer"
    assert ": " not in response.text.split("data:")[0]


async def test_exhaustion_after_an_early_opening_is_told_in_band(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """The status is out, so the 503's envelope comes as one event, and the stream ends."""
    fleet.add("a").fail(Failure.hang(), times=None)
    response = await serve().ask(stream=True)
    assert response.status_code == 200
    comments, _, event = response.text.rpartition("data: ")
    assert comments.startswith(": waiting 15s for a/sim-model\n\n")
    error = json.loads(event)["error"]
    assert error["code"] == "all_providers_exhausted"
    assert error["stepwell"]["retry_after"] == 5
    assert event.endswith("}\n\n")
    assert "[DONE]" not in response.text


async def test_a_refusal_after_an_early_opening_is_told_in_band(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A client's mistake that is found late is told in the same way."""
    fleet.add("a").fail(Failure.hang(), times=None)
    fleet.add("b").fail(Failure.bad_request("Bad temperature."), times=None)
    response = await serve().ask(stream=True)
    _, _, event = response.text.rpartition("data: ")
    assert json.loads(event)["error"]["message"] == "Bad temperature."


async def test_pings_come_between_the_events_of_a_slow_stream(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Never inside one, though its pieces arrive 7 s apart and a ping is due in the middle."""
    fleet.add("a", reply="one two").fail(Failure.bytewise(90), Failure.slow(7))
    streams = {"ping": "10s", "first_token_timeout": "100s", "idle_timeout": "100s"}
    response = await serve(streams=streams, timeouts={"total": "200s"}).ask(stream=True)
    events = response.text.split("\n\n")[:-1]
    pings = [event for event in events if event.startswith(": waiting")]
    datas = [event for event in events if event.startswith("data: {")]
    assert len(pings) >= 4
    assert all("\n" not in event for event in pings + datas)
    texts = [json.loads(event[6:])["choices"][0]["delta"].get("content", "") for event in datas]
    assert "".join(texts) == "one two"
    assert events[-1] == "data: [DONE]"


async def test_a_blocked_reader_is_sent_no_pings(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """While a send waits for the client, comments do not pile up behind it."""
    fleet.add("a")
    async with serve().open(stream=True, ahead=0) as stream:
        await clock.run(stream.chunk())
        sent = len(stream.sent)
        await clock.advance(120)
        assert len(stream.sent) <= sent + 1
        assert b"waiting" not in await clock.run(stream.body())


async def test_buffered_requests_get_no_comments(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """JSON has no place for them; the answer keeps its headers however late it is."""
    fleet.add("a", latency=50)
    response = await serve().ask()
    assert response.headers["x-stepwell-target"] == "a/sim-model"
    assert response.json()["object"] == "chat.completion"
