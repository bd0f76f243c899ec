"""Periods: what was counted, beside a clock that may be set."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from stepwell.quota.calendar import Calendar
from stepwell.quota.period import Period, Wall

HOUR = 3_600.0
DAY = 24 * HOUR
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp()
MIDNIGHT = NOON + 12 * HOUR


def day() -> Period:
    """Return the period in which `NOON` lies."""
    period = Period(Calendar("day"))
    period.turn(NOON)
    return period


def test_a_period_ends_with_its_reset() -> None:
    """At the very moment, and the next one begins there."""
    period = day()
    assert (period.began, period.ends) == (MIDNIGHT - DAY, MIDNIGHT)
    assert period.holds(MIDNIGHT - 0.001)
    assert not period.turn(MIDNIGHT - 0.001)
    assert not period.holds(MIDNIGHT)
    assert period.turn(MIDNIGHT)
    assert (period.began, period.ends) == (MIDNIGHT, MIDNIGHT + DAY)


def test_before_the_first_call_there_is_none() -> None:
    """Nothing is held, and the calendar says when the next one begins."""
    period = Period(Calendar("day"))
    assert not period.holds(NOON)
    assert period.next_reset(NOON) == MIDNIGHT


def test_questions_turn_nothing() -> None:
    """After its end a period is only over, until something is counted again."""
    period = day()
    assert period.next_reset(MIDNIGHT) == MIDNIGHT + DAY
    assert not period.holds(MIDNIGHT)
    assert period.ends == MIDNIGHT


def test_a_clock_put_back_over_a_reset_frees_no_quota_twice() -> None:
    """What was counted after the first midnight is counted until the end of that day."""
    period = day()
    assert period.turn(MIDNIGHT + 0.3)
    for corrected in (MIDNIGHT - 0.2, MIDNIGHT, MIDNIGHT + 1.0):
        assert not period.turn(corrected)
        assert period.next_reset(corrected) == MIDNIGHT + DAY


def test_a_clock_that_was_years_ahead_is_not_held_to_it() -> None:
    """Or quota would be spent for years when it is set right."""
    period = day()
    assert period.turn(NOON + 3650 * DAY)
    assert not period.holds(NOON)
    assert period.next_reset(NOON) == MIDNIGHT
    assert period.turn(NOON)
    assert period.ends == MIDNIGHT


def test_a_machine_that_starts_with_an_old_clock_goes_on() -> None:
    """It counts in whatever day it believes, and anew as soon as it knows better."""
    period = Period(Calendar("month"))
    assert period.turn(0.0)
    assert period.turn(NOON)
    assert period.ends == datetime(2026, 2, 1, tzinfo=UTC).timestamp()


def test_a_remembered_period_holds_until_it_ends() -> None:
    """Its beginning is all that has to be written down."""
    again = Period(Calendar("day"))
    again.turn(day().began)
    assert not again.turn(NOON)
    assert again.turn(MIDNIGHT)


@given(st.floats(0.0, 1e8), st.floats(-1e8, 4e9), st.floats(0.0, 4e9))
def test_a_reset_has_come_when_its_monotonic_time_has(
    now: float, ahead: float, reset: float
) -> None:
    """Although floats round: who waits for it need not wait again. And it comes at once."""
    wall = Wall(ahead)
    assert wall.unix(wall.monotonic(reset)) >= reset
    assert abs(wall.monotonic(wall.unix(now)) - now) < 1e-5


def test_both_say_what_they_are() -> None:
    """For a debugger: whose period, and how far the clocks are apart."""
    assert repr(day()) == f"<Period of a day from 00:00 UTC, until {MIDNIGHT:.0f}>"
    assert repr(Wall(1.5)) == "<Wall 1.5s ahead>"
