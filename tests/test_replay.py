"""What a trace tells of providers: speed, faults, limits."""

from typing import Any

import pytest

from stepwell.observe import End
from stepwell.quota.limit import Limit, Metric
from stepwell.replay import REACH, Past, Seen, Tally, told_limits
from stepwell.routing.verdict import Outcome
from stepwell.trace import Line, Told, Try


def line(at: float, outcome: Outcome = Outcome.ANSWER, **more: Any) -> Line:
    """Return a request that made one call, at once."""
    fields: dict[str, Any] = {"tokens": 100}
    fields |= {name: more.pop(name) for name in ("used", "tokens") if name in more}
    call = Try("a/m", "a", outcome, began=0.0, seconds=more.pop("seconds", 1.0), **more)
    end = End.SERVED if outcome is Outcome.ANSWER else End.EXHAUSTED
    return Line(at, end, 1.0, "default", 10, attempts=(call,), **fields)


def seen(*lines: Line) -> Seen:
    return Past.of(lines).targets["a/m"]


def down(target: Seen, *times: float) -> list[bool]:
    return [target.trouble(at) is not None for at in times]


def test_a_calendars_day_is_no_stretch_of_24_hours() -> None:
    """Three calls around midnight are two days' calls, and refute no limit of two a day."""
    midnight = 1_790_985_600.0
    target = seen(*(line(midnight + at) for at in (-60, -30, 0)))
    by_the_calendar = Limit.parse("2 requests/day from 00:00")
    assert target.kind_of(by_the_calendar) == "calendar"
    assert not target.contradicts(by_the_calendar)
    assert target.contradicts(Limit.parse("2 requests/day"))
    assert target.contradicts(Limit.parse("1 request/day from 00:00"))


def test_refusals_that_known_limits_explain_show_no_other() -> None:
    """Of several windows that tell them from answers a trace cannot know which it was."""
    target = seen(*(line(at) for at in (0, 1, 2)), line(3, Outcome.RATE_LIMITED))
    assert target.guesses
    assert target.needs_no_more_than([Limit.parse("3 requests/30s")])
    assert not target.needs_no_more_than([Limit.parse("1000 requests/day")])
    assert not target.needs_no_more_than([])
    told = Told(Metric.REQUESTS, 60.0, limit=9, remaining=0)
    telling = seen(line(0), line(3, Outcome.RATE_LIMITED, told=(told,)))
    assert not telling.needs_no_more_than([Limit.parse("1 requests/30s")])


def test_an_answer_takes_as_long_as_the_nearest_did() -> None:
    """In time, on either side."""
    target = seen(line(0, seconds=1.0), line(100, seconds=5.0), line(110, Outcome.FAULT))
    assert [target.seconds_of_answer(at) for at in (-9, 49, 51, 999)] == [1.0, 1.0, 5.0, 5.0]


def test_a_fault_lasts_until_the_next_answer() -> None:
    """What lies between is shared evenly, also before the fault."""
    target = seen(line(10), line(10.5, Outcome.FAULT), line(20))
    assert down(target, 10, 10.4, 10.5, 15, 15.3, 20) == [False, True, True, True, False, False]


def test_a_fault_is_not_for_ever() -> None:
    """Where nobody asked again it ends by itself."""
    target = seen(line(0), line(100, Outcome.UNREACHABLE))
    assert down(target, 98, 99.5, 100 + REACH - 1, 100 + REACH) == [False, True, True, False]


def test_faults_with_nothing_between_are_one() -> None:
    """Unless they lie far apart."""
    faults = [line(at, Outcome.FAULT) for at in (0, 300, 5000)]
    assert down(seen(*faults), 150, 310, 2000, 5000) == [True, True, False, True]


@pytest.mark.parametrize(
    "outcome", [Outcome.KEY_REFUSED, Outcome.NO_CREDIT, Outcome.MODEL_GONE], ids=str
)
def test_a_refused_key_stays_refused(outcome: Outcome) -> None:
    """Until it was seen to answer; a passing fault meanwhile changes nothing."""
    refused = [line(0, outcome), line(50, Outcome.FAULT)]
    assert down(seen(*refused), 40, 60, 1e6) == [True, True, True]
    assert down(seen(*refused, line(1000)), 60, 1000, 2000) == [True, False, False]


