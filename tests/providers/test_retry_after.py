from collections.abc import Mapping

import pytest

from stepwell.providers.dialects.durations import TWO_DAYS
from stepwell.providers.dialects.retry_after import http_date, parse_retry_after, stated_delay

NOW = 1_790_942_400.0  # Fri, 02 Oct 2026 12:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2),
        ("0", 0),
        ("8.12", 8.12),
        ("7.66", 7.66),
        ("-1", 0),
        ("578.016", 578.016),
        ("19014", 19_014),
        ("1m0s", 60),
        ("999999", TWO_DAYS),
        ("Fri, 02 Oct 2026 12:00:30 GMT", 30),
        ("Friday, 02-Oct-26 12:00:30 GMT", 30),
        ("Fri Oct  2 12:00:30 2026", 30),
        ("Fri, 02 Oct 2026 11:00:00 GMT", 0),
        ("Sat, 02 Oct 2027 12:00:00 GMT", TWO_DAYS),
    ],
)
def test_every_form_of_retry_after_is_read(value: str, seconds: float) -> None:
    """Whole and decimal seconds, lengths, and the three forms of an HTTP-date."""
    assert parse_retry_after(value, now=NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [None, "", "soon", "nan", "Fri", "12 August 2001", "Fri, 99 Foo 2026 12:00:30 GMT", "Fri, 0"],
)
def test_a_retry_after_that_cannot_be_read_is_absent(value: str | None) -> None:
    """Empty and garbage say nothing; they are not zero."""
    assert parse_retry_after(value, now=NOW) is None


@pytest.mark.parametrize("skew", [-3_600.0, 0.0, 7_200.0])
def test_a_date_is_measured_from_the_responses_own_date(skew: float) -> None:
    """A wrong clock, ours or theirs, does not change the delay if the response says its Date."""
    delay = parse_retry_after(
        "Fri, 02 Oct 2026 12:01:00 GMT", "Fri, 02 Oct 2026 12:00:20 GMT", now=NOW + skew
    )

    assert delay == 40


def test_a_broken_date_field_is_ignored() -> None:
    """Without a Date that can be read, our own clock measures."""
    assert parse_retry_after("Fri, 02 Oct 2026 12:00:30 GMT", "yesterday", now=NOW) == 30


@pytest.mark.parametrize(
    "text",
    ["Fri, 00 Oct 2026 12:00:00 GMT", "Fri, 02 Oct 2026 99:99:99 GMT", "Mon, ---------- 00:00:00"],
)
def test_a_date_that_names_no_moment_is_absent(text: str) -> None:
    """It has the shape of a date, but no calendar has it."""
    assert http_date(text) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1530", "retry-after": "2"}, 1.53),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1),
        ({"retry-after-ms": "0"}, 0),
        ({"retry-after-ms": "", "retry-after": "3"}, 3),
        ({"retry-after-ms": "-20"}, 0),
        ({"retry-after-ms": "fast"}, None),
        ({"retry-after": "Fri, 02 Oct 2026 12:00:09 GMT"}, 9),
        ({"x-ratelimit-timeremaining": "52220"}, 52_220),
        ({"retry-after": "5", "x-ratelimit-timeremaining": "52220"}, 5),
        ({"anthropic-ratelimit-unified-reset": "2026-10-02T13:00:00Z"}, 3_600),
        ({}, None),
    ],
)
def test_milliseconds_go_first_unless_they_are_zero(
    headers: Mapping[str, str], seconds: float | None
) -> None:
    """Zero milliseconds beside a second are not a permit to hammer."""
    assert stated_delay(headers, NOW) == seconds
