"""Fleet: simulated free-tier providers that enforce their own limits on a clock you give them.

    clock = FakeClock()
    fleet = Fleet(clock)
    alpha = fleet.add("alpha", limits=["10 requests/60s"], window="fixed", dialect="groq")
    beta = fleet.add("beta")
    alpha.fail(Failure.status(503), times=2)

    client = httpx.AsyncClient(transport=fleet.transport())          # no sockets
    async with fleet.serve():                                        # or real ones on loopback
        settings = fleet.settings(limits=False)

The providers are the referee: they count by themselves, know nothing of stepwell, and what they
tell in headers is true. A test compares what a gateway believes with `room()`, and what it did
with `calls`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from stepwell.clock import Clock, SystemClock
from stepwell.testing.dialects import DIALECTS, Dialect, DialectName
from stepwell.testing.limits import Limiter, LimitScope, SimLimit, WindowKind, read_limits
from stepwell.testing.performance import Call
from stepwell.testing.provider import Manners, SimProvider, Spoken
from stepwell.testing.server import FleetServer
from stepwell.testing.transport import FleetTransport

_DAY = 86_400.0
_DOMAIN = ".fleet.test"
# Which of our dialects the gateway's settings call by the same name.
_SETTINGS_DIALECTS = frozenset({"openai", "groq", "openrouter", "gemini"})


class Fleet:
    """Some providers on one clock; windows of the kind `fixed` are aligned to its creation."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._epoch, self._unix = self.clock.monotonic(), self.clock.time()
        self._providers: dict[str, SimProvider] = {}

    def __repr__(self) -> str:
        return f"<Fleet of {', '.join(self._providers) or 'nobody'}>"

    def __iter__(self) -> Iterator[SimProvider]:
        return iter(self._providers.values())

    def __getitem__(self, name: str) -> SimProvider:
        return self._providers[name]

    def add(
        self,
        name: str,
        *,
        limits: Sequence[str | SimLimit] = (),
        window: WindowKind = "sliding",
        offset: float = 0.0,
        limit_scope: LimitScope = "model",
        dialect: DialectName | Dialect = "openai",
        models: Sequence[str] = ("sim-model",),
        keys: Sequence[str] | None = None,
        concurrency: int | None = None,
        latency: float = 0.0,
        tokens_per_second: float | None = None,
        reply: Spoken | Callable[[Call], Spoken] | None = None,
        prefill: bool = False,
    ) -> SimProvider:
        """Add a provider; the order of adding is the order of the default chain.

        Args:
            name: Lower-case, fit for a host name.
            limits: Like `10 requests/60s`, or a SimLimit with a kind and scope of its own.
            window: The kind of limits written as text: `fixed`, `first-call`, `sliding` or `bucket`.
                Those of a calendar say so themselves:
                `1000 requests/day from 00:00 America/Los_Angeles`.
            offset: Where fixed windows begin, in seconds after the fleet's creation.
            limit_scope: Of limits written as text: each `model`, the whole `account` (key), or its
                `free` models.
            dialect: How it tells its quota; see `stepwell.testing.dialects`.
            models: Models that it knows.
            keys: Keys that it takes; None is `sk-NAME`, an empty list lets everyone in.
            concurrency: Calls in flight at most for each key.
            latency: Seconds before the answer begins.
            tokens_per_second: How fast it speaks; None is at once.
            reply: What it says: text, a Reply, or a function of the call. By default a sentence
                with its name and the call's number; a function call where `tool_choice` demands
                one; JSON where `response_format` does.
            prefill: A request that ends with the assistant's words is answered with what is left
                of the reply after them. Otherwise the reply begins anew.
        """
        if name in self._providers:
            raise ValueError(f"There is a provider {name!r} already.")
        read = read_limits(limits, kind=window, scope=limit_scope, offset=offset)
        provider = SimProvider(
            name,
            self.clock,
            dialect=dialect if isinstance(dialect, str) else "auto",
            limiter=Limiter(read, self._epoch, self._unix),
            models=models,
            keys=(f"sk-{name}",) if keys is None else keys,
            concurrency=concurrency,
            manners=Manners(
                DIALECTS[dialect] if isinstance(dialect, str) else dialect,
                reply,
                latency,
                tokens_per_second,
                prefill,
            ),
        )
        self._providers[name] = provider
        return provider

    @property
    def calls(self) -> list[Call]:
        """Every provider's calls in order of time."""
        return sorted((call for provider in self for call in provider.calls), key=_time)

    def has_room(self, *, tokens: int = 1) -> bool:
        """Return whether any provider would admit a request now."""
        return any(provider.room(tokens=tokens) for provider in self)

    def wait(self, *, tokens: int = 1) -> float:
        """Return the seconds until `has_room` is true; infinity if time alone never helps."""
        return min((provider.wait(tokens=tokens) for provider in self), default=float("inf"))

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport that finds each provider at `http://NAME.fleet.test/v1`."""
        return FleetTransport(self._at_host, self.clock)

    def serve(self) -> FleetServer:
        """Return a context manager: inside, each provider has a port of its own on 127.0.0.1.

        Give the fleet a SystemClock (or none): a FakeClock cannot see sockets.
        """
        return FleetServer(self._providers.values())

    def settings(
        self, *, limits: bool = True, api_keys: Sequence[Any] = ("sk-test",), **more: Any
    ) -> dict[str, Any]:
        """Return settings for a gateway: these providers, and a default chain of them in order.

        Args:
            limits: Tell the gateway the limits and the concurrency, or let it find out. Those of a
                single model are for it to find out in any case.
            api_keys: The gateway's own.
            more: Other top-level settings, such as `queue={"max_wait": "5s"}`; they replace ours.
        """
        steps = [f"{provider.name}/{model}" for provider in self for model in provider.models]
        return {
            "api_keys": list(api_keys),
            "providers": {provider.name: _provider(provider, limits=limits) for provider in self},
            "chains": {"default": steps},
            **more,
        }

    def _at_host(self, host: str) -> SimProvider | None:
        name, found, rest = host.partition(_DOMAIN)
        return self._providers.get(name) if found and not rest else None


def _time(call: Call) -> float:
    return call.time


def _provider(provider: SimProvider, *, limits: bool) -> dict[str, Any]:
    dialect = provider.dialect if provider.dialect in _SETTINGS_DIALECTS else "auto"
    settings: dict[str, Any] = {
        "base_url": provider.base_url,
        "api_keys": list(provider.keys),
        "dialect": dialect,
    }
    if limits and (told := [_limit(limit) for limit in provider.limits if not limit.model]):
        settings["limits"] = told
    if limits and provider.concurrency is not None:
        settings["concurrency"] = provider.concurrency
    return settings


def _limit(limit: SimLimit) -> Mapping[str, Any]:
    return {
        "metric": limit.metric,
        "limit": limit.amount,
        "window": _window(limit),
        "scope": limit.scope,
        **({"reset": limit.reset} if limit.reset else {}),
    }


def _window(limit: SimLimit) -> str:
    if limit.kind == "calendar":
        return "day" if limit.window == _DAY else "month"
    return f"{limit.window:g}s"
