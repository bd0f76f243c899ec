"""Meter: what a provider's readings of one counter say about room. It is hard, until its reset.

A counter whose reset is not told may have room at any moment within its window: it is soft, and is
believed for ten minutes at most, as any guess.

A reading is as old as its request. What it says remains is therefore lowered by everything that the
provider may have counted since: see `Traffic.uncounted`. From then on every reservation is
debited, and a release or a correction of tokens is credited, so that the room stays exact between
two readings.

A reading that arrives while another one lives

1. lowers the room at once, whoever sent it, because being too careful costs little;
2. raises it only if nothing older is in flight and its own call is not older than the living
   reading's: otherwise it may show the counter as it was before calls we already know of.

Nor may a reading that only lowers bring an empty counter's reset forward.
"""

from collections.abc import Mapping
from math import floor, inf
from typing import Any, Protocol, Self

from stepwell.quota.ledger import Block, LimitStatus
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import Reading, believable
from stepwell.quota.traffic import Traffic

# A reading that names neither reset nor window: most such counters run by the minute.
_NAMELESS = 60.0
# The most that a guess may keep free tokens unused, as in `cooldown`.
_LONGEST_GUESS = 600.0
# Nobody waits longer for a reset that may have come already.
_MOST_LAG = 1.0
# Rounding must not hide a unit that has just come back; a millionth of a unit is no theft.
_EPSILON = 1e-6


class Counted(Protocol):
    """Our own count of the same limit."""

    def may_open(self, now: float, tokens: int) -> float:
        """Return since when, or from when, the provider may have room."""
        ...


