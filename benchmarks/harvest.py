"""How much of the free quota is harvested, and at what price: an hour of traffic in seconds.

    .venv-dev/bin/python benchmarks/harvest.py [--json] [--scenario NAME] [--seed 1] [--minutes 60]

The real application stands before `stepwell.testing`'s fleet on a virtual clock. The fleet is the
referee: it enforces limits by its own count and knows at each moment who has room. Beside it runs
an oracle, a router that sees all counts, has no delays and misses nothing; what it serves of the
same requests is what could be served at all.

Each scenario is played with several fleets: windows that are fixed (each provider's beginning at
another second), sliding, or buckets; providers that tell their quota in headers, in bodies, or not
at all; limits told to the gateway, not told, or told wrong by a factor of two either way. A line is
the worst of the fleets that share its scenario and what was told; `--each` prints them all.

    ok         share of the requests that were answered
    avoidable  requests that failed at a moment at which a sound provider had room for them
    refused    429s that providers gave, per 1,000 requests; and after the first window
    harvest    answers, compared with the oracle's
    paid       answers that providers gave, per answer that a client got
    waited     seconds by which an answer came later than its provider needed: the mean
"""

import argparse
import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import msgspec
from starlette.applications import Starlette

from stepwell import create_app
from stepwell.testing import Call, Failure, FakeClock, Fleet, Reply, SimProvider
from stepwell.testing.dialects import DialectName
from stepwell.testing.limits import Limiter, WindowKind

Told = Literal["nothing", "right", "half", "double"]

KEY: Final = "sk-benchmark"
PROVIDERS: Final = 6
LATENCY: Final = 0.3
# No time limit of the gateway's own may end a request: what is measured is quota.
PATIENCE: Final = 600.0

WINDOWS: Final[tuple[WindowKind, ...]] = ("fixed", "sliding", "bucket")
DIALECTS: Final[tuple[DialectName, ...]] = ("openai", "groq", "gemini", "retry-after", "silent")
TOLD: Final[Mapping[Told, float]] = {"right": 1.0, "nothing": 0.0, "half": 0.5, "double": 2.0}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of hour.

    Attributes:
        name: For the command line.
        load: Requests, as a share of what the fleet's limits allow on average.
        limits: Of each provider.
        cost: Tokens of one request on average, where tokens are what is short.
        bursts: Requests that come at one moment, every five minutes, beside the load.
        queue: Seconds that a request may wait for quota; 0 switches the queue off.
        trouble: What goes wrong with providers, beside their limits.
        aligned: Fixed windows of all providers begin at the same moment.
    """

    name: str
    load: float
    limits: tuple[str, ...] = ("10 requests/60s",)
    cost: int = 0
    bursts: int = 0
    queue: float = 0.0
    trouble: "Callable[[Stage], Iterable[tuple[float, Callable[[], None]]]] | None" = None
    aligned: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario with one fleet."""

    scenario: str
    told: Told
    window: WindowKind
    dialect: DialectName


@dataclass(frozen=True, slots=True)
class Figures:
    """What an hour came to; see the module's text."""

    requests: int
    ok: float
    avoidable: int
    refused: float
    refused_later: float
    harvest: float
    paid: float
    waited: float


@dataclass(frozen=True, slots=True)
class Request:
    """One of the hour: when it comes, and how long its question and its answer are, in tokens."""

    at: float
    question: int
    answer: int

    @property
    def cost(self) -> int:
        return 3 + self.question + self.answer  # three for the message: see testing/reply.py

    @property
    def body(self) -> bytes:
        text = "word" * self.question  # four characters a token, as the fleet counts
        messages = [{"role": "user", "content": text}]
        fields = {"messages": messages, "max_tokens": 1024, "user": str(self.answer)}
        return msgspec.json.encode(fields)


@dataclass(slots=True)
class Stage:
    """A fleet with the gateway before it, and what has happened to the requests so far."""

    clock: FakeClock
    fleet: Fleet
    app: Starlette
    down: set[str] = field(default_factory=set)
    failed_in_vain: int = 0
    answered: int = 0
    late: float = 0.0

    async def send(self, request: Request) -> None:
        """Let one request come at its time, and note what became of it."""
        await self.clock.sleep(request.at)
        came = self.clock.monotonic()
        status = await post(self.app, request.body)
        if status == 200:
            self.answered += 1
            self.late += max(0.0, self.clock.monotonic() - came - LATENCY)
        elif self.has_room(request.cost):
            self.failed_in_vain += 1

    def has_room(self, tokens: int) -> bool:
        return any(
            provider.room(tokens=tokens)
            for provider in self.fleet
            if provider.name not in self.down
        )

    def break_down(self, name: str, failure: Failure) -> None:
        self.fleet[name].fail(failure, times=None)
        self.down.add(name)

    def mend(self, name: str) -> None:
        self.fleet[name].recover()
        self.down.discard(name)


