"""FakeClock keeps the order of events and moves only when told."""

import asyncio

import pytest

from stepwell.clock import Clock, Deadline
from stepwell.testing import DeadlockError, FakeClock


async def test_it_is_a_clock(clock: FakeClock) -> None:
    """FakeClock satisfies the Clock protocol, which mypy checks here."""
    as_clock: Clock = clock
    assert as_clock.time() > as_clock.monotonic() > 0


async def test_timers_fire_in_order_of_time_then_of_creation(clock: FakeClock) -> None:
    """Two timers due at the same time fire in the order in which they were set."""
    fired: list[str] = []
    clock.call_later(2, fired.append, "late")
    clock.call_later(1, fired.append, "first")
    clock.call_later(1, fired.append, "second")
    await clock.advance(2)
    assert fired == ["first", "second", "late"]


async def test_each_timer_fires_at_its_own_time(clock: FakeClock) -> None:
    """A jump over several timers shows each of them the time at which it was due."""
    seen: list[float] = []
    start = clock.monotonic()
    for delay in (1.0, 2.5, 4.0):
        clock.call_later(delay, lambda: seen.append(clock.monotonic() - start))
    await clock.advance(10)
    assert seen == [1.0, 2.5, 4.0]
    assert clock.monotonic() - start == 10


async def test_tasks_run_to_rest_after_each_timer(clock: FakeClock) -> None:
    """A task woken by one timer finishes its work, through other tasks, before the next timer."""
    seen: list[str] = []

    async def relay(depth: int) -> None:
        if depth:
            await asyncio.create_task(relay(depth - 1))
        else:
            seen.append("task")

    async def sleeper() -> None:
        await clock.sleep(1)
        await relay(20)

    task = asyncio.create_task(sleeper())
    await clock.advance(0)
    clock.call_later(1, seen.append, "next timer")
    await clock.advance(1)
    assert seen == ["task", "next timer"]
    await task


async def test_a_sleep_inside_an_advance_is_woken_by_the_same_advance(clock: FakeClock) -> None:
    """A task that sleeps again and again wakes at each of its times within one advance."""
    woken: list[float] = []

    async def ticker() -> None:
        for _ in range(10):
            await clock.sleep(0.1)
            woken.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await clock.advance(1)
    assert len(woken) == 10
    await task


async def test_a_cancelled_timer_does_not_fire(clock: FakeClock) -> None:
    """Cancelling is idempotent and also works after the timer fired."""
    fired: list[int] = []
    kept, cancelled = clock.call_later(1, fired.append, 1), clock.call_later(1, fired.append, 2)
    cancelled.cancel()
    cancelled.cancel()
    await clock.advance(1)
    kept.cancel()
    assert fired == [1]


async def test_a_cancelled_sleep_leaves_no_timer(clock: FakeClock) -> None:
    """A task cancelled in its sleep takes its timer along."""
    task = asyncio.create_task(clock.sleep(5))
    await clock.advance(1)
    task.cancel()
    await asyncio.wait([task])
    assert repr(clock).endswith("0 timers>")


async def test_run_jumps_to_the_end_of_the_work(clock: FakeClock) -> None:
    """`run` needs no advance: time goes from timer to timer until the work is done."""
    start = clock.monotonic()

    async def work() -> str:
        await clock.sleep(3600)
        await clock.sleep(0.5)
        return "done"

    assert await clock.run(work()) == "done"
    assert clock.monotonic() - start == 3600.5


async def test_run_does_not_move_time_that_nobody_waits_for(clock: FakeClock) -> None:
    """Work that needs no time takes none, although a timer is set."""
    start = clock.monotonic()
    clock.call_later(1, lambda: None)
    await clock.run(asyncio.sleep(0))
    assert clock.monotonic() == start


async def test_run_raises_what_the_work_raises(clock: FakeClock) -> None:
    """An error of the awaited work comes out of `run` unchanged."""

    async def work() -> None:
        await clock.sleep(1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await clock.run(work())


async def test_a_deadlock_is_an_error_and_the_work_is_cancelled(clock: FakeClock) -> None:
    """Work that nothing can end raises DeadlockError, which names it, and is cleaned up."""
    cleaned: list[bool] = []

    async def waits_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(DeadlockError, match="waits_for_ever"):
        await clock.run(waits_for_ever())
    assert cleaned == [True]


async def test_a_periodic_timer_does_not_hide_a_deadlock(clock: FakeClock) -> None:
    """`run` gives up when its limit of fake time has passed."""

    def again() -> None:
        clock.call_later(60, again)

    again()
    with pytest.raises(DeadlockError, match="limit of fake time"):
        await clock.run(asyncio.Event().wait(), limit=3600)


async def test_a_task_that_never_rests_is_reported(clock: FakeClock) -> None:
    """A busy loop would hold the clock for ever; it is an error instead."""

    async def busy() -> None:
        while True:  # noqa: ASYNC110 - never resting is what is tested
            await asyncio.sleep(0)

    task = asyncio.create_task(busy())
    with pytest.raises(RuntimeError, match="never rests"):
        await clock.advance(1)
    task.cancel()


async def test_two_drivers_are_an_error(clock: FakeClock) -> None:
    """A task run by the clock must not move the clock itself."""
    with pytest.raises(RuntimeError, match="moving this clock"):
        await clock.run(clock.advance(1))


async def test_shift_runs_nothing_until_the_next_advance(clock: FakeClock) -> None:
    """`shift` moves both clocks and leaves due timers to the next advance; time never goes back."""
    fired: list[float] = []
    unix, start = clock.time(), clock.monotonic()
    clock.call_later(1, lambda: fired.append(clock.monotonic() - start))
    clock.shift(5)
    assert (clock.time() - unix, clock.monotonic() - start, fired) == (5, 5, [])
    await clock.advance(0)
    assert fired == [5]


async def test_a_jump_of_the_wall_clock_moves_only_unix_time(clock: FakeClock) -> None:
    """A machine's clock that is set back leaves monotonic time and timers alone."""
    unix, start = clock.time(), clock.monotonic()
    clock.jump_wall(-3600)
    assert clock.time() == unix - 3600
    assert clock.monotonic() == start


async def test_time_does_not_go_back(clock: FakeClock) -> None:
    """Negative moves are refused."""
    with pytest.raises(ValueError, match="does not go back"):
        clock.shift(-1)
    with pytest.raises(ValueError, match="does not go back"):
        await clock.advance(-1)


async def test_a_deadline_runs_on_it(clock: FakeClock) -> None:
    """The Deadline of stepwell fires on the fake clock."""

    async def work() -> None:
        with Deadline(clock, 5.0):
            await clock.sleep(10)

    with pytest.raises(TimeoutError):
        await clock.run(work())


async def test_a_sleep_of_nothing_yields_once(clock: FakeClock) -> None:
    """Zero and negative sleeps end without the clock's help, as asyncio's do."""
    await clock.sleep(0)
    await clock.sleep(-1)
    assert repr(clock).endswith("0 timers>")


async def test_a_loop_that_hides_its_queue_gets_a_fixed_number_of_turns(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rest cannot be seen, the clock still lets short chains of tasks run."""
    monkeypatch.setattr(asyncio, "get_running_loop", object)
    seen: list[float] = []
    timer = clock.call_later(1, lambda: seen.append(clock.monotonic()))
    assert repr(timer) == "<FakeTimer due 1001>"
    await clock.advance(1)
    assert seen == [1001.0]
    assert repr(timer) == "<FakeTimer due 1001, spent>"
