"""Time as a dependency: everything that waits or measures asks a Clock.

Windows, told delays, timeouts and latency use `monotonic()`; `time()` (Unix seconds) is for HTTP
dates, calendar resets and what outlives the process.
"""

import asyncio
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self


class Timer(Protocol):
    """What `call_later` returns; cancelling twice, or after it fired, does nothing."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """A source of time. `stepwell.testing.FakeClock` is the one to test with."""

    def time(self) -> float:
        """Return Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call back after `delay` seconds on the running event loop."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The clock of this machine and of the running event loop."""

    # No methods of our own, which would be one more call for each of the many readings.
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback, *args)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Deadline:
    """`asyncio.timeout` on any Clock: raises TimeoutError inside the block when time is up.

        with Deadline(clock, 5.0):
            await something()

    It can be moved while it runs (`extend`), without a new timer for each move, so that a stream may
    push it along with every chunk. `seconds=None` never fires. A cancellation from elsewhere is never
    taken for our own (asyncio.wait_for on Python 3.11 loses such a one).
    """

    __slots__ = ("_cancelling", "_clock", "_due", "_expired", "_seconds", "_task", "_timer")

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._due = 0.0
        self._expired = False
        self._timer: Timer | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0

    def extend(self) -> None:
        """Start the full time anew; costs one clock reading."""
        if self._seconds is not None:
            self._due = self._clock.monotonic() + self._seconds

    def hold(self) -> None:
        """Let time pass freely until the next `extend`."""
        self._due = math.inf

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._task = asyncio.current_task()
            assert self._task is not None
            self._cancelling = self._task.cancelling()
            self.extend()
            self._timer = self._clock.call_later(self._seconds, self._wake)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._expired:
            assert self._task is not None
            ours = self._task.uncancel() <= self._cancelling
            if ours and exc_type is asyncio.CancelledError:
                raise TimeoutError from exc

    def _wake(self) -> None:
        left = self._due - self._clock.monotonic()
        if left > 0:
            assert self._seconds is not None
            self._timer = self._clock.call_later(min(left, self._seconds), self._wake)
            return
        self._timer = None
        self._expired = True
        assert self._task is not None
        self._task.cancel()
