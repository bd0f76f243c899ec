"""A fleet with the real application before it, on a virtual clock."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.applications import Starlette

from stepwell import create_app
from stepwell.testing import Call, Failure, FakeClock, Fleet, Reply, SimLimit

from .cases import PROVIDERS, SCENARIOS, TOLD, Case
from .traffic import Request

KEY: Final = "sk-benchmark"
# In windows. With windows of a minute a provider answers after 0.3 s.
LATENCY: Final = 0.005
ATTEMPT: Final = 1 / 3
# No time limit of the gateway's own may end a request: what is measured is quota.
TOTAL: Final = 10.0


@dataclass(slots=True)
class Stage:
    """Fleet and gateway, and what has happened to the requests so far."""

    clock: FakeClock
    fleet: Fleet
    app: Starlette
    latency: float
    down: set[str] = field(default_factory=set)
    failed_in_vain: int = 0
    answered: int = 0
    late: float = 0.0

    async def send_all(self, requests: Sequence[Request]) -> None:
        """Let each request come at its time, and return when the last one has ended."""
        began = self.clock.monotonic()
        async with asyncio.TaskGroup() as coming:
            for request in requests:
                early = began + request.at - self.clock.monotonic()
                if early > 0:
                    await self.clock.sleep(early)
                coming.create_task(self._send(request))

    async def _send(self, request: Request) -> None:
        came = self.clock.monotonic()
        status = await _post(self.app, request.body)
        if status == 200:
            self.answered += 1
            self.late += max(0.0, self.clock.monotonic() - came - self.latency)
        elif status == 500:
            raise RuntimeError("The gateway itself has failed; its log says how.")
        elif self._has_room(request.cost):
            self.failed_in_vain += 1

    def _has_room(self, tokens: int) -> bool:
        sound = (provider for provider in self.fleet if provider.name not in self.down)
        return any(provider.room(tokens=tokens) for provider in sound)

    def plan_troubles(self, *, windows: float, length: float) -> None:
        """Put half of the providers out of order, in turns: errors, cut answers, silence."""
        failures = (Failure.status(503), Failure.cut(2), Failure.hang(), Failure.reset())
        names = [provider.name for provider in self.fleet]
        for number, begin in enumerate(range(2, int(windows), 4)):
            for name in names[number % 2 :: 2]:
                failure = failures[number % len(failures)]
                self.clock.call_later(begin * length, self._break_down, name, failure)
                self.clock.call_later((begin + 2) * length, self._mend, name)

    def _break_down(self, name: str, failure: Failure) -> None:
        self.fleet[name].fail(failure, times=None)
        self.down.add(name)

    def _mend(self, name: str) -> None:
        self.fleet[name].recover()
        self.down.discard(name)


def make_stage(case: Case) -> Stage:
    """Build fleet and gateway."""
    scenario, length = SCENARIOS[case.scenario], case.length
    clock = FakeClock()
    fleet = _make_fleet(clock, case)
    settings = fleet.settings(
        limits=case.told != "nothing",
        api_keys=[KEY],
        queue={"max_wait": scenario.queue * length},
        timeouts={"attempt": ATTEMPT * length, "total": TOTAL * length},
    )
    _misinform(settings, TOLD[case.told])
    app = create_app(settings, transport=fleet.transport(), clock=clock)
    return Stage(clock, fleet, app, LATENCY * length)


def _make_fleet(clock: FakeClock, case: Case) -> Fleet:
    scenario, length = SCENARIOS[case.scenario], case.length
    fleet = Fleet(clock)
    for number in range(PROVIDERS):
        # Odd fractions of a window, so that no edge falls on another's or on a full second.
        offset = 0.117 if scenario.aligned else 0.055 + 0.1617 * number
        limits = [SimLimit.parse(f"{limit}/{length:g}s") for limit in scenario.limits]
        fleet.add(
            f"p{number}",
            limits=[
                replace(
                    limit,
                    kind=case.window,
                    offset=offset * length,
                    counts_refused=scenario.counts_refused,
                )
                for limit in limits
            ],
            dialect=case.dialect,
            latency=LATENCY * length,
            reply=_speak,
        )
    return fleet


def _misinform(settings: Mapping[str, Any], factor: float) -> None:
    """Multiply every limit that the gateway is told."""
    for provider in settings["providers"].values():
        for limit in provider.get("limits", ()):
            limit["limit"] = round(limit["limit"] * factor)


def _speak(call: Call) -> Reply:
    """Answer in as many tokens as the request wants; a provider cannot know that, a test can."""
    return Reply("word" * int(call.body.get("user") or 1))


async def _post(app: Starlette, body: bytes) -> int:
    """Send one chat request straight into the application and return its status."""
    statuses: list[int] = []
    parts: Iterator[Mapping[str, Any]] = iter([{"type": "http.request", "body": body}])

    async def receive() -> Mapping[str, Any]:
        part = next(parts, None)
        return await asyncio.get_running_loop().create_future() if part is None else part

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(_scope(len(body)), receive, send)  # type: ignore[arg-type]
    return statuses[0]


def _scope(length: int) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"gateway.test"),
            (b"authorization", f"Bearer {KEY}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(length).encode()),
        ],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 80),
    }
