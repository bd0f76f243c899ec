"""The order of those who wait, without anything that waits."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.quota.ledger import Block, Exhausted, Reservation, Wait
from stepwell.routing.chain import Target
from stepwell.routing.line import MOST_PASSED, Line, Place, soonest

TARGETS = {name: Target(name, name, "m") for name in "abc"}


def place(
    number: int,
    client: str = "one",
    targets: str = "a",
    tokens: int = 10,
    *,
    deadline: float = 100.0,
) -> Place:
    return Place(client, number, [TARGETS[name] for name in targets], tokens, deadline=deadline)


def nothing(waiting: Place, until: float | None = None, *, hard: bool = True) -> Exhausted:
    blocks = (Block(t.key, "cooldown", until, told=hard, hard=hard) for t in waiting.asks)
    return Exhausted(until, tuple(blocks))


class World:
    """A line before targets that have so many tokens."""

    def __init__(self, **room: int) -> None:
        self.line = Line()
        self.room = {TARGETS[name].key: tokens for name, tokens in room.items()}
        self.asked: list[int] = []
        self.served: list[int] = []

    def join(self, *places: Place) -> None:
        for each in places:
            self.line.join(each)

    def settle(self) -> list[int]:
        """Let everyone ask who is to, and return who was served."""
        before = len(self.served)
        while (asking := self.line.next()) is not None:
            self.asked.append(asking.number)
            self.ask(asking)
        return self.served[before:]

    def ask(self, asking: Place) -> None:
        for target in asking.asks:
            if self.room.get(target.key, 0) >= asking.tokens:
                self.room[target.key] -= asking.tokens
                self.served.append(asking.number)
                self.line.serve(asking, Reservation(target, asking.tokens, 0.0))
                return
        self.line.send_back(asking, nothing(asking))

    def give(self, **room: int) -> list[int]:
        """Room appears; return who is served."""
        for name, tokens in room.items():
            self.room[TARGETS[name].key] = self.room.get(TARGETS[name].key, 0) + tokens
        self.line.renew()
        return self.settle()


# --- turns


def test_one_client_is_served_as_it_came() -> None:
    """By number, also one that comes back into the line later."""
    world = World()
    world.join(place(2), place(3), place(1))
    assert world.give(a=30) == [1, 2, 3]


def test_clients_take_turns() -> None:
    """Three of the one and two of the other alternate, and who was served is last."""
    world = World()
    world.join(*(place(n) for n in (1, 2, 3)), place(4, "two"), place(5, "two"))
    assert world.give(a=10) == [1]
    assert world.give(a=30) == [4, 2, 5]


def test_a_client_without_a_turn_loses_nothing_by_those_who_leave() -> None:
    """Who hangs up takes no turn of the client's other requests."""
    world = World()
    gone = [place(n) for n in range(1, 5)]
    world.join(*gone, place(5), place(6, "two"), place(7, "two"))
    for each in gone:
        world.line.leave(each)
    assert world.give(a=30) == [5, 6, 7]


def test_rank_counts_those_ahead_who_compete() -> None:
    """Who waits for other targets is not in the way."""
    line = Line()
    others = [place(1), place(2, targets="b"), place(3, "two", "ab")]
    last = place(4)
    for each in (*others, last):
        line.join(each)
    assert [line.rank(each) for each in (*others, last)] == [1, 2, 2, 3]


def test_wants_knows_what_is_waited_for() -> None:
    """Until the last one who waits for it has left."""
    line, first, second = Line(), place(1, targets="ab"), place(2)
    line.join(first)
    line.join(second)
    line.leave(first)
    assert line.wants([TARGETS["a"]])
    assert not line.wants([TARGETS["b"], TARGETS["c"]])
    line.leave(second)
    assert not line.wants([TARGETS["a"]])
    assert not line


# --- epochs


