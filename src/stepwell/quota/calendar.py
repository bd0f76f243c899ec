"""Calendar: quota that is whole again at a time of day somewhere, not so many seconds later.

A day has 23, 24 or 25 hours then, a month 28 to 31 days. Two cases need a rule, for there is a
clock change at any hour somewhere, midnight included:

1. clocks are put on over the very time of a reset: it comes as much later by the new time;
2. they are put back over it, so that it comes twice: the first one counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Unit = Literal["day", "month"]

# By these lengths counters are named; where a period ends, only its calendar says.
WINDOWS: Final[dict[Unit, float]] = {"day": 86_400.0, "month": 30 * 86_400.0}

_RESET: Final = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)(?:\s+(\S+))?\s*", re.ASCII)

# Around a moment: a clock change over midnight makes its date one off, and a reset that it moves
# may fall on the next date. Two on each side are enough, even where a whole day was left out
# (Samoa, 30 December 2011).
_NEAR: Final = range(-2, 3)


@dataclass(frozen=True, slots=True)
class Calendar:
    """When the quota of a day, or of a month, is whole again.

    Attributes:
        unit: `day`; or `month`, which begins on its first.
        at: The time of day.
        zone: Whose clocks show it, such as `America/Los_Angeles`.
    """

    unit: Unit
    at: time = time()
    zone: str = "UTC"

    @classmethod
    def parse(cls, unit: Unit, reset: str) -> Self:
        """Read `00:00 America/Los_Angeles`; without a zone it is UTC.

        Raises:
            ValueError: It is no time of day, or the zone is not known.
        """
        found = _RESET.fullmatch(reset)
        if found is None:
            raise ValueError(f"{reset!r} is not a time of day with its zone")
        zone = found[3] or "UTC"
        try:
            _zone(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # the last two: it is no file's name
            raise ValueError(f"{zone!r} is not a known time zone") from None
        return cls(unit, time(int(found[1]), int(found[2])), zone)

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        return f"{self.at:%H:%M} {self.zone}"

    @property
    def window(self) -> float:
        """About how long a period is, in seconds: one day, or thirty."""
        return WINDOWS[self.unit]

    def last_reset(self, unix: float) -> float:
        """Return the Unix time of the latest reset that is not after `unix`."""
        return max(reset for reset in self._resets(unix) if reset <= unix)

    def next_reset(self, unix: float) -> float:
        """Return the Unix time of the first reset after `unix`."""
        return min(reset for reset in self._resets(unix) if reset > unix)

    def _resets(self, unix: float) -> Iterator[float]:
        zone = _zone(self.zone)
        today = datetime.fromtimestamp(unix, zone).date()
        for distance in _NEAR:
            day = self._first_day(today, distance)
            # With `fold` 0, as a time has it, the arithmetic follows the two rules above.
            yield datetime.combine(day, self.at, zone).timestamp()

    def _first_day(self, today: date, distance: int) -> date:
        """Return the day on which the period of `today` begins, or one so many periods later."""
        if self.unit == "day":
            return today + timedelta(days=distance)
        year, month = divmod(12 * today.year + today.month - 1 + distance, 12)
        return date(year, month + 1, 1)


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # that one needs no zone data
