"""Gate: one thing that may stand between a request and a target.

A target is open when all its gates are. Gates are asked on every request and described (`block`)
only when no target is open.
"""

from math import isfinite
from typing import Protocol

from stepwell.quota.ledger import Block


class Gate(Protocol):
    def opens(self, now: float, tokens: int) -> float:
        """Return the time from which this is out of the way of a request for `tokens`.

        At most `now` means that it is open; inf that only an event can tell.
        """
        ...

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        """Tell whether so many calls may follow for a while, of so many tokens altogether.

        That holds until anything else happens than that these calls are served.
        """
        ...

    def block(self, key: str, now: float, tokens: int, typical: int) -> Block:
        """Describe a gate that is shut for the target `key`.

        It is hard only if not even `typical` tokens would pass, as such requests come to on average.
        """
        ...


def known(moment: float) -> float | None:
    """Return a gate's time as blocks write it: None for what only an event can tell."""
    return moment if isfinite(moment) else None
