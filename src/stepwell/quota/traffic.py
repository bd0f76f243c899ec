"""Traffic: what is on its way to a provider and may not have been counted there yet.

Calls are known by their number, which rises with every reservation; a lower number is an older
call.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import TypeAlias

# A call that hangs must not make us remember all that passed it by. Those beyond are forgotten,
# oldest first: only a reading of the hanging call would miss them, and by then newer readings have
# come.
_PASSED = 1024


# A call that is sent: its number and what it may come to.
Taken: TypeAlias = tuple[int, int]
# A call that was served: its number, what it came to, when it was sent, and when the provider must
# have counted it.
Served: TypeAlias = tuple[int, int, float, float]


class Traffic:
    """Amounts of one metric in flight, and those that overtook an older call.

    Attributes:
        amount: The sum in flight.
        flying: What each call in flight takes; numbers rise, because calls start in their order.
    """

    __slots__ = ("_costs", "_passed", "amount", "flying")

    def __init__(self) -> None:
        self.amount = 0
        self.flying: dict[int, int] = {}
        self._passed: list[int] = []  # calls that ended before an older one did, rising
        self._costs: list[int] = []  # what each of them came to

    def __len__(self) -> int:
        return len(self.flying)

    def __repr__(self) -> str:
        return f"<Traffic {len(self.flying)} calls, {self.amount} in flight>"

    def start(self, call: int, amount: int) -> None:
        self.flying[call] = amount
        self.amount += amount

    def start_all(self, calls: Iterable[int], amounts: Sequence[int]) -> None:
        self.flying.update(zip(calls, amounts, strict=True))
        self.amount += sum(amounts)

    def end(self, calls: Iterable[Served]) -> list[tuple[int, int]]:
        """Book what calls came to, in the order in which they ended.

        Returns:
            By how much each exceeds what it took off with, beside its number.
        """
        flying, passed, costs = self.flying, self._passed, self._costs
        corrections = []
        for call, cost, _, _ in calls:
            taken = flying.pop(call)
            self.amount -= taken
            corrections.append((call, cost - taken))
            if flying and next(iter(flying)) < call:
                place = len(passed) if not passed or passed[-1] < call else bisect(passed, call)
                passed.insert(place, call)
                costs.insert(place, cost)
        if passed:
            self._forget()
        return corrections

    def cancel(self, call: int) -> int:
        """Forget a call as if it had never been, and return the amount it had taken."""
        taken = self.flying.pop(call)
        self.amount -= taken
        if self._passed:
            self._forget()
        return taken

    def has_older(self, call: int) -> bool:
        return bool(self.flying) and self._oldest() < call

    def uncounted(self, call: int) -> int:
        """Return what a reading in this call's answer may not contain yet.

        That is everything else in flight, and all that started after this call and has ended since.
        """
        own = self.amount - self.flying.get(call, 0)
        if not self._passed or self._passed[-1] < call:
            return own
        return own + sum(self._costs[bisect(self._passed, call) :])

    def _oldest(self) -> int:
        return next(iter(self.flying))

    def _forget(self) -> None:
        passed = self._passed
        gone = bisect(passed, self._oldest()) if self.flying else len(passed)
        gone = max(gone, len(passed) - _PASSED)
        if gone:
            del passed[:gone], self._costs[:gone]
