from math import inf

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
