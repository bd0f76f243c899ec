from stepwell.quota.ledger import Ended
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.pool import Pool
from stepwell.quota.reading import Reading


def test_a_provider_that_names_ever_new_windows_does_not_fill_memory() -> None:
    """Twelve counts and eight readings a scope are kept; of these what is over goes first."""
    pool = Pool(Scope.MODEL)
    for number in range(1, 30):
        reading = Reading(Metric.REQUESTS, window=float(number), limit=9, remaining=9, reset=5.0)
        pool.take(number, 1)
        pool.read(number, [reading], 0.0, now=0.0, served=True)
        pool.give_back(number, request=True)
    assert len(pool.counts) == 12
    assert len(list(pool.statuses(0.0))) == 12 + 8
    pool.take(30, 1)
    pool.read(30, [Reading(Metric.TOKENS, remaining=1)], 1000.0, now=1000.0, served=True)
    assert [status.metric for status in pool.statuses(1000.0)][12:] == ["tokens"]


def test_a_limit_adopted_later_counts_what_is_in_flight() -> None:
    """Limits share the traffic, so that a call begun before them ends well."""
    pool = Pool(Scope.MODEL)
    pool.take(1, 10)
    pool.adopt([Limit.parse("5 requests/minute"), Limit.parse("5 requests/minute")])
    assert [status.remaining for status in pool.statuses(0.0)] == [4]
    pool.age(1, 0.0, 0.0, ended=Ended.SUCCESS)
    pool.spend(1, 10, 0.0, 0.0, ended=Ended.SUCCESS)
    assert [status.remaining for status in pool.statuses(0.0)] == [4]
    assert repr(pool) == "<Pool model, 0 in flight, 1 gates>"
    assert repr(pool.gates) == "(<Count 5 requests/60s, 0 in flight>,)"


def test_an_observed_request_stays_counted_when_it_is_given_back() -> None:
    """What the provider has counted cannot be taken back; the tokens can."""
    pool = Pool(Scope.MODEL)
    pool.adopt([Limit.parse("5 requests/minute"), Limit.parse("100 tokens/minute")])
    pool.take(1, 60)
    pool.age(1, 0.0, 0.0, ended=Ended.SUCCESS)
    pool.give_back(1, request=False)
    assert [status.remaining for status in pool.statuses(1.0)] == [4, 100]


def test_a_reading_of_the_other_scope_is_not_for_this_pool() -> None:
    """The account's counter says nothing of one model."""
    pool = Pool(Scope.MODEL)
    pool.take(1, 1)
    pool.read(
        1, [Reading(Metric.REQUESTS, remaining=0, scope=Scope.ACCOUNT)], 0.0, now=0.0, served=True
    )
    assert not pool.is_known(0.0)


def test_a_reading_without_a_limit_leaves_no_more_than_the_limit_that_is_known() -> None:
    """A limit that is configured too low may meet a reading of more; the row stays sound."""
    pool = Pool(Scope.MODEL)
    pool.adopt([Limit.parse("3 requests/6s")])
    pool.take(1, 1)
    pool.read(1, [Reading(Metric.REQUESTS, window=6.0, remaining=4)], 0.0, now=0.0, served=True)
    (status,) = pool.statuses(0.0)
    assert (status.limit, status.remaining, status.used) == (3, 3, 0)
