from dataclasses import replace
from math import inf
from typing import Any

import pytest

from stepwell.quota.laws import laws_of
from stepwell.quota.laws.bucket import Bucket
from stepwell.quota.laws.first_call import FirstCall
from stepwell.quota.laws.fixed import Fixed
from stepwell.quota.laws.law import Gauge, Kind, Law, Outcome
from stepwell.quota.laws.sliding import Sliding
from stepwell.quota.limit import Metric
from stepwell.quota.phases import Phases
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import Usage

WINDOW = 60.0


def usage_of(*moments: float, metric: Metric = Metric.REQUESTS, cost: int = 1) -> Usage:
    """Return what was counted of calls that were answered at once."""
    usage = Usage(metric, WINDOW, Traffic())
    for moment in moments:
        usage.add(cost, moment, moment)
    return usage


def served(sent: float, answered: float | None = None, need: int = 1) -> Outcome:
    return Outcome(sent, sent if answered is None else answered, need, served=True)


def refused(usage: Usage, sent: float, delay: float | None = None, need: int = 1) -> Outcome:
    """Return a refusal of a call, which is in flight until it is booked."""
    usage.traffic.start(1000, usage.need(need))
    return Outcome(sent, sent, need, served=False, delay=delay)


def law_of(kind: Kind, usage: Usage, least: int, most: float | None = None) -> Law:
    laws = laws_of(usage, least, least if most is None else most)
    return next(law for law in laws if law.kind is kind)


def test_every_kind_is_possible_at_first() -> None:
    """With the same bounds, and an edge anywhere."""
    usage = usage_of()
    assert laws_of(usage, 3, inf) == (
        Sliding(usage, 3, inf),
        Fixed(usage, 3, inf, Phases.any(WINDOW)),
        Bucket(usage, 3, inf),
        FirstCall(usage, 3, inf),
    )


def test_each_kind_gives_back_in_its_own_way() -> None:
    """The oldest unit after a window; all at an edge; a unit in each part of the window."""
    usage = usage_of(0.0, 10.0, 30.0)
    fixed = Fixed(usage, 3, 3, Phases.any(WINDOW).within(45.0, 45.0))
    assert Sliding(usage, 3, 3).opens(1, 31.0) == 60.0
    assert fixed.opens(1, 31.0) == pytest.approx(45.0, abs=1e-5)
    assert Bucket(usage, 3, 3).opens(2, 31.0) == 31.0
    bursts = usage_of(0.0, 0.0, 0.0)
    assert Bucket(bursts, 3, 3).opens(1, 1.0) == pytest.approx(20.0, abs=1e-5)


@pytest.mark.parametrize("kind", Kind)
def test_room_that_is_sure_and_room_that_may_be(kind: Kind) -> None:
    """With bounds apart there may be room while none is sure."""
    law = law_of(kind, usage_of(0.0, 0.0, 0.0), 3, 9)
    assert law.opens(1, 1.0) > 1.0
    assert law.may_open(1, 1.0) <= 1.0


@pytest.mark.parametrize("kind", [Kind.SLIDING, Kind.BUCKET])
def test_a_call_past_the_amount_refutes_a_law_without_edges(kind: Kind) -> None:
    """Three calls at once and a fourth do not fit into three."""
    assert law_of(kind, usage_of(0.0, 0.0, 0.0), 3).after(served(1.0)) is None


def test_a_call_past_the_amount_shows_an_edge() -> None:
    """In a fixed window it must lie between the call that filled it and the answer."""
    law = law_of(Kind.FIXED, usage_of(0.0, 0.0, 5.0), 3).after(served(12.0, 13.0))
    assert isinstance(law, Fixed)
    assert law.phases.first_after(13.5) == pytest.approx(60.0, abs=1e-5)
    assert law.phases.last_after(13.5) == pytest.approx(73.0, abs=1e-5)


def test_a_success_raises_what_surely_fits() -> None:
    """Of each kind, where the amount is not known."""
    usage = usage_of(0.0, 0.0, 0.0)
    for kind, least in ((Kind.SLIDING, 4), (Kind.BUCKET, 4), (Kind.FIXED, 2)):
        law = law_of(kind, usage, 2, inf).after(served(0.5))
        assert law is not None
        assert (law.least, law.most) == (least, inf), kind


@pytest.mark.parametrize(("kind", "most"), [(Kind.SLIDING, 4), (Kind.FIXED, 4), (Kind.BUCKET, 5)])
def test_a_refusal_lowers_what_may_fit(kind: Kind, most: int) -> None:
    """The call was too many, those in flight beside it included; a bucket counts in fractions."""
    usage = usage_of(0.0, 0.0, 0.0)
    usage.traffic.start(1, 1)
    law = law_of(kind, usage, 1, inf).after(refused(usage, 0.0))
    assert law is not None
    assert (law.least, law.most) == (1, most)


