from stepwell.quota.count import Count
from stepwell.quota.laws.bucket import Bucket
from stepwell.quota.laws.first_call import FirstCall
from stepwell.quota.laws.fixed import Fixed
from stepwell.quota.laws.law import Kind, Outcome
from stepwell.quota.laws.sliding import Sliding
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.phases import Phases
from stepwell.quota.reading import Reading
from stepwell.quota.traffic import Traffic

REQUESTS = Metric.REQUESTS


class Calls:
    """Calls of one request each, answered at once, as the keeper books them."""

    def __init__(self, limit: str = "3 requests/minute") -> None:
        self.traffic = Traffic()
        self.count = Count.of(Limit.parse(limit), self.traffic)
        self.number = 0

    def start(self, now: float, tokens: int = 1) -> int:
        self.number += 1
        self.count.challenge(self.number, tokens, now)
        self.traffic.start(self.number, tokens)
        return self.number

    def serve(self, *moments: float, tokens: int = 1) -> None:
        for now in moments:
            call = self.start(now, tokens)
            self.traffic.end([(call, tokens, 0.0, 0.0)])
            self.count.add(call, tokens, now, now, served=True)
            self.count.forget(call)

    def refuse(self, now: float, delay: float | None = None, tokens: int = 1) -> bool:
        call = self.start(now, tokens)
        believed = self.count.refuse(Outcome(now, now, tokens, served=False, delay=delay))
        self.traffic.end([(call, tokens, 0.0, 0.0)])
        self.count.doubt(tokens if self.count.limit.metric is Metric.REQUESTS else 0, now)
        self.count.forget(call)
        return believed

    def is_hard(self, now: float) -> bool:
        return self.count.block("t", now, 1, 1).hard


def reading(limit: int, remaining: int, reset: float | None = None) -> Reading:
    return Reading(REQUESTS, window=60.0, limit=limit, remaining=remaining, reset=reset)


def test_there_is_room_while_the_limit_is_not_reached() -> None:
    """However the window moves, what fits into a sliding one fits."""
    calls = Calls()
    calls.serve(0.0, 0.0)
    assert calls.count.opens(1.0, 1) == 1.0
    calls.serve(1.0)
    assert calls.count.used(1.0) == 3
    assert calls.count.opens(1.0, 1) == 60.0
    assert repr(calls.count) == "<Count 3 requests/60s, 0 in flight>"


def test_the_count_is_soft_until_refusals_prove_it() -> None:
    """Three, half a window apart, that no larger amount explains; calls refused before count as well."""
    calls = Calls()
    calls.serve(0.0, 0.0, 0.0, 10.0, 11.0, 12.0)
    assert calls.count.kind is Kind.FIXED
    for moment in (13.0, 14.0, 43.0):
        assert calls.refuse(moment)
        assert not calls.is_hard(moment)
    for edge in (70.0, 130.0, 190.0):
        assert not calls.is_hard(edge + 4.0)
        calls.serve(edge + 1.0, edge + 1.0, edge + 1.0)
        assert calls.refuse(edge + 3.0)
    assert calls.is_hard(194.0)
    assert not calls.is_hard(241.0), "the edge may have been"


def test_what_no_kind_of_window_allows_stays_proven_when_one_is_refuted() -> None:
    """Three were served before the first refusal; that there was an edge by 10 s changes nothing."""
    calls = Calls()
    calls.serve(0.0, 0.0, 0.0)
    assert calls.refuse(1.0)
    calls.serve(10.0, 71.0, 72.0, 73.0)
    assert calls.count.kind is Kind.FIXED
    assert calls.is_hard(74.0)
    assert not calls.is_hard(122.0), "the edge may have been"


def test_a_told_delay_confirms_at_once() -> None:
    """Nobody else would have told it."""
    calls = Calls()
    calls.serve(0.0, 0.0, 0.0, 10.0, 11.0, 12.0)
    assert calls.refuse(13.0, delay=52.5)
    assert calls.is_hard(14.0)


def test_a_success_past_the_count_shows_how_the_window_moves() -> None:
    """Three at once and a fourth soon after: only an edge explains that."""
    calls = Calls()
    calls.serve(0.0, 0.0, 0.0, 10.0)
    assert calls.count.kind is Kind.FIXED
    assert calls.count.amount == 3


