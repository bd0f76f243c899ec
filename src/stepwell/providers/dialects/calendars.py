"""When a provider's windows end, where they follow a calendar and not the first request.

Each function takes the Unix time of now and returns the seconds until the end. Whose calendar it is
stands with the provider or the sentence that names the window (`sayings`).
"""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stepwell.providers.dialects.durations import DAY, HOUR, MINUTE, MONTH, WEEK

Ends: TypeAlias = Callable[[float], float]
"""From Unix time to the seconds that are left of the window."""


def zone(name: str, *, hours: int) -> tzinfo:
    """The time zone of that name; on a system without time zones, the offset in winter.

    With it a day ends right in winter and an hour late in summer, never early.
    """
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        return timezone(timedelta(hours=hours))


PACIFIC = zone("America/Los_Angeles", hours=-8)
BEIJING = timezone(timedelta(hours=8))  # no summer time since 1991


def every(seconds: float) -> Ends:
    """Windows of one length, counted from the Unix epoch: minutes and hours of any clock."""

    def left(now: float) -> float:
        return seconds - now % seconds

    return left


def midnight(where: tzinfo) -> Ends:
    """Days end at midnight there; some of them have 23 or 25 hours."""

    def left(now: float) -> float:
        tomorrow = datetime.fromtimestamp(now, where).date() + timedelta(days=1)
        return datetime.combine(tomorrow, time(), where).timestamp() - now

    return left


def monday(now: float) -> float:
    """Weeks end on Monday, 00:00 UTC."""
    today = datetime.fromtimestamp(now, UTC).date()
    following = today + timedelta(days=7 - today.weekday())
    return datetime.combine(following, time(), UTC).timestamp() - now


def first_of_month(now: float) -> float:
    """Months end on the first of the next one, 00:00 UTC."""
    today = datetime.fromtimestamp(now, UTC).date()
    following = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.combine(following, time(), UTC).timestamp() - now


BY_THE_CLOCK = {
    MINUTE: every(MINUTE),
    HOUR: every(HOUR),
    DAY: midnight(UTC),
    WEEK: monday,
    MONTH: first_of_month,
}
"""Windows, in seconds, that begin and end as on a clock that shows UTC."""
