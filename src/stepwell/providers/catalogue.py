"""The catalogue: what is known of providers by name, read from `catalogue.toml` beside this file.

It is data, so that a number that has drifted is a line to correct; its head explains the fields.
Nothing is read before something asks, and then once.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from stepwell.quota.calendar import Calendar
from stepwell.quota.limit import Limit, Metric, Scope

Certainty = Literal["high", "medium", "low"]
Evidence = Literal["official", "code", "secondary"]

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_DAY: Final = 86400.0

_WINDOW_NAMES: Final = {_MINUTE: "minute", _HOUR: "hour", _DAY: "day"}
_UNITS: Final = {Metric.REQUESTS: "", Metric.TOKENS: " tokens"}

_RATES: Final[Mapping[str, tuple[Metric, float]]] = MappingProxyType(
    {
        "rpm": (Metric.REQUESTS, _MINUTE),
        "rph": (Metric.REQUESTS, _HOUR),
        "rpd": (Metric.REQUESTS, _DAY),
        "tpm": (Metric.TOKENS, _MINUTE),
        "tpd": (Metric.TOKENS, _DAY),
    }
)


class FreeLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of a free tier: what holds for some of the models.

    Attributes:
        models: Patterns of their names, as a shell has them.
        rpm, rph, rpd: Requests a minute, an hour, a day; 0 is none allowed, None is not stated.
        tpm, tpd: Tokens likewise.
        requests_month: Requests a calendar month.
        concurrency: Calls in flight at most.
        shared: All models of the account together.
        anonymous: It holds only without a key.
        as_of: When it was so; as exact a date as is known.
        evidence: Who says so: the provider, a program that knows it, or others.
        sure: How much to believe it.
        note: What numbers do not say.
    """

    models: tuple[str, ...]
    as_of: str
    evidence: Evidence
    sure: Certainty
    rpm: int | None = None
    rph: int | None = None
    rpd: int | None = None
    tpm: int | None = None
    tpd: int | None = None
    requests_month: int | None = None
    concurrency: int | None = None
    shared: bool = False
    anonymous: bool = False
    note: str = ""

    @property
    def allows_nothing(self) -> bool:
        """Whether these models are not in the free tier at all."""
        return any(getattr(self, name) == 0 for name in _RATES)

    @property
    def scope(self) -> Scope:
        """What shares a count."""
        if not self.shared:
            return Scope.MODEL
        free = all(Scope.FREE.covers(pattern) for pattern in self.models)
        return Scope.FREE if free else Scope.ACCOUNT

    def __str__(self) -> str:
        """Return it in words: `30/minute, 8000 tokens/minute, 5 at once`."""
        if self.allows_nothing:
            return "not free"
        said = [
            f"{amount}{_UNITS[metric]}/{_WINDOW_NAMES[window]}"
            for name, (metric, window) in _RATES.items()
            if (amount := getattr(self, name)) is not None
        ]
        if self.requests_month is not None:
            said.append(f"{self.requests_month}/month")
        if self.concurrency is not None:
            said.append(f"{self.concurrency} at once")
        if self.shared and said:
            free = ":free " if self.scope is Scope.FREE else ""
            said.append(f"all {free}models together")
        return ", ".join(said)

    def limits(self, day_reset: str | None = None) -> Iterator[Limit]:
        """Yield what to count against: nothing of a row that is hardly sure.

        Args:
            day_reset: When the provider's day begins; None if that is not known, so that its day is
                any 24 hours, and its month begins at midnight UTC.
        """
        if self.sure == "low":
            return
        day = Calendar.parse("day", day_reset) if day_reset else None
        for name, (metric, window) in _RATES.items():
            amount: int | None = getattr(self, name)
            if amount:
                yield Limit(metric, amount, window, self.scope, day if window == _DAY else None)
        if self.requests_month:
            month = Calendar.parse("month", day_reset or "00:00 UTC")
            yield Limit(Metric.REQUESTS, self.requests_month, month.window, self.scope, month)


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of some of a provider's models.

    Attributes:
        models: Patterns of their names.
        context: The largest context in tokens; None if it is not known.
        capabilities: What they can do, of `vision`, `tools`, `json`; None if it is not known.
        drop: Body fields that they refuse beyond those that the provider does.
    """

    models: tuple[str, ...]
    context: int | None = None
    capabilities: frozenset[Literal["vision", "tools", "json"]] | None = None
    drop: tuple[str, ...] = ()


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider that `preset:` may name; the head of the data explains the fields."""

    name: str
    base_url: str
    dialect: str
    scope: str
    alternatives: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    vars: dict[str, str] = msgspec.field(default_factory=dict)
    ambient: bool = False
    keyless: bool = False
    anonymous_key: str | None = None
    local: bool = False
    auth: str = "bearer"
    sure: Certainty = "high"
    free: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    day_reset: str | None = None
    limits: tuple[FreeLimit, ...] = ()
    drop: tuple[str, ...] = ()
    rename: dict[str, str] = msgspec.field(default_factory=dict)
    stream_usage: bool = True
    known: tuple[ModelFacts, ...] = ()
    choosing: tuple[str, ...] = ()
    reasoning: str = ""
    notes: tuple[str, ...] = ()

    def is_free(self, model: str, *, keyed: bool = True) -> bool:
        """Whether a model is known to cost nothing.

        Some models are no part of a free tier that has all others; and some providers ask money
        only of those who show a key.
        """
        rows = self.rows_of(model, keyed=keyed)
        if any(row.allows_nothing for row in rows):
            return False
        return _matches(model, self.free) or any(row.anonymous for row in rows)

    def limits_of(self, model: str, *, keyed: bool = True) -> tuple[Limit, ...]:
        """Return the limits of a model's free tier."""
        rows = self.rows_of(model, keyed=keyed)
        return tuple(limit for row in rows for limit in row.limits(self.day_reset))

    def concurrency_of(self, model: str, *, keyed: bool = True) -> int | None:
        """Return how many calls may be in flight.

        A limit only puts a target last; this refuses. So it counts only where it is sure.
        """
        sure = (row for row in self.rows_of(model, keyed=keyed) if row.sure == "high")
        return next((row.concurrency for row in sure if row.concurrency), None)

    def context_of(self, model: str) -> int | None:
        """Return a model's largest context in tokens; None if it is not known."""
        contexts = (facts.context for facts in self._facts(model))
        return next((context for context in contexts if context is not None), None)

    def capabilities_of(self, model: str) -> frozenset[str] | None:
        """Return what a model can do; None if it is not known."""
        found = (facts.capabilities for facts in self._facts(model))
        return next((capabilities for capabilities in found if capabilities is not None), None)

    def dropped_for(self, model: str) -> frozenset[str]:
        """Return the body fields that a model refuses."""
        return frozenset(self.drop).union(*(facts.drop for facts in self._facts(model)))

    def rows_of(self, model: str, *, keyed: bool = True) -> list[FreeLimit]:
        """Return the first row that names a model among those of its own, and of the account."""
        found: dict[bool, FreeLimit] = {}
        for row in self.limits:
            if _matches(model, row.models) and not (row.anonymous and keyed):
                found.setdefault(row.shared, row)
        return list(found.values())

    def _facts(self, model: str) -> list[ModelFacts]:
        return [facts for facts in self.known if _matches(model, facts.models)]


