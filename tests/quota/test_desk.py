from stepwell.quota.desk import Desk
from stepwell.quota.ledger import Bench, Ended, Report
from stepwell.quota.limit import Scope
from stepwell.quota.pool import Pool


def test_a_probe_marks_every_guess_in_its_way() -> None:
    """It tries out the target's guess and the account's at once, and its end frees both."""
    shared = Pool(Scope.ACCOUNT)
    desk, sibling = Desk("a/m", "a", shared), Desk("a/n", "a", shared)
    for scope in Scope:
        desk.take(1, 1, 0.0, probe=False)
        desk.age(1, 0.0, 0.0)
        desk.spend(1, 1, 0.0, 0.0)
        desk.judge(1, 1, Report(Ended.REFUSED, bench=Bench.RATE, scope=scope), 0.0, 0.0)
    assert desk.take(2, 1, 30.0, probe=False), "half-open: the next call is the probe"
    assert not desk.is_open(30.0, 1)
    assert not sibling.is_open(30.0, 1), "the account is being probed"
    desk.give_back(2, request=True)
    assert desk.is_open(30.0, 1)
    assert sibling.is_open(30.0, 1)
    assert repr(desk) == "<Desk a/m, 0 in flight>"


def test_account_calls_count_for_the_account_alone() -> None:
    """One pool is the target's own, the other is shared."""
    shared = Pool(Scope.ACCOUNT)
    desk, sibling = Desk("a/m", "a", shared), Desk("a/n", "a", shared)
    desk.take(1, 5, 0.0, probe=False)
    sibling.take(2, 5, 0.0, probe=False)
    assert (desk.own.in_flight, sibling.own.in_flight, shared.in_flight) == (1, 1, 2)