def test_one_answer_speaks_for_all_who_want_the_same() -> None:
    """A thousand wait, and a change costs one question; so does each newcomer none."""
    world = World()
    world.join(*(place(n, str(n % 7)) for n in range(1000)))
    assert world.give() == []
    assert len(world.asked) == 1
    world.join(place(1000))
    assert world.settle() == []
    assert len(world.asked) == 1


def test_whoever_may_fare_better_is_asked() -> None:
    """Other targets, or fewer tokens."""
    world = World()
    world.join(place(1), place(2, targets="ab"), place(3, tokens=9), place(4, tokens=11))
    world.line.renew()
    world.settle()
    assert world.asked == [1, 2, 3]


def test_evidence_is_asked_for_once_by_each() -> None:
    """Soft blocks may be probed by who has no evidence; who has it is not asked again."""
    line = Line()
    places = [place(n) for n in range(3)]
    for each in places:
        line.join(each)
    for expected in ([0, 1, 2], [0]):
        line.renew()
        asked = []
        while (asking := line.next()) is not None:
            asked.append(asking.number)
            line.send_back(asking, nothing(asking, 30.0, hard=False))
        assert asked == expected


def test_who_cannot_wait_so_long_is_asked_though_others_were() -> None:
    """It is to hear at once that its wait is pointless."""
    line, long, short = Line(), place(1), place(2, deadline=20.0)
    line.join(long)
    line.join(short)
    line.send_back(long, nothing(long, 30.0))
    assert line.next() is short


def test_without_patience_everyone_hears_the_news() -> None:
    """Who came first may have the evidence that another lacks; who came later has no more of it."""
    line = Line()
    places = [place(n, str(n), deadline=-inf) for n in (2, 1, 3)]
    for each in places:
        line.join(each)
    asked = []
    while (asking := line.next()) is not None:
        asked.append(asking.number)
        line.send_back(asking, Wait(None, nothing(asking, hard=False).blocks))
    assert asked == [2, 1]


def test_who_wants_no_wait_is_not_kept_with_those_who_are_held() -> None:
    """It may be told to go where they are not, though it came later."""
    line, held, hurried = Line(), place(1, deadline=-inf), place(2, deadline=-inf)
    held.over = 0.0
    line.join(held)
    line.join(hurried)
    line.send_back(held, nothing(held, hard=False))
    assert line.next() is hurried


def test_the_alarm_is_the_soonest_moment_named() -> None:
    """And none is known in a new epoch."""
    line, first, second = Line(), place(1), place(2, targets="b")
    line.join(first)
    line.join(second)
    line.send_back(first, nothing(first, 30.0))
    line.send_back(second, nothing(second, 20.0))
    assert line.alarm == 20.0
    line.renew()
    assert line.alarm == inf


# --- overtaking


def test_a_small_one_passes_a_large_one_that_does_not_fit() -> None:
    """The large one stays the first."""
    world = World()
    world.join(place(1, tokens=50), place(2), place(3, tokens=20))
    assert world.give(a=30) == [2, 3]
    assert world.give(a=50) == [1]


def test_a_newcomer_passes_nobody() -> None:
    """It fits, but what it takes is what the large one waits for; from the next change on it may."""
    world = World()
    world.join(place(1, tokens=50))
    world.give(a=30)
    world.join(place(2))
    assert world.settle() == []
    assert world.give() == [2]


def test_a_newcomer_takes_what_nobody_waits_for() -> None:
    """Of two targets the one without a line."""
    world = World(b=10)
    world.join(place(1, tokens=50))
    world.give(a=30)
    world.join(place(2, targets="ab"))
    assert world.settle() == [2]
    assert world.room == {"a/m": 30, "b/m": 0}


def test_nobody_is_passed_for_ever() -> None:
    """After so many times the room is kept until the large one fits."""
    world = World()
    world.join(place(0, tokens=50), *(place(n) for n in range(1, 40)))
    served = [number for _ in range(20) for number in world.give(a=10)]
    assert served == [*range(1, MOST_PASSED + 1), 0, *range(MOST_PASSED + 1, 16)]


