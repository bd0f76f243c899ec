from math import inf

import pytest

from stepwell.quota.limit import Metric
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import WAY, Usage


def used(*calls: tuple[int, float, float], metric: Metric = Metric.REQUESTS) -> Usage:
    """Return what was counted of calls, each with its cost, sending and answer."""
    usage = Usage(metric, 60.0, Traffic())
    for cost, sent, answered in calls:
        usage.add(cost, sent, answered)
    return usage


def test_a_call_is_counted_somewhere_between_its_sending_and_its_answer() -> None:
    """It surely counts as if counted at its sending, and may as if counted at its answer."""
    usage = used((5, 10.0, 14.0))
    assert (usage.surely(9.0), usage.surely(10.0)) == (5, 0)
    assert (usage.maybe(13.0), usage.maybe(14.0)) == (5, 0)
    assert usage.surely_crosses(0) == 10.0
    assert usage.maybe_crosses(0) == 14.0


def test_calls_that_overtake_each_other_keep_their_own_times() -> None:
    """The one that was sent first leaves first, although it was answered last."""
    usage = used((1, 3.0, 3.5), (1, 0.0, 4.0))
    assert usage.surely(2.0) == 1
    assert usage.surely_crosses(1) == 0.0
    rate = 1 / 60
    assert usage.surely_level(1, 4.0) == pytest.approx(2 - 4 * rate, abs=1e-9)


def test_an_open_bucket_is_filled_in_order_too() -> None:
    """Asking before the late one came does not change what is said after it."""
    asked, unasked = used((1, 3.0, 3.5)), used((1, 3.0, 3.5))
    asked.surely_level(1, 3.5)
    asked.maybe_level(1, 3.5)
    for usage in (asked, unasked):
        usage.add(1, 0.0, 4.0)
    assert asked.surely_level(1, 4.0) == unasked.surely_level(1, 4.0)
    assert asked.maybe_level(1, 4.0) == unasked.maybe_level(1, 4.0)


def test_what_was_in_flight_at_a_moment_is_known_later() -> None:
    """Sent by then and answered since."""
    usage = used((2, 0.0, 4.0), (3, 1.0, 2.0), (7, 5.0, 6.0))
    assert [usage.was_in_flight(moment) for moment in (0.5, 1.5, 3.0, 4.5)] == [2, 5, 2, 0]


def test_a_provider_that_counts_as_calls_come_is_known_better() -> None:
    """Then a call is counted soon after its sending, however late its answer is."""
    usage = used((5, 10.0, 14.0))
    usage.is_prompt = True
    assert usage.maybe(10.0 + WAY) == 0
    assert usage.maybe_crosses(0) == 10.0 + WAY
    assert usage.maybe_drains_to(0, 60.0, 14.0) == pytest.approx(15.0 + WAY, abs=1e-5)


def test_refused_calls_are_doubted_until_they_are_forgiven() -> None:
    """They may be counted and are not surely; after one success that shows it, never again."""
    usage = used((1, 0.0, 0.0))
    usage.doubt(1, 5.0)
    assert (usage.maybe(-1.0), usage.counted(-1.0), usage.surely(-1.0)) == (2, 1, 1)
    assert usage.maybe_crosses(0) == 5.0
    usage.forgive()
    usage.doubt(1, 6.0)
    assert usage.maybe(-1.0) == 1
    assert usage.maybe_crosses(0) == 0.0


def test_enough_leaves_beside_what_is_doubtful_or_all_of_that_does() -> None:
    """Of both ways to a level the sooner one counts."""
    usage = used((1, 0.0, 0.0), (1, 10.0, 10.0))
    usage.doubt(1, 5.0)
    assert usage.maybe_crosses(2) == 0.0
    assert usage.maybe_crosses(1) == 5.0
    assert usage.maybe_crosses(0) == 10.0
    assert usage.maybe_crosses(-1) == inf


def test_a_request_needs_one_and_its_tokens() -> None:
    """Whatever is counted; the others in flight are its rivals."""
    requests, tokens = used(), used(metric=Metric.TOKENS)
    assert (requests.need(70), tokens.need(70)) == (1, 70)
    tokens.traffic.start(1, 70)
    tokens.traffic.start(2, 30)
    assert (tokens.in_flight, tokens.rivals(70)) == (100, 30)
    assert repr(tokens) == "<Usage of tokens/60s, 100 in flight>"