@pytest.mark.parametrize("kind", Kind)
def test_a_refusal_with_room_left_refutes_a_law(kind: Kind) -> None:
    """Three calls do not fill a window of nine."""
    usage = usage_of(0.0, 0.0, 0.0)
    assert law_of(kind, usage, 9).after(refused(usage, 1.0)) is None


@pytest.mark.parametrize(
    ("kind", "delay"), [(Kind.SLIDING, 50.5), (Kind.FIXED, 17.5), (Kind.BUCKET, 10.5)]
)
def test_a_told_delay_that_fits_one_kind_refutes_the_others(kind: Kind, delay: float) -> None:
    """Full since 0 s and refused at 9.5 s: a told delay says how quota comes back."""
    usage = usage_of(0.0, 0.0, 0.0)
    usage.forgive()
    outcome = refused(usage, 9.5, delay)
    fitting = {law.kind for law in laws_of(usage, 3, 3) if law.after(outcome) is not None}
    assert fitting == {kind, Kind.FIXED} | ({Kind.FIRST_CALL} if kind is Kind.SLIDING else set())


@pytest.mark.parametrize(
    ("kind", "without", "counted"), [(Kind.SLIDING, 50.5, 51.5), (Kind.BUCKET, 10.5, 30.5)]
)
def test_a_told_delay_may_hold_the_refused_call_itself(
    kind: Kind, without: float, counted: float
) -> None:
    """Until it is known whether that counts, either is believed; then only what fits."""
    usage = usage_of(0.0, 1.0, 1.0)
    if kind is Kind.BUCKET:
        usage = usage_of(0.0, 0.0, 0.0)
    law = law_of(kind, usage, 3)
    outcome = refused(usage, 9.5)
    outcomes = [outcome._replace(delay=delay) for delay in (without, counted)]
    assert [law.after(outcome) is not None for outcome in outcomes] == [True, True]
    forgiving = replace(law, usage=usage.forgiving())
    assert [forgiving.after(outcome) is not None for outcome in outcomes] == [True, False]
    usage.blame()
    assert [law.after(outcome) is not None for outcome in outcomes] == [False, True]


@pytest.mark.parametrize(
    ("kind", "second", "delay"), [(Kind.SLIDING, 20.0, 30.5), (Kind.BUCKET, 0.0, 1.2)]
)
def test_a_told_delay_is_that_of_what_a_call_would_have_cost(
    kind: Kind, second: float, delay: float
) -> None:
    """One of 700 tokens would have to wait for longer; it was estimated to that, and may be smaller."""
    usage = usage_of(0.0, second, metric=Metric.TOKENS, cost=500)
    usage.forgive()
    law = law_of(kind, usage, 1000)
    known = refused(usage, 30.0, delay, need=700)
    assert law.after(known) is None
    assert law.after(known._replace(least=100)) is not None


def test_a_told_delay_shows_the_edge() -> None:
    """It lies where the delay ends, within its rounding."""
    usage = usage_of(0.0, 0.0, 0.0)
    law = law_of(Kind.FIXED, usage, 3).after(refused(usage, 1.0, 17.5))
    assert law is not None
    usage.traffic.cancel(1000)
    assert law.opens(1, 1.0) == pytest.approx(18.5, abs=1e-5)
    assert law.may_open(1, 1.0) == pytest.approx(18.5 - 0.02, abs=1e-5)


def test_no_fixed_window_lasts_longer_than_it_is() -> None:
    """A delay of more than a window is another limit's."""
    usage = usage_of(0.0, 0.0, 0.0)
    assert law_of(Kind.FIXED, usage, 3).after(refused(usage, 1.0, 90.5)) is None


def test_since_a_refusal_a_fixed_window_is_shut_until_an_edge() -> None:
    """For calls that need as much, also when its rivals were refused too; smaller ones may pass."""
    usage = usage_of(0.0, metric=Metric.TOKENS, cost=60)
    usage.traffic.start(1, 40)
    fixed = Fixed(usage, 50, 200, Phases.any(WINDOW).within(59.0, 60.0))
    law = fixed.after(refused(usage, 30.0, need=50))
    for call in (1, 1000):
        usage.traffic.cancel(call)
    assert isinstance(law, Fixed)
    assert (law.shut, law.shut_for) == (30.0, 50)
    assert law.may_open(50, 31.0) == pytest.approx(59.0, abs=1e-5)
    assert law.may_open(49, 31.0) == -inf


@pytest.mark.parametrize("kind", [Kind.SLIDING, Kind.BUCKET])
def test_calls_that_overtake_each_other_refute_nothing(kind: Kind) -> None:
    """The one that was sent first left its window first, though it was answered last."""
    usage = usage_of()
    usage.add(1, 30.0, 30.1)
    usage.add(1, 0.0, 40.0)
    assert law_of(kind, usage, 2).after(served(60.0)) is not None


