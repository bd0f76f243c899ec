from math import inf

import pytest

from stepwell.quota.health import Health


def refused(sent: float, answered: float) -> Health:
    health = Health()
    health.refuse(sent, answered, 1, inf)
    return health


@pytest.mark.parametrize(
    ("since", "now", "is_news"),
    [
        (9.0, 10.5, True),
        (9.9, 11.2, True),
        (9.9, 11.4, False),  # a second has passed
        (0.0, 15.0, True),  # half of the search has not
        (10.2, 10.5, False),  # it was sent before the search began
    ],
)
def test_a_refusal_is_news_for_a_moment(since: float, now: float, is_news: bool) -> None:
    """Where a window may move at any moment; later ones have to be asked for."""
    moment = refused(10.0, 10.3).evidence_from(since, now)
    assert moment == (pytest.approx(10.0, abs=1e-4) if is_news else -inf)


def test_a_younger_success_is_newer_than_a_refusal() -> None:
    """That one tells nothing more then; an older call's success changes nothing."""
    health = refused(10.0, 10.3)
    health.recover(1)
    assert health.is_refused_since(10.0, 11.0)
    health.recover(2)
    assert not health.is_refused_since(10.0, 11.0)


def test_who_refuses_on_and_on_is_asked_less_and_less_often() -> None:
    """Once a second for as long as finds a window's end; then its last refusal answers for a while."""
    health, now = Health(), 0.0
    for _ in range(32):
        now += 1.0
        health.refuse(now, now, 1, inf)
        health.insist(now)
    assert (health.pause, health.is_stubborn(now)) == (0.0, False)
    for _ in range(8):
        now += max(1.0, health.pause)
        health.refuse(now, now, 1, inf)
        health.insist(now)
    assert health.pause == (now - 1.0) / 4
    assert health.is_stubborn(now + 0.9 * health.pause)
    assert not health.is_stubborn(now + 1.1 * health.pause)


def test_a_stubborn_target_that_served_again_is_still_asked_with_care() -> None:
    """Half as seldom after each time that it served, until it is like any other."""
    health, now = Health(), 0.0
    for number in range(40):
        now += 1.0
        health.refuse(now, now, number, inf)
        health.insist(now)
    pause = health.pause
    assert pause > 1.0
    health.recover(100)
    assert (health.pause, health.is_stubborn(now)) == (pause / 2, False)
    health.refuse(now, now, 101, inf)
    health.insist(now)
    assert health.is_stubborn(now + 1.0)
    for call in range(200, 210):
        health.recover(call)
        health.insist(now)
    assert health.pause == 0.0
