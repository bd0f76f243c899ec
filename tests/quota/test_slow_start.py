from math import inf

from stepwell.quota.limit import Limit, Scope
from stepwell.quota.pool import Pool
from stepwell.quota.slow_start import SlowStart


def fly(pool: Pool, calls: int) -> None:
    """Let so many calls be in flight in all."""
    for call in range(pool.in_flight, calls):
        pool.take(call, 10)


def test_a_stranger_admits_one_more_with_each_round_of_answers() -> None:
    """Two calls at once, then three, then four."""
    own = Pool(Scope.MODEL)
    gate = SlowStart((own, Pool(Scope.ACCOUNT)))
    for answers, calls in ((0, 2), (1, 3), (2, 4)):
        for _ in range(answers):
            gate.succeed(0.0)
        fly(own, calls - 1)
        assert gate.opens(0.0, 1) == 0.0
        fly(own, calls)
        assert gate.opens(0.0, 1) == inf


def test_a_target_whose_limit_proves_wrong_is_a_stranger_again() -> None:
    """However many calls went well while it was known."""
    own = Pool(Scope.MODEL)
    gate = SlowStart((own, Pool(Scope.ACCOUNT)))
    own.adopt([Limit.parse("100 requests/minute")])
    fly(own, 3)
    for _ in range(20):
        gate.succeed(0.0)
    assert gate.opens(0.0, 1) == 0.0
    for count in own.counts:
        count.silence()
    assert gate.opens(0.0, 1) == inf
