"""Customs: what only a provider's name tells, because its responses do not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from stepwell.providers.dialects.durations import MINUTE
from stepwell.quota.limit import Scope
from stepwell.quota.reading import About

# Whoever counts tokens without naming the window counts them in a minute; requests differ.
_TOKENS_BY_THE_MINUTE: Mapping[str, float] = MappingProxyType({"tokens": MINUTE})
_NO_STATUS: Mapping[int, About] = MappingProxyType({})


class Unnamed(NamedTuple):
    """The counter behind a refusal that names none, as measured or documented elsewhere."""

    counts: str
    window: float
    limit: int | None = None


class Customs(NamedTuple):
    """One provider's peculiarities; every default is what holds for an unknown provider.

    Attributes:
        windows: Seconds of the window that headers without one count, by what they count.
        scope: What shares its counters, and what a refusal covers, where neither says.
        statuses: What a status means here if the body says nothing.
        unnamed: What a rate refusal without any detail is about.
        guess: Seconds that such a refusal is known to last.
        local: It runs on a machine of ours: it clears in seconds, whatever a proxy in between says.
    """

    windows: Mapping[str, float] = _TOKENS_BY_THE_MINUTE
    scope: Scope = Scope.MODEL
    statuses: Mapping[int, About] = _NO_STATUS
    unnamed: Unnamed | None = None
    guess: float | None = None
    local: bool = False


UNKNOWN = Customs()
"""Those of a provider of which nothing is known."""
