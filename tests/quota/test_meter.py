import pytest

from stepwell.quota.limit import Metric
from stepwell.quota.meter import Meter
from stepwell.quota.reading import MAX_TOLD, Reading, believable
from stepwell.quota.traffic import Traffic


def requests(
    remaining: int, *, limit: int | None = 10, reset: float | None = 60.0, refills: bool = False
) -> Reading:
    return Reading(Metric.REQUESTS, limit=limit, remaining=remaining, reset=reset, refills=refills)


def tokens(remaining: int, *, limit: int | None = 1000) -> Reading:
    return Reading(Metric.TOKENS, window=60.0, limit=limit, remaining=remaining, reset=60.0)


def read(reading: Reading, *, now: float = 0.0, traffic: Traffic | None = None) -> Meter:
    meter = Meter(reading, traffic or Traffic())
    meter.read(reading, 1, now)
    return meter


def test_a_reading_expires_at_its_reset() -> None:
    """It is believed until the reset it told, to the moment."""
    meter = read(requests(0, reset=7.0))
    assert meter.opens(6.9, 1) == 7.0
    assert meter.opens(7.0, 1) == 7.0
    assert not meter.is_live(7.0)


@pytest.mark.parametrize(
    ("reset", "window", "lifetime"),
    [
        (5.0, 60.0, 5.0),
        (None, 10.0, 10.0),
        (None, 86400.0, 600.0),
        (None, None, 60.0),
        (1e12, None, MAX_TOLD),
    ],
)
def test_without_a_reset_the_window_bounds_a_reading(
    reset: float | None, window: float | None, lifetime: float
) -> None:
    """Reset, else window up to ten minutes, else a minute; and never longer than is believable."""
    meter = read(Reading(Metric.REQUESTS, window=window, remaining=0, reset=reset))
    assert meter.expires == lifetime


def test_without_a_reset_an_empty_counter_is_only_a_soft_block() -> None:
    """When its room comes back is our guess, and a guess may not fail a request."""
    meter = read(Reading(Metric.REQUESTS, window=86_400.0, remaining=0))
    block = meter.block("t", 0.0, 1, 1)
    assert (block.hard, block.told, block.until) == (False, False, 600.0)
    told = read(requests(0, reset=7.0)).block("t", 0.0, 1, 1)
    assert (told.hard, told.told) == (True, True)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-3.0, 0.0), (float("nan"), 0.0), (float("inf"), MAX_TOLD), (5.0, 5.0)],
)
def test_told_times_are_kept_inside_the_believable(seconds: float, expected: float) -> None:
    """Two days are the most that a provider is believed."""
    assert believable(seconds) == expected


def test_the_room_never_leaves_zero_to_limit() -> None:
    """Debits do not make it negative, credits do not lift it beyond its limit."""
    meter = read(requests(2))
    meter.debit(5)
    assert meter.room(1.0) == 0
    meter.correct(2, -50)
    assert meter.room(1.0) == 10


def test_a_call_needs_no_correction_in_its_own_reading() -> None:
    """The provider has counted the call that brought the reading."""
    meter = read(tokens(100))
    meter.correct(1, 40)
    assert meter.room(1.0) == 100
    meter.correct(2, 40)
    assert meter.room(1.0) == 60


def test_a_bucket_grows_evenly_and_opens_when_it_said() -> None:
    """Asked at the moment it named, it has room, however crooked the numbers."""
    for limit, reset, now in ((7, 11.3, 1000.1), (1_000_000, 59.7, 123456.789), (10, 60.0, 0.0)):
        meter = read(requests(0, limit=limit, reset=reset, refills=True), now=now)
        opens = meter.opens(now, 1)
        assert opens == pytest.approx(now + reset / limit, abs=1e-4)
        assert meter.room(opens) >= 1
        assert meter.room(now + reset / 2) == pytest.approx(limit / 2, abs=1)


def test_a_bucket_pays_its_debits_first() -> None:
    """What was taken since delays the moment at which enough is back."""
    meter = read(requests(0, reset=60.0, refills=True))
    meter.debit(2)
    assert meter.opens(1.0, 1) == pytest.approx(18.0, abs=1e-4)


def test_a_bucket_that_cannot_hold_the_need_opens_at_its_reset() -> None:
    """More than the limit never refills, so the reading's end decides."""
    bucket = Reading(Metric.TOKENS, limit=100, remaining=50, reset=10.0, refills=True)
    meter = read(bucket)
    assert meter.opens(0.0, 200) == 10.0


def test_tokens_beyond_the_limit_are_only_softly_blocked() -> None:
    """An estimate that can never fit may be wrong; one that fits later is hard-blocked till then."""
    meter = read(tokens(100))
    assert meter.block("t", 0.0, 500, 500).hard
    assert not meter.block("t", 0.0, 5000, 5000).hard
    assert read(tokens(100, limit=None)).block("t", 0.0, 5000, 5000).hard


def test_a_request_without_an_estimate_needs_a_token() -> None:
    """An empty token counter is empty for estimates of nothing, too."""
    assert read(tokens(0)).opens(0.0, 0) == 60.0


def test_readings_out_of_order_lower_and_do_not_raise() -> None:
    """An older call's reading may lower; raising takes a call with nothing older in flight."""
    traffic = Traffic()
    meter = Meter(requests(5), traffic)
    for call in (1, 2, 3):
        traffic.start(call, 1)
    meter.read(requests(5), 2, 0.0)
    assert meter.room(0.0) == 5 - 2
    meter.read(requests(9), 3, 0.0)
    assert meter.room(0.0) == 3, "call 1 is older and in flight"
    meter.read(requests(4), 1, 0.0)
    assert meter.room(0.0) == 4 - 2, "lower, from an older call"
    traffic.end([(1, 1, 0.0, 0.0)])
    traffic.end([(2, 1, 0.0, 0.0)])
    meter.read(requests(8), 3, 0.0)
    assert meter.room(0.0) == 8, "nothing older, nothing else uncounted"


def test_an_older_reading_does_not_bring_the_reset_of_an_empty_counter_forward() -> None:
    """Empty until a told reset is empty until then, however much emptier an older answer says."""
    traffic = Traffic()
    traffic.start(1, 1)
    traffic.start(2, 1)
    meter = Meter(requests(0), traffic)
    meter.read(requests(0, reset=60.0), 2, 0.0)
    traffic.start(3, 1)
    traffic.start(4, 1)
    meter.read(requests(0, reset=5.0), 1, 0.0)
    assert meter.opens(0.0, 1) == 60.0


def test_status_shows_what_was_told() -> None:
    """Used is the limit less the room; where no limit was told it is not known."""
    status = read(requests(3)).status(1.0)
    assert (status.limit, status.used, status.remaining, status.reset) == (10, 7, 3, 60.0)
    assert read(requests(3, limit=None)).status(1.0).used is None
    assert repr(read(requests(3))) == "<Meter 3/10 requests>"