class Meter:
    """The room at one counter, by its last believed reading.

    Attributes:
        by_request: It counts requests, not tokens.
        count: Our own count of the same limit, if there is one: it knows how the window may move.
        expires: When the reading ends.
    """

    __slots__ = (
        "_debits",
        "_lag",
        "_own",
        "_pace",
        "_read_at",
        "_reading",
        "_remaining",
        "_traffic",
        "by_request",
        "count",
        "expires",
    )

    def __init__(self, reading: Reading, traffic: Traffic) -> None:
        self._reading = reading
        self._traffic = traffic
        self.by_request = reading.metric is Metric.REQUESTS
        self._remaining = 0
        self._debits = 0
        self._own = -1  # the call whose answer brought the reading: the provider has counted it
        self._read_at = 0.0
        self._pace = 0.0  # units that come back in a second
        self.expires = -inf
        self._lag = 0.0
        self.count: Counted | None = None

    def __repr__(self) -> str:
        reading = self._reading
        return f"<Meter {self._remaining - self._debits}/{reading.limit} {reading.metric}>"

    @property
    def reading(self) -> Reading:
        """The last one that was believed."""
        return self._reading

    def is_live(self, now: float) -> bool:
        return now < self.expires

    def read(
        self,
        reading: Reading,
        call: int,
        now: float,
        *,
        lag: float = 0.0,
        refills: bool | None = None,
    ) -> None:
        """Believe a reading from the answer to `call`, as far as the module's rules go.

        Args:
            reading: Its `remaining` must not be None.
            call: The number of the call.
            now: When the answer came.
            lag: Seconds that it took: by so much the reset may be nearer.
            refills: Whether something comes back before the reset; None: as the reading has it.
        """
        assert reading.remaining is not None
        remaining = max(0, reading.remaining)
        debits = self._traffic.uncounted(call)
        balance = self._balance(now) if self.is_live(now) else inf
        may_raise = call >= self._own and not self._traffic.has_older(call)
        if remaining - debits >= balance and not may_raise:
            return
        told = self.expires if balance <= 0 and not may_raise else -inf
        lifetime = _lifetime(reading)
        self._reading, self._remaining, self._debits = reading, remaining, debits
        self._own, self._read_at = call, now
        evenly = reading.refills if refills is None else refills
        self._pace = _pace(reading, remaining, lifetime) if evenly else 0.0
        self.expires = max(told, now + lifetime)
        self._lag = min(lag, _MOST_LAG)

    def debit(self, amount: int) -> None:
        """Take `amount` for a new reservation."""
        self._debits += amount

    def correct(self, call: int, amount: int) -> None:
        """Take `amount` more for a call, less if negative; its own reading needs no correction."""
        if call != self._own:
            self._debits += amount

    def room(self, now: float) -> int:
        """Return how much is left by a living reading, from 0 to its limit."""
        room = max(0, self._balance(now))
        return room if self._reading.limit is None else min(room, self._reading.limit)

    def opens(self, now: float, tokens: int) -> float:
        if now >= self.expires:
            return now
        need = 1 if self.by_request else max(1, tokens)
        return now if self._balance(now) >= need else self._refilled(need)

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        return now >= self.expires or self._balance(now) >= (calls if self.by_request else tokens)

    def block(self, key: str, now: float, tokens: int, typical: int) -> Block:
        # A limit below the estimate never fits, and for ever is too long to trust an estimate.
        limit = self._reading.limit
        told = self._reading.reset is not None and not self._may_be_over(now, typical)
        fits = self.by_request or limit is None or limit >= tokens
        fits = fits and self.opens(now, typical) > now
        opens = self.opens(now, tokens)
        is_ending = told and opens - self._lag <= now
        return Block(
            key,
            "reading",
            opens,
            told=told,
            hard=told and fits,
            is_ending=is_ending,
            lasts=self._lasts(opens, now, typical) if self.by_request else -inf,
        )

    def _lasts(self, opens: float, now: float, tokens: int) -> float:
        """Return until when nothing can have come back, but for what is rounded or late on its way."""
        may_be_over = inf if self.count is None else self.count.may_open(now, tokens)
        return opens - self._lag if may_be_over < now else min(opens - self._lag, may_be_over)

    def _may_be_over(self, now: float, tokens: int) -> bool:
        """Tell whether, as its window may move, something may have come back since the reading."""
        return self.count is not None and self._read_at < self.count.may_open(now, tokens) <= now

    def status(self, now: float) -> LimitStatus:
        reading, room = self._reading, self.room(now)
        return LimitStatus(
            metric=reading.metric,
            window=reading.window,
            limit=reading.limit,
            used=None if reading.limit is None else reading.limit - room,
            remaining=room,
            reset=self.expires,
            scope=reading.scope,
            source="told",
        )

    def export(self, now: float) -> dict[str, Any]:
        """Return the reading, in plain values, with times relative to `now`."""
        reading = self._reading
        return {
            "metric": reading.metric,
            "window": reading.window,
            "limit": reading.limit,
            "reset": reading.reset,
            "refills": reading.refills,
            "remaining": self._remaining,
            "debits": self._debits,
            "pace": self._pace,
            "age": now - self._read_at,
            "expires": self.expires - now,
        }

    @classmethod
    def restored(
        cls, state: Mapping[str, Any], scope: Scope, traffic: Traffic, then: float
    ) -> Self:
        """Make a meter as it was at `then`; calls that were under way then stay debited."""
        reading = Reading(
            Metric(state["metric"]),
            state["window"],
            state["limit"],
            state["remaining"],
            state["reset"],
            scope,
            state["refills"],
        )
        meter = cls(reading, traffic)
        meter._remaining, meter._debits = state["remaining"], state["debits"]
        meter._pace, meter._read_at = state["pace"], then - state["age"]
        meter.expires = then + believable(state["expires"])
        return meter

    def _balance(self, now: float) -> int:
        left = self._remaining - self._debits
        return left + floor(self._pace * (now - self._read_at) + _EPSILON) if self._pace else left

    def _refilled(self, need: int) -> float:
        """Return when `need` units will be there: at the reset, or when enough has come back."""
        if not self._pace:
            return self.expires
        due = self._read_at + (need + self._debits - self._remaining) / self._pace
        # A microsecond later than exact, so that the answer then is surely yes.
        return min(due + _EPSILON, self.expires)


def _pace(reading: Reading, remaining: int, lifetime: float) -> float:
    if reading.limit is None or lifetime <= 0:
        return 0.0
    return max(0, reading.limit - remaining) / lifetime


def _lifetime(reading: Reading) -> float:
    """Return for how many seconds a reading is believed."""
    if reading.reset is not None:
        return believable(reading.reset)
    return _NAMELESS if reading.window is None else min(believable(reading.window), _LONGEST_GUESS)
