from math import inf

import pytest

from stepwell.quota.count import Count
from stepwell.quota.desk import Desk
from stepwell.quota.laws.bucket import Bucket
from stepwell.quota.laws.fixed import Fixed
from stepwell.quota.laws.law import Kind, Law
from stepwell.quota.ledger import Bench, Ended, Report
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.pool import Pool
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target


def test_a_probe_marks_every_guess_in_its_way() -> None:
    """It tries out the target's guess and the account's at once, and its end frees both."""
    shared = Pool(Scope.ACCOUNT)
    desk, sibling = Desk("a/m", "a", shared), Desk("a/n", "a", shared)
    for scope in Scope:
        desk.take(1, 1, 0.0, probe=False)
        desk.age(1, 0.0, 0.0)
        desk.spend(1, 1, 0.0, 0.0)
        desk.judge(1, 1, Report(Ended.REFUSED, bench=Bench.RATE, scope=scope), 0.0, 0.0)
    assert desk.take(2, 1, 30.0, probe=False), "half-open: the next call is the probe"
    assert not desk.is_open(30.0, 1, 1)
    assert not sibling.is_open(30.0, 1, 1), "the account is being probed"
    desk.give_back(2, request=True)
    assert desk.is_open(30.0, 1, 1)
    assert sibling.is_open(30.0, 1, 1)
    assert repr(desk) == "<Desk a/m, 0 in flight>"


def test_account_calls_count_for_the_account_alone() -> None:
    """One pool is the target's own, the other is shared."""
    shared = Pool(Scope.ACCOUNT)
    desk, sibling = Desk("a/m", "a", shared), Desk("a/n", "a", shared)
    desk.take(1, 5, 0.0, probe=False)
    sibling.take(2, 5, 0.0, probe=False)
    assert (desk.own.in_flight, sibling.own.in_flight, shared.in_flight) == (1, 1, 2)


class Calls:
    """Calls of one target, answered at once, as the keeper books them."""

    def __init__(self, *limits: str) -> None:
        self.desk = Desk("a/m", "a", Pool(Scope.ACCOUNT))
        self.desk.adopt(Target("a", "a", "m", tuple(map(Limit.parse, limits))))
        self.number = 0

    @property
    def shut(self) -> list[float]:
        """When each limit has refused last, by the law of a fixed window."""
        fixed = [law for law in self.laws if isinstance(law, Fixed)]
        return [law.shut for law in fixed]

    @property
    def laws(self) -> list[Law]:
        counts = [count for count in self.desk.own.counts if isinstance(count, Count)]
        return [law for count in counts for law in count.belief.laws]

    @property
    def known(self) -> list[tuple[str, int]]:
        """The limits that hold, each with its amount and who says so."""
        return [(count.source, count.amount) for count in self.desk.own.counts]

    def start(self, now: float, tokens: int) -> int:
        self.number += 1
        self.desk.take(self.number, tokens, now, probe=True)
        return self.number

    def serve(self, *moments: float, tokens: int = 1) -> None:
        for now in moments:
            self.end(self.start(now, tokens), Report(Ended.SUCCESS), tokens, now)

    def refuse(
        self, now: float, tokens: int = 1, delay: float | None = None, *readings: Reading
    ) -> None:
        report = Report(Ended.REFUSED, bench=Bench.RATE, delay=delay, readings=readings)
        self.end(self.start(now, tokens), report, tokens, now)

    def end(self, call: int, report: Report, tokens: int, now: float) -> None:
        desk = self.desk
        desk.learn(report, tokens, tokens, now, now)
        desk.age(call, now, now, ended=report.ended)
        desk.spend(call, tokens, now, now, ended=report.ended)
        desk.judge(call, call, report, now, now)


def test_a_refusal_that_was_foreseen_makes_no_guess() -> None:
    """The count says when there is room again; no cooldown has to."""
    calls = Calls("3 requests/minute")
    calls.serve(0.0, 1.0, 2.0)
    calls.refuse(3.0)
    assert calls.known == [("configured", 3)]
    block = calls.desk.block(4.0, 1)
    assert block is not None
    assert block.reason == "count"


def test_a_refusal_far_from_the_limit_is_guessed_about() -> None:
    """One of a hundred was used: it has another reason, and the limit holds on."""
    calls = Calls("100 requests/minute")
    calls.serve(0.0)
    calls.refuse(3.0)
    assert calls.known == [("configured", 100)]
    block = calls.desk.block(4.0, 1)
    assert block is not None
    assert block.reason == "guessed"


def test_a_refusal_near_the_limit_refutes_it() -> None:
    """Settings are wrong by a small factor: what was served says what the limit is."""
    calls = Calls("10 requests/minute")
    calls.serve(0.0, 1.0, 2.0, 3.0)
    calls.refuse(4.0)
    assert calls.known == [("learned", 4)]


def test_a_limit_that_nobody_told_is_found() -> None:
    """Without any limit a refusal shows one, and the target waits for it."""
    calls = Calls()
    calls.serve(0.0, 1.0, 2.0, 3.0)
    assert calls.known == []
    calls.refuse(4.0)
    assert calls.known == [("learned", 4)]
    assert not calls.desk.is_open(5.0, 1, 1)