def test_a_success_that_no_law_explains_silences_the_count() -> None:
    """Eight calls in a second do not fit into windows of three: the limit is another one."""
    calls = Calls()
    calls.serve(*(number / 10 for number in range(8)))
    assert not calls.count.is_known
    assert calls.count.opens(1.0, 1) == 1.0
    assert calls.count.amount == 3, "what the settings say is shown on"


def test_a_refusal_that_no_law_explains_is_not_believed() -> None:
    """One of nine was used; it changes nothing, and somebody else must explain it."""
    calls = Calls("9 requests/minute")
    calls.serve(0.0)
    laws = calls.count.belief.laws
    assert not calls.refuse(1.0)
    assert calls.count.belief.laws == laws


def test_only_calls_past_the_count_teach() -> None:
    """What was foreseen refutes nothing."""
    calls = Calls()
    calls.serve(0.0, 20.0, 40.0, 60.0, 80.0)
    assert {law.kind for law in calls.count.belief.laws} == set(Kind)
    assert Phases.any(60.0) in [getattr(law, "phases", None) for law in calls.count.belief.laws]


def test_refused_calls_count_until_one_success_shows_otherwise() -> None:
    """A refused call may have been counted; the fourth call a minute after the third was not full."""
    calls = Calls()
    calls.serve(0.0, 0.0, 0.0)
    calls.refuse(30.0)
    assert calls.count.usage.maybe(0.0) == 1
    calls.serve(60.0, 60.0, 60.0)
    assert calls.count.usage.forgives
    assert calls.count.is_known
    assert calls.count.usage.maybe(0.0) == 3


def test_what_only_refused_calls_can_have_used_up_is_counted_from_then_on() -> None:
    """As OpenAI counts: then there is surely no room, and it is known from when there will be."""
    calls = Calls()
    calls.serve(0.0, 1.0, 2.0)
    for moment in (3.0, 30.0, 59.0):
        assert calls.refuse(moment)
    assert calls.count.may_open(59.1, 1) <= 59.1
    assert calls.refuse(62.5)  # nobody was served in the last minute
    assert calls.count.kind is Kind.SLIDING
    assert calls.count.usage.counts_refused
    assert calls.count.may_open(62.6, 1) == 90.0


