"""The referee: limits as providers count them, written without stepwell's own arithmetic.

Five kinds of window, as providers have them:

    fixed    counts in blocks of the window's length, which begin at `offset`; at a block's end all
             comes back
    first-call counts in blocks that begin with the first request after the last one has ended
    sliding  every request comes back by itself, one window after it was counted
    bucket   refills evenly, `amount` in a window, up to `amount`
    calendar counts in days, or months, of a zone's clocks; at `reset` all comes back

A request costs one request and all its tokens, prompt and answer, when it is admitted; an admitted
request gives nothing back, also when its answer is cut or the client leaves. A refused one costs
nothing, but for a limit that `counts_refused`. Windows live on the clock's monotonic time, because a
client's wall clock is not theirs; providers read the calendar once, when the fleet is made, and count
on from there.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

Metric = Literal["requests", "tokens"]
WindowKind = Literal["fixed", "first-call", "sliding", "bucket", "calendar"]
LimitScope = Literal["model", "free", "account"]

# Waiting a told number of seconds must be enough, although sums of floats miss by some 1e-13.
EPSILON = 1e-6

_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3_600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_TEXT = re.compile(r"(\d+)\s+(requests|tokens)\s*/\s*(\d+(?:\.\d+)?)?\s*([a-z]+)", re.IGNORECASE)
_CALENDAR = re.compile(r"(.+?/\s*)(day|month)(?:\s+from\s+(\d\d:\d\d(?:\s+\S+)?))?", re.IGNORECASE)
_DAY = 86_400.0
_MONTH = 30 * _DAY  # as long as it is called; how long it is, the calendar says


@dataclass(frozen=True, slots=True)
class SimLimit:
    """`amount` of `metric` in `window` seconds, as a simulated provider enforces it.

    Attributes:
        metric: `requests` or `tokens`.
        amount: How many.
        window: Length in seconds.
        kind: `fixed`, `first-call`, `sliding`, `bucket` or `calendar`; see the module's text.
        scope: Whether each model has its own count, or all models of a key share one, or all of
            them whose names end in `:free`.
        offset: Fixed windows begin so many seconds after the fleet's creation (and every window
            before and after that).
        model: It holds for this model only; empty is for all.
        reset: Of a calendar: when its days begin, and months on their first, such as
            `00:00 America/Los_Angeles`; without a zone it is UTC.
        counts_refused: A refused request counts as one too, as OpenAI's do: who goes on asking
            keeps a sliding window full, and a bucket in debt.
    """

    metric: Metric
    amount: int
    window: float
    kind: WindowKind = "sliding"
    scope: LimitScope = "model"
    offset: float = 0.0
    model: str = ""
    reset: str = ""
    counts_refused: bool = False

    @classmethod
    def parse(cls, text: str) -> "SimLimit":
        """Read `10 requests/60s`, `6000 tokens/minute`, `1000 requests/day`.

        A month, and a day that says when it begins (`1000 requests/day from 00:00 Europe/Berlin`),
        are the calendar's.

        Raises:
            ValueError: It is not of this form.
        """
        plain, period, reset = text.strip(), "", ""
        calendar = _CALENDAR.fullmatch(plain)
        if calendar is not None and (calendar[3] or calendar[2].lower() == "month"):
            plain, period, reset = f"{calendar[1]}day", calendar[2].lower(), calendar[3] or "00:00"
        match = _TEXT.fullmatch(plain)
        if match is None or match[4].lower() not in _UNITS:
            raise ValueError(f"{text!r} is no limit; write it like '10 requests/60s'.")
        metric: Metric = "requests" if match[2].lower() == "requests" else "tokens"
        if period:
            window = _MONTH if period == "month" else _DAY
            return cls(metric, int(match[1]), window, kind="calendar", reset=reset)
        return cls(metric, int(match[1]), float(match[3] or 1) * _UNITS[match[4].lower()])


@dataclass(frozen=True, slots=True)
class Gauge:
    """The true state of one count, for headers.

    Attributes:
        limit: What is counted.
        remaining: How much is left, rounded down.
        reset: Seconds until all of it is back.
    """

    limit: SimLimit
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not admitted.

    Attributes:
        model: The model that was asked for.
        limit: The limit that binds longest; None if too many calls are in flight.
        used: What is used up of it, rounded up.
        requested: What the request would cost.
        wait: Seconds until it would be admitted; None if nobody can tell, or never.
        too_large: It is larger than the whole limit.
    """

    model: str
    limit: SimLimit | None
    used: int
    requested: int
    wait: float | None
    too_large: bool = False


