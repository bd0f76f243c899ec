"""Deadlines that share a timer, within each other or of several tasks: each ends its own block."""

import asyncio

import pytest

from stepwell.clock import Alarm, Deadline
from stepwell.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timers(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays of all timers that were set."""
    delays: list[float] = []
    call_later = clock.call_later

    def counted(delay: float, *args: object) -> object:
        delays.append(delay)
        return call_later(delay, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(clock, "call_later", counted)
    return delays


async def nested(clock: FakeClock, *, outer: float, inner: float, work: float) -> list[str]:
    """Return which of two deadlines expire, in order, with work in the inner block and after it."""
    expired = []
    try:
        with Deadline(clock, outer, soonest=inner) as total:
            try:
                with Deadline(clock, inner, within=total):
                    await clock.sleep(work)
            except TimeoutError:
                expired.append("inner")
            await clock.sleep(work)
    except TimeoutError:
        expired.append("outer")
    return expired


@pytest.mark.parametrize(
    ("outer", "inner", "work", "expired"),
    [
        (9.0, 5.0, 1.0, []),
        (9.0, 5.0, 6.0, ["inner", "outer"]),
        (20.0, 5.0, 6.0, ["inner"]),
        (5.0, 9.0, 6.0, ["outer"]),
        (5.0, 9.0, 3.0, ["outer"]),
        (5.0, 5.0, 6.0, ["outer"]),
    ],
)
async def test_each_ends_its_own_block(
    clock: FakeClock, outer: float, inner: float, work: float, expired: list[str]
) -> None:
    """What is within goes on after the inner one; where both are due at once, the outer one is it."""
    assert await clock.run(nested(clock, outer=outer, inner=inner, work=work)) == expired


async def test_two_that_are_kept_cost_one_timer(clock: FakeClock, timers: list[float]) -> None:
    """The inner one finds the timer set for the time at which it may be due."""
    assert await clock.run(nested(clock, outer=9.0, inner=5.0, work=0.0)) == []
    assert timers.count(5.0) == 1
    assert 9.0 not in timers


async def test_a_cancellation_from_elsewhere_ends_both(clock: FakeClock) -> None:
    """Neither takes it for its own."""
    task = asyncio.ensure_future(nested(clock, outer=9.0, inner=5.0, work=20.0))
    await clock.advance(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_inner_one_that_comes_again_has_its_full_time(clock: FakeClock) -> None:
    """As with one provider after another: each gets its own, within the whole."""

    async def tries() -> list[float]:
        ends = []
        start = clock.monotonic()
        try:
            with Deadline(clock, 12.0, soonest=5.0) as total:
                while True:
                    try:
                        with Deadline(clock, 5.0, within=total):
                            await clock.sleep(100)
                    except TimeoutError:
                        ends.append(clock.monotonic() - start)
        except TimeoutError:
            ends.append(clock.monotonic() - start)
        return ends

    assert await clock.run(tries()) == [5.0, 10.0, 12.0]


async def work(
    clock: FakeClock, alarm: Alarm, *, begins: float, seconds: float, takes: float
) -> float:
    """Work from a time on, within a deadline; return how long it was let to."""
    await clock.sleep(begins)
    start = clock.monotonic()
    try:
        with Deadline(clock, seconds, alarm=alarm):
            await clock.sleep(takes)
    except TimeoutError:
        pass
    return clock.monotonic() - start


async def test_one_timer_ends_each_task_in_its_own_time(
    clock: FakeClock, timers: list[float]
) -> None:
    """Whichever began first, and whether or not the one for which it was set has ended."""
    alarm = Alarm(clock)
    plans = [(0.0, 9.0, 1.0), (0.5, 3.0, 20.0), (1.0, 9.0, 20.0), (2.0, 1.0, 20.0), (3.0, 9.0, 9.5)]
    tasks = [
        work(clock, alarm, begins=begins, seconds=seconds, takes=takes)
        for begins, seconds, takes in plans
    ]
    took = await clock.run(asyncio.gather(*tasks))
    assert took == [1.0, 3.0, 9.0, 1.0, 9.0]
    assert "0 timers" in repr(clock)


async def test_tasks_that_follow_each_other_cost_one_timer(
    clock: FakeClock, timers: list[float]
) -> None:
    """A hundred requests with the same time, of which some is always under way."""
    alarm = Alarm(clock)
    tasks = [work(clock, alarm, begins=0.25 * turn, seconds=60.0, takes=0.5) for turn in range(100)]
    assert await clock.run(asyncio.gather(*tasks)) == [0.5] * 100
    assert timers.count(60.0) == 1


async def test_a_shared_timer_rings_once_for_nobody(clock: FakeClock) -> None:
    """It is left as it is when its last task ends, and then it is not set again."""
    await clock.run(work(clock, Alarm(clock), begins=0.0, seconds=9.0, takes=1.0))
    assert "1 timers" in repr(clock)
    await clock.advance(8.0)
    assert "0 timers" in repr(clock)


def test_a_loop_that_went_with_a_timer_takes_nobody_elses_time(clock: FakeClock) -> None:
    """What a closed loop left behind neither fires in the next one nor is waited for."""
    alarm = Alarm(clock)
    gone = asyncio.new_event_loop()
    left = gone.create_task(work(clock, alarm, begins=0.0, seconds=60.0, takes=99.0))
    for _ in range(3):
        gone.call_soon(gone.stop)
        gone.run_forever()
    clock._timers.clear()  # a loop's timers go with it

    async def next_loop() -> float:
        return await clock.run(work(clock, alarm, begins=0.0, seconds=70.0, takes=99.0))

    try:
        assert asyncio.run(next_loop()) == 70.0
    finally:
        left.cancel()
        gone.run_until_complete(asyncio.gather(left, return_exceptions=True))
        gone.close()