def test_a_named_limit_is_blamed_and_no_other() -> None:
    """A refusal says which counter is used up; the tighter one beside it learns nothing."""
    calls = Calls("3 requests/minute", "5 requests/2m")
    calls.serve(0.0, 1.0, 2.0, 70.0, 71.0)
    named = Reading(Metric.REQUESTS, window=120.0, limit=5, remaining=0)
    calls.refuse(73.0, 1, None, named)
    assert calls.shut == [-inf, 73.0]


def test_a_named_limit_that_does_not_explain_it_is_kept() -> None:
    """Others have used what the provider names; our own count of it stays as it is."""
    calls = Calls("3 requests/minute")
    calls.serve(0.0)
    calls.refuse(1.0, 1, None, Reading(Metric.REQUESTS, window=60.0, limit=3, remaining=0))
    assert calls.known == [("configured", 3)]


def test_a_named_limit_that_was_taken_for_another_kind_begins_anew() -> None:
    """By its edge at 60 s one of three is used at 72 s; the window slides after all, and is full."""
    calls = Calls("3 requests/minute")
    calls.serve(0.0, 0.0, 0.0, 10.0, 50.0, 51.0, 71.0)
    assert [law.kind for law in calls.laws] == [Kind.FIXED]
    calls.refuse(72.0, 1, None, Reading(Metric.REQUESTS, window=60.0, limit=3, remaining=0))
    assert {law.kind for law in calls.laws} == set(Kind)
    assert calls.known == [("configured", 3)]


def test_of_two_limits_that_are_used_up_the_longer_one_is_blamed() -> None:
    """A delay is told for the one that opens last."""
    calls = Calls("3 requests/minute", "3 requests/hour")
    calls.serve(0.0, 1.0, 2.0)
    calls.refuse(3.0)
    assert calls.shut == [-inf, 3.0]


def test_a_limit_that_nobody_told_outlives_the_process() -> None:
    """What refusals have shown is written down and read again, with its source."""
    calls = Calls()
    calls.serve(*map(float, range(10)))
    calls.refuse(10.0)
    [learned] = calls.desk.own.counts
    again = Desk("t", "a", Pool(Scope.ACCOUNT))
    again.restore(calls.desk.export(12.0), 12.0, 12.0)
    [count] = again.own.counts
    assert isinstance(count, Count)
    assert (count.amount, count.source) == (learned.amount, "learned")
    assert count.opens(12.0, 1) > 12.0


def test_what_one_limit_explains_does_not_show_that_another_counts_refused_calls() -> None:
    """A told delay of 26.6 s fits the tokens as they are, the requests only with the refused one."""
    calls = Calls("2 requests/minute", "10000 tokens/minute")
    requests, tokens = counts = [
        count for count in calls.desk.own.counts if isinstance(count, Count)
    ]
    for count in counts:
        count.belief.believe([Bucket(count.usage, count.amount, count.amount)])
    calls.serve(0.0, tokens=10)
    calls.serve(4.0, tokens=9900)
    calls.refuse(5.0, 4700, 26.6)
    assert not requests.usage.counts_refused
    assert tokens.belief.proofs.weight > 0


@pytest.mark.parametrize(("arrived", "waits"), [(69.0, True), (65.0, False)])
def test_a_search_for_tokens_ends(arrived: float, waits: bool) -> None:
    """There may be room again since it has refused, for a request that turns out small."""
    calls = Calls("1000 tokens/minute")
    calls.serve(0.0, tokens=900)
    calls.refuse(66.0, 500, 1.0)
    calls.refuse(69.1, 500, 1.0)
    standing = calls.desk.standing(69.6, 500, arrived, arrived)
    assert standing is not None
    assert standing.waits is waits


def test_a_told_delay_for_want_of_tokens_holds_for_smaller_requests_too() -> None:
    """What would fit nobody said; the provider's word is kept for everyone."""
    calls = Calls("1000 tokens/minute")
    calls.serve(0.0, tokens=800)
    calls.refuse(1.0, 500, 30.0)
    block = calls.desk.block(2.0, 1)
    assert block is not None
    assert (block.hard, block.told, block.until) == (True, True, 31.0)


@pytest.mark.parametrize(("waits_until", "is_held"), [(74.0, True), (-inf, False)])
def test_who_may_be_held_waits_where_an_edge_may_have_come(
    waits_until: float, is_held: bool
) -> None:
    """It came with those of forty seconds and later; the last refusal is not as young as that."""
    calls = Calls("2 requests/minute")
    calls.serve(0.0, 1.0)
    calls.refuse(2.0)
    calls.serve(40.0, 41.0)
    calls.refuse(75.0)
    standing = calls.desk.standing(75.5, 1, 74.0, waits_until)
    assert standing is not None
    assert standing.waits is is_held
    assert standing.probe_at == (pytest.approx(87.5, abs=0.1) if is_held else inf)
