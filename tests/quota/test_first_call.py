from math import inf

import pytest

from stepwell.quota.laws import read, written
from stepwell.quota.laws.first_call import ANY, FirstCall, Last
from stepwell.quota.laws.law import Gauge, Law, Outcome
from stepwell.quota.limit import Metric
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import Usage

WINDOW = 60.0


def usage_of(*calls: tuple[float, float]) -> Usage:
    """Return what was counted of calls, each with the times of its sending and its answer."""
    usage = Usage(Metric.REQUESTS, WINDOW, Traffic())
    for sent, answered in calls:
        usage.add(1, sent, answered)
    return usage


def refused(law: Law, sent: float, delay: float | None = None) -> FirstCall | None:
    """Return what a refusal leaves of a law, whose call was in flight."""
    law.usage.traffic.start(1000, 1)
    left = law.after(Outcome(sent, sent, 1, served=False, delay=delay))
    law.usage.traffic.cancel(1000)
    assert left is None or isinstance(left, FirstCall)
    return left


def test_a_window_lasts_from_its_first_call_on() -> None:
    """Then all is back at once; when the call was counted is known as far as its answer."""
    law = FirstCall(usage_of((0.0, 0.3), (20.0, 20.3), (50.0, 50.3)), 3, 3)
    assert law.may_open(1, 55.0) == 60.0
    assert law.opens(1, 55.0) == 60.3
    assert [law.used(now) for now in (55.0, 60.1, 60.4)] == [3, 3, 0]


def test_the_next_window_begins_with_a_call_and_not_at_an_edge() -> None:
    """Nobody called for half a minute after the first one had ended."""
    law = FirstCall(usage_of((0.0, 0.0), (90.0, 90.0), (91.0, 91.0)), 2, 2)
    assert law.opens(1, 100.0) == 150.0
    assert law.used(100.0) == 2


def test_a_call_that_came_when_a_window_may_have_ended_may_have_begun_the_next() -> None:
    """Sent 0.1 s before the end, at the latest: two windows are possible, and neither is sure."""
    law = FirstCall(usage_of((0.0, 0.3), (60.2, 60.5)), 1, 1)
    assert law.may_open(1, 60.6) <= 60.6
    assert law.opens(1, 60.6) == 120.5


def test_a_call_that_was_answered_just_when_a_window_ended_may_have_begun_the_next() -> None:
    """It was sent in the middle of the one before, and was under way for long."""
    law = FirstCall(usage_of((0.0, 0.0), (20.0, 60.0)), 1, 1)
    assert law.may_open(1, 60.0) == 60.0
    assert law.opens(1, 60.0) == 120.0


def test_a_told_delay_ends_where_the_window_does() -> None:
    """Else the law is refuted, however the call was counted."""
    law = FirstCall(usage_of((0.0, 0.3), (1.0, 1.3)), 2, 2)
    assert refused(law, 10.0, 45.5) is None
    left = refused(law, 10.0, 50.155)
    assert left is not None
    assert left.opens(1, 10.0) == pytest.approx(60.155)
    assert left.may_open(1, 10.0) == pytest.approx(60.135)


def test_a_success_past_a_full_window_has_begun_the_next() -> None:
    """Though it was sent when the last one may have lasted on."""
    usage = usage_of((0.0, 0.3), (1.0, 1.3))
    law = FirstCall(usage, 2, 2).after(Outcome(60.1, 60.4, 1, served=True))
    usage.add(1, 60.1, 60.4)
    usage.add(1, 60.5, 60.8)
    assert law is not None
    assert law.may_open(1, 61.0) == pytest.approx(120.1)
    assert law.opens(1, 61.0) == pytest.approx(120.4)


def test_a_success_in_a_window_that_is_surely_full_refutes_it() -> None:
    """Nothing has come back in half a minute."""
    law = FirstCall(usage_of((0.0, 0.3), (1.0, 1.3)), 2, 2)
    assert law.after(Outcome(30.0, 30.3, 1, served=True)) is None


def test_a_refusal_of_a_window_before_says_nothing_of_the_last() -> None:
    """It was sent before the call that began it, and answered after that."""
    usage = usage_of((0.0, 0.0), (1.0, 1.0))
    law = FirstCall(usage, 2, 2, Last(125.0, 125.0, 65.0))
    usage.add(1, 65.0, 65.0)
    usage.traffic.start(1000, 1)
    assert law.after(Outcome(59.0, 65.5, 1, served=False)) == law


def test_whoever_is_under_way_may_have_begun_the_window() -> None:
    """So a told delay that is shorter than since the first known call does not refute the law."""
    usage = usage_of((0.0, 0.0), (60.5, 60.5), (60.5, 60.5))
    usage.traffic.start(1, 1)
    law = FirstCall(usage, 3, 3)
    assert refused(law, 61.0, 59.125) is not None
    usage.traffic.cancel(1)
    assert refused(law, 61.0, 59.125) is None


def test_a_told_reset_is_the_end_of_the_window() -> None:
    usage = usage_of((0.0, 0.0))
    law = FirstCall(usage, 9, 9)
    assert law.shown(Gauge(10.0, 10.0, 2, 50.0)) is not None
    assert law.shown(Gauge(10.0, 10.0, 2, 59.5)) is None


def test_what_was_learned_outlives_the_calls_it_was_learned_of() -> None:
    """They are forgotten after two windows; the law is settled before."""
    usage = usage_of((0.0, 0.0))
    law = FirstCall(usage, 2, 2)
    for sent in (30.0, 61.0, 91.0, 122.0, 152.0, 183.0, 213.0, 244.0, 274.0):
        usage.add(1, sent, sent)
        law = law.settled(sent - WINDOW)
    assert usage.forgotten > 0.0
    assert law.may_open(1, 290.0) == 304.0
    assert FirstCall(usage, 2, 2).may_open(1, 290.0) < 304.0


def test_where_others_may_have_called_the_end_is_open_until_it_is_told() -> None:
    """A window slides at worst."""
    usage = usage_of((0.0, 0.0), (10.0, 10.0))
    law = FirstCall(usage, 2, 2, ANY)
    assert (law.may_open(1, 11.0), law.opens(1, 11.0)) == (0.0, 60.0)
    left = refused(law, 20.0, 5.5)
    assert left is not None
    assert left.opens(1, 20.0) == pytest.approx(25.5)


@pytest.mark.parametrize("last", [Last(-inf, -inf, -inf), ANY, Last(100.0, 100.5, 40.0)])
def test_a_law_outlives_a_restart(last: Last) -> None:
    """On another monotonic clock."""
    law = FirstCall(usage_of(), 2, 3, last)
    again = read(written(law, 50.0), usage_of(), 1050.0)
    assert isinstance(again, FirstCall)
    assert (again.least, again.most) == (2, 3)
    shifted = [moment + 1000.0 for moment in last]
    assert [(a < 1e8) - (a < -1e8) + (a == b) for a, b in zip(again.last, shifted, strict=True)]
    assert again.opens(1, 1050.0) == law.opens(1, 50.0)
