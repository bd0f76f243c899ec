"""The client leaves: everything that was done for it ends at that very instant."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from stepwell.testing import Failure, FakeClock, Fleet, SimProvider

PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Scene:
    """A moment at which a client may leave.

    Attributes:
        name: For pytest.
        prepare: What is scripted for the provider.
        after: Seconds after the request's beginning at which the client leaves.
        stream: It asked for a stream.
        ahead: How many messages it lets the gateway send unread; 0 blocks the first send.
        sent: How many events the provider had handed over by then; None for any number.
        calls: How many calls had been made by then.
    """

    name: str
    prepare: Callable[[SimProvider], object]
    after: float = 1.0
    stream: bool = True
    ahead: int | None = None
    sent: int | None = None
    calls: int = 1


def fail(*failures: Failure) -> Callable[[SimProvider], object]:
    return lambda provider: provider.fail(*failures)


def hold(events: int) -> Callable[[SimProvider], object]:
    def prepare(provider: SimProvider) -> None:
        provider.hold()
        provider.let(events)

    return prepare


SCENES = [
    Scene("before the head", fail(Failure.hang()), sent=0),
    Scene("before the head, buffered", fail(Failure.hang()), stream=False, sent=0),
    Scene("before the first event", fail(Failure.hang_after(0)), sent=0),
    Scene("before the first word", fail(Failure.hang_after(1)), sent=1),
    Scene("in the body, buffered", fail(Failure.hang_after(0)), stream=False),
    Scene("while it is generated, buffered", hold(0), stream=False, sent=0),
    Scene("between two events", hold(4), sent=4),
    Scene("in a stalled stream", fail(Failure.hang_after(3)), after=20.0, sent=3),
    Scene("in the first send", hold(9), ahead=0, sent=2),
    Scene("in a later send", hold(9), ahead=2),
    Scene("kept alive", fail(Failure.hang()), after=16.0, sent=0),
    Scene("in a ping", fail(Failure.hang()), after=16.0, ahead=0, sent=0),
    Scene("in a ping of a stream", hold(3), after=18.0, ahead=2),
]


# Of the search for an answer, and of the streams of each account that had one.
SHARED_TIMERS = 3


async def settled(site: Any, baseline: set[Any]) -> None:
    """Nothing of the request is left: no task, no timer of its own, no reservation, no upstream call."""
    await asyncio.sleep(0)  # a cancelled task needs a turn of the loop to end
    assert asyncio.all_tasks() == baseline
    assert len(site.clock._pending()) <= SHARED_TIMERS
    assert await site.in_flight() == 0
    assert "0 active" in repr(site.gateway)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_hang_up_ends_the_upstream_call_at_once(
    scene: Scene, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """No second passes, nothing is left, nobody is blamed, and the next request is served."""
    a, b = fleet.add("a"), fleet.add("b")
    scene.prepare(a)
    site = serve()
    baseline = asyncio.all_tasks()
    async with site.open(stream=scene.stream, ahead=scene.ahead) as stream:
        await clock.advance(scene.after)
        assert [call.outcome for call in a.calls] == ["open"] * scene.calls
        assert scene.sent in (None, a.calls[0].sent)
        await stream.disconnect()
        assert [call.outcome for call in a.calls] == ["aborted"] * scene.calls
        assert a.calls[-1].ended == clock.monotonic()
        await settled(site, baseline)
    (status, *_) = await site.gateway.ledger.snapshot()
    assert status.block is None
    a.recover()
    a.release()
    assert (await site.ask()).headers["x-stepwell-trail"] == "a/sim-model:answer"
    assert b.calls == []


async def test_a_hang_up_in_the_pause_before_the_second_pass(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Nobody is asked on behalf of someone who has left."""
    a = fleet.add("a")
    a.fail(Failure.reset())
    site = serve()
    baseline = asyncio.all_tasks()
    async with site.open() as stream:
        await clock.advance(0.05)
        assert [call.outcome for call in a.calls] == ["failed"]
        await stream.disconnect()
        await settled(site, baseline)
    await clock.advance(10)
    assert len(a.calls) == 1


