from collections.abc import Iterable
from math import inf

import pytest

from stepwell.quota.count import Count
from stepwell.quota.laws import suspects
from stepwell.quota.laws.law import Gauge, Kind, Outcome
from stepwell.quota.laws.sliding import Sliding
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.suspicion import Log
from stepwell.quota.traffic import Traffic


def log_of(moments: Iterable[float], tokens: int = 10) -> Log:
    """Return a log of calls that were served at once, each of so many tokens."""
    log = Log()
    for moment in moments:
        log.add(Metric.REQUESTS, moment, moment, 1)
        log.add(Metric.TOKENS, moment, moment, tokens)
    return log


def suspect(log: Log, moment: float, tokens: int = 10, delay: float | None = None) -> Count | None:
    flying = {Metric.REQUESTS: Traffic(), Metric.TOKENS: Traffic()}
    flying[Metric.REQUESTS].start(1, 1)
    flying[Metric.TOKENS].start(1, tokens)
    outcome = Outcome(moment, moment, tokens, served=False, delay=delay)
    found = log.suspect(outcome, Scope.MODEL, flying.__getitem__)
    log.refuse(outcome)
    return found


def test_the_commonest_window_is_suspected_first() -> None:
    """Five at once and no sixth: five a minute, as most free tiers count."""
    found = suspect(log_of([0.0] * 5), 0.5)
    assert found is not None
    assert found.limit == Limit(Metric.REQUESTS, 5, 60.0)
    assert found.source == "learned"
    assert not found.is_configured


def test_what_was_served_before_rules_out_longer_windows() -> None:
    """Five, a refusal, and five again ten seconds later, three times: no minute has two edges."""
    log = Log()
    for burst in (0.0, 10.0, 20.0):
        for number in range(5):
            moment = burst + number * 0.5
            log.add(Metric.REQUESTS, moment, moment, 1)
            log.add(Metric.TOKENS, moment, moment, 10)
        found = suspect(log, burst + 3.0)
    assert found is not None
    assert (found.limit.metric, found.limit.amount) == (Metric.REQUESTS, 5)
    assert 2.5 < found.limit.window <= 10.0


def test_a_told_delay_rules_out_shorter_windows() -> None:
    """No window gives back later than its own length; only a bucket may take as long."""
    found = suspect(log_of([0.0, 0.1, 0.2, 0.3, 0.4]), 0.5, delay=400.5)
    assert found is not None
    kinds = {law.kind for law in found.belief.laws}
    assert kinds == {Kind.BUCKET} or found.limit.window >= 400.0


def test_different_sizes_show_a_limit_of_tokens() -> None:
    """Ten small calls were served and then no large one, twice: it is the tokens that count."""
    log = Log()
    for minute in (0.0, 90.0):
        for number, tokens in enumerate([900] if minute else [100] * 9):
            moment = minute + number
            log.add(Metric.REQUESTS, moment, moment, 1)
            log.add(Metric.TOKENS, moment, moment, tokens)
        found = suspect(log, minute + 10.0, tokens=150)
    assert found is not None
    assert found.limit.metric is Metric.TOKENS


def test_too_few_calls_show_nothing() -> None:
    """A refusal after a single small call may have any reason."""
    assert suspect(Log(), 0.5) is None


def test_what_is_remembered_is_counted() -> None:
    """The suspected limit is used up at once, so that the next call waits."""
    found = suspect(log_of([0.0] * 5), 0.5)
    assert found is not None
    assert found.used(1.0) == 5 + 1, "the refused call is still in flight"
    assert found.opens(1.0, 10) > 1.0


@pytest.mark.parametrize(
    ("window", "kind"), [(60.0, Kind.SLIDING), (10.0, Kind.SLIDING), (3600.0, Kind.SLIDING)]
)
def test_readings_show_the_window_that_they_fit(window: float, kind: Kind) -> None:
    """A dialect presumed another one; the resets say how long it really is."""
    moments = [0.25, 1.25, 2.25, 3.25]
    gauges = [Gauge(at, at, used, window + 0.0005) for used, at in enumerate(moments, 1)]
    presumed = Limit(Metric.REQUESTS, 9, 123.0)
    found = log_of(moments).measure(presumed, gauges, lambda _: Traffic())
    assert found is not None
    assert found.limit == Limit(Metric.REQUESTS, 9, window)
    assert found.source == "told"
    assert kind in {law.kind for law in found.belief.laws}


def test_readings_that_fit_no_window_show_none() -> None:
    """A reset beyond the longest window is of something else."""
    gauges = [Gauge(at, at, 1, 9e6 + 0.5) for at in (0.0, 1.0, 2.0)]
    log = log_of([0.0, 1.0, 2.0])
    assert log.measure(Limit(Metric.REQUESTS, 9, 60.0), gauges, lambda _: Traffic()) is None
    assert repr(log) == "<Log of 3 outcomes>"


def test_refused_calls_do_not_fill_a_guessed_window() -> None:
    """Five a minute, guessed: a refusal a minute later is another's, whoever was refused before."""
    found = suspect(log_of([0.0, 0.1, 0.2, 0.3, 0.4]), 0.5)
    assert found is not None
    for moment in range(1, 60):
        found.doubt(1, float(moment))
    assert not found.foresees(Outcome(61.0, 61.0, 10, served=False))


