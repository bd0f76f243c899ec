import pytest

from stepwell.quota.laws.patience import Patience


def test_patience_is_lost_by_questions() -> None:
    """Laws are asked several at once; what is too much is not asked any more."""
    patience = Patience(4, 2)
    assert [patience.ask(3), patience.ask(3)] == [True, False]
    assert patience.is_lost


@pytest.mark.parametrize(("times", "is_lost"), [(1, False), (2, True)])
def test_replays_have_a_patience_of_their_own(times: int, is_lost: bool) -> None:
    """Each outcome of one costs it."""
    patience = Patience(4, 2)
    for _ in range(times):
        patience.replay()
    assert patience.is_lost is is_lost
    assert repr(patience) == f"<Patience for 4 questions, {2 - times} replayed>"
