"""Slots: the gate of concurrency. Hard; only an event opens it."""

from math import inf

from stepwell.quota.ledger import Block
from stepwell.quota.pool import Pool


class Slots:
    """Calls in flight of one account.

    Args:
        shared: The pool of the account.

    Attributes:
        limit: So many at most; None is unbounded.
    """

    __slots__ = ("_shared", "limit")

    def __init__(self, shared: Pool) -> None:
        self._shared = shared
        self.limit: int | None = None

    def __repr__(self) -> str:
        return f"<Slots {self._shared.in_flight}/{self.limit}>"

    def opens(self, now: float, tokens: int) -> float:
        return now if self.limit is None or self._shared.in_flight < self.limit else inf

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        return self.limit is None or self._shared.in_flight + calls <= self.limit

    def block(self, key: str, now: float, tokens: int, typical: int) -> Block:
        return Block(key, "concurrency", None, told=False, hard=True, lasts=inf)
