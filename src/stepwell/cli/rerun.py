"""Yesterday's traffic on another chain: a trace played again, on a virtual clock.

The real gateway goes through it with the settings to be tried: its routing, its ledger, its queue. Only
the providers are simulated: a Fleet with the limits that the trace shows, as fast and as faulty as there
(`stepwell.replay` says by which rules). Nothing is sent, nothing is written, and no key is shown.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx
import msgspec

from stepwell.chat import ChatRequest
from stepwell.dispatch import Call
from stepwell.errors import StepwellError, UnknownModel
from stepwell.gateway import Gateway
from stepwell.observe import End, Event, Finished
from stepwell.quota.limit import Limit, Scope
from stepwell.replay import Past, Seen, Sighting
from stepwell.routing.chain import Route
from stepwell.routing.verdict import Outcome
from stepwell.settings import ClientKey, DatabaseSettings, Settings, StateSettings, TraceSettings
from stepwell.testing import Call as SimCall
from stepwell.testing import FakeClock, Fleet, Reply, SimLimit, SimProvider
from stepwell.testing.dialects import DialectName
from stepwell.testing.limits import WindowKind
from stepwell.testing.reply import count_prompt, text_of
from stepwell.trace import Line, line_of

# Requests that wait at the end of the trace may do so for a day more, on the virtual clock.
LONGER: Final = 86_400.0
# A refusal takes a round trip and no more.
SECONDS_OF_REFUSAL: Final = 0.1
# Characters a token, as the fleet counts, and as the gateway estimates.
CHARACTERS: Final = 4
# A model's longest answers are some ten thousand tokens; a wrong count must not fill the memory.
LONGEST_ANSWER: Final = 65_536

# How a failure of the trace looks when it happens again: it need not be the same, only mean the same.
_STATUS: Final[Mapping[Outcome, int]] = {
    Outcome.RATE_LIMITED: 429,
    Outcome.NO_CREDIT: 402,
    Outcome.KEY_REFUSED: 401,
    Outcome.MODEL_GONE: 404,
    Outcome.TOO_LARGE: 413,
    Outcome.FAULT: 503,
}

# What makes a request need a capability, at its smallest.
_NEEDING: Final[Mapping[str, Mapping[str, Any]]] = {
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "json": {"response_format": {"type": "json_object"}},
}
_PICTURE: Final = {"type": "image_url", "image_url": {"url": "https://fleet.test/picture.png"}}


@dataclass(slots=True)
class Played:
    """What the replay came to.

    Attributes:
        lines: One for each of the trace's, in its order.
        avoidable: Requests that failed while a target of their chain could have served them.
        elsewhere: Routes that these settings do not have, and how often the trace asks for them; the
            default chain took their requests.
    """

    lines: list[Line] = field(default_factory=list)
    avoidable: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)


class Rerun:
    """Plays a trace with other settings.

    Args:
        settings: To be tried.
        past: What the trace tells; it holds at least one request.
        progress: Called after each request.
    """

    def __init__(
        self, settings: Settings, past: Past, progress: Callable[[], object] = lambda: None
    ) -> None:
        self._past = past
        self._progress = progress
        self._clock = FakeClock(time=past.lines[0].at)
        self.world = World(settings, past, self._clock)
        self._settings = self.world.settings
        self._ends: dict[asyncio.Task[Any] | None, Finished] = {}
        self._gateway = Gateway(
            self._settings, transport=self.world, clock=self._clock, observers=[self._note]
        )
        self._rights = {key.name: _rights(settings, key) for key in settings.api_keys}
        self._played = Played()

    async def run(self) -> Played:
        """Play it all; that takes what the machine needs, and not the traffic's own time."""
        span = self._past.lines[-1].at - self._past.lines[0].at
        await self._clock.run(self._play(), limit=span + LONGER)
        return self._played

    async def _play(self) -> None:
        tasks: list[asyncio.Task[Line]] = []
        async with asyncio.TaskGroup() as group:
            for number, line in enumerate(self._past.lines):
                await self._clock.sleep(line.at - self._clock.time())
                tasks.append(group.create_task(self._ask(number, line)))
        self._played.lines = [task.result() for task in tasks]

    async def _ask(self, number: int, line: Line) -> Line:
        route = self._route(line)
        usual = self._settings.queue.max_wait
        call = Call(
            ChatRequest(body_of(number, line)),
            route.steps,
            self._clock.monotonic(),
            client=line.client,
            route=route.name,
            max_wait=usual if line.max_wait is None else line.max_wait,
            free_only=line.free_only or route.free_only,
            finish=self._gateway.dispatcher.finish,
        )
        with suppress(StepwellError):  # what it ended with, `_note` hears
            await self._answer(call, line)
        finished = self._ends.pop(asyncio.current_task())
        self._progress()
        if finished.end is End.EXHAUSTED:
            keys = (target.key for step in call.steps for target in step.targets)
            self._played.avoidable += any(self.world.could_serve(key, line) for key in keys)
        return line_of(finished, usual_wait=usual)

    async def _answer(self, call: Call, line: Line) -> None:
        dispatcher = self._gateway.dispatcher
        with call:
            answer = await dispatcher.descend(call)
            if call.request.stream:
                async with aclosing(answer):
                    await self._clock.sleep(_seconds_of_speech(line))
                    await answer.pour(_Nowhere())
                    if answer.stream.relay.broken:
                        await dispatcher.go_on(call, answer, _Nowhere())

    def _note(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._ends[asyncio.current_task()] = event

    def _route(self, line: Line) -> Route:
        routes = self._gateway.routes
        allowed, pins = self._rights.get(line.client, (None, self._settings.pins == "any"))
        try:
            route = routes.resolve(line.route, allowed=allowed, pin_any=pins)
        except UnknownModel:
            route = routes.resolve(None, allowed=allowed)
        if route.name != line.route:
            self._played.elsewhere[line.route] += 1
        return route


class World(httpx.AsyncBaseTransport):
    """The providers of some settings, as a trace shows them, and as a transport.

    Each provider of the settings is one of a fleet; what its limits do not explain, and how long it
    takes, is added here.

    Attributes:
        settings: With addresses that lead here, and nothing that would be written or shared.
    """

    def __init__(self, settings: Settings, past: Past, clock: FakeClock) -> None:
        self._past = past
        self._clock = clock
        self._fleet = Fleet(clock)
        self._transport = self._fleet.transport()
        self._unknown_seconds = past.seconds_of_answer
        # Names of providers need not be fit for hosts.
        self._sims = {name: f"p{number}" for number, name in enumerate(settings.providers)}
        self._accounts: dict[tuple[str, str], str] = {}
        self._keys: dict[str, tuple[SimProvider, str]] = {}
        self._limits = _limits_by_target(settings, past)
        for name in settings.providers:
            self._add(settings, name)
        self.settings = settings.model_copy(
            update={
                "providers": {name: self._moved(settings, name) for name in settings.providers},
                "state": StateSettings(),
                "database": DatabaseSettings(),
                "trace": TraceSettings(),
            }
        )

    def limits(self, key: str) -> tuple[Limit, ...]:
        """Return the limits that a target keeps to."""
        return self._limits.get(key, ())

    def could_serve(self, key: str, line: Line) -> bool:
        """Whether a target would answer such a request now."""
        account, _, model = key.partition("/")
        provider, secret = self._keys[account]
        is_able = self._failure(key, line) is None
        return is_able and provider.room(key=secret, model=model, tokens=self._cost(line))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = msgspec.json.decode(await request.aread())
        host = request.url.host.partition(".")[0]
        secret = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = f"{self._accounts[host, secret]}/{body['model']}"
        line = self._line(body)
        failure = self._failure(key, line)
        if failure is not None:
            await self._clock.sleep(failure.seconds)
            return _failed(failure, request)
        response = await self._transport.handle_async_request(request)
        self._fleet[host].calls.clear()  # a record of every prompt would fill the memory
        try:
            await self._clock.sleep(self._seconds(key, response))
        except BaseException:
            await response.aclose()
            raise
        return response

    def _failure(self, key: str, line: Line) -> Sighting | None:
        """Return the call of the trace that shows how this one fails; None if it need not."""
        seen = self._past.targets.get(key)
        if seen is None:
            return None
        if seen.too_large is not None and line.tokens >= seen.too_large.size:
            return seen.too_large
        trouble = seen.trouble(self._clock.time())
        return None if trouble is None else trouble.sighting

    def _seconds(self, key: str, response: httpx.Response) -> float:
        if response.status_code != 200:
            return SECONDS_OF_REFUSAL
        seen = self._past.targets.get(key)
        if seen is None:
            return self._unknown_seconds
        return seen.seconds_of_answer(self._clock.time())

    def _add(self, settings: Settings, name: str) -> None:
        sim, provider = self._sims[name], settings.providers[name]
        accounts = [a for a in settings.accounts().values() if a.provider == name]
        names = {account.name for account in accounts}
        seen = [s for key, s in self._past.targets.items() if key.partition("/")[0] in names]
        models = {key.partition("/")[2] for key in self._limits if key.partition("/")[0] in names}
        added = self._fleet.add(
            sim,
            limits=list(dict.fromkeys(self._sim_limits(names))),
            dialect=_dialect(seen),
            models=sorted(models),
            keys=[key.reveal() for key in provider.api_keys],
            concurrency=provider.concurrency,
            reply=self._reply,
        )
        for account in accounts:
            secret = "" if account.key is None else account.key.reveal()
            self._accounts[sim, secret] = account.name
            self._keys[account.name] = (added, secret)

    def _sim_limits(self, accounts: Iterable[str]) -> Iterator[SimLimit]:
        """Yield what binds a provider's models; its accounts have the same limits, each for itself."""
        for key, limits in self._limits.items():
            account, _, model = key.partition("/")
            seen = self._past.targets.get(key)
            for limit in limits if account in accounts else ():
                yield SimLimit(
                    limit.metric.value,
                    limit.amount,
                    limit.window,
                    kind=_kind_of(limit, seen),
                    scope=limit.scope.value,
                    model=model if limit.scope is Scope.MODEL else "",
                    reset="" if limit.calendar is None else str(limit.calendar),
                )

    def _moved(self, settings: Settings, name: str) -> Any:
        provider = self._fleet[self._sims[name]]
        return settings.providers[name].model_copy(
            update={
                "base_url": provider.base_url,
                "dialect": "openai" if provider.dialect == "openai" else "auto",
                "auth": "bearer",
                "headers": {},
                "query": {},
            }
        )

    def _line(self, body: Mapping[str, Any]) -> Line:
        return self._past.lines[int(text_of(body["messages"][0]).partition(" ")[0])]

    def _reply(self, call: SimCall) -> Reply:
        tokens = self._cost(self._line(call.body)) - count_prompt(call.body["messages"])
        return Reply("x" * CHARACTERS * min(max(1, tokens), LONGEST_ANSWER))

    def _cost(self, line: Line) -> int:
        return line.used or line.prompt_tokens + self._past.answer_tokens


def body_of(number: int, line: Line) -> bytes:
    """Return a request as large as the one in the trace; its first word says which one it is."""
    text = f"{number} "
    empty = msgspec.json.encode(_fields(line, text))
    return msgspec.json.encode(
        _fields(line, text + "x" * (CHARACTERS * line.prompt_tokens - len(empty)))
    )


def _fields(line: Line, text: str) -> dict[str, Any]:
    content: Any = text
    if "vision" in line.needs:
        content = [{"type": "text", "text": text}, _PICTURE]
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    for need in line.needs:
        fields |= _NEEDING.get(need, {})
    if line.max_tokens is not None:
        fields["max_tokens"] = line.max_tokens
    return fields | ({"stream": True} if line.stream else {})


def _rights(settings: Settings, key: ClientKey) -> tuple[frozenset[str] | None, bool]:
    """Return the chains that a client may use, None for all, and whether it may pin any model."""
    chains = None if key.chains is None else frozenset(key.chains)
    return chains, settings.pins_any(key)


class _Nowhere:
    """A sink that nobody reads: it is the settling that counts."""

    pushes = True

    def push(self, events: bytes) -> bool:
        """Take them."""
        return True

    async def write(self, events: bytes) -> None:
        """Take them."""


def _seconds_of_speech(line: Line) -> float:
    """Return how long a stream took after its first words, for which it held its place."""
    if line.end is not End.SERVED or not line.attempts:
        return 0.0
    last = line.attempts[-1]
    return max(0.0, line.seconds - last.began - last.seconds)


def _limits_by_target(settings: Settings, past: Past) -> dict[str, tuple[Limit, ...]]:
    """Return the limits of each target that may be called: those that the trace shows, or settings'.

    What settings say counts where the trace shows nothing of that window, and nothing against it. Of
    the calendar the settings alone know: amounts that the trace shows of such a window follow it. What
    only refusals show counts where the settings do not explain these.
    """
    said = {
        target.key: target.limits
        for chain in settings.routes().chains.values()
        for step in chain.steps
        for target in step.targets
    }
    accounts = settings.accounts()
    seen = {key: s for key, s in past.targets.items() if key.partition("/")[0] in accounts}
    pinned = _pinned(settings, past)
    keys = dict.fromkeys([*said, *seen, *pinned])
    return {key: _limits_of(said.get(key, ()), seen.get(key)) for key in keys}


def _limits_of(said: Iterable[Limit], seen: Seen | None) -> tuple[Limit, ...]:
    said = tuple(said)
    if seen is None:
        return said
    sound = tuple(limit for limit in said if not seen.contradicts(limit))
    if seen.needs_no_more_than(sound):
        return sound
    calendars = {(limit.metric, limit.window): limit.calendar for limit in said}
    shown = {
        (limit.metric, limit.window): replace(
            limit, calendar=calendars.get((limit.metric, limit.window))
        )
        for limit in seen.limits
    }
    more = (limit for limit in sound if (limit.metric, limit.window) not in shown)
    return (*shown.values(), *more)


def _kind_of(limit: Limit, seen: Seen | None) -> WindowKind:
    if seen is not None:
        return seen.kind_of(limit)
    return "sliding" if limit.calendar is None else "calendar"


def _pinned(settings: Settings, past: Past) -> Iterator[str]:
    """Yield the targets behind the `provider/model` that the trace's clients asked for."""
    for route in {line.route for line in past.lines}:
        provider, _, model = route.partition("/")
        for account in settings.accounts().values():
            if account.provider == provider and model:
                yield f"{account.name}/{model}"


def _dialect(seen: list[Seen]) -> DialectName:
    """A provider of which the trace tells nothing says when to come again, as most do."""
    if any(s.shares for s in seen):
        return "openrouter"
    if any(s.tells for s in seen):
        return "openai"
    return "retry-after" if not seen or any(s.hints for s in seen) else "silent"


def _failed(failure: Sighting, request: httpx.Request) -> httpx.Response:
    """Return a failure as in the trace.

    Raises:
        httpx.ReadError: There was no answer.
    """
    status = _STATUS.get(failure.outcome)
    if status is None:
        raise httpx.ReadError("as in the trace", request=request)
    headers = {} if failure.delay is None else {"retry-after": str(math.ceil(failure.delay))}
    error = {"message": "As in the trace.", "type": "replay", "code": None, "param": None}
    return httpx.Response(status, headers=headers, json={"error": error}, request=request)