def troubles(stage: Stage) -> Iterator[tuple[float, Callable[[], None]]]:
    """Half of the providers are out of order in turns: errors, cut answers, silence."""
    failures = (Failure.status(503), Failure.cut(2), Failure.hang(), Failure.reset())
    names = [provider.name for provider in stage.fleet]
    for number, begins in enumerate(range(120, 7200, 240)):
        failure = failures[number % len(failures)]
        for name in names[number % 2 :: 2]:
            yield begins, lambda name=name, failure=failure: stage.break_down(name, failure)  # type: ignore[misc]
            yield begins + 120, lambda name=name: stage.mend(name)  # type: ignore[misc]


SCENARIOS: Final[Mapping[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario("steady", load=0.6),
        Scenario("burst", load=0.1, bursts=48),
        Scenario("tokens", load=0.6, limits=("6000 tokens/60s", "30 requests/60s"), cost=300),
        Scenario("overload", load=1.5),
        Scenario("overload-tokens", load=1.5, limits=("6000 tokens/60s",), cost=300),
        Scenario("overload-queue", load=1.5, queue=30.0),
        Scenario("faults", load=0.25, trouble=troubles),
        Scenario("recovery", load=0.2, bursts=90, aligned=True),
        Scenario("recovery-queue", load=0.2, bursts=90, aligned=True, queue=90.0),
    )
}


# --- one case


def play(case: Case, *, seed: int = 1, minutes: float = 60.0) -> Figures:
    """Let the hour pass and return what it came to."""
    with asyncio.Runner() as runner:
        return runner.run(_play(case, seed, minutes * 60.0))


async def _play(case: Case, seed: int, seconds: float) -> Figures:
    scenario = SCENARIOS[case.scenario]
    stage = make_stage(scenario, case)
    began = stage.clock.monotonic()
    requests = traffic(scenario, stage.fleet, random.Random(seed), seconds)
    sent = [asyncio.ensure_future(stage.send(request)) for request in requests]
    events = scenario.trouble(stage) if scenario.trouble is not None else ()
    timers = [stage.clock.call_later(at, event) for at, event in events]
    await stage.clock.run(asyncio.gather(*sent))
    for timer in timers:
        timer.cancel()
    possible = oracle(scenario, stage.fleet, requests, began)
    return _figures(stage, requests, possible, began)


def _figures(stage: Stage, requests: Sequence[Request], possible: int, began: float) -> Figures:
    calls = [call for call in stage.fleet.calls if call.status == 429]
    first = began + max(limit.window for provider in stage.fleet for limit in provider.limits)
    later = [call for call in calls if call.time >= first]
    served = sum(provider.served for provider in stage.fleet)
    return Figures(
        requests=len(requests),
        ok=stage.answered / len(requests),
        avoidable=stage.failed_in_vain,
        refused=1000 * len(calls) / len(requests),
        refused_later=1000 * len(later) / len(requests),
        harvest=stage.answered / possible,
        paid=served / max(1, stage.answered),
        waited=stage.late / max(1, stage.answered),
    )


def make_stage(scenario: Scenario, case: Case) -> Stage:
    """Build fleet and gateway."""
    clock = FakeClock()
    fleet = Fleet(clock)
    for number in range(PROVIDERS):
        offset = 7.0 if scenario.aligned else 3.3 + 9.7 * number
        fleet.add(
            f"p{number}",
            limits=scenario.limits,
            window=case.window,
            offset=offset,
            dialect=case.dialect,
            latency=LATENCY,
            reply=speak,
        )
    settings = fleet.settings(
        limits=case.told != "nothing",
        api_keys=[KEY],
        queue={"max_wait": scenario.queue},
        timeouts={"attempt": 20.0, "total": PATIENCE},
    )
    misinform(settings, TOLD[case.told])
    return Stage(clock, fleet, create_app(settings, transport=fleet.transport(), clock=clock))


def misinform(settings: Mapping[str, Any], factor: float) -> None:
    """Multiply every limit that the gateway is told."""
    for provider in settings["providers"].values():
        for limit in provider.get("limits", ()):
            limit["limit"] = round(limit["limit"] * factor)


def speak(call: Call) -> Reply:
    """Answer in as many tokens as the request wants; a provider cannot know that, a test can."""
    return Reply("word" * int(call.body.get("user") or 1))


def traffic(scenario: Scenario, fleet: Fleet, dice: random.Random, seconds: float) -> list[Request]:
    """Return the hour's requests: at random moments, some at once."""
    rate = scenario.load * sum(_rate(provider, scenario.cost) for provider in fleet)
    moments, at = [], dice.expovariate(rate)
    while at < seconds:
        moments.append(at)
        at += dice.expovariate(rate)
    if scenario.bursts:
        for begin in range(30, int(seconds), 300):
            moments += [float(begin)] * scenario.bursts
    return [_request(at, scenario.cost, dice) for at in sorted(moments)]


