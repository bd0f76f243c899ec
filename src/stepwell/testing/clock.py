"""FakeClock: time that moves only when the test says so.

How rest is seen. Before time moves, everything that can run must have run. The clock yields to the
event loop (`await asyncio.sleep(0)`) until the loop's queue of ready callbacks is empty at the
moment the clock itself runs: then every other task waits for a timer, for another task, or for the
world outside. This reads `_ready` of asyncio's own loops; on a loop without it (uvloop) the clock
yields a fixed number of turns instead, which is enough for chains of tasks shorter than that.

What it cannot see: sockets, threads, and timers set past it on the loop itself. An answer that is
on its way over a real connection looks like rest. Test with `Fleet.transport()` and `open_stream`,
which need no sockets, or give a real server a SystemClock.

Timers fire in order of time, then of creation; tasks run to rest after each.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

# 2026-10-02T12:00:00Z: a Friday noon, far from midnight and from any change of clocks.
_UNIX = 1_790_942_400.0
# Not zero, so that code which takes "0.0" for "never" is found out.
_MONOTONIC = 1_000.0
# Sums of decimal fractions miss their mark by some 1e-13; a timer that close is due.
_EPSILON = 1e-9
# Tasks hand over to each other in a few turns; one that still runs after so many never rests.
_MOST_TURNS = 100_000
_BLIND_TURNS = 100
_WEEK = 7 * 86_400.0


class DeadlockError(RuntimeError):
    """Nothing can run, no timer is set, and the awaited work has not ended."""


class FakeTimer:
    """One call that is due at a time; cancelling twice, or after it fired, does nothing."""

    __slots__ = ("_args", "_callback", "due")

    def __init__(self, due: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.due = due
        self._callback: Callable[..., object] | None = callback
        self._args = args

    def __repr__(self) -> str:
        return f"<FakeTimer due {self.due:g}{'' if self.pending else ', spent'}>"

    @property
    def pending(self) -> bool:
        return self._callback is not None

    def cancel(self) -> None:
        self._callback = None
        self._args = ()

    def fire(self) -> None:
        """Call back, once; what the callback raises, whoever moves the clock gets."""
        callback, args = self._callback, self._args
        self.cancel()
        if callback is not None:
            callback(*args)


class FakeClock:
    """A Clock for tests: deterministic, and as fast as the machine.

        clock = FakeClock()
        task = asyncio.create_task(clock.sleep(60))
        await clock.advance(59.9)       # not yet
        await clock.advance(0.1)        # now it has ended

        answer = await clock.run(client.post(...))   # jumps from timer to timer until it is there

    Only one task at a time may move the clock with `advance` or `run`.
    """

    def __init__(self, *, monotonic: float = _MONOTONIC, time: float = _UNIX) -> None:
        self._now = monotonic
        self._wall = time - monotonic
        # Tuples, which the heap compares without calling us: an hour of traffic sets many timers.
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = count()
        self._driven = False

    def __repr__(self) -> str:
        return f"<FakeClock at {self._now:g}, {len(self._pending())} timers>"

    def time(self) -> float:
        return self._now + self._wall

    def monotonic(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> FakeTimer:
        timer = FakeTimer(self._now + max(0.0, delay), callback, args)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    def shift(self, seconds: float) -> None:
        """Move time on and run nothing; what falls due fires at the next `advance` or `run`."""
        if seconds < 0:
            raise ValueError("Time does not go back; see jump_wall for a wall clock that is set.")
        self._now += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock on or back: only `time()` moves, as when a machine's clock is set."""
        self._wall += seconds

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: fire what falls due, each at its own time, and run tasks after each.

        Raises:
            ValueError: `seconds` is negative.
            RuntimeError: Another task is moving this clock.
        """
        if seconds < 0:
            raise ValueError("Time does not go back; see jump_wall for a wall clock that is set.")
        target = self._now + seconds
        with self._drive():
            await _rest()
            while self._fire_next(by=target):
                await _rest()
            self._now = max(self._now, target)

    async def run(self, awaitable: Awaitable[T], *, limit: float = _WEEK) -> T:
        """Await it, moving time to the next timer whenever nothing else can run.

        Args:
            awaitable: Runs as a task of its own; it is cancelled if this call ends before it.
            limit: Seconds of fake time it may take, so that periodic timers cannot hide a deadlock.

        Raises:
            DeadlockError: It can never end, or not within `limit`.
            RuntimeError: Another task is moving this clock.
        """
        task = asyncio.ensure_future(awaitable)
        try:
            with self._drive():
                await self._run_until(task, self._now + limit)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def _run_until(self, task: "asyncio.Future[Any]", deadline: float) -> None:
        while True:
            await _rest()
            if task.done():
                return
            if not self._fire_next(by=deadline):
                raise DeadlockError(self._deadlock())

    def _fire_next(self, *, by: float) -> bool:
        while self._timers and self._timers[0][0] <= by + _EPSILON:
            timer = heapq.heappop(self._timers)[2]
            if timer.pending:
                self._now = max(self._now, timer.due)
                timer.fire()
                return True
        return False

    def _pending(self) -> list[FakeTimer]:
        return [timer for _, _, timer in self._timers if timer.pending]

    def _deadlock(self) -> str:
        why = (
            "the limit of fake time has passed" if self._pending() else "no timer is set to end it"
        )
        others = asyncio.all_tasks() - {asyncio.current_task()}
        waiting = sorted(repr(task.get_coro()) for task in others)
        return "\n  ".join([f"Nothing can run at {self._now:g} s, and {why}. Tasks:", *waiting])

    @contextmanager
    def _drive(self) -> Iterator[None]:
        # Two drivers would each wait for the other to rest.
        if self._driven:
            raise RuntimeError("Another task is moving this clock.")
        self._driven = True
        try:
            yield
        finally:
            self._driven = False


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def _rest() -> None:
    """Return when nothing but the caller can run; see the module's text."""
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    if ready is None:
        for _ in range(_BLIND_TURNS):
            await asyncio.sleep(0)
        return
    for _ in range(_MOST_TURNS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise RuntimeError(f"Some task never rests: still running after {_MOST_TURNS} turns.")
