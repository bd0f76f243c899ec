"""Asides: what providers say in passing: no ledger counts it, and no request fails by it.

A target that was served beyond a soft limit is asked last for a minute: others have room for sure, and
this one serves with less haste, or more money. Fireworks and Nebius say so, and count by the minute.

Counters of what the ledger does not count (input tokens, neurons, credits) are kept for people, until
their reset.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from stepwell.quota.ledger import LimitStatus
from stepwell.quota.limit import Scope
from stepwell.quota.reading import Hint, Other
from stepwell.routing.chain import Target
from stepwell.routing.waterfall import Hop

# Seconds for which a target that went beyond its limit is asked last, and a counter without reset
# and window is shown.
_A_WHILE: Final = 60.0
# As many counters a target or account: Anthropic has four. Who invents names must not fill memory.
_MOST: Final = 8


class Asides:
    """See the module's text; all times are monotonic seconds."""

    __slots__ = ("_beyond", "_others")

    def __init__(self) -> None:
        self._beyond: dict[str, float] = {}  # target -> until when it is asked last
        # By account and target, or account alone: counters by name and window, the newest last.
        self._others: dict[str, dict[tuple[str, float | None], tuple[Other, float]]] = {}

    def served(self, target: Target, hint: Hint, now: float) -> None:
        """Hear what the head of an answer says."""
        if hint.over_limit:
            self._beyond[target.key] = now + _A_WHILE
        elif self._beyond:
            self._beyond.pop(target.key, None)
        if hint.others:
            self.hear(target, hint.others, now)

    def hear(self, target: Target, others: Iterable[Other], now: float) -> None:
        """Remember counters for people."""
        for other in others:
            place = target.key if other.scope is Scope.MODEL else target.account
            counters = self._others.setdefault(place, {})
            counters.pop((other.name, other.window), None)
            counters[other.name, other.window] = other, now
            if len(counters) > _MOST:
                del counters[next(iter(counters))]

    def sorted(self, hops: Sequence[Hop], now: float) -> Sequence[Hop]:
        """Return these in their order, but last those that were served beyond a soft limit."""
        if not self._beyond:
            return hops
        return sorted(hops, key=lambda hop: self._beyond.get(hop[1].key, now) > now)

    def counters(self, key: str, account: str, now: float) -> Iterator[LimitStatus]:
        """Yield what is known of a target and its account, as `/v1/quota` shows it."""
        for place in (key, account):
            for other, at in self._others.get(place, {}).values():
                until = at + _lifetime(other)
                if until > now:
                    yield _status(other, until)


def _lifetime(other: Other) -> float:
    return (other.window or _A_WHILE) if other.reset is None else other.reset


def _status(other: Other, until: float) -> LimitStatus:
    limit, remaining = other.limit, other.remaining
    return LimitStatus(
        metric=other.name,
        window=other.window,
        limit=limit,
        used=None if limit is None or remaining is None else max(0, limit - remaining),
        remaining=remaining,
        reset=None if other.reset is None else until,
        scope=other.scope,
        source="told",
    )
