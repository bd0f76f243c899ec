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
