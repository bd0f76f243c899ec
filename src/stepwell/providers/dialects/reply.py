"""Reply: as much of an upstream's response as a dialect may look at."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from stepwell.quota.reading import Hint


@dataclass(frozen=True, slots=True)
class Reply:
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


def quota_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Pick the headers that may speak of quota; names become lower case.

    Picking them in one walk over the raw pairs costs less than a handful of look-ups in a
    case-blind mapping, and this runs for each response. Of duplicates the first wins: a proxy
    that adds its own counters appends them.
    """
    found: dict[str, str] = {}
    for raw_name, value in raw:
        name = _quota_name(raw_name)
        if name and name not in found:
            found[name] = value.decode("latin-1").strip()
    return found


_BY_WORD = ("limit", "retry", "anthropic-priority-", "-call-remaining")
_BY_NAME = frozenset({"date", "x-error-message"})


@lru_cache(maxsize=1024)  # the same few dozen names come with each response
def _quota_name(raw: bytes) -> str:
    """The header's name in lower case if it may speak of quota, else nothing."""
    name = raw.decode("latin-1").lower()
    return name if name in _BY_NAME or any(word in name for word in _BY_WORD) else ""
