from collections.abc import Iterator
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.quota.phases import Phases

WINDOW = 6.0


def test_nothing_is_known_at_first() -> None:
    """An edge may lie anywhere, so one may come at once, and surely comes within a window."""
    phases = Phases.any(WINDOW)
    assert phases.size == WINDOW
    assert (phases.first_after(100.0), phases.last_after(100.0)) == (100.0, 106.0)
    assert phases.last_until(100.0) == 100.0


def test_an_edge_between_two_moments_recurs_once_in_a_window() -> None:
    """What is known of one edge is known of all others."""
    phases = Phases.any(WINDOW).within(13.0, 14.0)
    assert phases.size == pytest.approx(1.0, abs=1e-5)
    assert phases.first_after(15.0) == pytest.approx(19.0, abs=1e-5)
    assert phases.last_after(15.0) == pytest.approx(20.0, abs=1e-5)
    assert phases.last_until(17.0) == pytest.approx(14.0, abs=1e-5)


def test_an_edge_may_lie_across_the_end_of_the_circle() -> None:
    """Where the circle is cut open is no place of its own."""
    phases = Phases.any(WINDOW).within(11.0, 13.0)
    assert len(phases.arcs) == 2
    assert phases.size == pytest.approx(2.0, abs=1e-5)
    assert phases.first_after(14.0) == pytest.approx(17.0, abs=1e-5)
    assert phases.last_after(14.0) == pytest.approx(19.0, abs=1e-5)


def test_a_single_moment_at_the_end_of_the_circle_is_not_lost() -> None:
    """Two stretches that meet in one moment leave that moment, also where the circle begins."""
    phases = Phases.any(WINDOW).within(11.0, 12.0).within(12.0, 13.0)
    assert phases.first_after(13.0) == pytest.approx(18.0, abs=1e-5)
    assert phases.last_after(13.0) == pytest.approx(18.0, abs=1e-5)
    assert phases.last_after(18.0) >= 24.0 - 1e-5


def test_stretches_that_contradict_each_other_leave_nothing() -> None:
    """Then there is no such window, and no edge ever comes."""
    phases = Phases.any(WINDOW).within(1.0, 2.0).within(3.0, 4.0)
    assert not phases
    assert (phases.first_after(0.0), phases.last_after(0.0)) == (inf, inf)
    assert phases.last_until(0.0) == -inf


def test_no_window_is_without_an_edge_for_its_own_length() -> None:
    """A stretch as long as the window holds one whatever the phase, be it at both its ends."""
    phases = Phases.any(WINDOW)
    assert phases.within(0.0, 6.0) is phases
    assert not phases.without(0.0, 6.1)
    assert phases.without(0.0, 6.0).first_after(1.0) == pytest.approx(6.0, abs=1e-5)
    assert phases.without(3.0, 3.0) is phases


def test_sets_are_joined() -> None:
    """What may be the one or the other may be either."""
    whole = Phases.any(WINDOW)
    joined = whole.within(1.0, 2.0).joined(whole.within(4.0, 5.0))
    assert joined.first_after(2.5) == pytest.approx(4.0, abs=1e-5)
    assert joined.last_until(3.5) == pytest.approx(2.0, abs=1e-5)


# Stretches lie on quarters of a second and questions between them, where nothing is rounded.
quarters = st.integers(0, 100).map(lambda number: number / 4)
between = quarters.map(lambda moment: moment + 1 / 8)
windows = st.sampled_from([1.0, 2.5, 6.0, 10.0])
cuts = st.lists(st.tuples(st.booleans(), quarters, st.integers(0, 24).map(lambda n: n / 4)))


def narrowed(window: float, stretches: list[tuple[bool, float, float]]) -> Phases:
    phases = Phases.any(window)
    for holds_one, low, length in stretches:
        phases = (phases.within if holds_one else phases.without)(low, low + length)
    return phases


def fits(phase: float, window: float, stretch: tuple[bool, float, float]) -> bool:
    holds_one, low, length = stretch
    edges = [phase + turn * window for turn in range(-1, 40)]
    if holds_one:
        return any(low <= edge <= low + length for edge in edges)
    return not any(low < edge < low + length for edge in edges)


@given(windows, cuts)
def test_exactly_the_phases_that_fit_every_stretch_are_left(
    window: float, stretches: list[tuple[bool, float, float]]
) -> None:
    """A set of arcs agrees with every phase tried out by itself."""
    phases = narrowed(window, stretches)
    for eighth in range(int(window * 8)):
        phase = eighth / 8
        left = any(low - 1e-5 <= phase <= high + 1e-5 for low, high in phases.arcs)
        assert left == all(fits(phase, window, stretch) for stretch in stretches)


def unrolled(phases: Phases) -> Iterator[tuple[float, float]]:
    """Yield where edges may lie, on a line."""
    for turn in range(-2, 40):
        for low, high in phases.arcs:
            yield low + turn * phases.window, high + turn * phases.window


@given(windows, cuts, between)
def test_what_is_said_of_edges_is_what_a_line_shows(
    window: float, stretches: list[tuple[bool, float, float]], moment: float
) -> None:
    """First, last and surely, as on a line on which the circle was rolled out."""
    phases = narrowed(window, stretches)
    stretches_ahead = [(low, high) for low, high in unrolled(phases) if high > moment]
    first = min((max(low, moment) for low, _ in stretches_ahead), default=inf)
    until = max(
        (min(high, moment) for low, high in unrolled(phases) if low <= moment), default=-inf
    )
    next_turn = sorted(stretches_ahead)[: len(phases.arcs)]
    surely = max(
        (high if low > moment else moment + window for low, high in next_turn), default=inf
    )
    assert phases.first_after(moment) == pytest.approx(first, abs=1e-5)
    assert phases.last_until(moment) == pytest.approx(until, abs=1e-5)
    assert phases.last_after(moment) == pytest.approx(surely, abs=1e-5)