class Meter(Protocol):
    """One count. Questions change nothing that a later answer could show."""

    def used(self, now: float) -> float: ...

    def take(self, now: float, cost: int) -> None: ...

    def wait(self, now: float, cost: int) -> float:
        """Return the seconds until `cost`, not more than the limit, fits; 0 if it fits now."""
        ...

    def reset(self, now: float) -> float:
        """Return the seconds until nothing is used."""
        ...


class FixedMeter:
    def __init__(self, limit: SimLimit, epoch: float) -> None:
        self._limit = limit
        self._origin = epoch + limit.offset
        self._block = 0.0
        self._used = 0

    def used(self, now: float) -> float:
        return self._used if self._block == self._block_at(now) else 0

    def take(self, now: float, cost: int) -> None:
        self._used = int(self.used(now)) + cost
        self._block = self._block_at(now)

    def wait(self, now: float, cost: int) -> float:
        fits = self.used(now) + cost <= self._limit.amount
        return 0.0 if fits else self._left(now)

    def reset(self, now: float) -> float:
        return self._left(now) if self.used(now) else 0.0

    def _block_at(self, now: float) -> float:
        return (now + EPSILON - self._origin) // self._limit.window

    def _left(self, now: float) -> float:
        end = self._origin + (self._block_at(now) + 1) * self._limit.window
        return end - now


class FirstCallMeter:
    def __init__(self, limit: SimLimit, _epoch: float) -> None:
        self._limit = limit
        self._end = -math.inf
        self._used = 0

    def used(self, now: float) -> float:
        return self._used if now + EPSILON < self._end else 0

    def take(self, now: float, cost: int) -> None:
        if now + EPSILON >= self._end:
            self._end, self._used = now + self._limit.window, 0
        self._used += cost

    def wait(self, now: float, cost: int) -> float:
        fits = self.used(now) + cost <= self._limit.amount
        return 0.0 if fits else self._end - now

    def reset(self, now: float) -> float:
        return self._end - now if self.used(now) else 0.0


class SlidingMeter:
    def __init__(self, limit: SimLimit, _epoch: float) -> None:
        self._limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> float:
        while self._taken and self._taken[0][0] + self._limit.window <= now + EPSILON:
            self._sum -= self._taken.popleft()[1]
        return self._sum

    def take(self, now: float, cost: int) -> None:
        self.used(now)
        self._taken.append((now, cost))
        self._sum += cost

    def wait(self, now: float, cost: int) -> float:
        excess = self.used(now) + cost - self._limit.amount
        for at, taken in self._taken:
            if excess <= 0:
                break
            excess -= taken
            if excess <= 0:
                return at + self._limit.window - now
        return 0.0

    def reset(self, now: float) -> float:
        return self._taken[-1][0] + self._limit.window - now if self.used(now) else 0.0


class BucketMeter:
    def __init__(self, limit: SimLimit, epoch: float) -> None:
        self._rate = limit.amount / limit.window
        self._amount = limit.amount
        self._used = 0.0
        self._at = epoch

    def used(self, now: float) -> float:
        left = self._used - (now - self._at) * self._rate
        # A refill counts EPSILON seconds early, so that waiting the told time is enough.
        return left if left > EPSILON * self._rate else 0.0

    def take(self, now: float, cost: int) -> None:
        self._used = self.used(now) + cost
        self._at = now

    def wait(self, now: float, cost: int) -> float:
        wait = (self.used(now) + cost - self._amount) / self._rate
        return wait if wait > EPSILON else 0.0

    def reset(self, now: float) -> float:
        return self.used(now) / self._rate


class CalendarMeter:
    def __init__(self, limit: SimLimit, ahead: float) -> None:
        at, _, zone = (limit.reset or "00:00").partition(" ")
        self._limit = limit
        self._ahead = ahead  # Unix time less monotonic time
        self._at = time.fromisoformat(at)
        self._zone = ZoneInfo(zone.strip()) if zone.strip() else UTC
        self._end = -math.inf
        self._used = 0

    def used(self, now: float) -> float:
        return self._used if now + EPSILON < self._end else 0

    def take(self, now: float, cost: int) -> None:
        self._used = int(self.used(now)) + cost
        self._end = self._next(now)

    def wait(self, now: float, cost: int) -> float:
        fits = self.used(now) + cost <= self._limit.amount
        return 0.0 if fits else self._end - now

    def reset(self, now: float) -> float:
        return self._end - now if self.used(now) else 0.0

    def _next(self, now: float) -> float:
        """Return when the period of a moment ends: on the first later date that begins one."""
        unix = now + self._ahead + EPSILON
        day = datetime.fromtimestamp(unix, self._zone).date() - timedelta(days=1)
        while True:
            day += timedelta(days=1)
            begins = datetime.combine(day, self._at, self._zone).timestamp()
            if begins > unix and (self._limit.window == _DAY or day.day == 1):
                return begins - self._ahead


