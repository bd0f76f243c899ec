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

    It can be moved while it runs (by `due`), without a new timer for each move, so that a stream may
    push it along with every chunk. `seconds=None` never fires. A cancellation from elsewhere is never
    taken for our own (asyncio.wait_for on Python 3.11 loses such a one).

    One within another, in the same task, shares its timer, which is most of what a deadline costs.

    Args:
        clock: For all time.
        seconds: Until it is due; None for never.
        within: The outer one; it runs.
        soonest: Seconds after which one within may be due, where that is known: the timer is set for
            this at once, and is not set anew then.

    Attributes:
        alarm: What those within share; None before it runs, and for one that never fires.
        due: Monotonic time at which it passes; inf lets time go by freely.
        has_passed: Time was up, so that the TimeoutError is its own.
    """

    __slots__ = ("_cancelling", "_clock", "_seconds", "_soonest", "alarm", "due", "has_passed")

    def __init__(
        self,
        clock: Clock,
        seconds: float | None,
        *,
        within: "Deadline | None" = None,
        soonest: float = math.inf,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._soonest = soonest
        self.alarm: _Alarm | None = None if within is None else within.alarm
        self._cancelling = 0
        self.due = math.inf
        self.has_passed = False

    def look_in(self, now: float) -> float:
        """Return the seconds after which it is due, or must be looked at again if it is held."""
        assert self._seconds is not None
        return min(self.due - now, self._seconds)

    def __enter__(self) -> Self:
        seconds = self._seconds
        if seconds is None:
            return self
        alarm = self.alarm
        if alarm is None:
            alarm = self.alarm = _Alarm(self._clock)
        self._cancelling = alarm.task.cancelling()
        now = self._clock.monotonic()
        self.due = now + seconds
        alarm.running.append(self)
        if self.due < alarm.rings:
            alarm.set(min(seconds, self._soonest), now)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        alarm = self.alarm
        if self._seconds is None or alarm is None:
            return
        alarm.running.remove(self)
        if not alarm.running:
            alarm.stop()
        if self.has_passed:
            ours = alarm.task.uncancel() <= self._cancelling
            if ours and exc_type is asyncio.CancelledError:
                raise TimeoutError from exc


class _Alarm:
    """The timer of deadlines within each other.

    Attributes:
        task: Whose they are: the current one.
        running: The outermost first.
        rings: Monotonic time for which the timer is set.
    """

    __slots__ = ("_clock", "_timer", "rings", "running", "task")

    def __init__(self, clock: Clock) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clock = clock
        self._timer: Timer | None = None
        self.task = task
        self.running: list[Deadline] = []
        self.rings = math.inf

    def set(self, seconds: float, now: float) -> None:
        """Ring after so many seconds, and not before."""
        self.stop()
        self.rings = now + seconds
        self._timer = self._clock.call_later(seconds, self._ring)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        """Cancel the task for the outermost that is due, and look after the others."""
        self._timer, self.rings = None, math.inf
        now = self._clock.monotonic()
        for deadline in self.running:
            if deadline.due <= now and not deadline.has_passed:
                deadline.has_passed = True
                self.task.cancel()
                break
        left = [each.look_in(now) for each in self.running if not each.has_passed]
        if left:
            self.set(max(0.0, min(left)), now)
