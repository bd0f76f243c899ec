"""The referee counts as its kind of window says: proved on numbers written by hand."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.testing import SimLimit
from stepwell.testing.limits import METERS, Limiter, Metric, WindowKind

KINDS: tuple[WindowKind, ...] = ("fixed", "first-call", "sliding", "bucket")
HOUR = 3600.0


def limiter(text: str, kind: WindowKind, offset: float = 0.0) -> Limiter:
    limit = SimLimit.parse(text)
    return Limiter([SimLimit(limit.metric, limit.amount, limit.window, kind, "model", offset)], 0.0)


def admit(referee: Limiter, now: float, tokens: int = 1, model: str = "m", key: str = "k") -> bool:
    if referee.refusal(key, model, tokens, now) is not None:
        return False
    referee.take(key, model, tokens, now)
    return True


@pytest.mark.parametrize(
    ("text", "metric", "amount", "window"),
    [
        ("10 requests/6s", "requests", 10, 6.0),
        ("6000 tokens/minute", "tokens", 6000, 60.0),
        ("14400 requests/day", "requests", 14400, 86400.0),
        ("5 requests/1.5 h", "requests", 5, 5400.0),
    ],
)
def test_limits_are_read_from_text(text: str, metric: Metric, amount: int, window: float) -> None:
    """Amount, metric, and a window with or without a number."""
    assert SimLimit.parse(text) == SimLimit(metric, amount, window)


@pytest.mark.parametrize(
    ("text", "window", "reset"),
    [
        ("9 requests/day from 07:30 Europe/Berlin", 86400.0, "07:30 Europe/Berlin"),
        ("9 requests/day from 07:30", 86400.0, "07:30"),
        ("9 requests/month", 30 * 86400.0, "00:00"),
    ],
)
def test_calendars_are_read_from_text(text: str, window: float, reset: str) -> None:
    """A month always is one, and a day that says when it begins."""
    limit = SimLimit.parse(text)
    assert limit == SimLimit("requests", 9, window, kind="calendar", reset=reset)


@pytest.mark.parametrize("text", ["10/60s", "10 calls/60s", "10 requests/60x", "requests/60s"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    """What cannot be read is an error that shows the right form."""
    with pytest.raises(ValueError, match="write it like"):
        SimLimit.parse(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_admits_exactly_its_amount_at_once(kind: WindowKind) -> None:
    """Ten requests in a window of any kind admit ten of eleven that come together."""
    referee = limiter("10 requests/60s", kind)
    assert [admit(referee, 5.0) for _ in range(11)] == [True] * 10 + [False]


@pytest.mark.parametrize(
    ("text", "first", "hours"),
    [
        ("1 requests/day from 00:00 Europe/Berlin", datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        ("1 requests/day from 00:00 Europe/Berlin", datetime(2027, 3, 27, 23, tzinfo=UTC), 23),
        ("1 requests/day from 12:00", datetime(2026, 10, 2, 10, tzinfo=UTC), 2),
        ("1 requests/month", datetime(2027, 2, 1, tzinfo=UTC), 28 * 24),
        ("1 requests/month from 06:00", datetime(2027, 2, 1, tzinfo=UTC), 6),
    ],
)
def test_a_calendars_period_ends_by_its_zones_clocks(
    text: str, first: datetime, hours: float
) -> None:
    """Days of 23 and 25 hours, months of 28 days; all of it is back at the reset."""
    referee = Limiter([SimLimit.parse(text)], 500.0, first.timestamp())
    assert admit(referee, 500.0)
    refusal = referee.refusal("k", "m", 1, 500.0 + 1)
    assert refusal is not None
    assert refusal.wait == pytest.approx(hours * HOUR - 1)
    assert referee.gauges("k", "m", 501.0)[0].reset == pytest.approx(hours * HOUR - 1)
    assert not admit(referee, 500.0 + hours * HOUR - 0.01)
    assert admit(referee, 500.0 + hours * HOUR)


def test_a_fixed_window_comes_back_whole_at_its_boundary() -> None:
    """All of a fixed window is back at its block's end, and not a moment before."""
    referee = limiter("3 requests/60s", "fixed", offset=10)
    assert all(admit(referee, 69.0) for _ in range(3))
    assert not admit(referee, 69.9)
    assert [admit(referee, 70.0) for _ in range(4)] == [True] * 3 + [False]


