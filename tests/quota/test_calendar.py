"""Calendars: their resets, where clocks are changed too."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell.quota.calendar import Calendar, Unit

HOUR = 3_600.0

PACIFIC = Calendar.parse("day", "00:00 America/Los_Angeles")
BERLIN = Calendar.parse("day", "02:30 Europe/Berlin")
CAIRO = Calendar.parse("day", "00:00 Africa/Cairo")
KATHMANDU = Calendar.parse("day", "00:00 Asia/Kathmandu")
LORD_HOWE = Calendar.parse("day", "02:15 Australia/Lord_Howe")
SAMOA = Calendar.parse("day", "00:00 Pacific/Apia")
NEWFOUNDLAND = Calendar.parse("day", "00:00 America/St_Johns")
MONTH = Calendar.parse("month", "00:00")
MONTH_IN_INDIA = Calendar.parse("month", "09:00 Asia/Kolkata")


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("calendar", "now", "last", "following"),
    [
        (PACIFIC, "2026-01-15 12:00", "2026-01-15 08:00", "2026-01-16 08:00"),
        (PACIFIC, "2026-01-15 07:59", "2026-01-14 08:00", "2026-01-15 08:00"),
        # The very moment belongs to the new day.
        (PACIFIC, "2026-01-15 08:00", "2026-01-15 08:00", "2026-01-16 08:00"),
        # Clocks on: a day of 23 hours. Clocks back: one of 25.
        (PACIFIC, "2026-03-08 12:00", "2026-03-08 08:00", "2026-03-09 07:00"),
        (PACIFIC, "2026-11-01 12:00", "2026-11-01 07:00", "2026-11-02 08:00"),
        # 02:30 does not exist when clocks go from 02:00 to 03:00: it is 03:30 then.
        (BERLIN, "2026-03-29 01:29", "2026-03-28 01:30", "2026-03-29 01:30"),
        (BERLIN, "2026-03-29 01:30", "2026-03-29 01:30", "2026-03-30 00:30"),
        # And when they go back it comes twice; the first one counts.
        (BERLIN, "2026-10-25 00:29", "2026-10-24 00:30", "2026-10-25 00:30"),
        (BERLIN, "2026-10-25 01:30", "2026-10-25 00:30", "2026-10-26 01:30"),
        # Midnight itself does not exist: the day begins with the change.
        (CAIRO, "2026-04-23 21:59", "2026-04-22 22:00", "2026-04-23 22:00"),
        (CAIRO, "2026-04-23 22:00", "2026-04-23 22:00", "2026-04-24 21:00"),
        # A quarter of an hour off, and a change by half an hour.
        (KATHMANDU, "2026-06-01 18:15", "2026-06-01 18:15", "2026-06-02 18:15"),
        (LORD_HOWE, "2026-10-03 15:44", "2026-10-02 15:45", "2026-10-03 15:45"),
        (LORD_HOWE, "2026-10-03 15:45", "2026-10-03 15:45", "2026-10-04 15:15"),
        # From 00:01 back to 23:01: midnight comes twice, and the date goes back in between.
        (NEWFOUNDLAND, "2006-10-29 02:30", "2006-10-29 02:30", "2006-10-30 03:30"),
        (NEWFOUNDLAND, "2006-10-29 03:00", "2006-10-29 02:30", "2006-10-30 03:30"),
        # 30 December 2011 was left out.
        (SAMOA, "2011-12-30 09:59", "2011-12-29 10:00", "2011-12-30 10:00"),
        (SAMOA, "2011-12-30 10:00", "2011-12-30 10:00", "2011-12-31 10:00"),
        (MONTH, "2026-01-31 23:59", "2026-01-01 00:00", "2026-02-01 00:00"),
        (MONTH, "2026-02-28 12:00", "2026-02-01 00:00", "2026-03-01 00:00"),
        (MONTH, "2028-02-29 12:00", "2028-02-01 00:00", "2028-03-01 00:00"),
        (MONTH, "2026-12-31 23:59", "2026-12-01 00:00", "2027-01-01 00:00"),
        # The first of the month, and before its hour.
        (MONTH_IN_INDIA, "2026-07-01 03:29", "2026-06-01 03:30", "2026-07-01 03:30"),
        (MONTH_IN_INDIA, "2026-07-01 03:30", "2026-07-01 03:30", "2026-08-01 03:30"),
    ],
)
def test_resets_follow_the_calendar(
    calendar: Calendar, now: str, last: str, following: str
) -> None:
    """A day has 23 to 25 hours, a month 28 to 31 days, as the clocks of its zone say."""
    assert utc(calendar.last_reset(unix(now))) == last
    assert utc(calendar.next_reset(unix(now))) == following


ZONES = [
    "UTC",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Santiago",
    "Europe/Berlin",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
]
CALENDARS = st.builds(
    Calendar,
    st.sampled_from(["day", "month"]),
    st.times().map(lambda at: time(at.hour, at.minute)),
    st.sampled_from(ZONES),
)
BACK = unix("2006-10-29 03:00")  # when Newfoundland's clocks went over midnight


@given(CALENDARS, st.floats(0.0, 2e9))
@example(NEWFOUNDLAND, BACK)
@example(Calendar("day", time(23, 30), "America/St_Johns"), BACK)
@example(Calendar("month", time(12), "Pacific/Apia"), unix("2011-12-30 09:59"))
@example(Calendar("day", time(12), "Pacific/Apia"), unix("2011-12-30 10:00"))
def test_every_moment_lies_between_two_resets(calendar: Calendar, now: float) -> None:
    """The last one is not after it, the next one is, and none lies between the two."""
    last, following = calendar.last_reset(now), calendar.next_reset(now)
    assert last <= now < following
    assert calendar.next_reset(last) == following
    assert calendar.last_reset(following) == following
    # Newfoundland's summer of 1988 had two hours to put back.
    assert following - last <= (24 if calendar.unit == "day" else 31 * 24) * HOUR + 2 * HOUR


@given(CALENDARS, st.floats(0.0, 2e9))
def test_a_reset_is_when_the_zones_clocks_show_its_time(calendar: Calendar, now: float) -> None:
    """Or, if no clock shows it on that day, as much later."""
    zone = ZoneInfo(calendar.zone)
    shown = datetime.fromtimestamp(calendar.next_reset(now), zone)
    if shown.time() != calendar.at:
        meant = datetime.combine(shown.date(), calendar.at)
        change = shown.replace(tzinfo=None) - meant
        before = datetime.fromtimestamp(shown.timestamp() - 24 * HOUR, zone)
        assert shown.utcoffset() == (before.utcoffset() or timedelta()) + change
    assert shown.fold == 0
    assert calendar.unit == "day" or shown.day == 1


@pytest.mark.parametrize(
    "reset", ["", "0", "24:00", "0:60", "1:00:00", "noon", "1:00 a b", "+1:00"]
)
def test_what_is_no_time_of_day_is_refused(reset: str) -> None:
    """It has hours from 0 to 23 and minutes, and one word for its zone."""
    with pytest.raises(ValueError, match="is not a time of day with its zone"):
        Calendar.parse("day", reset)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "America", "zone.tab", "../UTC", "/etc/passwd"])
def test_a_zone_must_be_known(zone: str) -> None:
    """Folders and other files of the data base are no zones, and no path leads out of it."""
    with pytest.raises(ValueError, match="is not a known time zone"):
        Calendar.parse("day", f"00:00 {zone}")


@pytest.mark.parametrize("unit", ["day", "month"])
def test_it_is_written_as_it_is_read(unit: Unit) -> None:
    """With its zone, also where that was left out."""
    calendar = Calendar.parse(unit, " 9:05 ")
    assert str(calendar) == "09:05 UTC"
    assert Calendar.parse(unit, str(calendar)) == calendar
    assert str(PACIFIC) == "00:00 America/Los_Angeles"


def test_utc_needs_no_data_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's midnight UTC depends on what is installed."""

    def missing(key: str) -> ZoneInfo:
        raise AssertionError(key)

    monkeypatch.setattr("stepwell.quota.calendar.ZoneInfo", missing)
    assert Calendar.parse("day", "00:00").next_reset(0.0) == 24 * HOUR