def test_a_limit_of_which_twice_was_served_foresees_no_end_of_a_window() -> None:
    """An edge in the midst of six calls may be why; but then its refusal tells of a moment only."""
    calls = Calls()
    calls.serve(0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    assert calls.count.kind is Kind.FIXED
    assert calls.refuse(3.0)
    assert not calls.count.may_have_opened(3.0, 20.0, 1)
    assert calls.count.may_have_opened(float("-inf"), 20.0, 1)


def test_a_told_delay_shows_that_refused_calls_are_counted() -> None:
    """It lasts until the second call comes back, as the refused one has taken the place of the first."""
    calls = Calls()
    calls.serve(0.0, 10.0, 20.0)
    calls.count.belief.believe([Sliding(calls.count.usage, 3, 3)])
    assert calls.refuse(30.5, delay=39.5)
    assert calls.count.usage.counts_refused
    assert calls.count.opens(60.0, 1) == 70.0


def test_a_delay_that_is_told_without_the_refused_call_shows_nothing() -> None:
    """It is what a provider tells that does not count it; no success has shown that yet."""
    calls = Calls()
    calls.serve(0.0, 10.0, 20.0)
    calls.count.belief.believe([Sliding(calls.count.usage, 3, 3)])
    assert calls.refuse(30.5, delay=29.5)
    assert not calls.count.usage.counts_refused


def test_a_bucket_in_debt_opens_when_refused_calls_have_drained_too() -> None:
    """Three a minute: full at once, and two refused calls put it a third of a minute each behind."""
    calls = Calls()
    calls.count.belief.believe([Bucket(calls.count.usage, 3, 3)])
    calls.serve(0.0, 0.0, 0.0)
    assert calls.refuse(0.0, delay=40.0)
    assert calls.count.usage.counts_refused
    assert calls.refuse(1.0, delay=59.0)
    assert calls.count.kind is Kind.BUCKET
    assert abs(calls.count.opens(2.0, 1) - 60.0) < 0.01
    calls.serve(60.1)
    assert calls.refuse(61.0, delay=39.0)
    assert abs(calls.count.opens(62.0, 1) - 100.0) < 0.01  # though few were counted in its window
    assert calls.count.amount == 3


def test_a_bucket_may_be_in_debt_for_longer_than_a_window() -> None:
    """Three a minute, and five refused calls: it is full a minute later, when nothing is younger."""
    calls = Calls()
    calls.count.belief.believe([Bucket(calls.count.usage, 3, 3)])
    calls.serve(0.0, 0.0, 0.0)
    for refused in range(1, 6):
        assert calls.refuse(0.0, delay=20.0 * (refused + 1))
    assert calls.refuse(61.0, delay=79.0)
    assert calls.count.amount == 3
    assert abs(calls.count.opens(62.0, 1) - 140.0) < 0.01


def test_that_refused_calls_are_counted_is_open_again_when_it_explains_nothing() -> None:
    """What others used of the same quota may have looked like that; the limit itself was named."""
    calls = Calls()
    calls.count.belief.believe([Sliding(calls.count.usage, 3, 3)])
    calls.serve(0.0, 10.0, 20.0)
    assert calls.refuse(30.5, delay=39.5)
    calls.serve(70.0, 80.1, 91.0)
    calls.start(100.0)
    refusal = Outcome(100.0, 100.0, 1, served=False, delay=30.0)
    assert not calls.count.refuse(refusal)
    assert calls.count.begin_anew(refusal)
    assert not calls.count.usage.counts_refused


def test_a_provider_that_forgave_is_held_to_it() -> None:
    """Once refused calls are known not to count, such a delay speaks of another limit."""
    calls = Calls()
    calls.count.belief.believe([Sliding(calls.count.usage, 3, 3)])
    calls.count.usage.forgive()
    calls.serve(0.0, 10.0, 20.0)
    assert not calls.refuse(30.5, delay=39.5)


def test_a_success_while_an_answer_was_slow_shows_that_calls_count_as_they_come() -> None:
    """A call that took 30 s left a sliding window one minute after it was sent; a fixed one may too."""
    for is_surely_sliding in (True, False):
        calls = Calls("1 requests/minute")
        if is_surely_sliding:
            calls.count.belief.believe([Sliding(calls.count.usage, 1, 1)])
        first = calls.start(0.0)
        calls.traffic.end([(first, 1, 0.0, 0.0)])
        calls.count.add(first, 1, 0.0, 30.0, served=True)
        calls.serve(61.0)
        assert calls.count.usage.is_prompt is is_surely_sliding


def test_a_named_limit_is_believed_before_a_configured_one() -> None:
    """The provider knows best how much fits."""
    calls = Calls()
    calls.count.hear(reading(limit=9, remaining=8), 0.0, 0.0, served=True)
    assert (calls.count.amount, calls.count.source) == (9, "told")
    assert calls.count.is_configured


def test_a_reading_counts_what_others_have_used() -> None:
    """Another program with the same key has used five."""
    calls = Calls("9 requests/minute")
    call = calls.start(0.0)
    calls.count.hear(reading(limit=9, remaining=3), 0.0, 0.0, served=True)
    calls.traffic.end([(call, 1, 0.0, 0.0)])
    calls.count.add(call, 1, 0.0, 0.0, served=True)
    assert calls.count.used(0.0) == 6


def test_a_reading_shows_the_kind_of_a_window() -> None:
    """All is back in 6.7 s: a bucket of nine that drains one unit in that time."""
    calls = Calls("9 requests/minute")
    call = calls.start(0.0)
    calls.count.hear(reading(limit=9, remaining=8, reset=6.7), 0.0, 0.0, served=True)
    calls.traffic.end([(call, 1, 0.0, 0.0)])
    calls.count.add(call, 1, 0.0, 0.0, served=True)
    assert {law.kind for law in calls.count.belief.laws} == {Kind.BUCKET, Kind.FIXED}


def test_a_reading_that_no_law_fits_ends_what_was_proven() -> None:
    """Three calls of a minute are gone after twelve seconds: the window was only presumed."""
    calls = Calls()
    calls.serve(0.0, 1.0, 2.0)
    calls.refuse(3.0, 57.5)
    assert calls.is_hard(4.0)
    calls.count.hear(reading(limit=3, remaining=2, reset=5.0), 12.0, 12.0, served=True)
    assert calls.count.is_misread
    assert not calls.is_hard(12.0)


def test_a_silent_count_listens_to_a_reading() -> None:
    """A limit that was given up holds again as soon as the provider names it."""
    calls = Calls()
    calls.count.silence()
    calls.count.hear(reading(limit=3, remaining=3), 0.0, 0.0, served=True)
    assert calls.count.is_known


def test_what_was_learned_outlives_a_restart() -> None:
    """The laws, their edges and the trust in them, on another monotonic clock."""
    calls = Calls()
    calls.serve(0.0, 0.0, 0.0, 10.0)
    written = calls.count.export(20.0)
    again = Calls()
    again.count.restore(written, 1020.0, 1020.0)
    (law,) = again.count.belief.laws
    assert isinstance(law, Fixed)
    assert abs(law.phases.last_after(1011.0) - 1070.0) < 1e-4
    assert again.count.used(1020.0) == calls.count.used(20.0)


def test_every_kind_outlives_a_restart() -> None:
    """As it was written, bounds and all."""
    calls, again = Calls(), Calls()
    again.count.restore(calls.count.export(0.0), 0.0, 0.0)
    assert [type(law) for law in again.count.belief.laws] == [Sliding, Fixed, Bucket, FirstCall]
    assert {(law.least, law.most) for law in again.count.belief.laws} == {(3, 3)}


def test_a_limit_configured_anew_is_learned_anew() -> None:
    """What was used is still used; what was learned of another amount is not."""
    calls, again = Calls(), Calls("5 requests/minute")
    calls.serve(0.0, 0.0, 0.0, 10.0)
    again.count.restore(calls.count.export(20.0), 20.0, 20.0)
    assert again.count.kind is None
    assert again.count.amount == 5
    assert again.count.used(20.0) == 4


def test_the_status_shows_what_is_left_and_when_it_is_whole() -> None:
    """In flight, nobody knows yet when all is back."""
    calls = Calls()
    calls.serve(0.0, 1.0)
    status = calls.count.status(2.0)
    assert (status.used, status.remaining, status.reset) == (2, 1, 61.0)
    calls.start(2.0)
    assert calls.count.status(2.0).reset is None


def test_a_refusal_that_leaves_no_other_amount_confirms_a_configured_limit_at_once() -> None:
    """Had one more fitted, the call would have been served."""
    calls = Calls()
    calls.serve(0.0, 1.0, 2.0)
    assert calls.refuse(3.0)
    assert calls.is_hard(4.0) is False, "the edge of a fixed window may be at any moment"
    calls.serve(60.0, 61.0, 62.0)
    assert calls.count.belief.laws
    sure = [law for law in calls.count.belief.laws if not isinstance(law, Fixed)]
    assert all(law.may_open(1, 63.0) > 63.0 for law in sure)
    assert calls.count.export(63.0)["proven"] > 3000.0


def test_a_refusal_that_a_larger_amount_explains_too_confirms_nothing() -> None:
    """Half of what is true may fit by chance: three before an edge and three after it."""
    calls = Calls()
    calls.serve(0.0, 0.0, 0.0, 10.0, 11.0, 12.0)
    assert calls.count.kind is Kind.FIXED
    assert calls.refuse(13.0)
    assert calls.count.export(13.0)["proofs"] == 0


def test_a_limit_of_tokens_is_proven_as_far_as_calls_are_small() -> None:
    """How much more fits than was served nobody knows, but it is less than one call's tokens."""
    calls = Calls("1000 tokens/minute")
    for window in range(6):
        calls.serve(60.0 * window, 60.0 * window + 1, 60.0 * window + 2, tokens=300)
        assert calls.refuse(60.0 * window + 3, tokens=200)
    assert calls.count.export(304.0)["proven"] > 3000.0


def test_refusals_of_one_burst_show_together_that_a_limit_is_too_high() -> None:
    """Each might be one too many after the others, but not all of them: only four were served."""
    calls = Calls("8 requests/minute")
    burst = [calls.start(0.0) for _ in range(9)]
    for call in burst[:4]:
        calls.traffic.end([(call, 1, 0.0, 0.0)])
        calls.count.add(call, 1, 0.0, 0.3, served=True)
    believed = []
    for call in burst[4:]:
        believed.append(calls.count.refuse(Outcome(0.0, 0.3, 1, served=False)))
        calls.traffic.end([(call, 1, 0.0, 0.0)])
        calls.count.doubt(1, 0.3)
    assert believed[0]
    assert not believed[-1]