def test_a_sliding_window_gives_each_request_back_by_itself() -> None:
    """A request taken at 0 and one at 30 come back at 60 and at 90."""
    referee = limiter("2 requests/60s", "sliding")
    assert admit(referee, 0.0)
    assert admit(referee, 30.0)
    assert not admit(referee, 59.9)
    assert [admit(referee, 60.0), admit(referee, 60.0)] == [True, False]
    assert not admit(referee, 89.9)
    assert admit(referee, 90.0)


def test_a_bucket_refills_evenly() -> None:
    """Ten requests a minute give one back every six seconds."""
    referee = limiter("10 requests/60s", "bucket")
    assert all(admit(referee, 0.0) for _ in range(10))
    assert not admit(referee, 5.9)
    assert [admit(referee, 6.0), admit(referee, 6.0)] == [True, False]
    assert [admit(referee, 18.0) for _ in range(3)] == [True, True, False]


def test_tokens_are_counted_by_what_a_request_costs() -> None:
    """A request that does not fit is refused while a smaller one still fits."""
    referee = limiter("100 tokens/60s", "sliding")
    assert admit(referee, 0.0, tokens=60)
    assert not admit(referee, 1.0, tokens=41)
    assert admit(referee, 1.0, tokens=40)


def test_a_request_larger_than_the_window_never_fits() -> None:
    """No wait is told for a request that no window can take."""
    refusal = limiter("100 tokens/60s", "bucket").refusal("k", "m", 101, 0.0)
    assert refusal is not None
    assert refusal.too_large
    assert refusal.wait is None


def test_models_share_a_count_only_in_the_account_scope() -> None:
    """A model limit counts each model by itself, an account limit all models of a key."""
    for scope, second in (("model", True), ("account", False)):
        limit = SimLimit("requests", 1, 60.0, "sliding", "model" if second else "account")
        referee = Limiter([limit], 0.0)
        assert admit(referee, 0.0, model="a")
        assert admit(referee, 0.0, model="b") is second, scope
        assert admit(referee, 0.0, model="a", key="other")


def test_the_limit_that_binds_longest_is_named() -> None:
    """Of several limits in the way, the refusal is about the one that lasts."""
    limits = [SimLimit.parse("1 requests/60s"), SimLimit.parse("1 requests/day")]
    referee = Limiter(limits, 0.0)
    assert admit(referee, 0.0)
    refusal = referee.refusal("k", "m", 1, 30.0)
    assert refusal is not None
    assert refusal.limit == limits[1]
    assert refusal.wait == 86370


def test_a_limit_may_be_one_model_s() -> None:
    """It neither counts the calls of another model nor refuses them."""
    referee = Limiter([SimLimit("requests", 1, 60.0, model="m")], 0.0)
    assert [admit(referee, 0.0, model=model) for model in ("n", "m", "n", "m")] == [
        True,
        True,
        True,
        False,
    ]
    assert referee.gauges("k", "n", 0.0) == ()


@given(
    kind=st.sampled_from(KINDS),
    steps=st.lists(
        st.tuples(st.floats(0, 20, allow_nan=False), st.integers(1, 10)), min_size=1, max_size=30
    ),
)
def test_waiting_the_told_time_is_enough_and_not_too_long(
    kind: WindowKind, steps: list[tuple[float, int]]
) -> None:
    """After `wait` seconds a refused request is admitted; a moment earlier it is not."""
    meter = METERS[kind](SimLimit("tokens", 10, 30.0, kind), 0.0)
    now = 0.0
    for pause, cost in steps:
        now += pause
        wait = meter.wait(now, cost)
        if wait > 0.01:
            assert meter.wait(now + wait - 0.005, cost) > 0
        now += wait
        assert meter.wait(now, cost) <= 0.01
        meter.take(now, cost)
        assert meter.used(now) <= 10 + 1e-5
        assert meter.used(now + meter.reset(now)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_request_counts_where_the_limit_says_so(kind: WindowKind) -> None:
    """Who goes on asking keeps a sliding window full; a fixed one begins anew all the same."""
    limit = SimLimit("requests", 2, 60.0, kind, counts_refused=True)
    referee = Limiter([limit], 0.0)
    assert admit(referee, 0.0)
    assert admit(referee, 1.0)
    for now in (5.0, 20.0):
        assert not admit(referee, now)
        referee.refuse("k", "m", now)
    assert admit(referee, 62.0) is (kind in ("fixed", "first-call"))


def test_a_refused_request_costs_nothing_as_a_rule() -> None:
    """It is as if it had never come."""
    referee = limiter("1 requests/60s", "sliding")
    assert admit(referee, 0.0)
    referee.refuse("k", "m", 30.0)
    assert admit(referee, 60.0)