async def test_a_hang_up_while_waiting_for_evidence(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A stranger admits two calls and a probe; the fourth request waits, leaves, and is forgotten."""
    a = fleet.add("a", latency=10)
    site = serve()
    others = [asyncio.ensure_future(site.post()) for _ in range(3)]
    await clock.advance(1)
    baseline = asyncio.all_tasks()
    async with site.open() as stream:
        await clock.advance(1)
        assert len(a.calls) == 3
        assert await site.in_flight() == 3
        await stream.disconnect()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == baseline
    await clock.run(asyncio.wait(others))
    assert [task.result().status_code for task in others] == [200] * 3
    assert len(a.calls) == 3
    assert await site.in_flight() == 0


async def test_a_hang_up_while_the_body_is_read(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """Half a request is no request: nothing is sent anywhere, and nothing is answered."""
    a = fleet.add("a")
    site = serve()
    baseline = asyncio.all_tasks()
    sent: list[Any] = []
    messages = iter(
        [
            {"type": "http.request", "body": b'{"mess', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await site.app(scope_of(site), receive, send)
    await settled(site, baseline)
    assert (sent, a.calls) == ([], [])


async def test_a_hang_up_in_a_resumed_stream(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """The continuation is cancelled as the first stream would have been."""
    manners: dict[str, Any] = {"reply": "one two three four five", "prefill": True}
    a, b = fleet.add("a", **manners), fleet.add("b", **manners)
    a.fail(Failure.cut(3))
    b.hold()
    b.let(3)
    site = serve(providers={"a": {"prefill": True}, "b": {"prefill": True}})
    baseline = asyncio.all_tasks()
    async with site.open(stream=True) as stream:
        await clock.advance(1)
        assert (a.calls[0].outcome, b.calls[0].outcome) == ("failed", "open")
        await stream.disconnect()
        assert b.calls[0].outcome == "aborted"
        await settled(site, baseline)


async def test_a_client_that_left_costs_what_it_used(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Of a stream the events that came count, not the whole estimate."""
    limits = ["10000 tokens/60s"]
    a = fleet.add("a", limits=limits, reply="word " * 50, dialect="retry-after")
    a.hold()
    a.let(6)
    site = serve()
    async with site.open(stream=True, max_tokens=500) as stream:
        await clock.advance(1)
        (before,) = await site.gateway.ledger.snapshot()
        await stream.disconnect()
    (after,) = await site.gateway.ledger.snapshot()
    assert before.limits[0].used > 500
    assert 6 < after.limits[0].used < 60


async def test_a_hang_up_is_a_debug_line(
    clock: FakeClock, fleet: Fleet, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a warning: people close windows."""
    fleet.add("a").fail(Failure.hang())
    with caplog.at_level(logging.DEBUG):
        async with serve().open() as stream:
            await clock.advance(1)
            await stream.disconnect()
    (record,) = [record for record in caplog.records if "went away" in record.getMessage()]
    assert record.levelno == logging.DEBUG


async def test_after_the_answer_a_hang_up_is_none(
    clock: FakeClock, fleet: Fleet, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Every client leaves after its answer; the connection upstream is not cut for that."""
    a = fleet.add("a")
    site = serve()
    with caplog.at_level(logging.DEBUG):
        for stream in (False, True):
            await site.ask(stream=stream)
    assert [call.outcome for call in a.calls] == ["served", "served"]
    assert "went away" not in caplog.text


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_hosts_cancellation_is_not_swallowed(
    scene: Scene, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A server that shuts down cancels its tasks: they must end so, and leave nothing."""
    a = fleet.add("a")
    scene.prepare(a)
    site = serve()
    baseline = asyncio.all_tasks()
    sending = asyncio.Event()
    messages = [body_of(stream=scene.stream)]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        if scene.ahead == 0:
            await sending.wait()

    task = asyncio.ensure_future(site.app(scope_of(site), receive, send))
    await clock.advance(scene.after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [call.outcome for call in a.calls] == ["aborted"]
    await settled(site, baseline)


async def test_a_cancellation_wins_over_a_hang_up_at_the_same_moment(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Both in one turn of the loop: the host's cancellation is still seen by the host."""
    fleet.add("a").fail(Failure.hang())
    site = serve()
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    messages = [body_of(stream=True)]

    async def receive() -> Any:
        return messages.pop() if messages else await gone

    async def send(message: Any) -> None:
        raise AssertionError("nothing is sent to someone who has left")

    task = asyncio.ensure_future(site.app(scope_of(site), receive, send))
    await clock.advance(1)
    gone.set_result({"type": "http.disconnect"})
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await site.in_flight() == 0


async def test_a_thousand_hang_ups_leave_nothing(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """At random moments, among failures of every kind: then all is zero and a request is served."""
    random.seed(20261122)  # the gateway's own jitter as well
    tempers = [
        Failure.hang(),
        Failure.hang_after(2),
        Failure.cut(3),
        Failure.reset(),
        Failure.status(503),
        Failure.in_band_error(500, after=1),
        Failure.slow(0.3),
        Failure.rate_limit(1),
        Failure.empty(),
    ]
    for name in ("a", "b", "c"):
        provider = fleet.add(name, latency=0.4, tokens_per_second=5, prefill=True, concurrency=20)
        for temper in tempers:
            provider.fail(temper, times=None, when=lambda call: random.random() < 0.05)
    site = serve(
        providers={name: {"prefill": True} for name in "abc"},
        streams={"ping": "1s", "first_token_timeout": "3s", "idle_timeout": "3s"},
        timeouts={"attempt": "4s"},
    )
    baseline = asyncio.all_tasks()
    left = 0

    async def visit() -> None:
        nonlocal left
        streamed, ahead = random.random() < 0.7, random.choice([None, None, 0, 3])
        async with site.open(stream=streamed, ahead=ahead) as stream:
            await clock.sleep(random.uniform(0, 2))
            left += not stream.complete
            await stream.disconnect()

    while left < 1000:
        await clock.run(asyncio.gather(*(visit() for _ in range(50))))
    await settled(site, baseline)
    assert [provider.in_flight for provider in fleet] == [0, 0, 0]
    for provider in fleet:
        provider.recover()
    clock.shift(3600)
    assert (await site.ask()).status_code == 200
    assert (await site.ask(stream=True)).text.endswith("data: [DONE]\n\n")


def body_of(**fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    return {"type": "http.request", "body": msgspec.json.encode(body)}


def scope_of(site: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"authorization", f"Bearer {site.key}".encode()),
            (b"content-type", b"application/json"),
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("gateway.test", 80),
        "state": {},
    }