METERS: dict[WindowKind, Callable[[SimLimit, float], Meter]] = {
    "fixed": FixedMeter,
    "first-call": FirstCallMeter,
    "sliding": SlidingMeter,
    "bucket": BucketMeter,
}


class Limiter:
    """All counts of one provider: per limit and key, and per model where the limit says so."""

    def __init__(self, limits: Sequence[SimLimit], epoch: float, unix: float = 0.0) -> None:
        self.limits = tuple(limits)
        self._epoch = epoch
        self._ahead = unix - epoch
        self._meters: dict[tuple[int, str, str], Meter] = {}

    def refusal(self, key: str, model: str, tokens: int, now: float) -> Refusal | None:
        """Return why such a request is not admitted now, None if it is. Changes nothing."""
        found = (
            _refusal(limit, meter, model, tokens, now) for limit, meter in self._counts(key, model)
        )
        return max(filter(None, found), key=_severity, default=None)

    def take(self, key: str, model: str, tokens: int, now: float) -> None:
        for limit, meter in self._counts(key, model):
            meter.take(now, _cost(limit, tokens))

    def refuse(self, key: str, model: str, now: float) -> None:
        """Count a request that was not admitted, where that counts."""
        for limit, meter in self._counts(key, model):
            if limit.counts_refused and limit.metric == "requests":
                meter.take(now, 1)

    def gauges(self, key: str, model: str, now: float) -> tuple[Gauge, ...]:
        return tuple(_gauge(limit, meter, now) for limit, meter in self._counts(key, model))

    def _counts(self, key: str, model: str) -> Iterator[tuple[SimLimit, Meter]]:
        for index, limit in enumerate(self.limits):
            is_meant = limit.scope != "free" or model.endswith(":free")
            if is_meant and limit.model in ("", model):
                yield limit, self._meter(index, limit, key, model)

    def _meter(self, index: int, limit: SimLimit, key: str, model: str) -> Meter:
        where = (index, key, model if limit.scope == "model" else "")
        if where not in self._meters:
            self._meters[where] = self._make(limit)
        return self._meters[where]

    def _make(self, limit: SimLimit) -> Meter:
        if limit.kind == "calendar":
            return CalendarMeter(limit, self._ahead)
        return METERS[limit.kind](limit, self._epoch)


def read_limits(
    limits: Sequence[str | SimLimit], *, kind: WindowKind, scope: LimitScope, offset: float
) -> tuple[SimLimit, ...]:
    """Return limits; those written as text get the provider's kind, scope and offset."""
    return tuple(
        _read(limit, kind, scope, offset) if isinstance(limit, str) else limit for limit in limits
    )


def _read(text: str, kind: WindowKind, scope: LimitScope, offset: float) -> SimLimit:
    limit = SimLimit.parse(text)
    if limit.kind == "calendar":
        return replace(limit, scope=scope)
    return replace(limit, kind=kind, scope=scope, offset=offset)


def _cost(limit: SimLimit, tokens: int) -> int:
    return 1 if limit.metric == "requests" else tokens


def _gauge(limit: SimLimit, meter: Meter, now: float) -> Gauge:
    remaining = int(limit.amount - meter.used(now) + EPSILON)
    return Gauge(limit, max(0, remaining), meter.reset(now))


def _refusal(limit: SimLimit, meter: Meter, model: str, tokens: int, now: float) -> Refusal | None:
    cost = _cost(limit, tokens)
    too_large = cost > limit.amount
    wait = None if too_large else meter.wait(now, cost)
    if wait == 0:
        return None
    # Rounded up, so that limit - used is what the headers call remaining.
    used = limit.amount - _gauge(limit, meter, now).remaining
    return Refusal(model, limit, used, cost, wait, too_large)


def _severity(refusal: Refusal) -> float:
    return math.inf if refusal.wait is None else refusal.wait
