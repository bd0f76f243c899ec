"""Traffic: what is on its way to a provider and may not have been counted there yet.

Calls are known by their number, which rises with every reservation; a lower number is an older
call.
"""

from bisect import bisect_right
from typing import TypeAlias

# A call that hangs must not make us remember all that passed it by. Those beyond are forgotten,
# oldest first: only a reading of the hanging call would miss them, and by then newer readings have
# come.
_PASSED = 1024


# A call that was served: its number, what it came to, when it was sent, and when the provider must
# have counted it.
Served: TypeAlias = tuple[int, int, float, float]


class Traffic:
    """Amounts of one metric in flight, and those that overtook an older call.

    Attributes:
        amount: The sum in flight.
    """

    __slots__ = ("_costs", "_flying", "_passed", "amount")

    def __init__(self) -> None:
        self.amount = 0
        self._flying: dict[int, int] = {}  # rising numbers, because calls start in their order
        self._passed: list[int] = []  # calls that ended before an older one did, rising
        self._costs: list[int] = []  # what each of them came to

    def __len__(self) -> int:
        return len(self._flying)

    def __repr__(self) -> str:
        return f"<Traffic {len(self._flying)} calls, {self.amount} in flight>"

    def start(self, call: int, amount: int) -> None:
        self._flying[call] = amount
        self.amount += amount

    def end(self, call: int, cost: int) -> int:
        """Book what a call came to, and return by how much that exceeds what it took off with."""
        flying, passed = self._flying, self._passed
        taken = flying.pop(call)
        self.amount -= taken
        oldest = next(iter(flying)) if flying else call + 1
        if oldest < call:
            place = bisect_right(passed, call) if passed and call < passed[-1] else len(passed)
            passed.insert(place, call)
            self._costs.insert(place, cost)
            if len(passed) > _PASSED:
                del passed[0], self._costs[0]
        elif passed:
            self._forget()
        return cost - taken

    def cancel(self, call: int) -> int:
        """Forget a call as if it had never been, and return the amount it had taken."""
        taken = self._flying.pop(call)
        self.amount -= taken
        if self._passed:
            self._forget()
        return taken

    def has_older(self, call: int) -> bool:
        return bool(self._flying) and self._oldest() < call

    def uncounted(self, call: int) -> int:
        """Return what a reading in this call's answer may not contain yet.

        That is everything else in flight, and all that started after this call and has ended since.
        """
        own = self.amount - self._flying.get(call, 0)
        if not self._passed or self._passed[-1] < call:
            return own
        return own + sum(self._costs[bisect_right(self._passed, call) :])

    def _oldest(self) -> int:
        return next(iter(self._flying))

    def _forget(self) -> None:
        gone = bisect_right(self._passed, self._oldest()) if self._flying else len(self._passed)
        del self._passed[:gone], self._costs[:gone]
