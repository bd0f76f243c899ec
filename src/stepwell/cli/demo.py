"""`stepwell demo`: the waterfall at work, without a key and without a network."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from starlette.applications import Starlette

from stepwell.api.auth import Anonymous
from stepwell.app import create_app
from stepwell.cli.board import Board, limits_text
from stepwell.cli.console import FAILED, console, curl_line, print_json, table
from stepwell.cli.server import GatewayServer, open_port
from stepwell.cli.traffic import Tally, Traffic
from stepwell.observe import Event
from stepwell.routing.trail import Attempt
from stepwell.testing import DialectName, Fleet
from stepwell.testing.limits import WindowKind

HOST: Final = "127.0.0.1"

SECONDS: Final = 12.0
"""Two of the longest window below: each provider runs dry, comes back, and runs dry again."""

GRACE: Final = 2.0
"""Seconds for the requests that are under way at Ctrl-C; the slowest answer takes one."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """One simulated provider; see `Fleet.add`."""

    name: str
    limit: str
    window: WindowKind
    dialect: DialectName
    latency: float
    speed: float


# What they tell of their limits goes from all of it in headers to nothing at all.
SKETCHES: Final = (
    Sketch("swift", "6 requests/6s", "sliding", "groq", latency=0.15, speed=90),
    Sketch("brook", "5 requests/5s", "fixed", "openai", latency=0.25, speed=70),
    Sketch("spring", "8 requests/8s", "sliding", "gemini", latency=0.2, speed=60),
    Sketch("pond", "4 requests/4s", "bucket", "retry-after", latency=0.3, speed=50),
    Sketch("dew", "3 requests/3s", "sliding", "silent", latency=0.35, speed=40),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """How the demo went."""

    fleet: Fleet
    tally: Tally
    seconds: float
    seed: int

    @property
    def calls(self) -> int:
        return len(self.fleet.calls)

    @property
    def calls_per_request(self) -> float:
        return round(self.calls / max(1, self.tally.sent), 2)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Exit after the summary instead of serving on.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON; implies --once.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long to send requests.")] = SECONDS,
    seed: Annotated[int, typer.Option(help="The same seed sends the same requests.")] = 0,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's; 0 takes a free one.")
    ] = 0,
) -> None:
    """Show the waterfall at work: no key, no network, no settings.

    Starts five simulated free-tier providers with tight limits, each with a dialect of its own, and a
    gateway in front of them that is told none of these limits. Then it sends a burst and a steady
    stream of requests, near to what all providers together can give, and shows who serves.

    \b
    Examples:
      stepwell demo
      stepwell demo --once --seconds 20 --seed 7
      stepwell demo --json

    \b
    Exit codes: 0 no request failed while a provider had room, 1 one did, or the port is in use.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    listener = open_port(HOST, port)
    screen = console(stderr=as_json)
    summary = asyncio.run(_run(listener, screen, seconds, seed, stay=not (once or as_json)))
    if as_json:
        print_json(_document(summary))
    if summary.tally.needless:
        raise typer.Exit(FAILED)


@dataclass(slots=True)
class Narrator:
    """Prints every attempt of the gateway while it is on: after the demo's own requests."""

    screen: Console
    is_on: bool = False

    def __call__(self, event: Event) -> None:
        if self.is_on and isinstance(event, Attempt):
            self.screen.print(f"{event} in {event.seconds:.2f}s")


async def _run(
    listener: socket.socket, screen: Console, seconds: float, seed: int, *, stay: bool
) -> Summary:
    fleet, narrator = _fleet(), Narrator(screen)
    address = f"http://{HOST}:{listener.getsockname()[1]}"
    async with (
        fleet.serve(),
        _serving(_application(fleet, narrator), listener) as server,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        screen.print(f"Five providers, and on {address} a gateway that is told no limits.")
        traffic = Traffic(client, fleet, seconds=seconds, seed=seed)
        await _watch(traffic, Board(screen, fleet, traffic.tally), server)
        summary = Summary(fleet, traffic.tally, seconds, seed)
        _print_summary(screen, summary)
        screen.print(f"try: {curl_line(address, model='default', keys=False)}", soft_wrap=True)
        if stay and not server.should_exit:
            screen.print("Serving until Ctrl-C; each call of a provider is shown.")
            narrator.is_on = True
            await server.stopping.wait()
    return summary


def _fleet() -> Fleet:
    fleet = Fleet()
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


def _application(fleet: Fleet, narrator: Narrator) -> Starlette:
    settings = fleet.settings(limits=False, api_keys=())
    return create_app(settings, authenticate=Anonymous(), observers=[narrator])


@asynccontextmanager
async def _serving(app: Starlette, listener: socket.socket) -> AsyncIterator[GatewayServer]:
    ready = asyncio.Event()
    server = GatewayServer(app, app.state.gateway, grace=GRACE, announce=ready.set)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    running.add_done_callback(lambda _: ready.set())  # it failed: `await running` tells how
    try:
        await ready.wait()
        yield server
    finally:
        server.should_exit = True
        await running


async def _watch(traffic: Traffic, board: Board, server: GatewayServer) -> None:
    """Show the traffic until its end, or until a signal ends it."""
    sending = asyncio.create_task(traffic.run())
    showing = asyncio.create_task(board.show())
    stopping = asyncio.create_task(server.stopping.wait())
    await asyncio.wait({sending, showing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (sending, showing, stopping):
        task.cancel()
    await asyncio.wait({sending, showing, stopping})
    for task in (sending, showing):
        if not task.cancelled():
            task.result()  # a mistake of ours is not to be hidden


def _print_summary(screen: Console, summary: Summary) -> None:
    tally = summary.tally
    rows = table("provider", "limit", "window", "tells it like", "served", "refused (429)")
    for sketch, provider in zip(SKETCHES, summary.fleet, strict=True):
        rows.add_row(
            provider.name,
            limits_text(provider),
            sketch.window,
            provider.dialect,
            str(provider.served),
            str(provider.refused),
        )
    screen.print(rows)
    screen.print(
        f"{tally.sent} requests ({tally.streamed} streamed): {tally.answered} answered, "
        f"{tally.failed} failed, {tally.needless} of these while a provider had room."
    )
    screen.print(f"{summary.calls_per_request} calls per request. {_dry_sentence(tally)}")


def _dry_sentence(tally: Tally) -> str:
    dry = [name for name, was_dry in tally.ran_dry.items() if was_dry]
    return f"Ran dry: {', '.join(dry)}." if dry else "No provider ran dry."


def _document(summary: Summary) -> dict[str, Any]:
    tally = summary.tally
    return {
        "ok": tally.needless == 0,
        "seconds": summary.seconds,
        "seed": summary.seed,
        "requests": tally.sent,
        "streamed": tally.streamed,
        "answered": tally.answered,
        "failed": tally.failed,
        "failed_with_room": tally.needless,
        "calls": summary.calls,
        "calls_per_request": summary.calls_per_request,
        "ran_dry": [name for name, was_dry in tally.ran_dry.items() if was_dry],
        "providers": [
            {
                "name": provider.name,
                "limit": limits_text(provider),
                "dialect": provider.dialect,
                "served": provider.served,
                "refused": provider.refused,
            }
            for provider in summary.fleet
        ],
    }
