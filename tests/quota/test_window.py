from math import inf

import pytest

from stepwell.quota.window import SlidingWindow


def test_an_entry_leaves_after_exactly_the_window() -> None:
    """It counts until the window has passed, and not at that moment any more."""
    window = SlidingWindow(6.0)
    window.add(3, 10.0)
    assert window.used(15.999) == 3
    assert window.used(16.0) == 0


def test_a_question_changes_nothing() -> None:
    """Asking about a later time does not make an earlier answer different."""
    window = SlidingWindow(6.0)
    window.add(1, 0.0)
    window.add(1, 3.0)
    assert [window.used(now) for now in (20.0, 8.0, 3.0)] == [0, 1, 2]


def test_falls_to_names_the_moment_of_enough_room() -> None:
    """A level is reached when the entries above it have left; a negative one never."""
    window = SlidingWindow(60.0)
    for now in (0.0, 1.0, 2.0):
        window.add(10, now)
    assert window.falls_to(20) == 60.0
    assert window.falls_to(19) == 61.0
    assert window.falls_to(0) == 62.0
    assert window.falls_to(-1) == inf
    assert window.falls_to(30) == -inf


def test_a_thousand_entries_are_exact() -> None:
    """Up to 1,000 entries keep their own times, so that limits of that size are exact."""
    window = SlidingWindow(60.0)
    for number in range(1000):
        window.add(1, number * 0.01)
    assert [window.used(60.0 + number * 0.01) for number in (0, 1, 500)] == [999, 998, 499]


def test_many_entries_cost_bounded_memory_and_err_to_the_safe_side() -> None:
    """Beyond, entries of one 256th of the window merge: never too few, and late by 0.4 % at most."""
    window, step, seconds = SlidingWindow(60.0), 0.001, 60.0
    for number in range(200_000):
        window.add(1, number * step)
    assert len(window._leaves) < 2000
    end = 200.0
    for later in (0.0, 7.3, 31.0, 59.0):
        exact = sum(1 for _ in range(round((end - seconds + later) / step), 200_000))
        allowed = seconds / 256 / step
        assert exact <= window.used(end + later) <= exact + allowed + 1
    assert window.used(end + seconds) == 0


def test_nothing_is_no_entry() -> None:
    """A cost of nothing takes no memory."""
    window = SlidingWindow(60.0)
    window.add(0, 1.0)
    assert repr(window) == "<SlidingWindow 60s, 0 entries>"


def test_between_sums_what_was_counted_in_a_stretch() -> None:
    """After the one moment, and at the other or before it."""
    window = SlidingWindow(60.0, keep=60.0)
    for now, amount in ((0.0, 1), (1.0, 2), (2.0, 4)):
        window.add(amount, now)
    assert window.between(0.0, 1.0) == 2
    assert window.between(-inf, 2.0) == 7
    assert window.between(1.0, inf) == 4
    assert window.between(5.0, inf) == 0


def test_crosses_names_the_entry_that_would_be_too_many() -> None:
    """After it at most so much was counted; also as it stood at an earlier moment."""
    window = SlidingWindow(60.0)
    for now, amount in ((0.0, 1), (1.0, 2), (2.0, 4)):
        window.add(amount, now)
    assert [window.crosses(level) for level in (7, 6, 4, 3, 0)] == [-inf, 0.0, 1.0, 2.0, 2.0]
    assert [window.crosses(level, 1.0) for level in (3, 2, 0)] == [-inf, 0.0, 1.0]
    assert window.crosses(0, -1.0) == -inf
    assert window.crosses(-1) == inf


def test_what_was_forgotten_last_is_known() -> None:
    """A window that has forgotten nothing says so; another says how far back it remembers."""
    window = SlidingWindow(6.0, keep=4.0)
    window.add(1, 0.0)
    window.add(1, 9.9)
    assert window.forgotten == -inf
    window.add(1, 10.0)
    assert window.forgotten == 0.0
    assert [at for at, _ in window.entries()] == [9.9, 10.0]


def test_what_is_kept_longer_can_be_asked_for_in_the_past() -> None:
    """For so many seconds more it is known what was in use."""
    window = SlidingWindow(6.0, keep=10.0)
    window.add(3, 0.0)
    window.add(1, 15.0)
    assert window.between(-6.0, 5.0) == 3
    assert window.used(15.0) == 1


def test_what_comes_late_is_counted_at_its_own_time() -> None:
    """Calls overtake each other; one that was sent first leaves first."""
    window = SlidingWindow(6.0)
    for now, amount in ((0.0, 1), (4.0, 2), (2.0, 4), (2.0, 8)):
        window.add(amount, now)
    assert list(window.entries()) == [(0.0, 1), (2.0, 4), (2.0, 8), (4.0, 2)]
    assert list(window.entries(2.0)) == [(0.0, 1), (2.0, 4), (2.0, 8)]
    assert [window.used(now) for now in (5.0, 6.0, 8.0, 10.0)] == [15, 14, 2, 0]


@pytest.mark.parametrize(("early", "kept"), [(False, 59.99), (True, 59.9)])
def test_of_entries_that_become_one_the_safer_time_is_kept(early: bool, kept: float) -> None:
    """The later one where too much may be counted, the earlier one where too little may."""
    window = SlidingWindow(60.0, early=early)
    for number in range(1000):
        window.add(1, number * 0.05)
    for moment in (59.9, 59.99, 59.95):  # the last one comes late
        window.add(1, moment)
    *_, (at, amount) = window.entries()
    assert at == pytest.approx(kept)
    assert amount == 3
    assert window.used(59.99) == 1003


def test_in_a_crowd_what_comes_late_joins_the_entry_on_the_safe_side() -> None:
    """No new entry is made, so that memory stays bounded."""
    late, early = SlidingWindow(60.0), SlidingWindow(60.0, early=True)
    for window in (late, early):
        for number in range(1000):
            window.add(1, number * 0.05)
        window.add(5, 25.01)
        assert len(list(window.entries())) == 1000
    assert (late.between(25.0, 25.05), early.between(25.0, 25.05)) == (6, 1)
    assert (late.between(24.95, 25.0), early.between(24.95, 25.0)) == (1, 6)
