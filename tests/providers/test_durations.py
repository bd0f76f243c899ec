import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.providers.dialects.durations import TWO_DAYS, clamp, count, duration, number, reset_in

NOW = 1_790_942_400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7m12s", 432),
        ("12ms", 0.012),
        ("1m0s", 60),
        ("2m59.56s", 179.56),
        ("6m0s", 360),
        ("1h30m", 5_400),
        ("24h0m0s", 86_400),
        ("1d2h", 93_600),
        ("825ms", 0.825),
        ("350us", 0.00035),
        ("350µs", 0.00035),
        ("350μs", 0.00035),
        ("15ns", 15e-9),
        ("0s", 0),
        ("1.984999999s", 1.984999999),
    ],
)
def test_a_length_with_units_is_read_as_go_prints_it(text: str, seconds: float) -> None:
    """Compound, fractional and tiny lengths are read exactly; `ms` is never minutes."""
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "60", "abc5sdef", "5x", "s", "5", "1..2s", "5 s", "-5s", "m5"]
)
def test_what_is_no_length_is_absent(text: str) -> None:
    """Garbage around or inside a length makes it absent, never a guess and never zero."""
    assert duration(text) is None


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59_999))
def test_a_printed_length_reads_back(hours: int, minutes: int, milliseconds: int) -> None:
    """Reading is the inverse of printing."""
    text = f"{hours}h{minutes}m{milliseconds / 1000}s"

    assert duration(text) == pytest.approx(hours * 3_600 + minutes * 60 + milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("26.28409242630005", 26.28409242630005),
        ("0", 0),
        ("-3", 0),
        ("3m6s", 186),
        (str(int(NOW) + 17), 17),
        (str(int(NOW * 1000) + 41_500), 41.5),
        (str(int(NOW) - 5), 0),
        ("999999", TWO_DAYS),
        ("9" * 20, TWO_DAYS),
        ("2026-10-02T12:00:41Z", 41),
        ("2026-10-02T14:00:00.5+02:00", 0.5),
        ("2026-10-02T11:00:00Z", 0),
    ],
)
def test_a_reset_is_told_apart_by_its_size(text: str, seconds: float) -> None:
    """Seconds from now, Unix seconds and milliseconds lie far enough apart; a date shows itself."""
    assert reset_in(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", [None, "", "soon", "nan", "inf", "1e5", "1_0", "٣", "2026-99-99T12:00:00Z"]
)
def test_a_reset_that_cannot_be_read_is_absent(text: str | None) -> None:
    """What Python would accept as a number is still not one in a header."""
    assert reset_in(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("14400", 14_400),
        ("0", 0),
        ("-4", 0),
        ("10.5", 10),
        ("100, 100;w=60", 100),
        ("100;w=60", 100),
        ("", None),
        (None, None),
        ("unlimited", None),
        ("12abc", None),
        ("10,000", None),
        ("9" * 40, None),
    ],
)
def test_a_counter_is_a_whole_number_not_below_zero(text: str | None, value: int | None) -> None:
    """Zero is a value, a negative number is zero, and garbage is absent."""
    assert count(text) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5.0), ("5.5", 5.5), (True, None), (float("nan"), None), (10**400, None), ([], None)],
)
def test_a_number_from_json_is_checked_before_it_is_used(
    value: object, expected: float | None
) -> None:
    """Booleans, NaN and numbers beyond floats are no numbers."""
    assert number(value) == expected


@given(st.floats(allow_nan=False))
def test_a_told_time_lies_between_now_and_two_days(seconds: float) -> None:
    """Nothing a provider says benches a target for longer, or in the past."""
    assert 0 <= clamp(seconds) <= TWO_DAYS
