"""Period: the day or month that is being counted, on a machine whose clock may be set.

Calendar resets are the one thing in this room that depends on Unix time, and only `Wall` turns one
time into the other. What was counted belongs to the latest period that was ever seen: a clock that
is put back over a reset, as a correction by half a second may do at midnight, does not bring the
earlier period again, nor free the quota once more when it gets there the second time. Only a clock
that was wrong by more than a whole period is not held to what it said.
"""

from math import inf
from typing import Final

from stepwell.quota.calendar import Calendar

# Unix time as a float has steps of a quarter of a microsecond; a reset must not come one too early.
_ROUNDED: Final = 1e-6


class Wall:
    """The wall clock beside the monotonic one, as the keeper last read both.

    Attributes:
        ahead: Unix time less monotonic time, in seconds; the keeper sets it.
    """

    __slots__ = ("ahead",)

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def __repr__(self) -> str:
        return f"<Wall {self.ahead:g}s ahead>"

    def unix(self, now: float) -> float:
        """Return the Unix time of a monotonic one."""
        return now + self.ahead

    def monotonic(self, unix: float) -> float:
        """Return a monotonic time at which that Unix time has surely come, a microsecond late."""
        return unix - self.ahead + _ROUNDED


class Period:
    """The latest period of a calendar that was seen.

    Attributes:
        calendar: Whose period it is.
        began: Unix time of its beginning; -inf before the first one.
        ends: Unix time of the reset that ends it; -inf likewise.
    """

    __slots__ = ("began", "calendar", "ends")

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.began = -inf
        self.ends = -inf

    def __repr__(self) -> str:
        return f"<Period of a {self.calendar.unit} from {self.calendar}, until {self.ends:.0f}>"

    def holds(self, unix: float) -> bool:
        """Whether what was counted in it still counts at a Unix time."""
        return self.began - self.calendar.window <= unix < self.ends

    def next_reset(self, unix: float) -> float:
        """Return the Unix time at which what counts at `unix` is free again."""
        return self.ends if self.holds(unix) else self.calendar.next_reset(unix)

    def turn(self, unix: float) -> bool:
        """Go on to the period of a Unix time, unless this one holds; return whether it went on."""
        if self.holds(unix):
            return False
        self.began = self.calendar.last_reset(unix)
        self.ends = self.calendar.next_reset(unix)
        return True