@pytest.mark.parametrize(
    "outcome", [Outcome.REFUSED, Outcome.ABANDONED, Outcome.EMPTY, Outcome.BROKEN], ids=str
)
def test_what_is_not_the_target_s_fault_is_no_trouble(outcome: Outcome) -> None:
    """The request's own, or the client's."""
    assert down(seen(line(0, outcome)), 0, 1) == [False, False]


def test_limits_are_those_told() -> None:
    """The last word counts, and a window that is not told is the smallest the resets fit into."""
    requests: dict[str, Any] = {"metric": Metric.REQUESTS, "reset": 55.0}
    assert told_limits(
        [
            Told(limit=20, **requests),
            Told(limit=30, **requests),
            Told(Metric.TOKENS, window=3600.0, limit=6000, reset=1.0),
            Told(Metric.TOKENS, window=60.0, remaining=3),
        ]
    ) == (Limit(Metric.REQUESTS, 30, 60.0), Limit(Metric.TOKENS, 6000, 3600.0))


def test_limits_that_nobody_told_are_learned_from_refusals() -> None:
    """Here five a minute: each refusal came when five answers were less than a minute old."""
    answers = [line(60 * minute + second) for minute in range(4) for second in range(5)]
    refusals = [line(60 * minute + 30, Outcome.RATE_LIMITED) for minute in range(4)]
    target = seen(*answers, *refusals)
    assert target.limits == (Limit(Metric.REQUESTS, 5, 60.0),)
    assert down(target, 30, 90) == [False, False]  # the limit says so already


def test_a_refusal_that_no_limit_explains_holds_as_long_as_told() -> None:
    """A day that was spent before the trace began."""
    told = (Told(Metric.REQUESTS, window=86400.0, limit=1000, remaining=0),)
    target = seen(line(0, Outcome.RATE_LIMITED, delay=7200.0, told=told))
    assert down(target, 60, 7199, 7201) == [True, True, False]


def test_who_served_more_counts_otherwise() -> None:
    """Only buckets and fixed windows give more than the limit within a window's length."""
    told = (Told(Metric.REQUESTS, window=60.0, limit=2, remaining=1),)
    refilling = (Told(Metric.REQUESTS, window=60.0, limit=2, remaining=1, refills=True),)
    limit = Limit(Metric.REQUESTS, 2, 60.0)
    times = (0, 30, 59)
    assert seen(line(0, told=refilling), line(61)).kind_of(limit) == "sliding"
    assert seen(*(line(at, told=told) for at in times)).kind_of(limit) == "fixed"
    assert seen(*(line(at, told=refilling) for at in times)).kind_of(limit) == "bucket"


def test_the_smallest_request_that_was_too_large_is_known() -> None:
    """No larger one fits either."""
    sizes = [line(at, Outcome.TOO_LARGE, tokens=size) for at, size in enumerate((900, 500, 700))]
    found = seen(*sizes).too_large
    assert found is not None
    assert found.size == 500
    assert seen(line(0)).too_large is None


def test_answers_nobody_counted_are_of_middling_length() -> None:
    """The prompt is no part of them."""
    lines = [line(at, used=used) for at, used in enumerate((30, 110, 60))]
    assert Past.of([*lines, line(9)]).answer_tokens == 50
    assert Past.of([line(0)]).answer_tokens > 0


def test_lines_may_come_in_any_order() -> None:
    """Requests are written at their ends, and played at their beginnings."""
    assert [each.at for each in Past.of([line(3), line(1), line(2)]).lines] == [1, 2, 3]


def test_a_tally_counts_half_open_windows() -> None:
    """What happened just at the start of a window has left it."""
    tally = Tally([(10.0, 2), (0.0, 1), (20.0, 4)])
    assert [tally.since(0, 10), tally.since(-1, 20), tally.since(20, 30), tally.since(30, 0)] == [
        2,
        7,
        0,
        0,
    ]
    assert tally.most(10.5) == 6
    assert Tally([]).most(60) == 0
