"""Meters: the counters of one scope of which the provider tells what is left."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stepwell.quota.limit import Metric, Scope
from stepwell.quota.meter import Meter
from stepwell.quota.reading import Reading
from stepwell.quota.traffic import Traffic

# Providers have at most six counters a scope; one that names a new window each time must not fill
# memory.
_MOST = 8

# What a provider calls a counter: by it the next reading finds it again.
Name = tuple[Metric, float | None]


class Meters:
    """The meters of one scope, by the names of their counters.

    Args:
        requests: The scope's requests in flight.
        tokens: Its tokens in flight.
    """

    __slots__ = ("_meters", "_requests", "_tokens")

    def __init__(self, requests: Traffic, tokens: Traffic) -> None:
        self._meters: dict[Name, Meter] = {}
        self._requests = requests
        self._tokens = tokens

    def __repr__(self) -> str:
        return f"<Meters {list(self._meters)}>"

    def __iter__(self) -> Iterator[Meter]:
        return iter(self._meters.values())

    def live(self, now: float) -> list[Meter]:
        return [meter for meter in self._meters.values() if meter.is_live(now)]

    def debit(self, requests: int, tokens: int) -> None:
        """Book reservations."""
        for meter in self._meters.values():
            meter.debit(requests if meter.by_request else tokens)

    def correct(self, corrections: Iterable[tuple[int, int]], *, by_request: bool) -> None:
        """Book by how much calls, by their numbers, came to more than was reserved."""
        for meter in self._meters.values():
            if meter.by_request is by_request:
                for call, amount in corrections:
                    meter.correct(call, amount)

    def find(self, reading: Reading) -> Meter | None:
        return self._meters.get((reading.metric, reading.window))

    def add(self, reading: Reading, now: float) -> Meter:
        """Return a new meter for a reading's counter."""
        self._make_place(now)
        meter = Meter(reading, self._traffic(reading.metric))
        self._meters[reading.metric, reading.window] = meter
        return meter

    def drop(self, reading: Reading) -> bool:
        """Forget a reading's counter; return whether it was there."""
        return self._meters.pop((reading.metric, reading.window), None) is not None

    def export(self, now: float) -> list[dict[str, Any]]:
        """Return all that outlives a restart, in plain values, with times relative to `now`."""
        return [meter.export(now) for meter in self.live(now)]

    def restore(self, states: Iterable[Mapping[str, Any]], scope: Scope, then: float) -> None:
        """Believe readings from before, unless there are newer ones of the same counters."""
        for state in states:
            metric = Metric(state["metric"])
            name = metric, state["window"]
            if name not in self._meters and len(self._meters) < _MOST:
                self._meters[name] = Meter.restored(state, scope, self._traffic(metric), then)

    def _traffic(self, metric: Metric) -> Traffic:
        return self._requests if metric is Metric.REQUESTS else self._tokens

    def _make_place(self, now: float) -> None:
        """Make place for one more: first what is over, then what is over soonest."""
        if len(self._meters) < _MOST:
            return
        self._meters = {name: meter for name, meter in self._meters.items() if meter.is_live(now)}
        if len(self._meters) == _MOST:
            del self._meters[min(self._meters, key=lambda name: self._meters[name].expires)]
