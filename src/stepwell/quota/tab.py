"""Tab: what happens at a target with plenty of room, noted to be booked later.

Where there is room for many calls more, nobody needs to know after each of them how much is left. So
what happens there is only noted, and booked when somebody asks, in its order and with its own times:
the books are then as if it had been booked at once. That costs about half, as books that are opened
for a single entry take longer to open than to write.

The plenty holds for so many calls and tokens, and for so long. It is much less than what there is,
as others may use the same quota. Of what answers tell of that the last one counts.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol

from stepwell.quota.reading import Reading
from stepwell.quota.traffic import Served, Taken

# Calls that one tab admits. More save little, and the one who asks next waits until they are booked.
CALLS: Final = 32
# There must be room for so many times that.
PLENTY: Final = 4
# Seconds for which it admits any: about as often as readings tell something new of a minute.
LIFE: Final = 0.25
# Seconds within which another call must follow for it to be worth opening one.
OFTEN: Final = 0.05


class Page(NamedTuple):
    """What was noted of calls that were served, each list in the order of time."""

    taken: list[Taken]
    answered: list[Served]  # requests, which each come to 1
    ended: list[Served]


class Books(Protocol):
    """Where it is booked."""

    tab: "Tab | None"


class Tab:
    """The tab of one target.

    Args:
        pools: What it is counted in; nobody else may have a tab open there.
        book: Books a page.
        read: Believes readings, as they came with an answer.

    Attributes:
        is_open: What happens is to be noted here.
    """

    __slots__ = (
        "_book",
        "_calls",
        "_page",
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
        book: Callable[[Page], object],
        read: Callable[[int, Iterable[Reading], float, float], object],
    ) -> None:
        self._pools = pools
        self._book = book
        self._read = read
        self._page = Page([], [], [])
        self._readings: Sequence[Reading] = ()
        self._told = (0, 0, 0)  # so much was on the page when they came
        self._calls = self._tokens = 0
        self._until = -inf
        self.is_open = False

    def __repr__(self) -> str:
        return f"<Tab for {self._calls} calls, {len(self._page.taken)} noted>"

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
        self._page.taken.append((call, tokens))

    def answer(self, call: int, readings: Sequence[Reading], sent: float, now: float) -> None:
        """The answer to a call has begun, which was served."""
        taken, answered, ended = self._page
        if readings:
            self._readings, self._told = readings, (len(taken), len(answered), len(ended))
        answered.append((call, 1, sent, now))

    def end(self, call: int, taken: int, tokens: int, sent: float, now: float) -> None:
        """A call that was answered has ended, and came to `tokens` where some were taken for it."""
        if tokens > taken:
            self._tokens -= tokens - taken
        self._page.ended.append((call, tokens, sent, now))

    def post(self) -> None:
        """Book everything, and admit nobody any more."""
        page, readings, told = self._page, self._readings, self._told
        self._page, self._readings, self._calls, self.is_open = Page([], [], []), (), 0, False
        for pool in self._pools:
            pool.tab = None
        if readings:
            before, page = _split(page, told)
            self._book(before)
            call, _, sent, now = page.answered[0]
            self._read(call, readings, sent, now)
        self._book(page)


def _split(page: Page, at: tuple[int, int, int]) -> tuple[Page, Page]:
    taken, answered, ended = at
    before = Page(page.taken[:taken], page.answered[:answered], page.ended[:ended])
    return before, Page(page.taken[taken:], page.answered[answered:], page.ended[ended:])
