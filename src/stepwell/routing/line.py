"""Line: who of those that wait asks the ledger next. It decides; `waiting` carries it out.

**Turns.** Clients take turns. Of each client's requests the one that came to the gateway first goes
first, also when it comes back here because a provider refused it.

**Epochs.** An answer of the ledger holds until something happens there, or until a moment that it
named. In such an epoch a place asks at most once, and not at all where another's answer tells its
own (see `_Wall`): a change costs a few questions, however many wait.

**Overtaking.** A place whose request does not fit stays where it is, and a smaller one behind it
may go first. It may not if

1. it is a newcomer: it came in this epoch, and waits for the next one before it passes anybody; or
2. the larger one was passed `MOST_PASSED` times already.

Then it asks only for the targets that the larger one does not want.

Places without patience stand here too. They cannot wait for quota, only for evidence, which is
about a second; rather than failing while there is room they may pass anybody.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from math import inf
from operator import attrgetter
from typing import Final

from stepwell.quota.ledger import Block, Exhausted, Reservable, Reservation, Wait

# Half of the smallest free tiers' 20 to 30 requests a minute: a large request loses no more than
# that to small ones.
MOST_PASSED: Final = 10

_NUMBER: Final = attrgetter("number")


class Place:
    """One request's place.

    Attributes:
        client: Whose request it is.
        number: Lower numbers came earlier.
        targets: What it waits for.
        keys: Their keys.
        tokens: What it needs.
        arrived: Monotonic time of the request's arrival, for the rule of evidence.
        deadline: Monotonic time until which it waits for quota; -inf if it waits for evidence only.
        over: Monotonic time from which it may be held at a target that may have room: its arrival, or
            the end of its patience; -inf if it wants no wait.
        asks: What it is to ask for now: `targets`, without what is kept for a larger request.
        passed: How often somebody behind it was served where it could not be.
    """

    __slots__ = (
        "arrived",
        "asked",
        "asks",
        "client",
        "deadline",
        "joined",
        "keys",
        "number",
        "over",
        "passed",
        "spent",
        "targets",
        "tokens",
    )

    def __init__(
        self,
        client: str,
        number: int,
        targets: Sequence[Reservable],
        tokens: int,
        *,
        arrived: float = 0.0,
        deadline: float = -inf,
        over: float = -inf,
    ) -> None:
        self.client = client
        self.number = number
        self.targets = self.asks = tuple(targets)
        self.keys = frozenset(target.key for target in targets)
        self.tokens = tokens
        self.arrived = arrived
        self.deadline = deadline
        self.over = over
        self.passed = 0
        self.joined = -1  # in which epoch
        self.asked = -1  # in which epoch
        self.spent = False  # it was told Exhausted: whom it may probe has refused since it came

    def __repr__(self) -> str:
        return f"<Place {self.number} of {self.client}, {self.tokens} tokens>"

    @property
    def is_patient(self) -> bool:
        return self.deadline > -inf

    @property
    def since(self) -> float:
        """Monotonic time since when it looks for room, or for evidence that there is none."""
        return max(self.arrived, self.over)

    @property
    def asks_for_all(self) -> bool:
        return self.asks is self.targets


class _Group:
    """All places that wait for the same targets with patience; it only counts them.

    Attributes:
        tokens: What each needs, rising.
        deadlines: Theirs, rising.
        unspent: How many may still have evidence to come.
    """

    __slots__ = ("deadlines", "tokens", "unspent")

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.deadlines: list[float] = []
        self.unspent = 0

    def add(self, place: Place) -> None:
        insort(self.tokens, place.tokens)
        insort(self.deadlines, place.deadline)
        self.unspent += not place.spent

    def remove(self, place: Place) -> None:
        del self.tokens[bisect_left(self.tokens, place.tokens)]
        del self.deadlines[bisect_left(self.deadlines, place.deadline)]
        self.unspent -= not place.spent


class _Wall:
    """What this epoch's answers say of one set of targets, to places that can wait.

    Attributes:
        first: Who met it first.
        tokens: The fewest that found no room. Who needs as many finds none either, and could only
            probe, if it were not
        closed: because nobody may, or the ledger tells everyone to wait.
        until: Monotonic time of the soonest reset; -inf if it may be at any moment. Who cannot wait
            so long is to hear that at once.
    """

    __slots__ = ("closed", "first", "tokens", "until")

    def __init__(self, first: Place) -> None:
        self.first = first
        self.tokens = first.tokens
        self.closed = False
        self.until = inf

    def note(self, place: Place, answer: Wait | Exhausted) -> None:
        self.until = min(self.until, soonest(answer.blocks))
        if place.tokens <= self.tokens:
            self.tokens = place.tokens
            waits = isinstance(answer, Wait)
            self.closed = waits or all(block.hard for block in answer.blocks)

    def stops(self, place: Place) -> bool:
        """Whether a question would tell this place nothing new."""
        if place.tokens < self.tokens or place.deadline < self.until:
            return False
        return self.closed or place.spent

    def stops_all(self, group: _Group) -> bool:
        if group.tokens[0] < self.tokens or group.deadlines[0] < self.until:
            return False
        return self.closed or not group.unspent


class Line:
    """All places, in order.

    Attributes:
        epoch: Its number.
        alarm: Monotonic time of the next epoch, if nothing happens before; inf if none is known.
        patient: How many wait for quota, and not for evidence only.
        wanted: How many wait for each target, by its key; those for which nobody does are not there.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.alarm = inf
        self.patient = 0
        self._clients: dict[str, list[Place]] = {}  # whose turn it is comes first
        self.wanted: Counter[str] = Counter()
        self._groups: dict[frozenset[str], _Group] = {}
        self._walls: dict[frozenset[str], _Wall] = {}
        # Of those who wait for evidence at these targets for so many tokens, and may be held there or
        # not: the first to come, and since when the first looks for room.
        self._doubts: dict[tuple[frozenset[str], int, bool], tuple[int, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    def __bool__(self) -> bool:
        return bool(self._clients)

    def __repr__(self) -> str:
        return f"<Line of {len(self)}, {len(self._clients)} clients>"

    # --- questions

    def wants(self, targets: Iterable[Reservable]) -> bool:
        """Whether anybody waits for one of these."""
        return any(target.key in self.wanted for target in targets)

    def rank(self, place: Place) -> int:
        """Return its place among those that compete with it: 1 is the first."""
        ahead = 0
        for other in self._in_turn():
            if other is place:
                break
            ahead += not other.keys.isdisjoint(place.keys)
        return ahead + 1

    # --- what happens

    def join(self, place: Place) -> None:
        place.joined = self.epoch
        insort(self._clients.setdefault(place.client, []), place, key=_NUMBER)
        self.wanted.update(place.keys)
        if place.is_patient:
            self.patient += 1
            self._groups.setdefault(place.keys, _Group()).add(place)

    def leave(self, place: Place) -> None:
        """Forget a place; what was kept for it is free."""
        places = self._clients.get(place.client, [])
        if place not in places:
            return
        places.remove(place)
        if not places:
            del self._clients[place.client]
        self._end_patience(place)
        for key in place.keys:
            self.wanted[key] -= 1
            if not self.wanted[key]:
                del self.wanted[key]
        if any(wall.first is place for wall in self._walls.values()):
            self.renew()

    def renew(self) -> None:
        """Begin an epoch: whatever was answered may be otherwise now."""
        self.epoch += 1
        self.alarm = inf
        self._walls.clear()
        self._doubts.clear()

    def next(self) -> Place | None:
        """Return who is to ask now, and for what (`asks`); None if nobody needs to."""
        if self._all_know():
            return None
        return next((place for place in self._in_turn() if self._may_ask(place)), None)

    def send_back(self, place: Place, answer: Wait | Exhausted) -> None:
        """Take in that there was nothing for a place in this epoch; it stays where it is."""
        place.asked = self.epoch
        if answer.until is not None:
            self.alarm = min(self.alarm, answer.until)
        keys = _keys(place)
        if not place.is_patient:
            number, since = self._doubts.get(_doubt(place), (place.number, inf))
            self._doubts[_doubt(place)] = min(place.number, number), min(place.since, since)
            return
        if not place.spent and place.asks_for_all and isinstance(answer, Exhausted):
            place.spent = True
            self._groups[keys].unspent -= 1
        if keys not in self._walls:
            self._walls[keys] = _Wall(place)
        self._walls[keys].note(place, answer)

    def serve(self, place: Place, reservation: Reservation) -> None:
        """Let a place go, and its client be the last to have another turn."""
        if not reservation.probe:  # a probe takes nothing that the one ahead could have had
            for wall in self._walls.values():
                wall.first.passed += reservation.target.key in wall.first.keys
        self.leave(place)
        if (places := self._clients.pop(place.client, None)) is not None:
            self._clients[place.client] = places

    def lose_patience(self, place: Place) -> None:
        """From now on a place waits for evidence only."""
        if place.is_patient:
            self._end_patience(place)
            place.deadline = -inf
            self.renew()

    # --- inner

    def _end_patience(self, place: Place) -> None:
        if not place.is_patient:
            return
        self.patient -= 1
        group = self._groups[place.keys]
        group.remove(place)
        if not group.tokens:
            del self._groups[place.keys]

    def _all_know(self) -> bool:
        """Whether walls stop everybody; it spares the look at each place, which is for the rest."""
        if self.patient < sum(map(len, self._clients.values())):
            return False
        walls = self._walls
        return all(
            keys in walls and walls[keys].stops_all(group) for keys, group in self._groups.items()
        )

    def _in_turn(self) -> Iterator[Place]:
        """Yield one place of each client, then the second of each, and so on."""
        for turn in zip_longest(*self._clients.values()):
            for place in turn:
                if place is not None:
                    yield place

    def _may_ask(self, place: Place) -> bool:
        if place.asked == self.epoch:
            return False
        if not place.is_patient:
            place.asks = place.targets
            doubt = self._doubts.get(_doubt(place))
            return doubt is None or place.number < doubt[0] or place.since < doubt[1]
        wall = self._walls.get(place.keys)
        if wall is not None and wall.stops(place):
            return False
        place.asks = self._not_kept_from(place)
        if not place.asks:
            return False
        wall = None if place.asks_for_all else self._walls.get(_keys(place))
        return wall is None or not wall.stops(place)

    def _not_kept_from(self, place: Place) -> tuple[Reservable, ...]:
        """Return the place's targets without those that are kept for a larger request."""
        kept = [wall.first for wall in self._walls.values() if self._goes_before(wall.first, place)]
        if not kept:
            return place.targets
        keys = frozenset[str]().union(*(larger.keys for larger in kept))
        return tuple(target for target in place.targets if target.key not in keys)

    def _goes_before(self, larger: Place, place: Place) -> bool:
        is_newcomer = place.joined == self.epoch
        return larger.tokens > place.tokens and (is_newcomer or larger.passed >= MOST_PASSED)


def soonest(blocks: Iterable[Block | None]) -> float:
    """Return the monotonic time of the soonest reset; -inf if it may be at any moment."""
    return min(map(_may_end, filter(None, blocks)), default=-inf)


def _may_end(block: Block) -> float:
    end = block.until if block.may_end is None else block.may_end
    return -inf if end is None else end


def _doubt(place: Place) -> tuple[frozenset[str], int, bool]:
    """Return who hears the same as a place, but for what it has heard since it came."""
    return place.keys, place.tokens, place.over > -inf


def _keys(place: Place) -> frozenset[str]:
    """Return the keys of what a place asks for."""
    if place.asks_for_all:
        return place.keys
    return frozenset(target.key for target in place.asks)
