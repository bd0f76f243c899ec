from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.quota.bucket import Bucket, Course, least_bucket

poured = st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(1, 9)), max_size=12)
LATER = 500.0


def entries_of(gaps: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return what was poured in, with its moments."""
    moments = accumulate(gap for gap, _ in gaps)
    return [(moment, amount) for moment, (_, amount) in zip(moments, gaps, strict=True)]


@given(poured, st.floats(0.1, 5.0), st.floats(0.0, 250.0), st.floats(0.0, 50.0))
def test_a_course_is_that_of_the_bucket(
    gaps: list[tuple[float, int]], rate: float, until: float, later: float
) -> None:
    """At each moment it has in it what a bucket would that was filled until then."""
    entries = entries_of(gaps)
    bucket = Bucket()
    bucket.fill([entry for entry in entries if entry[0] <= until + 1e-9], rate)
    level = Course(entries, rate).level(until, until + later)
    assert level == pytest.approx(bucket.level(until + later, rate), abs=1e-9)


@given(poured, st.floats(0.5, 9.0), st.floats(1.0, 90.0), st.floats(0.0, 90.0))
def test_the_least_bucket_has_just_room(
    gaps: list[tuple[float, int]], more: float, window: float, later: float
) -> None:
    """In one of that amount it fits beside what is in there, and in no smaller one."""
    entries = entries_of(gaps)
    moment = later + (entries[-1][0] if entries else 0.0)
    amount = least_bucket(entries, more, moment, window)

    def room(amount: float) -> float:
        bucket, rate = Bucket(), amount / window
        bucket.fill(entries, rate)
        return amount - bucket.level(moment, rate) - more

    assert room(amount * 1.000001) >= -1e-6
    assert room(amount * 0.9) < 0


def test_what_a_course_begins_with_drains_as_well() -> None:
    """Of a bucket that was full when all before it was forgotten."""
    course = Course([(10.0, 3)], 1.0, (5.0, 8.0))
    assert course.level(7.0, 7.0) == 0.0, "nothing is known of that"
    assert course.level(9.0, 9.0) == 4.0
    assert course.level(10.0, 10.0) == 6.0
    assert course.level(10.0, LATER) == 0.0
    assert repr(course) == "<Course of 1 entries>"


def test_a_course_has_in_it_what_comes_at_that_moment() -> None:
    """However floats are rounded when a moment is moved by a window and back."""
    moment = 1000.128
    moved = moment + 24.0 - 24.0
    assert moved > moment
    assert Course([(moved, 2)], 1.0).level(moment, moment) == 2.0
