"""Sink: where a stream's events go, and what tells that it was silent."""

import math
from collections.abc import Awaitable
from typing import Protocol

from stepwell.clock import Clock


class Sink(Protocol):
    """Where a stream's events go.

    Attributes:
        quiet_since: Monotonic time since which nothing was written; inf while something is. Whoever
            writes says so: a coroutine that did it would cost each event of a stream a frame.
    """

    quiet_since: float

    def write(self, events: bytes) -> Awaitable[object]:
        """Take whole events; its errors are the writer's, and its time is nobody's silence."""
        ...


async def put(sink: Sink, events: bytes, clock: Clock) -> None:
    """Write whole events, and say so."""
    sink.quiet_since = math.inf
    await sink.write(events)
    sink.quiet_since = clock.monotonic()
