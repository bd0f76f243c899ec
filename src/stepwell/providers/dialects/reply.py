"""Reply: as much of an upstream's response as a dialect may look at."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from stepwell.quota.reading import Hint


class Reply(NamedTuple):
    """One response of a provider.

    Attributes:
        status: The HTTP status, or the one that an in-band error stands for.
        headers: Those that may speak of quota, names in lower case: `quota_headers` makes them.
        body: Decoded JSON, or text; None where it does not matter (the head of a stream).
        now: Unix time in seconds when the response arrived.
    """

    status: int
    headers: Mapping[str, str]
    body: Any
    now: float


Dialect: TypeAlias = Callable[[Reply], Hint]
"""A pure function that never raises, whatever a provider sends."""


def quota_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Pick the headers that may speak of quota; names become lower case.

    A provider sends the same names with every response, so which of them matter is found, not made.
    Of duplicates the first wins: a proxy that adds its own counters appends them.
    """
    places = _places(tuple([name for name, _ in raw]))
    return {name: raw[place][1].decode("latin-1").strip() for name, place in places}


_BY_WORD = ("limit", "retry", "anthropic-priority-", "-call-remaining")
_BY_NAME = frozenset({"date", "x-error-message"})


@lru_cache(maxsize=256)
def _places(names: tuple[bytes, ...]) -> tuple[tuple[str, int], ...]:
    """Where in a head the headers stand that may speak of quota, by their names in lower case."""
    found: dict[str, int] = {}
    for place, raw_name in enumerate(names):
        name = _quota_name(raw_name)
        if name:
            found.setdefault(name, place)
    return tuple(found.items())


def _quota_name(raw: bytes) -> str:
    """The header's name in lower case if it may speak of quota, else nothing."""
    name = raw.decode("latin-1").lower()
    return name if name in _BY_NAME or any(word in name for word in _BY_WORD) else ""
