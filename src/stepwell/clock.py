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

    Several may share a timer, which is most of what a deadline costs: see Alarm.

    Args:
        clock: For all time.
        seconds: Until it is due; None for never.
        alarm: The shared timer; None for one of its own.
        within: The outer one in the same task, which runs: its timer is shared.
        soonest: Seconds after which one within may be due, where that is known: the timer is set for
            this at once, and is not set anew then.

    Attributes:
        alarm: The timer; None before it runs, and for one that never fires.
        due: Monotonic time at which it passes; inf lets time go by freely.
        has_passed: Time was up, so that the TimeoutError is its own.
        task: Whose it is; None before it runs, and for one that never fires.
    """

    __slots__ = (
        "_cancelling",
        "_clock",
        "_seconds",
        "_soonest",
        "alarm",
        "due",
        "has_passed",
        "task",
    )

    def __init__(
        self,
        clock: Clock,
        seconds: float | None,
        *,
        alarm: "Alarm | None" = None,
        within: "Deadline | None" = None,
        soonest: float = math.inf,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._soonest = soonest
        self.alarm: Alarm | None = alarm if within is None else within.alarm
        self.task: asyncio.Task[Any] | None = None if within is None else within.task
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
        alarm, task = self.alarm, self.task
        if alarm is None:
            alarm = self.alarm = Alarm(self._clock, is_shared=False)
        if task is None:
            task = self.task = asyncio.current_task()
            assert task is not None
            if (loop := task.get_loop()) is not alarm.loop:
                alarm.move_to(loop)
        self._cancelling = task.cancelling()
        now = self._clock.monotonic()
        self.due = now + seconds
        alarm.running[self] = task
        if self.due < alarm.rings:
            alarm.set(min(seconds, self._soonest), now)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        alarm, task = self.alarm, self.task
        if self._seconds is None or alarm is None or task is None:
            return
        alarm.running.pop(self, None)
        if not (alarm.is_shared or alarm.running):
            alarm.stop()
        if self.has_passed:
            ours = task.uncancel() <= self._cancelling
            if ours and exc_type is asyncio.CancelledError:
                raise TimeoutError from exc


class Alarm:
    """One timer for many deadlines, set for the soonest.

    Deadlines that follow each other have the same time, as a rule, so that one that begins while
    another runs finds the timer set for a moment before its own. A shared one is not stopped when none
    runs: it rings once for nobody, which costs less than to set it anew for each that comes alone.

    Args:
        clock: For all time.
        is_shared: Others will come when those that run have ended.

    Attributes:
        loop: The event loop that it rings in; None before the first.
        running: Each with its task, in the order in which they began: the outer one first.
        rings: Monotonic time for which the timer is set; inf if it is not.
    """

    __slots__ = ("_clock", "_timer", "is_shared", "loop", "rings", "running")

    def __init__(self, clock: Clock, *, is_shared: bool = True) -> None:
        self._clock = clock
        self.is_shared = is_shared
        self._timer: Timer | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.running: dict[Deadline, asyncio.Task[Any]] = {}
        self.rings = math.inf

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ring in this event loop; what ran in another one has gone with it, the timer too."""
        self.loop = loop
        self.running.clear()
        self.stop()

    def set(self, seconds: float, now: float) -> None:
        """Ring after so many seconds, and not before."""
        self.stop()
        self.rings = now + seconds
        self._timer = self._clock.call_later(seconds, self._ring)

    def stop(self) -> None:
        self.rings = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        """Cancel each task for the outermost of its deadlines that is due; look after the others."""
        self._timer, self.rings = None, math.inf
        now = self._clock.monotonic()
        cancelled = set()
        for deadline, task in self.running.items():
            if deadline.due <= now and not deadline.has_passed and task not in cancelled:
                deadline.has_passed = True
                cancelled.add(task)
                task.cancel()
        left = [each.look_in(now) for each in self.running if not each.has_passed]
        if left:
            self.set(max(0.0, min(left)), now)