def _rate(provider: SimProvider, cost: int) -> float:
    """Return the requests a second that a provider's limits allow."""
    return min(
        limit.amount / (1 if limit.metric == "requests" else max(1, cost)) / limit.window
        for limit in provider.limits
    )


def _request(at: float, cost: int, dice: random.Random) -> Request:
    if not cost:
        return Request(at, 5, 10)
    return Request(at, round(cost * dice.uniform(0.2, 0.8)), round(cost * dice.uniform(0.2, 0.8)))


def oracle(scenario: Scenario, fleet: Fleet, requests: Sequence[Request], began: float) -> int:
    """Return how many of the requests a router that sees every count would serve."""
    limiters = [Limiter(provider.limits, began) for provider in fleet]
    waiting: deque[Request] = deque()
    served = 0
    arrivals = deque(requests)
    now = 0.0
    while arrivals or waiting:
        while arrivals and arrivals[0].at <= now:
            waiting.append(arrivals.popleft())
        served += _serve(waiting, limiters, began + now)
        while waiting and waiting[0].at + scenario.queue <= now:
            waiting.popleft()
        now = _next_moment(arrivals, waiting, limiters, began, now)
    return served


def _serve(waiting: deque[Request], limiters: Sequence[Limiter], moment: float) -> int:
    served = 0
    while waiting:
        cost = waiting[0].cost
        free = next((one for one in limiters if one.refusal("", "", cost, moment) is None), None)
        if free is None:
            break
        free.take("", "", cost, moment)
        waiting.popleft()
        served += 1
    return served


def _next_moment(
    arrivals: deque[Request],
    waiting: deque[Request],
    limiters: Sequence[Limiter],
    began: float,
    now: float,
) -> float:
    moments = [arrivals[0].at] if arrivals else []
    if waiting:
        refusals = (one.refusal("", "", waiting[0].cost, began + now) for one in limiters)
        moments += [now + (each.wait or 0.0) for each in refusals if each is not None]
    return max(now + 1e-6, min(moments, default=now))


async def post(app: Starlette, body: bytes) -> int:
    """Send one chat request straight into the application and return its status."""
    statuses: list[int] = []
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])

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


# --- all of them


def cases(scenarios: Sequence[str], told: Sequence[Told]) -> Iterator[Case]:
    for scenario in scenarios:
        for say in told:
            for window in WINDOWS:
                for dialect in DIALECTS:
                    yield Case(scenario, say, window, dialect)


def worst(figures: Sequence[Figures]) -> Figures:
    """Return the worst of each figure."""
    return Figures(
        requests=sum(each.requests for each in figures),
        ok=min(each.ok for each in figures),
        avoidable=max(each.avoidable for each in figures),
        refused=max(each.refused for each in figures),
        refused_later=max(each.refused_later for each in figures),
        harvest=min(each.harvest for each in figures),
        paid=max(each.paid for each in figures),
        waited=max(each.waited for each in figures),
    )


COLUMNS: Final = (
    ("ok", 7),
    ("avoidable", 10),
    ("refused", 9),
    ("later", 8),
    ("harvest", 9),
    ("paid", 6),
    ("waited", 8),
)
HEAD: Final = " " * 46 + "".join(name.rjust(width) for name, width in COLUMNS)


def line(name: str, figures: Figures) -> str:
    return (
        f"{name:46}{figures.ok:7.1%}{figures.avoidable:10}{figures.refused:9.1f}"
        f"{figures.refused_later:8.1f}{figures.harvest:9.1%}{figures.paid:6.2f}{figures.waited:8.2f}"
    )


def main() -> None:
    options = _options()
    scenarios = options.scenario or list(SCENARIOS)
    results: list[tuple[Case, Figures]] = []
    if not options.json:
        print(HEAD)
    for scenario in scenarios:
        for told in options.told or TOLD:
            group = [
                (case, play(case, seed=options.seed, minutes=options.minutes))
                for case in cases([scenario], [told])
                if not options.window or case.window in options.window
                if not options.dialect or case.dialect in options.dialect
            ]
            results += group
            if not options.json:
                _show(scenario, told, group, each=options.each)
    if options.json:
        print(json.dumps([asdict(case) | asdict(figures) for case, figures in results], indent=1))


def _show(scenario: str, told: str, group: Sequence[tuple[Case, Figures]], *, each: bool) -> None:
    if each:
        for case, figures in group:
            name = f"{scenario}, told {told}, {case.window}, {case.dialect}"
            print(line(name, figures), flush=True)
    for label, loud in (("", True), (", silent", False)):
        chosen = [figures for case, figures in group if (case.dialect != "silent") is loud]
        if chosen:
            print(line(f"{scenario}, told {told}{label}", worst(chosen)), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="every case, as JSON")
    parser.add_argument("--each", action="store_true", help="print every case, not the worst only")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS)
    parser.add_argument("--told", action="append", choices=TOLD)
    parser.add_argument("--window", action="append", choices=WINDOWS)
    parser.add_argument("--dialect", action="append", choices=DIALECTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20.0, help="of traffic in each case")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
