from datetime import UTC, datetime, timedelta

import pytest

from stepwell.providers.dialects.calendars import (
    BEIJING,
    PACIFIC,
    every,
    first_of_month,
    midnight,
    monday,
    zone,
)

HOUR = 3_600.0


@pytest.mark.parametrize(
    ("at", "hours"),
    [
        (datetime(2026, 10, 2, 12, tzinfo=UTC), 19),  # summer: midnight is 07:00 UTC
        (datetime(2026, 12, 2, 12, tzinfo=UTC), 20),  # winter: 08:00 UTC
        (datetime(2026, 11, 1, 7, tzinfo=UTC), 25),  # the day on which the clocks go back
        (datetime(2026, 3, 8, 8, tzinfo=UTC), 23),  # the day on which they go forward
        (datetime(2026, 10, 2, 7, tzinfo=UTC), 24),  # midnight itself: the next one
    ],
)
def test_googles_day_ends_at_midnight_pacific_time(at: datetime, hours: float) -> None:
    """Also on days of 23 and 25 hours."""
    assert midnight(PACIFIC)(at.timestamp()) == hours * HOUR


def test_without_time_zones_a_day_ends_at_its_latest() -> None:
    """A system that has no zone files reads winter time: an hour late in summer, never early."""
    summer = datetime(2026, 7, 1)  # noqa: DTZ001 - a wall-clock time of that zone

    assert zone("Nowhere/At_All", hours=-8).utcoffset(summer) == timedelta(hours=-8)


@pytest.mark.parametrize(
    ("at", "hours"),
    [
        (datetime(2026, 10, 2, 12, tzinfo=UTC), 12),
        (datetime(2026, 10, 2, tzinfo=UTC), 24),
        (datetime(2026, 12, 31, 23, tzinfo=UTC), 1),
    ],
)
def test_a_day_of_utc_ends_at_its_midnight(at: datetime, hours: float) -> None:
    """Cloudflare's and OpenRouter's."""
    assert midnight(UTC)(at.timestamp()) == hours * HOUR


def test_beijing_is_eight_hours_ahead() -> None:
    """Its midnight is 16:00 UTC, all year round."""
    assert midnight(BEIJING)(datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()) == 4 * HOUR


def test_minutes_and_sessions_are_counted_from_the_epoch() -> None:
    """A minute ends at second :00; on the second itself a whole one lies ahead."""
    at = datetime(2026, 7, 26, 15, 59, 48, 689_000, tzinfo=UTC).timestamp()

    assert every(60.0)(at) == pytest.approx(11.311, abs=1e-6)
    assert every(60.0)(120.0) == 60.0
    assert every(18_000.0)(18_001.0) == 17_999.0


@pytest.mark.parametrize(
    ("at", "days"),
    [
        (datetime(2026, 10, 2, 12, tzinfo=UTC), 2.5),  # a Friday
        (datetime(2026, 10, 5, tzinfo=UTC), 7),  # Monday itself: the next one
        (datetime(2026, 10, 4, 12, tzinfo=UTC), 0.5),
    ],
)
def test_a_week_ends_on_monday(at: datetime, days: float) -> None:
    """At 00:00 UTC."""
    assert monday(at.timestamp()) == days * 24 * HOUR


@pytest.mark.parametrize(
    ("at", "days"),
    [
        (datetime(2026, 10, 31, 12, tzinfo=UTC), 0.5),
        (datetime(2026, 12, 31, tzinfo=UTC), 1),
        (datetime(2028, 2, 1, tzinfo=UTC), 29),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), 0.5),
    ],
)
def test_a_month_ends_with_the_calendars(at: datetime, days: float) -> None:
    """On the first of the next one, 00:00 UTC, whatever its length."""
    assert first_of_month(at.timestamp()) == days * 24 * HOUR
