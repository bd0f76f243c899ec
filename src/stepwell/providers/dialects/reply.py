"""Reply: as much of an upstream's response as a dialect may look at."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from stepwell.providers.dialects.durations import text_in
from stepwell.quota.reading import Hint


class Reply(NamedTuple):
    """One response of a provider.

    Attributes:
        status: The HTTP status, or the one that an in-band error stands for.
        headers: Those that may speak of quota, names in lower case: `quota_headers` makes them, and
            `Head` where hardly any will be asked for.
        body: Decoded JSON, or text; None where it does not matter (the head of a stream).
        now: Unix time in seconds when the response arrived.
    """

    status: int
    headers: Mapping[str, str]
    body: Any
    now: float


Dialect: TypeAlias = Callable[[Reply], Hint]
"""A pure function that never raises, whatever a provider sends."""


class Head(Mapping[str, str]):
    """The headers of a response that may speak of quota, decoded where somebody asks.

    Of most responses nobody does: their counters are read out of `pairs`.

    Attributes:
        pairs: All headers as they came.
    """

    __slots__ = ("_decoded", "pairs")

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs
        self._decoded: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._fields()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

    def _fields(self) -> dict[str, str]:
        if self._decoded is None:
            self._decoded = quota_headers(self.pairs)
        return self._decoded


def quota_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Pick the headers that may speak of quota; names become lower case.

    A provider sends the same names with every response, so which of them matter is found, not made.
    Of duplicates the first wins: a proxy that adds its own counters appends them.
    """
    places = _places(tuple([name for name, _ in raw]))
    return {name: text_in(raw[place][1]) for name, place in places}


def undated(raw: Sequence[tuple[bytes, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """Return those that `quota_headers` picks as they came, without the date."""
    places = _places(tuple([name for name, _ in raw]))
    return tuple([(name, raw[place][1]) for name, place in places if name != "date"])


_BY_WORD = ("limit", "retry", "anthropic-priority-", "-call-remaining")
_BY_NAME = frozenset({"date", "x-error-message"})


@lru_cache(maxsize=256)
def _places(names: tuple[bytes, ...]) -> tuple[tuple[str, int], ...]:
    return tuple(quota_places(names).items())


def quota_places(names: Iterable[str | bytes]) -> dict[str, int]:
    """Where in a head the headers stand that may speak of quota, by their names in lower case."""
    found: dict[str, int] = {}
    for place, raw_name in enumerate(names):
        name = text_in(raw_name).lower()
        if name in _BY_NAME or any(word in name for word in _BY_WORD):
            found.setdefault(name, place)
    return found
