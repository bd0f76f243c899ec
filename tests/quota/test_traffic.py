from stepwell.quota.traffic import Traffic


def test_a_reading_may_miss_what_is_in_flight_and_what_overtook_it() -> None:
    """Everything else in flight, and what started later and has ended; not older calls that ended."""
    traffic = Traffic()
    for call, amount in enumerate((1, 10, 100, 1000)):
        traffic.start(call, amount)
    traffic.end([(0, 1, 0.0, 0.0)])
    traffic.end([(2, 500, 0.0, 0.0)])
    assert traffic.uncounted(1) == 1000 + 500
    assert traffic.uncounted(3) == 10


def test_the_end_tells_the_difference_to_the_estimate() -> None:
    """What a call came to, less what it took off with."""
    traffic = Traffic()
    traffic.start(1, 100)
    assert traffic.end([(1, 130, 0.0, 0.0)]) == [(1, 30)]
    assert traffic.amount == 0


def test_a_cancelled_call_was_never_there() -> None:
    """It is neither in flight nor among those that overtook."""
    traffic = Traffic()
    traffic.start(1, 5)
    traffic.start(2, 7)
    assert traffic.cancel(2) == 7
    assert traffic.uncounted(1) == 0
    assert not traffic.has_older(1)


def test_nothing_is_remembered_without_an_older_call() -> None:
    """Only a call in flight can be overtaken, and only a bounded number is remembered for it."""
    traffic = Traffic()
    traffic.start(0, 1)
    for call in range(1, 5000):
        traffic.start(call, 1)
        traffic.end([(call, 1, 0.0, 0.0)])
    assert len(traffic._passed) == len(traffic._costs) == 1024
    traffic.end([(0, 1, 0.0, 0.0)])
    assert traffic._passed == traffic._costs == []
    assert repr(traffic) == "<Traffic 0 calls, 0 in flight>"
