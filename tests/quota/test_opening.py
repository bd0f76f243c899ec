from math import inf

import pytest

from stepwell.quota.opening import Opening


@pytest.mark.parametrize(
    ("since", "now", "holds"),
    [
        (100.0, 100.0, True),  # surely in 20 s
        (90.0, 100.0, True),
        (89.0, 100.0, False),
        (89.0, 119.0, True),  # but now it surely comes soon
    ],
)
def test_who_is_held(since: float, now: float, holds: bool) -> None:
    """It is worth a wait while room surely comes within thirty seconds of its search, or soon."""
    assert Opening(90.0, 120.0).holds(since, now) is holds


@pytest.mark.parametrize(
    ("now", "asked_at"),
    [(90.0, 105.0), (110.0, 105.0), (119.5, 120.0), (121.0, 120.0)],
)
def test_it_is_asked_for_in_the_middle_or_at_the_end(now: float, asked_at: float) -> None:
    """Either answer halves what is not known; the last second is waited out."""
    assert Opening(90.0, 120.0).asked_at(now) == asked_at


def test_nobody_knows_since_when() -> None:
    """Then it may be asked for at once."""
    assert Opening(-inf, 120.0).asked_at(90.0) == -inf


def test_several_limits_have_room_when_the_last_one_has() -> None:
    """And none has while one of them surely has not, nor is there one where nothing counts."""
    first, second = Opening(90.0, 120.0), Opening(100.0, 110.0)
    assert Opening.of_all([first, second]) == Opening(100.0, 120.0)
    assert Opening.of_all([first, None]) is None
    assert Opening.of_all([]) is None
