"""Traffic: what is on its way to a provider and may not have been counted there yet.

Calls are known by their number, which rises with every reservation; a lower number is an older
call.
"""

from bisect import bisect_right

# A call that hangs must not make us remember all that passed it by. Those beyond are forgotten,
# oldest first: only a reading of the hanging call would miss them, and by then newer readings have
# come.
_PASSED = 1024


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
        taken = self.cancel(call)
        if self._flying and self._oldest() < call:
            place = bisect_right(self._passed, call)
            self._passed.insert(place, call)
            self._costs.insert(place, cost)
            del self._passed[:-_PASSED], self._costs[:-_PASSED]
        return cost - taken

    def cancel(self, call: int) -> int:
        """Forget a call as if it had never been, and return the amount it had taken."""
        taken = self._flying.pop(call)
        self.amount -= taken
        self._forget()
        return taken

    def has_older(self, call: int) -> bool:
        return bool(self._flying) and self._oldest() < call

    def uncounted(self, call: int) -> int:
        """Return what a reading in this call's answer may not contain yet.

        That is everything else in flight, and all that started after this call and has ended since.
        """
        since = bisect_right(self._passed, call)
        return self.amount - self._flying.get(call, 0) + sum(self._costs[since:])

    def _oldest(self) -> int:
        return next(iter(self._flying))

    def _forget(self) -> None:
        if not self._passed:
            return
        gone = bisect_right(self._passed, self._oldest()) if self._flying else len(self._passed)
        del self._passed[:gone], self._costs[:gone]
