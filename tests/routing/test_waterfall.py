"""The waterfall's moves, without anything that awaits."""

from collections.abc import Sequence

import pytest

from stepwell.quota.ledger import Exhausted, Reservation
from stepwell.quota.reading import Hint
from stepwell.routing.chain import Step, Target
from stepwell.routing.verdict import Outcome, Verdict
from stepwell.routing.waterfall import (
    CHANCES,
    Deliver,
    GiveUp,
    Move,
    Pause,
    Reserve,
    Send,
    Waterfall,
)


def step(provider: str, model: str = "m", keys: int = 1) -> Step:
    names = [provider, *(f"{provider}#{n}" for n in range(2, keys + 1))]
    targets = tuple(Target(account, provider, model) for account in names)
    return Step(provider, model, targets, timeout=60.0)


def descent(steps: Sequence[Step]) -> Waterfall[str]:
    return Waterfall([(step, target) for step in steps for target in step.targets])


def play(waterfall: Waterfall[str], outcomes: Sequence[tuple[str, Outcome | str]]) -> Move[str]:
    """Play against `(account, outcome)` in turn; "dry" is the ledger's Exhausted."""
    move = waterfall.next()
    for account, outcome in outcomes:
        if isinstance(move, Pause):
            move = waterfall.next()
        assert isinstance(move, Reserve)
        if outcome == "dry":
            move = waterfall.exhausted(Exhausted(9.0, ()))
            continue
        target = next(target for target in move.targets if target.account == account)
        sent = waterfall.reserved(Reservation(target, 1, 0.0))
        assert isinstance(sent, Send)
        assert sent.target is target
        move = waterfall.judged(Verdict(Outcome(outcome)), f"{account}:{outcome}")
    return move


def asked(move: Move[str]) -> list[str]:
    assert isinstance(move, Reserve)
    return [target.account for target in move.targets]


def test_all_targets_of_all_steps_are_asked_for_in_order() -> None:
    """A step with three keys is three targets."""
    assert asked(descent([step("a", keys=3), step("b")]).next()) == ["a", "a#2", "a#3", "b"]


def test_a_failed_target_is_left_out_of_the_rest_of_the_pass() -> None:
    """Each target is tried at most once in a pass."""
    move = play(descent([step("a"), step("b")]), [("a", Outcome.RATE_LIMITED)])
    assert asked(move) == ["b"]


def test_an_answer_ends_it() -> None:
    """The first sound reply is delivered."""
    move = play(descent([step("a"), step("b")]), [("a", Outcome.FAULT), ("b", Outcome.ANSWER)])
    assert move == Deliver("b:answer")


def test_accidents_get_a_second_pass_and_refusals_do_not() -> None:
    """Only what failed by accident, and what was not asked, is tried again, once."""
    waterfall = descent([step("a"), step("b"), step("c")])
    outcomes = [("a", Outcome.UNREACHABLE), ("b", Outcome.RATE_LIMITED), ("c", "dry")]
    assert play(waterfall, outcomes) == Pause()
    assert asked(waterfall.next()) == ["a", "c"]


def test_there_is_no_third_pass() -> None:
    """After the second pass the request is given up."""
    waterfall = descent([step("a")])
    assert play(waterfall, [("a", Outcome.FAULT), ("a", Outcome.FAULT)]) == GiveUp(None)


def test_exhaustion_is_given_up_with_the_ledgers_word() -> None:
    """The soonest reset reaches the client."""
    assert play(descent([step("a")]), [("a", "dry")]) == GiveUp(Exhausted(9.0, ()))


def test_a_refusal_is_put_to_one_other_provider_and_the_first_one_is_delivered() -> None:
    """Two providers agree that the request is wrong; the first one's words go to the client."""
    waterfall = descent([step("a", keys=2), step("b"), step("c")])
    move = play(waterfall, [("a", Outcome.REFUSED)])
    assert asked(move) == ["b", "c"]
    assert play(
        descent([step("a", keys=2), step("b"), step("c")]),
        [("a", Outcome.REFUSED), ("b", Outcome.REFUSED)],
    ) == Deliver("a:refused")


