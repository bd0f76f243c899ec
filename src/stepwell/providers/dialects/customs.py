"""Customs: what only a provider's name tells, because its responses do not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from stepwell.providers.dialects.durations import MINUTE
from stepwell.quota.limit import Scope
from stepwell.quota.reading import About

# Whoever counts tokens without naming the window counts them in a minute; requests differ.
_TOKENS_BY_THE_MINUTE: Mapping[str, float] = MappingProxyType({"tokens": MINUTE})


class Unnamed(NamedTuple):
    """The counter behind a refusal that names none, as measured or documented elsewhere."""

    counts: str
    window: float
    limit: int | None = None


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: each is made once
class Customs:
    """One provider's peculiarities; every default is what holds for an unknown provider.

    Attributes:
        windows: Seconds of the window that headers without one count, by what they count.
        scope: What shares its counters, and what a refusal covers, where neither says.
        statuses: What a status means here if the body says nothing.
        unnamed: What a rate refusal without any detail is about.
        guess: Seconds that such a refusal is known to last.
        local: It runs on a machine of ours: it clears in seconds, whatever a proxy in between says.
    """

    windows: Mapping[str, float] = field(default_factory=lambda: _TOKENS_BY_THE_MINUTE)
    scope: Scope = Scope.MODEL
    statuses: Mapping[int, About] = field(default_factory=dict)
    unnamed: Unnamed | None = None
    guess: float | None = None
    local: bool = False


UNKNOWN = Customs()
"""Those of a provider of which nothing is known."""