def test_a_guess_is_given_up_for_a_refusal_that_it_does_not_explain() -> None:
    """However little is used: what refusals have suggested has to explain them; settings need not."""
    found = suspect(log_of([0.0, 0.1, 0.2, 0.3, 0.4]), 0.5)
    assert found is not None
    outcome = Outcome(500.0, 500.0, 10, served=False)
    assert found.is_near(outcome)
    assert not Count.of(found.limit, Traffic()).is_near(outcome)


def test_told_delays_show_that_a_limit_counts_refused_calls() -> None:
    """Twice five in a minute, and a refusal whose delay ends when the second of them comes back."""
    log = Log()
    found = None
    for minute in (0.0, 100.0):
        for number in range(5):
            log.add(Metric.REQUESTS, minute + 7 * number, minute + 7 * number, 1)
            log.add(Metric.TOKENS, minute + 7 * number, minute + 7 * number, 10)
        found = suspect(log, minute + 40.25, delay=26.75)
    assert found is not None
    assert found.limit == Limit(Metric.REQUESTS, 5, 60.0)
    assert found.usage.counts_refused
    assert found.usage.maybe(-1.0, 40.25) == 5  # a refusal's own delay adds itself
    assert found.usage.maybe(-1.0, 41.0) == 6
    assert kinds_of(found) >= {Kind.SLIDING}


def windows_of(begins: Iterable[float], log: Log, amount: int = 5) -> Count | None:
    """Play windows that give so many at once, and refuse later; return the last guess."""
    found = None
    for begin in begins:
        for _ in range(amount):
            log.add(Metric.REQUESTS, begin, begin, 1)
            log.add(Metric.TOKENS, begin, begin, 10)
        found = suspect(log, begin + 10.0)
        found = suspect(log, begin + 40.0)
        found = suspect(log, begin + 59.9)
    return found


def kinds_of(found: Count | None) -> set[Kind]:
    assert found is not None
    assert found.limit == Limit(Metric.REQUESTS, 5, 60.0)
    return {law.kind for law in found.belief.laws}


def test_windows_that_begin_with_a_call_are_found_when_no_edge_recurs() -> None:
    """Nobody told a delay: each window begins later in its minute than the last one."""
    assert Kind.FIXED in kinds_of(windows_of([0.0], log := Log()))
    assert kinds_of(windows_of([60.5, 121.0, 190.0, 262.0], log)) >= {Kind.FIRST_CALL}
    assert Kind.FIXED not in kinds_of(windows_of([322.5], log))


def test_edges_that_recur_are_no_sign_of_windows_that_begin_with_a_call() -> None:
    """Whatever a fixed window explains, one that begins with its first call would explain as well."""
    found = kinds_of(windows_of([0.0, 60.0, 120.0, 180.0], Log()))
    assert Kind.FIXED in found
    assert Kind.FIRST_CALL not in found


@pytest.mark.parametrize(
    ("begins", "kind", "other"),
    [
        ([0.0, 60.5, 121.0, 190.0, 262.0], Kind.FIRST_CALL, Kind.FIXED),
        ([0.0, 60.0, 120.0], Kind.FIXED, Kind.FIRST_CALL),
    ],
)
def test_a_guess_that_loses_the_fixed_window_is_considered_again(
    begins: list[float], kind: Kind, other: Kind
) -> None:
    """A sliding window alone would be proven by what it foresees, as it lets nobody ask sooner."""
    log = Log()
    found = windows_of(begins, log)
    assert found is not None
    found.belief.believe((Sliding(found.usage, 5, 5),))
    for after in (59.95, 59.96):
        moment = begins[-1] + after
        log.reconsider(found, Outcome(moment, moment, 10, served=False))
        kinds = {law.kind for law in found.belief.laws}
        assert Kind.SLIDING in kinds
        assert kind in kinds
        assert other not in kinds


@pytest.mark.parametrize(("fewest", "most"), [(inf, 8), (5, 5)])
def test_a_window_that_holds_an_edge_does_not_hide_the_amount(fewest: float, most: int) -> None:
    """Eight came within a minute, five of them after its edge; before, a sixth was refused."""
    log = log_of([110.0, 111.0, 112.0, *[120.0 + number / 10 for number in range(5)]])
    usage = log.usage(Metric.REQUESTS, 60.0, Traffic(), 121.0, 121.0)
    found = suspects(usage, Outcome(121.0, 121.0, 10, served=False), fewest)
    assert {(law.least, law.most) for law in found if law.kind is Kind.FIXED} == {(most, most)}


def test_what_a_search_had_no_time_for_is_tried_after_the_next_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With time for one window each, four searches try four of them, one of which is too short."""
    monkeypatch.setattr("stepwell.quota.suspicion._ASKED", 1)
    log = Log()
    for number in range(400):
        log.add(Metric.REQUESTS, 0.5 * number, 0.5 * number, 1)
        log.add(Metric.TOKENS, 0.5 * number, 0.5 * number, 1 + number % 7)
        if number % 20 == 19:
            log.refuse(Outcome(0.5 * number + 0.1, 0.5 * number + 0.1, 9, served=False))
    found = [suspect(log, 200.0 + moment / 10) for moment in range(4)]
    assert [each.limit.window for each in found if each is not None] == [60.0, 2.0, 5.0]
