from datetime import time
from typing import Any

import pytest

from stepwell.quota.calendar import Calendar
from stepwell.quota.limit import Limit, Metric, Scope, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 requests/minute", Limit(Metric.REQUESTS, 30, 60.0)),
        ("6000 tokens/60s", Limit(Metric.TOKENS, 6000, 60.0)),
        ("10 requests/6s", Limit(Metric.REQUESTS, 10, 6.0)),
        ("14400 requests/day", Limit(Metric.REQUESTS, 14400, 86400.0)),
        ("1 request / sec", Limit(Metric.REQUESTS, 1, 1.0)),
        ("1_000 tokens/1m30s", Limit(Metric.TOKENS, 1000, 90.0)),
        ("1,000,000 Tokens/Hour", Limit(Metric.TOKENS, 1_000_000, 3600.0)),
        ("5 requests/250ms", Limit(Metric.REQUESTS, 5, 0.25)),
    ],
)
def test_a_limit_is_read_as_it_is_said(text: str, expected: Limit) -> None:
    """Amount, metric and window stand in one short phrase."""
    assert Limit.parse(text) == expected


def test_a_mapping_may_name_the_scope() -> None:
    """The long form says all four; a window may be a number of seconds."""
    fields = {"metric": "requests", "limit": 20, "window": "60s", "scope": "account"}
    assert Limit.parse(fields) == Limit(Metric.REQUESTS, 20, 60.0, Scope.ACCOUNT)
    assert Limit.parse({"metric": "tokens", "limit": "1_000", "window": 5}).window == 5.0


PACIFIC = Calendar("day", time(), "America/Los_Angeles")
MONTH = Calendar("month", time(), "UTC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "1000 requests/day from 00:00 America/Los_Angeles",
            Limit(Metric.REQUESTS, 1000, 86400.0, calendar=PACIFIC),
        ),
        (
            "5 tokens / 24h  From 9:30",
            Limit(Metric.TOKENS, 5, 86400.0, calendar=Calendar("day", time(9, 30))),
        ),
        ("1000000 tokens/month", Limit(Metric.TOKENS, 1_000_000, 2592000.0, calendar=MONTH)),
        (
            "7 requests/Month from 08:00 Asia/Kolkata",
            Limit(
                Metric.REQUESTS, 7, 2592000.0, calendar=Calendar("month", time(8), "Asia/Kolkata")
            ),
        ),
        ("7 requests/30 days", Limit(Metric.REQUESTS, 7, 2592000.0)),
    ],
)
def test_a_day_that_says_when_it_begins_is_the_calendars(text: str, expected: Limit) -> None:
    """So is a month always; its window is only its name."""
    assert Limit.parse(text) == expected


@pytest.mark.parametrize("window", ["day", "1d", "24h", 86400, " Day "])
def test_a_mapping_may_name_the_reset(window: Any) -> None:
    """A day may be written as any 24 hours are."""
    fields = {"metric": "requests", "limit": 5, "window": window, "scope": "account"}
    assert Limit.parse(fields).calendar is None
    assert Limit.parse({**fields, "reset": "00:00 America/Los_Angeles"}).calendar == PACIFIC
    assert Limit.parse({**fields, "window": "month"}).calendar == MONTH


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("5 requests/minute from 00:00", "only a day or a month begins at a time of day"),
        ("5 requests/2 days from 00:00", "only a day or a month begins at a time of day"),
        ("5 requests/fortnight from 00:00", "'fortnight' is not a duration"),
        ("5 requests/day from noon", "'noon' is not a time of day"),
        ("5 requests/month from 00:00 Mars", "'Mars' is not a known time zone"),
        ({"metric": "requests", "limit": 3, "window": "day", "reset": 0}, "'0' is not a time"),
    ],
)
def test_what_is_no_reset_is_refused_with_an_example(value: Any, wrong: str) -> None:
    """The example shows a day that says when it begins."""
    with pytest.raises(ValueError, match="1000 requests/day from 00:00 America") as refused:
        Limit.parse(value)
    assert wrong in str(refused.value)


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("30 reqs/minute", "'reqs' is no metric"),
        ("0 requests/minute", "at least 1"),
        ("1,00 requests/minute", "'1,00' is not a whole number"),
        ("1.5 requests/minute", "is not a limit"),
        ("30 requests", "is not a limit"),
        ("30 requests/fortnight", "'fortnight' is not a duration"),
        ("30 requests/0s", "longer than nothing"),
        ("30 requests/2 months", "'2 months' is not a duration"),
        ("30 requests/day from", "'day from' is not a duration"),
        (30, "30 is not a limit"),
        ({"metric": "requests", "limit": 3}, "'window' is missing"),
        ({"metric": "requests", "limit": 3, "window": "1m", "per": 1}, "unknown field 'per'"),
        ({"metric": "requests", "limit": True, "window": "1m"}, "True is not a whole number"),
        ({"metric": "requests", "limit": 2.5, "window": "1m"}, "2.5 is not a whole number"),
        ({"metric": "requests", "limit": 3, "window": None}, "None is not a duration"),
        ({"metric": "requests", "limit": 3, "window": "1m", "scope": "key"}, "'key' is no scope"),
    ],
)
def test_what_is_no_limit_is_refused_with_an_example(value: Any, wrong: str) -> None:
    """The message names the mistake and shows how a limit is written."""
    with pytest.raises(ValueError, match="30 requests/minute") as refused:
        Limit.parse(value)
    assert wrong in str(refused.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90s", 90.0),
        ("1.5h", 5400.0),
        ("1m30s", 90.0),
        ("1h 30m", 5400.0),
        ("250ms", 0.25),
        ("2 days", 172800.0),
        ("0s", 0.0),
        ("15", 15.0),
        (" 7S ", 7.0),
        (0.5, 0.5),
        (3, 3.0),
    ],
)
def test_durations_take_units_or_bare_seconds(value: str | float, seconds: float) -> None:
    """Units may be joined, largest first; a bare number is seconds."""
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "s",
        "1x",
        "30s1m",
        "1m1m",
        "-5s",
        "1e3",
        "5 s !",
        "inf",
        -1,
        float("nan"),
        1e999,
        True,
        None,
    ],
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    """Garbage, negative and endless durations are errors, never a guess."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(value)