UNKNOWN: Final = Preset(name="", base_url="", dialect="auto", scope="", free=("*",))
"""What is known of a provider that no preset names: nothing, so it costs nothing."""


@cache
def presets() -> Mapping[str, Preset]:
    """Return the catalogue, in the order in which an untold chain asks."""
    raw = files("stepwell.providers").joinpath("catalogue.toml").read_bytes()
    return MappingProxyType(msgspec.toml.decode(raw, type=dict[str, Preset]))


def preset_of(name: str | None) -> Preset:
    """Return what is known by that name, and `UNKNOWN` for all others."""
    return UNKNOWN if name is None else presets().get(name, UNKNOWN)


@cache
def choosing_fields() -> frozenset[str]:
    """Return every body field by which some provider takes another model or a paid service."""
    return frozenset[str]().union(*(preset.choosing for preset in presets().values()))


def chain_models(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return provider and model of each step to begin with.

    Every provider's first model comes before any second one: providers are more independent of each
    other than one's models are.
    """
    known = {name: preset_of(name).models for name in names}
    rounds = max(map(len, known.values()), default=0)
    return [
        (name, models[number])
        for number in range(rounds)
        for name, models in known.items()
        if number < len(models)
    ]


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model.lower(), pattern.lower()) for pattern in patterns)
