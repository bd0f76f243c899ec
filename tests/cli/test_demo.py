"""`stepwell demo`: the clients, the picture, and the whole thing as a process."""

import io
import json
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import httpx
import pytest
from rich.console import Console
from starlette.types import Receive, Scope, Send

from stepwell import Anonymous, create_app
from stepwell.cli.board import Board
from stepwell.cli.demo import SKETCHES
from stepwell.cli.traffic import Answered, Tally, Traffic
from stepwell.testing import FakeClock, Fleet


class Command(Protocol):
    seen: str

    async def line(self, *, holding: str) -> str: ...
    async def address(self) -> str: ...
    def signal(self, number: signal.Signals) -> None: ...
    async def exit_code(self) -> int: ...
    async def complaints(self) -> str: ...


Start = Callable[..., AbstractAsyncContextManager[Command]]


def demo_fleet(clock: FakeClock) -> Fleet:
    """The demo's own providers, on a clock of ours."""
    fleet = Fleet(clock)
    for sketch in SKETCHES:
        fleet.add(
            sketch.name,
            limits=[sketch.limit],
            window=sketch.window,
            dialect=sketch.dialect,
            latency=sketch.latency,
            tokens_per_second=sketch.speed,
        )
    return fleet


def client_of(app: httpx.ASGITransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=app, base_url="http://gateway")


@pytest.mark.parametrize("seed", range(5))
async def test_near_the_capacity_no_request_fails(seed: int) -> None:
    """Every provider runs dry, and still each request finds the one that has room."""
    clock = FakeClock()
    fleet = demo_fleet(clock)
    app = create_app(
        fleet.settings(limits=False),
        transport=fleet.transport(),
        clock=clock,
        authenticate=Anonymous(),
    )
    async with client_of(httpx.ASGITransport(app)) as client:
        traffic = Traffic(client, fleet, seconds=12, seed=seed)
        await clock.run(traffic.run())

    tally = traffic.tally
    assert (tally.failed, tally.needless, tally.waiting) == (0, 0, 0)
    assert tally.sent == tally.answered > 45
    assert 0 < tally.streamed < tally.sent
    assert sum(tally.ran_dry.values()) >= 4


async def test_a_failure_while_a_provider_has_room_is_counted_as_needless() -> None:
    """The fleet says what there was, not the gateway."""
    clock = FakeClock()
    fleet = demo_fleet(clock)

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with client_of(httpx.ASGITransport(refusing)) as client:
        traffic = Traffic(client, fleet, seconds=1, seed=0)
        await clock.run(traffic.run())

    tally = traffic.tally
    assert tally.sent == tally.failed == tally.needless == 16
    assert tally.recent[-1].trail == "nobody had room"


async def test_a_failure_while_all_are_dry_is_nobodys_fault() -> None:
    """Where there is nothing a request may fail."""
    clock = FakeClock()
    fleet = Fleet(clock)
    fleet.add("alpha", limits=["5 requests/60s"], dialect="groq")
    app = create_app(
        fleet.settings(limits=False),
        transport=fleet.transport(),
        clock=clock,
        authenticate=Anonymous(),
    )
    async with client_of(httpx.ASGITransport(app)) as client:
        for _ in range(2):
            traffic = Traffic(client, fleet, seconds=1, seed=0)
            await clock.run(traffic.run())

    assert (traffic.tally.answered, traffic.tally.failed, traffic.tally.needless) == (2, 1, 0)


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"choices": []}\n\n',
        b'data: {"choices": []}\n\ndata: {"error": {"message": "m"}}\n\ndata: [DONE]\n\n',
    ],
)
async def test_a_stream_without_its_end_is_no_answer(body: bytes) -> None:
    """Neither a stream that just stops, nor one that tells of an error."""
    clock = FakeClock()
    fleet = demo_fleet(clock)
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=body))

    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        traffic = Traffic(client, fleet, seconds=1, seed=0)
        await clock.run(traffic.run())

    assert traffic.tally.failed == traffic.tally.sent


async def test_a_gateway_that_is_not_there_is_a_failure_with_a_name() -> None:
    """An exception in one request does not end the demo."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    clock = FakeClock()
    fleet = demo_fleet(clock)
    transport = httpx.MockTransport(refuse)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        traffic = Traffic(client, fleet, seconds=1, seed=0)
        await clock.run(traffic.run())

    assert traffic.tally.recent[-1].trail == "ConnectError"


def screen(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False)


def shown_on(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_picture_counts_down_for_the_dry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provider, limit, what is left, until when nothing is, and the latest trails."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    fleet, tally = _after_six_requests()
    console = screen(terminal=True)
    board = Board(console, fleet, tally)

    console.print(board.picture())

    shown = shown_on(console)
    assert "dry for 6.0s" in shown
    assert "6 requests/6s" in shown
    assert "swift(429) > brook" in shown
    assert "sent 7, answered 6, on the way 1, failed 0" in shown


def test_the_line_for_files_holds_no_control_characters() -> None:
    """The same facts in one line."""
    fleet, tally = _after_six_requests()
    console = screen(terminal=False)
    board = Board(console, fleet, tally)

    console.print(board.line())

    shown = shown_on(console)
    assert "swift dry for 6.0s, brook 5 left" in " ".join(shown.split())
    assert "\x1b" not in shown


def _after_six_requests() -> tuple[Fleet, Tally]:
    clock = FakeClock()
    fleet = demo_fleet(clock)
    headers = {"authorization": "Bearer sk-swift"}
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "Hello"}]}
    raw = json.dumps(body).encode()
    for _ in range(6):
        fleet["swift"].receive("POST", "/chat/completions", headers, raw).abandon()
    tally = Tally(sent=7, answered=6)
    tally.recent.append(Answered(6, ok=True, stream=False, trail="swift(429) > brook"))
    return fleet, tally


@pytest.mark.slow
async def test_once_as_json(start: Start) -> None:
    """One document for scripts, the progress beside it, and exit code 0."""
    async with start("demo", "--json", "--seconds", "4", "--seed", "3") as demo:
        code = await demo.exit_code()
        progress = await demo.complaints()
    document = json.loads(demo.seen)

    assert (code, document["ok"], document["failed"]) == (0, True, 0)
    assert document["requests"] == document["answered"] >= 16
    assert {provider["name"] for provider in document["providers"]} == {s.name for s in SKETCHES}
    served = sum(provider["served"] for provider in document["providers"])
    refused = sum(provider["refused"] for provider in document["providers"])
    assert served == document["answered"]
    assert document["calls"] == served + refused
    assert document["ran_dry"]
    assert "\x1b" not in progress


@pytest.mark.slow
async def test_it_serves_on_until_ctrl_c(start: Start) -> None:
    """After the summary one may try it by hand, and sees each call."""
    async with start("demo", "--seconds", "1") as demo:
        address = await demo.address()
        await demo.line(holding="Serving until Ctrl-C")
        async with httpx.AsyncClient(base_url=address) as client:
            question = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}
            answer = await client.post("/v1/chat/completions", json=question)
        shown = await demo.line(holding=":answer")
        demo.signal(signal.SIGINT)
        code = await demo.exit_code()
        complaints = await demo.complaints()

    assert answer.status_code == 200
    assert shown.startswith(answer.headers["x-stepwell-target"])
    assert "curl -i" in demo.seen
    assert "\x1b" not in demo.seen
    assert (code, complaints) == (0, "")
