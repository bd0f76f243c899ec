"""Pool: everything that is counted and known in one scope.

A target has a pool of its own and shares its account's with the account's other targets. Each
reservation is booked in both.
"""

from collections.abc import Iterable, Iterator
from math import inf

from stepwell.quota.cooldown import Cooldown
from stepwell.quota.count import Count
from stepwell.quota.gate import Gate
from stepwell.quota.ledger import Bench, LimitStatus
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.meter import Meter
from stepwell.quota.reading import Reading
from stepwell.quota.traffic import Traffic

# Providers have at most six counters a scope; one that names a new window each time must not fill
# memory.
_METERS = 8


class Pool:
    """Counts, meters, cooldowns and traffic of one scope.

    Attributes:
        gates: All that may stand in the way, hard ones first, because they decide more often.
        refused_at: When a call was last refused or failed.
        is_wary: The last answer was such a one.
    """

    __slots__ = (
        "_cooldowns",
        "_counts",
        "_mark",
        "_meters",
        "_requests",
        "_tokens",
        "gates",
        "is_wary",
        "refused_at",
        "scope",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.gates: tuple[Gate, ...] = ()
        self.refused_at = -inf
        self.is_wary = False
        self._mark = -1
        self._counts: dict[Limit, Count] = {}
        self._meters: dict[tuple[Metric, float | None], Meter] = {}
        self._cooldowns: dict[Bench, Cooldown] = {}
        self._requests = Traffic()  # until the response begins
        self._tokens = Traffic()  # until the call ends

    def __repr__(self) -> str:
        return f"<Pool {self.scope}, {self.in_flight} in flight, {len(self.gates)} gates>"

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._tokens)

    # --- what is counted

    def adopt(self, limits: Iterable[Limit]) -> None:
        """Count against the configured limits of this scope from now on."""
        for limit in limits:
            if limit.scope is self.scope and limit not in self._counts:
                self._counts[limit] = Count(limit, self._traffic(limit.metric))
        self._arrange()

    def take(self, call: int, tokens: int) -> None:
        """Book one request and its estimated tokens."""
        self._requests.start(call, 1)
        self._tokens.start(call, tokens)
        for meter in self._meters.values():
            meter.debit(1 if meter.by_request else tokens)

    def read(self, call: int, readings: Iterable[Reading], now: float) -> None:
        """Believe what the answer to `call` says about this scope."""
        for reading in readings:
            if reading.scope is self.scope and reading.remaining is not None:
                self._meter(reading, now).read(reading, call, now)

    def age(self, call: int, now: float) -> None:
        """The provider must have counted the request by now."""
        self._requests.end(call, 1)
        for count in self._counts.values():
            if count.by_request:
                count.add(1, now)

    def spend(self, call: int, tokens: int, now: float) -> None:
        """The call ended and came to so many tokens."""
        self._correct(call, self._tokens.end(call, tokens), by_request=False)
        for count in self._counts.values():
            if not count.by_request:
                count.add(tokens, now)

    def give_back(self, call: int, *, request: bool) -> None:
        """Nothing was sent: take the tokens back, and the request unless it has begun to age."""
        self._correct(call, -self._tokens.cancel(call), by_request=False)
        if request:
            self._correct(call, -self._requests.cancel(call), by_request=True)

    # --- what is known

    def is_known(self, now: float) -> bool:
        """Tell whether limits or living readings say anything of this scope."""
        return bool(self._counts) or any(meter.is_live(now) for meter in self._meters.values())

    def statuses(self, now: float) -> Iterator[LimitStatus]:
        for count in self._counts.values():
            yield count.status(now)
        for meter in self._meters.values():
            if meter.is_live(now):
                yield meter.status(now)

    # --- health

    def refuse(self, now: float, mark: int) -> None:
        """A call was refused or failed."""
        self.refused_at, self.is_wary, self._mark = now, True, mark

    def recover(self, call: int) -> bool:
        """A call succeeded; return whether that is news, being younger than the last refusal."""
        for cooldown in self._cooldowns.values():
            cooldown.recover(call)
        if call <= self._mark:
            return False
        self.is_wary = False
        return True

    def cooldown(self, bench: Bench) -> Cooldown:
        if bench not in self._cooldowns:
            self._cooldowns[bench] = Cooldown(bench)
            self._arrange()
        return self._cooldowns[bench]

    def is_half_open(self, now: float) -> bool:
        # Asked on every reservation, and mostly of none: a generator would cost more than the rest.
        cooldowns = self._cooldowns
        return bool(cooldowns) and any(each.is_half_open(now) for each in cooldowns.values())

    @property
    def is_probed(self) -> bool:
        return any(cooldown.is_probed for cooldown in self._cooldowns.values())

    def start_probe(self, call: int) -> None:
        for cooldown in self._cooldowns.values():
            cooldown.start_probe(call)

    def end_probe(self, call: int) -> None:
        for cooldown in self._cooldowns.values():
            cooldown.end_probe(call)

    # --- inner

    def _traffic(self, metric: Metric) -> Traffic:
        return self._requests if metric is Metric.REQUESTS else self._tokens

    def _correct(self, call: int, amount: int, *, by_request: bool) -> None:
        for meter in self._meters.values():
            if meter.by_request is by_request:
                meter.correct(call, amount)

    def _meter(self, reading: Reading, now: float) -> Meter:
        name = (reading.metric, reading.window)
        if name not in self._meters:
            self._drop_meters(now)
            self._meters[name] = Meter(reading, self._traffic(reading.metric))
            self._arrange()
        return self._meters[name]

    def _drop_meters(self, now: float) -> None:
        """Make place for one more: first what is over, then what is over soonest."""
        if len(self._meters) < _METERS:
            return
        self._meters = {name: meter for name, meter in self._meters.items() if meter.is_live(now)}
        if len(self._meters) == _METERS:
            del self._meters[min(self._meters, key=lambda name: self._meters[name].expires)]

    def _arrange(self) -> None:
        self.gates = (
            *self._cooldowns.values(),
            *self._meters.values(),
            *self._counts.values(),
        )