def test_what_may_have_been_in_a_bucket_holds_what_was_under_way() -> None:
    """A call that was answered since may have been counted just before."""
    usage = used((3, 0.0, 0.0), (1, 0.0, 6.0))
    assert usage.maybe_was(10, 0.0, 6.0) == 4
    assert usage.maybe_was(10, 6.0, 6.0) == pytest.approx(3 - 6 * 10 / 60 + 1)


def test_what_was_refused_may_be_in_a_bucket() -> None:
    """Refused calls too may have been counted; asked as if they were not, the usage stays as it was."""
    usage = used((3, 0.0, 0.0))
    usage.doubt(1, 0.0)
    usage.doubt(1, 6.0)
    assert usage.maybe_was(10, 6.0, 6.0) == pytest.approx(3 - 6 * 10 / 60 + 2)
    assert usage.forgiving().maybe_was(10, 6.0, 6.0) == pytest.approx(3 - 6 * 10 / 60)
    assert usage.doubted(-1.0, 6.0) == 2
    assert not usage.forgives


def test_a_bucket_held_one_too_many_where_refused_calls_are_counted() -> None:
    """So much may have been in it with what is not remembered any more."""
    usage = used((1, 0.0, 0.0), (1, 200.0, 200.0))
    assert usage.forgotten == 0.0
    assert usage.maybe_was(10, 30.0, 30.0) == pytest.approx(10 - 30 * 10 / 60)
    usage.blame()
    assert usage.maybe_was(10, 30.0, 30.0) == pytest.approx(11 - 30 * 10 / 60)


def test_only_of_requests_refused_calls_take_something() -> None:
    """What it may have taken is known when it is seen whether refused calls are counted."""
    requests, tokens = used(), used(metric=Metric.TOKENS)
    assert (requests.surely_taken(1), requests.maybe_taken(1)) == (0, 1)
    assert (tokens.surely_taken(70), tokens.maybe_taken(70)) == (0, 0)
    requests.blame()
    assert (requests.surely_taken(1), requests.maybe_taken(1)) == (1, 1)
    requests = used()
    requests.forgive()
    assert (requests.surely_taken(1), requests.maybe_taken(1)) == (0, 0)


def test_usage_outlives_a_restart() -> None:
    """What was in flight counts as if it had ended then; what was learned is known."""
    first, second = used((5, 0.0, 1.0)), used()
    first.doubt(1, 2.0)
    first.traffic.start(1, 1)
    first.is_prompt = True
    second.restore(first.export(10.0), 1010.0, 1020.0)
    assert second.is_prompt
    assert second.surely(1000.5) == 6
    assert second.surely(1001.0) == 1
    assert second.counted(1019.0) == 1
    assert second.maybe(1001.5) == 2


def test_a_bucket_that_was_full_for_long_is_not_forgotten_with_its_first_calls() -> None:
    """What must be in it stays, though calls overtake each other and bounds become narrower."""
    usage = used((60, 0.0, 0.0), metric=Metric.TOKENS)
    for moment in range(1, 400):
        usage.add(1, moment, moment)
        assert usage.surely_level(60.0, moment) == pytest.approx(60.0)
    usage.add(1, 395.0, 399.5)
    assert usage.surely_level(60.0, 400.0) == pytest.approx(59.0), (
        "of the last one none may be left"
    )
    assert usage.surely_level(59.0, 400.0) == pytest.approx(59.0, abs=0.1)


def test_a_bucket_with_room_is_not_taken_for_full_where_its_first_calls_are_forgotten() -> None:
    """That the provider counts calls as they come is learned; what was in it is known as before."""
    usage = used((10, 0.0, 0.0), metric=Metric.TOKENS)
    for moment in range(1, 400):
        usage.add(1, moment, moment)
        assert usage.maybe_level(60.0, moment) == pytest.approx(10.0)
    usage.is_prompt = True
    assert usage.maybe_level(60.0, 399.0 + WAY) == pytest.approx(10.0)


def test_a_bucket_never_holds_more_than_its_amount() -> None:
    """Whoever is let in fits, however late it is known."""
    usage = used((60, 0.0, 0.0), metric=Metric.TOKENS)
    assert usage.maybe_level(60.0, 1.0) == pytest.approx(59.0)
    usage.add(20, 0.5, 2.0)
    assert usage.maybe_level(60.0, 2.0) == 60.0


def test_of_a_smaller_bucket_that_was_full_the_larger_one_has_its_room() -> None:
    """That no more than five fit was wrong: ten were let in."""
    usage = used((10, 0.0, 0.0))
    assert usage.maybe_level(5.0, 0.0) == 5.0
    assert usage.maybe_level(10.0, 0.0) == 10.0
