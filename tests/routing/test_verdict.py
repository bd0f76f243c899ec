"""The verdict table, row by row, from the table itself."""

import pytest

from stepwell.quota.ledger import Bench, Ended
from stepwell.quota.limit import Scope
from stepwell.quota.reading import About, Hint
from stepwell.routing.verdict import TABLE, Outcome, Rule, Then, Verdict, outcome_of

# The table of the design, written a second time, so that no row changes by accident.
ROWS = {
    Outcome.ANSWER: Rule(Then.ANSWER, Ended.SUCCESS, None, accident=False),
    Outcome.RATE_LIMITED: Rule(Then.NEXT, Ended.REFUSED, Bench.RATE, accident=False),
    Outcome.NO_CREDIT: Rule(Then.NEXT, Ended.REFUSED, Bench.CREDIT, accident=False),
    Outcome.KEY_REFUSED: Rule(Then.NEXT, Ended.REFUSED, Bench.KEY, accident=False),
    Outcome.MODEL_GONE: Rule(Then.NEXT, Ended.REFUSED, Bench.MODEL, accident=False),
    Outcome.UNREACHABLE: Rule(Then.NEXT, Ended.FAILED, Bench.FAULT, accident=True),
    Outcome.FAULT: Rule(Then.NEXT, Ended.FAILED, Bench.FAULT, accident=True),
    Outcome.TOO_LARGE: Rule(Then.NEXT, Ended.NEUTRAL, None, accident=False),
    Outcome.REFUSED: Rule(Then.OTHER_PROVIDER, Ended.NEUTRAL, None, accident=False),
    Outcome.EMPTY: Rule(Then.OTHER_TARGET, Ended.NEUTRAL, None, accident=False),
    Outcome.BROKEN: Rule(Then.STOP, Ended.FAILED, Bench.FAULT, accident=False),
    Outcome.ABANDONED: Rule(Then.STOP, Ended.NEUTRAL, None, accident=False),
}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_the_row_that_the_design_gives_it(outcome: Outcome) -> None:
    """No outcome is without a rule, and no rule differs from the design."""
    assert TABLE[outcome] == ROWS[outcome]


@pytest.mark.parametrize(
    ("status", "about", "outcome"),
    [
        (429, None, Outcome.RATE_LIMITED),
        (429, About.RATE, Outcome.RATE_LIMITED),
        (403, About.RATE, Outcome.RATE_LIMITED),
        (402, About.RATE, Outcome.RATE_LIMITED),
        (400, About.RATE, Outcome.RATE_LIMITED),
        (401, About.RATE, Outcome.RATE_LIMITED),
        (503, About.RATE, Outcome.FAULT),
        (429, About.CONCURRENCY, Outcome.RATE_LIMITED),
        (402, About.CONCURRENCY, Outcome.RATE_LIMITED),
        (429, About.CREDIT, Outcome.NO_CREDIT),
        (402, None, Outcome.NO_CREDIT),
        (403, About.CREDIT, Outcome.NO_CREDIT),
        (429, About.MODEL, Outcome.MODEL_GONE),
        (429, About.CAPACITY, Outcome.FAULT),
        (429, About.TOO_LARGE, Outcome.TOO_LARGE),
        (401, None, Outcome.KEY_REFUSED),
        (403, None, Outcome.KEY_REFUSED),
        (400, About.KEY, Outcome.KEY_REFUSED),
        (404, None, Outcome.MODEL_GONE),
        (410, None, Outcome.MODEL_GONE),
        (403, About.MODEL, Outcome.MODEL_GONE),
        (408, None, Outcome.UNREACHABLE),
        (500, None, Outcome.FAULT),
        (502, None, Outcome.FAULT),
        (503, About.CAPACITY, Outcome.FAULT),
        (529, None, Outcome.FAULT),
        (302, None, Outcome.FAULT),
        (413, None, Outcome.TOO_LARGE),
        (400, About.TOO_LARGE, Outcome.TOO_LARGE),
        (400, None, Outcome.REFUSED),
        (400, About.REQUEST, Outcome.REFUSED),
        (403, About.REQUEST, Outcome.REFUSED),
        (422, None, Outcome.REFUSED),
        (418, None, Outcome.REFUSED),
    ],
)
def test_a_refusal_is_named_by_its_body_before_its_status(
    status: int, about: About | None, outcome: Outcome
) -> None:
    """What the body says it is about decides; the status decides only where the body is silent."""
    assert outcome_of(status, about) is outcome


@pytest.mark.parametrize("outcome", [Outcome.NO_CREDIT, Outcome.KEY_REFUSED])
def test_money_and_keys_bench_the_whole_account(outcome: Outcome) -> None:
    """A key without credit is without credit for every model."""
    assert Verdict(outcome, Hint(scope=Scope.MODEL)).report(None).scope is Scope.ACCOUNT


def test_no_credit_for_paid_models_leaves_the_free_ones() -> None:
    """Only the target that was refused is out of service; the account stays."""
    hint = Hint(scope=Scope.ACCOUNT, paid=True)
    report = Verdict(Outcome.NO_CREDIT, hint).report(None)
    assert (report.bench, report.scope) == (Bench.MODEL, Scope.MODEL)


def test_the_free_models_day_does_not_bench_the_paid_ones() -> None:
    """The ledger is told the scope that was proved, between a model's and the account's."""
    report = Verdict(Outcome.RATE_LIMITED, Hint(scope=Scope.FREE)).report(None)
    assert (report.bench, report.scope) == (Bench.RATE, Scope.FREE)


def test_a_known_length_begins_the_ledgers_guess() -> None:
    """It travels with the report where the row benches, as a delay does."""
    hint = Hint(guess=2.0)
    assert Verdict(Outcome.FAULT, hint).report(None).guess == 2.0
    assert Verdict(Outcome.TOO_LARGE, hint).report(None).guess is None


def test_a_delay_counts_only_where_the_row_benches() -> None:
    """A Retry-After beside a request that is too large says nothing of quota."""
    hint = Hint(delay=9.0)
    assert Verdict(Outcome.TOO_LARGE, hint).report(None).delay is None
    assert Verdict(Outcome.RATE_LIMITED, hint).report(None).delay == 9.0
