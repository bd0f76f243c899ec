"""Tab: what happens at a target with plenty of room, noted to be booked later.

Where there is room for many calls more, nobody needs to know after each of them how much is left. So
what happens there is only noted, and booked when somebody asks, in its order and with its own times:
the books are then as if it had been booked at once. That costs about half, as books that are opened
for a single entry take longer to open than to write.

The plenty holds for so many calls and tokens, and for so long. It is much less than what there is,
as others may use the same quota. Of what answers tell of that the last one counts.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from math import inf
from typing import Final, Protocol, TypeAlias

from stepwell.quota.reading import Reading

# Calls that one tab admits. More save little, and the one who asks next waits until they are booked.
CALLS: Final = 32
# There must be room for so many times that.
PLENTY: Final = 4
# Seconds for which it admits any: about as often as readings tell something new of a minute.
LIFE: Final = 0.25
# Seconds within which another call must follow for it to be worth opening one.
OFTEN: Final = 0.05


class Event(IntEnum):
    """What may be noted of a call."""

    TAKEN = 0  # its amount are the tokens that were estimated
    ANSWERED = 1
    ENDED = 2  # its amount are the tokens that it came to


# The event, the call's number, an amount, when the call was sent, when this happened.
Entry: TypeAlias = tuple[Event, int, int, float, float]

_TAKEN, _ANSWERED, _ENDED = Event.TAKEN, Event.ANSWERED, Event.ENDED


class Books(Protocol):
    """Where it is booked."""

    tab: "Tab | None"


class Tab:
    """The tab of one target.

    Args:
        pools: What it is counted in; nobody else may have a tab open there.
        book: Books entries, in their order.
        read: Believes readings, as they came with an answer.

    Attributes:
        is_open: What happens is to be noted here.
    """

    __slots__ = (
        "_book",
        "_calls",
        "_entries",
        "_pools",
        "_read",
        "_readings",
        "_tokens",
        "_told",
        "_until",
        "is_open",
    )

    def __init__(
        self,
        pools: Sequence[Books],
        book: Callable[[Sequence[Entry]], object],
        read: Callable[[int, Iterable[Reading], float, float], object],
    ) -> None:
        self._pools = pools
        self._book = book
        self._read = read
        self._entries: list[Entry] = []
        self._readings: Sequence[Reading] = ()
        self._told = 0  # so many entries were there when they came
        self._calls = self._tokens = 0
        self._until = -inf
        self.is_open = False

    def __repr__(self) -> str:
        return f"<Tab for {self._calls} calls, {len(self._entries)} entries>"

    def open(self, now: float, tokens: int) -> None:
        """Admit `CALLS` calls of `tokens` on average."""
        self._calls, self._tokens, self._until = CALLS, CALLS * tokens, now + LIFE
        self.is_open = True
        for pool in self._pools:
            pool.tab = self

    def admits(self, now: float, tokens: int) -> bool:
        """Tell whether there is room for one more call."""
        return self._calls > 0 and tokens <= self._tokens and now < self._until

    def take(self, call: int, tokens: int, now: float) -> None:
        """A call that was admitted is sent."""
        self._calls -= 1
        self._tokens -= tokens
        self._entries.append((_TAKEN, call, tokens, now, now))

    def answer(self, call: int, readings: Sequence[Reading], sent: float, now: float) -> None:
        """The answer to a call has begun, which was served."""
        if readings:
            self._readings, self._told = readings, len(self._entries)
        self._entries.append((_ANSWERED, call, 1, sent, now))

    def end(self, call: int, taken: int, tokens: int, sent: float, now: float) -> None:
        """A call that was answered has ended, and came to `tokens` where some were taken for it."""
        if tokens > taken:
            self._tokens -= tokens - taken
        self._entries.append((_ENDED, call, tokens, sent, now))

    def post(self) -> None:
        """Book everything, and admit nobody any more."""
        entries, readings, told = self._entries, self._readings, self._told
        self._entries, self._readings, self._calls, self.is_open = [], (), 0, False
        for pool in self._pools:
            pool.tab = None
        if readings:
            _, call, _, sent, now = entries[told]
            self._book(entries[:told])
            self._read(call, readings, sent, now)
            entries = entries[told:]
        self._book(entries)
