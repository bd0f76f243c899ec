"""Count: our own count against a configured limit. It is soft: it orders the choice, never refuses.

A call counts from its reservation on. Until the provider must have counted it (a request when its
response begins, tokens when it ends) it is in flight and does not age; then it ages for a window.
"""

from stepwell.quota.gate import known
from stepwell.quota.ledger import Block, LimitStatus
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.traffic import Traffic
from stepwell.quota.window import SlidingWindow


class Count:
    """A limit, what was counted against it, and the traffic that is still to be counted."""

    __slots__ = ("_traffic", "_window", "amount", "by_request", "limit")

    def __init__(self, limit: Limit, traffic: Traffic) -> None:
        self.limit = limit
        self.amount = limit.amount
        self.by_request = limit.metric is Metric.REQUESTS
        self._window = SlidingWindow(limit.window)
        self._traffic = traffic

    def __repr__(self) -> str:
        what = f"{self.amount} {self.limit.metric}/{self.limit.window:g}s"
        return f"<Count {what}, {self._traffic.amount} in flight>"

    def add(self, cost: int, now: float) -> None:
        """Let what a call came to age from `now`."""
        self._window.add(cost, now)

    def used(self, now: float) -> int:
        return self._traffic.amount + self._window.used(now)

    def available(self, now: float) -> int:
        return max(0, self.amount - self.used(now))

    def opens(self, now: float, tokens: int) -> float:
        need = 1 if self.by_request else tokens
        spare = self.amount - need - self._traffic.amount
        if self._window.used(now) <= spare:
            return now
        return self._window.falls_to(spare)

    def block(self, key: str, now: float, tokens: int) -> Block:
        return Block(key, "count", known(self.opens(now, tokens)), told=False, hard=False)

    def status(self, now: float) -> LimitStatus:
        whole = self._window.falls_to(0)
        return LimitStatus(
            metric=self.limit.metric,
            window=self.limit.window,
            limit=self.amount,
            used=self.used(now),
            remaining=self.available(now),
            reset=whole if whole > now and not self._traffic.amount else None,
            scope=self.limit.scope,
            source="configured",
        )