@pytest.mark.parametrize("kind", [Kind.SLIDING, Kind.BUCKET])
def test_what_was_in_flight_may_not_be_in_a_told_delay(kind: Kind) -> None:
    """A call sent before the refused one may have been counted after the delay was told."""
    usage = usage_of(0.0, 1.0, metric=Metric.TOKENS, cost=40)
    usage.add(20, 10.0, 19.0)
    usage.traffic.start(1000, 30)
    told = {Kind.SLIDING: 49.0, Kind.BUCKET: 0.3}[kind]
    outcome = Outcome(11.0, 20.0, 30, served=False, delay=told)
    assert law_of(kind, usage, 100).after(outcome) is not None


def crowded(**more: Any) -> tuple[Usage, Outcome]:
    """Return three calls, of which one was in flight, and a refusal with a delay of 9.5 s."""
    usage = usage_of(0.0, 1.0)
    usage.add(1, 8.0, 9.0)
    for call in range(more.get("rivals", 0)):
        usage.traffic.start(call, 1)
    if more.get("doubted"):
        usage.doubt(1, -40.0)
    outcome = refused(usage, 8.5, 9.5)
    return usage, outcome._replace(answered=9.5)


def test_nothing_comes_back_before_the_oldest_unit() -> None:
    """Whether or not the call in flight was counted, that leaves a sliding window at 60 s."""
    usage, outcome = crowded()
    assert law_of(Kind.SLIDING, usage, 3).after(outcome) is None
    assert law_of(Kind.SLIDING, usage, 3).after(outcome._replace(delay=51.5)) is not None


@pytest.mark.parametrize("more", [{"rivals": 1}, {"doubted": True}])
def test_the_oldest_unit_may_be_one_of_which_little_is_known(more: Any) -> None:
    """A call that is still under way, or one that was refused and yet counted."""
    usage, outcome = crowded(**more)
    assert law_of(Kind.SLIDING, usage, 3).after(outcome) is not None


@pytest.mark.parametrize("kind", [Kind.SLIDING, Kind.BUCKET])
def test_a_reading_with_less_in_use_than_was_counted_refutes_a_law(kind: Kind) -> None:
    """Nothing comes back so early in a sliding window, nor that fast in a bucket."""
    law = law_of(kind, usage_of(0.0, 0.0, 0.0, 1.0), 9)
    assert law.shown(Gauge(1.0, 1.0, 1, None)) is None
    assert law.shown(Gauge(1.0, 1.0, 4, None)) is law


RESETS: list[tuple[Kind, float, bool]] = [
    (Kind.FIRST_CALL, 60.0, True),
    (Kind.FIRST_CALL, 30.5, False),
    (Kind.SLIDING, 60.0, True),
    (Kind.SLIDING, 30.5, False),
    (Kind.BUCKET, 40.0, True),
    (Kind.BUCKET, 55.5, False),
    (Kind.FIXED, 30.5, True),
    (Kind.FIXED, 90.5, False),
]


@pytest.mark.parametrize(("kind", "reset", "fits"), RESETS)
def test_a_told_reset_fits_a_kind_or_refutes_it(kind: Kind, reset: float, fits: bool) -> None:
    """Four of six are used: sliding, all is back a window later; a bucket drains in 40 s."""
    law = law_of(kind, usage_of(0.0, 0.0, 0.0, 0.0), 6)
    assert (law.shown(Gauge(0.0, 0.0, 4, reset)) is not None) is fits


def test_a_reading_of_an_empty_counter_says_nothing_of_its_reset() -> None:
    """Nothing that is used has to come back."""
    for law in laws_of(usage_of(), 6, 6):
        assert law.shown(Gauge(0.0, 0.0, 0, 999.5)) is law


def test_what_is_used_is_what_may_be_in_use() -> None:
    """A sliding window and an unknown edge count all of the last window; a bucket has drained."""
    usage, values = usage_of(0.0, 0.0, 0.0), {}
    for law in laws_of(usage, 3, 3):
        values[law.kind] = [law.used(now) for now in (1.0, 25.0, 55.0, 61.0)]
    expected: dict[Kind, Any] = {
        Kind.SLIDING: [3, 3, 3, 0],
        Kind.FIXED: [3, 3, 3, 0],
        Kind.BUCKET: [3, 2, 1, 0],
        Kind.FIRST_CALL: [3, 3, 3, 0],
    }
    assert values == expected


def test_the_first_call_after_an_edge_belongs_to_the_new_window() -> None:
    """Also if it was sent when that edge may still have been to come: a full window is full."""
    usage = usage_of(0.0, 10.0)
    law: Law | None = Fixed(usage, 2, 2, Phases.any(WINDOW).within(30.0, 32.0))
    assert law is not None
    law = law.after(served(31.0, 31.5))
    usage.add(1, 31.0, 31.5)
    usage.add(1, 33.0, 33.0)
    assert law is not None
    assert law.may_open(1, 40.0) == pytest.approx(90.0, abs=1e-4)