def test_what_is_kept_is_free_when_its_owner_leaves() -> None:
    """Or has lost its patience; without a change of the ledger."""
    for leave in (Line.leave, Line.lose_patience):
        world = World()
        large = place(0, tokens=50)
        world.join(large, *(place(n) for n in range(1, 20)))
        for _ in range(MOST_PASSED + 2):
            world.give(a=10)
        kept = world.room["a/m"]
        leave(world.line, large)
        assert len(world.settle()) == kept // 10


def test_a_probe_passes_nobody() -> None:
    """It goes past a block that the one ahead may not go past, and takes nothing of its."""
    line, large, small = Line(), place(1, tokens=50), place(2)
    line.join(large)
    line.join(small)
    line.renew()
    line.send_back(large, nothing(large))
    assert line.next() is small
    line.serve(small, Reservation(TARGETS["a"], 10, 0.0, probe=True))
    assert large.passed == 0


def test_without_patience_one_may_pass_anybody() -> None:
    """It cannot wait for quota, so it is not kept from it."""
    world = World()
    world.join(place(1, tokens=50))
    world.give(a=30)
    world.join(place(2, deadline=-inf))
    assert world.settle() == [2]


# --- properties

PLACES = st.lists(
    st.tuples(
        st.sampled_from(["one", "two", "three"]),
        st.sets(st.sampled_from("abc"), min_size=1).map(lambda names: "".join(sorted(names))),
        st.integers(1, 6),
    ),
    max_size=12,
)
ROOM = st.dictionaries(st.sampled_from("abc"), st.integers(0, 12))


@given(st.lists(st.tuples(PLACES, ROOM), max_size=8))
def test_no_room_is_left_that_somebody_could_have(
    events: Iterable[tuple[list[tuple[str, str, int]], Mapping[str, int]]],
) -> None:
    """After a change nobody waits beside room, unless it is kept; in no epoch anyone asks twice."""
    world, waiting, number = World(), dict[int, Place](), 0
    for newcomers, room in events:
        for client, targets, tokens in newcomers:
            number += 1
            waiting[number] = place(number, client, targets, tokens)
            world.join(waiting[number])
            world.settle()
        asked = len(world.asked)
        for served in world.give(**room):
            del waiting[served]
        for served in set(world.served) & set(waiting):
            del waiting[served]
        assert len(set(world.asked[asked:])) == len(world.asked[asked:])
        kept = [each for each in waiting.values() if each.passed >= MOST_PASSED]
        for each in waiting.values():
            for key in each.keys:
                fits = world.room.get(key, 0) >= each.tokens
                assert not fits or any(key in k.keys and k.tokens > each.tokens for k in kept)
    assert len(world.served) == len(set(world.served))
    assert len(world.line) == len(waiting)


@given(PLACES, st.lists(ROOM, max_size=6))
def test_equals_of_one_client_never_change_places(
    newcomers: list[tuple[str, str, int]], rooms: list[Mapping[str, int]]
) -> None:
    """Two that want the same, and as much, are served as they came."""
    world = World()
    world.join(*(place(n, *newcomer) for n, newcomer in enumerate(newcomers)))
    for room in rooms:
        world.give(**room)
    for kind in set(newcomers):
        served = [number for number in world.served if newcomers[number] == kind]
        alike = [number for number, other in enumerate(newcomers) if other == kind]
        assert served == alike[: len(served)]


@pytest.mark.parametrize("text", ["<Line of 2, 1 clients>", "<Place 1 of one, 10 tokens>"])
def test_reprs_tell_the_state(text: str) -> None:
    """For logs and failing tests."""
    line, first = Line(), place(1)
    line.join(first)
    line.join(place(2))
    assert text in (repr(line), repr(first))


def test_where_room_may_come_in_time_nobody_hears_that_it_comes_too_late() -> None:
    """The soonest reset is the earliest moment that is possible, and not the one that is sure."""
    block = Block("a", "count", 30.0, told=False, hard=True, may_end=10.0)
    assert soonest([block]) == 10.0
    assert soonest([replace(block, may_end=None)]) == 30.0