def test_a_dry_second_opinion_is_passed_over() -> None:
    """A 429 is no opinion on the request; the next provider is asked."""
    outcomes = [("a", Outcome.REFUSED), ("b", Outcome.RATE_LIMITED), ("c", Outcome.ANSWER)]
    assert play(descent([step("a"), step("b"), step("c")]), outcomes) == Deliver("c:answer")


def test_a_refusal_is_delivered_when_nobody_else_can_be_asked() -> None:
    """The client's mistake is told as such, not as exhaustion."""
    outcomes = [("a", Outcome.REFUSED), ("b", "dry")]
    assert play(descent([step("a"), step("b")]), outcomes) == Deliver("a:refused")


def test_an_empty_answer_is_put_to_one_other_target_and_the_second_one_is_it() -> None:
    """If two say nothing, nothing is the answer."""
    outcomes = [("a", Outcome.EMPTY), ("a#2", Outcome.EMPTY)]
    assert play(descent([step("a", keys=2), step("b")]), outcomes) == Deliver("a#2:empty")


def test_an_empty_answer_wins_over_a_refusal_in_either_order() -> None:
    """Empty is an answer all the same."""
    first = [("a", Outcome.EMPTY), ("b", Outcome.REFUSED)]
    second = [("a", Outcome.REFUSED), ("b", Outcome.EMPTY)]
    assert play(descent([step("a"), step("b")]), first) == Deliver("a:empty")
    assert play(descent([step("a"), step("b")]), second) == Deliver("b:empty")


def test_too_large_for_all_is_the_clients_to_know() -> None:
    """If every target finds it too large, the first one's words are delivered."""
    outcomes = [("a", Outcome.TOO_LARGE), ("b", Outcome.TOO_LARGE)]
    assert play(descent([step("a"), step("b")]), outcomes) == Deliver("a:too_large")


def test_too_large_for_some_while_others_are_dry_is_exhaustion() -> None:
    """The one that is dry might take it later, so the client is told when."""
    outcomes = [("a", Outcome.TOO_LARGE), ("b", "dry")]
    assert play(descent([step("a"), step("b")]), outcomes) == GiveUp(Exhausted(9.0, ()))


def test_what_is_held_can_be_had_when_time_is_up() -> None:
    """A request whose deadline passes gets the best reply so far."""
    waterfall = descent([step("a"), step("b")])
    play(waterfall, [("a", Outcome.EMPTY)])
    assert waterfall.best_so_far() == "a:empty"


def test_after_a_wait_all_are_asked_for_again() -> None:
    """Also what was tried and what had a second pass; not what the request is too large for."""
    waterfall = descent([step("a"), step("b"), step("c")])
    outcomes = [("a", Outcome.RATE_LIMITED), ("b", Outcome.TOO_LARGE), *[("c", "dry")] * 2]
    assert isinstance(play(waterfall, outcomes), GiveUp)
    assert waterfall.failed == {"a/m"}
    assert [target.account for target in waterfall.anew()] == ["a", "c"]
    assert waterfall.failed == set()


def test_a_pass_after_a_wait_goes_on_like_any_other() -> None:
    """Whoever fails is left out, and at the bottom the request gives up or waits again."""
    waterfall = descent([step("a"), step("b")])
    assert isinstance(play(waterfall, [("a", "dry")]), GiveUp)
    target = waterfall.anew()[1]
    assert waterfall.reserved(Reservation(target, 1, 0.0)).target.account == "b"
    assert asked(waterfall.judged(Verdict(Outcome.RATE_LIMITED), "b")) == ["a"]


@pytest.mark.parametrize(("hint", "times"), [(Hint(), 9), (Hint(delay=0.0), CHANCES)])
def test_a_word_that_is_not_kept_is_trusted_only_so_often(hint: Hint, times: int) -> None:
    """Where nothing was told, the ledger alone decides how often a request comes back."""
    waterfall = descent([step("a")])
    move, verdict = waterfall.next(), Verdict(Outcome.RATE_LIMITED, hint)
    for _ in range(times):
        assert isinstance(move, Reserve)
        waterfall.reserved(Reservation(move.targets[0], 1, 0.0))
        move = waterfall.judged(verdict, "a")
    assert isinstance(move, Reserve)
    waterfall.reserved(Reservation(move.targets[0], 1, 0.0))
    assert isinstance(waterfall.judged(verdict, "a"), GiveUp) is (hint.delay is not None)
