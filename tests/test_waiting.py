"""The waiting room against a ledger of plain numbers, whatever happens in whatever order."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.quota.ledger import Block, Exhausted, Reservable, Reservation, Wait
from stepwell.routing.chain import Target
from stepwell.routing.line import Place
from stepwell.testing import FakeClock
from stepwell.waiting import WaitingRoom

TARGETS = [Target(name, name, "m") for name in "abc"]


class Numbers:
    """So many free slots at each target, of which some are known to come at some time.

    Args:
        clock: For what comes.
        turns: How often the event loop goes round while an answer is on its way, as from afar.
    """

    def __init__(self, clock: FakeClock, turns: int = 0) -> None:
        self.clock = clock
        self.turns = turns
        self.free: Counter[str] = Counter()
        self.coming: dict[str, float] = {}
        self.asked = 0
        self._told: Callable[[], object] = list

    def subscribe(self, callback: Callable[[], object]) -> Callable[[], None]:
        self._told = callback
        return lambda: None

    def give(self, key: str, amount: int) -> None:
        self.free[key] += amount
        self._told()

    def promise(self, key: str, seconds: float) -> None:
        """From then on there is one more, and nothing but the time tells so."""
        self.coming[key] = self.clock.monotonic() + seconds
        self._told()

    async def reserve(
        self, targets: Sequence[Reservable], tokens: int, *, arrived: float, waits_until: float
    ) -> Reservation | Wait | Exhausted:
        self.asked += 1
        answer = self.answer(targets, tokens)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return answer

    def answer(self, targets: Sequence[Reservable], tokens: int) -> Reservation | Exhausted:
        self.arrive()
        for target in targets:
            if self.free[target.key]:
                self.free[target.key] -= 1
                return Reservation(target, tokens, self.clock.monotonic())
        untils = [self.coming.get(target.key) for target in targets]
        blocks = [
            Block(target.key, "cooldown", until, told=True, hard=True)
            for target, until in zip(targets, untils, strict=True)
        ]
        known = [until for until in untils if until is not None]
        return Exhausted(min(known, default=None), tuple(blocks))

    def arrive(self) -> None:
        for key, until in list(self.coming.items()):
            if until <= self.clock.monotonic():
                del self.coming[key]
                self.free[key] += 1


class World:
    """A room, and requests in it."""

    def __init__(self, turns: int = 0, size: int = 1000) -> None:
        self.clock = FakeClock()
        self.ledger = Numbers(self.clock, turns)
        self.room = WaitingRoom(self.clock, self.ledger, size)  # type: ignore[arg-type]
        self.tasks: list[asyncio.Task[Reservation | Exhausted]] = []
        self.places: list[Place] = []
        self.order: list[int] = []

    def start(self, client: str = "one", targets: str = "a", seconds: float = 60.0) -> None:
        chosen = [TARGETS["abc".index(name)] for name in targets]
        deadline = self.clock.monotonic() + seconds
        place = Place(client, len(self.places), chosen, 1, deadline=deadline)
        self.places.append(place)
        self.tasks.append(asyncio.ensure_future(self._wait(place)))

    async def _wait(self, place: Place) -> Reservation | Exhausted:
        answer = await self.room.reserve(place)
        if isinstance(answer, Reservation):
            self.order.append(place.number)
        return answer

    def waiting(self) -> list[Place]:
        return [p for p, task in zip(self.places, self.tasks, strict=True) if not task.done()]

    async def rest(self) -> None:
        await self.clock.advance(0)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await self.rest()


async def test_as_many_go_as_there_is_room_for() -> None:
    """In order, and one question more than that: the one that finds no more."""
    world = World()
    for _ in range(100):
        world.start()
    await world.rest()
    world.ledger.asked = 0
    world.ledger.give("a/m", 30)
    await world.rest()
    assert world.order == list(range(30))
    assert world.ledger.asked == 31
    await world.close()


async def test_a_moment_that_was_named_wakes_the_first() -> None:
    """Nothing is announced when a reset passes."""
    world = World()
    world.start()
    world.start()
    world.ledger.promise("a/m", 7)
    await world.clock.advance(7)
    assert world.order == [0]
    await world.close()


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_a_cancelled_caller_hands_the_turn_on(turns: int) -> None:
    """Also one that is cancelled after it was called and before it has asked, or while it asks."""
    for steps in range(turns + 3):
        world = World(turns)
        world.start()
        world.start()
        await world.rest()
        world.ledger.give("a/m", 2)
        for _ in range(steps):
            await asyncio.sleep(0)
        world.tasks[0].cancel()
        await world.rest()
        assert 1 in world.order
        assert "0 waiting" in repr(world.room)
        await world.close()


async def test_news_during_a_question_is_not_lost() -> None:
    """The answer is older than the news, so the question is put again."""
    world = World(turns=3)
    world.start()
    await asyncio.sleep(0)
    assert world.ledger.asked == 1
    world.ledger.give("a/m", 1)
    await world.rest()
    assert world.order == [0]
    await world.close()


async def test_an_error_of_the_ledger_is_the_callers_and_the_next_one_goes() -> None:
    """Whoever asks gets it; nobody else is held up."""

    class Lost(Exception):
        pass

    async def fail(*args: Any, **kwargs: Any) -> Exhausted:
        world.ledger.reserve = reserve  # type: ignore[method-assign]
        raise Lost

    world = World()
    world.start()
    world.start()
    await world.rest()
    reserve, world.ledger.reserve = world.ledger.reserve, fail  # type: ignore[method-assign]
    world.ledger.give("a/m", 1)
    await world.rest()
    assert isinstance(world.tasks[0].exception(), Lost)
    assert world.order == [1]


async def test_the_room_is_full_of_those_with_patience() -> None:
    """Who waits for evidence only is not counted."""
    world = World(size=1)
    fill = [world.room.is_full]
    for seconds in (-inf, 60.0):
        world.start(seconds=seconds)
        await world.rest()
        fill.append(world.room.is_full)
    await world.close()
    assert [*fill, world.room.is_full] == [False, False, True, False]


async def test_ordinals() -> None:
    """First, second, third; and the teens."""
    world = World()
    for _ in range(23):
        world.start()
    await world.rest()
    said = [world.room.describe(world.places[n - 1]) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22)]
    ranks = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd"]
    assert said == [f"quota, {rank} in line" for rank in ranks]
    await world.close()


ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("start"),
            st.sampled_from(["one", "two"]),
            st.sampled_from(["a", "b", "ab", "abc"]),
            st.sampled_from([1.0, 60.0]),
        ),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("give"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("promise"), st.sampled_from("abc"), st.sampled_from([0.5, 2.0, 9.0])),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.5, 3.0])),
        st.tuples(st.just("go round")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(ACTS, st.integers(0, 2))
async def test_no_wake_up_is_lost_and_nobody_goes_twice(
    acts: list[tuple[Any, ...]], turns: int
) -> None:
    """At rest nobody waits beside free room, equals went in order, and at the end nothing is left."""
    world = World(turns)
    for word, *details in acts:
        if word == "start":
            world.start(*details)
        elif word == "cancel" and details[0] < len(world.tasks):
            world.tasks[details[0]].cancel()
        elif word == "give":
            world.ledger.give(f"{details[0]}/m", details[1])
        elif word == "promise":
            world.ledger.promise(f"{details[0]}/m", details[1])
        elif word == "pass":
            await world.clock.advance(details[0])
            world.ledger.arrive()
            wanted = {key for place in world.waiting() for key in place.keys}
            assert not [key for key in wanted if world.ledger.free[key]]
        else:
            await asyncio.sleep(0)
    await world.rest()
    assert len(world.order) == len(set(world.order))
    for kind in {(place.client, place.keys) for place in world.places}:
        served = [n for n in world.order if (world.places[n].client, world.places[n].keys) == kind]
        assert served == sorted(served)
    await world.close()
    assert repr(world.room) == "<WaitingRoom 0 waiting>"
    assert "0 timers" in repr(world.clock)
