from dataclasses import replace
from math import inf

import pytest

from stepwell.quota.choice import Standing, choose, worst
from stepwell.quota.ledger import Block, Exhausted, Wait


def block(reason: str, until: float | None = None, *, hard: bool = False, key: str = "t") -> Block:
    return Block(key, reason, until, told=False, hard=hard)


def standing(
    reason: str,
    until: float | None = None,
    *,
    hard: bool = False,
    answered: bool = False,
    probe_at: float = 0.0,
) -> Standing:
    return Standing.of(block(reason, until, hard=hard), answered=answered, probe_at=probe_at)


def test_the_most_hopeful_target_is_probed_first() -> None:
    """Nothing known against it, our own count, a refusal, a size that never fits: in that order."""
    ranked = [
        standing("slow_start"),
        standing("count", 5.0),
        standing("count", 9.0),
        standing("count"),
        standing("guessed", 3.0),
        standing("reading", 2.0),
    ]
    while ranked:
        assert choose(ranked[::-1], 1.0) == len(ranked) - 1
        ranked.pop(0)


def test_equals_are_probed_in_the_order_of_the_chain() -> None:
    """Of two that promise the same the first one is taken."""
    assert choose([standing("slow_start"), standing("slow_start")], 1.0) == 0


def test_hard_blocks_are_never_probed() -> None:
    """With nothing else the request fails, with the soonest known end."""
    answer = choose([standing("reading", 9.0, hard=True), standing("x", 4.0, hard=True)], 1.0)
    assert isinstance(answer, Exhausted)
    assert answer.until == 4.0


def test_an_unknown_end_is_left_out() -> None:
    """Only an event ends it, so there may be no time to name."""
    answer = choose([standing("concurrency", hard=True)], 1.0)
    assert isinstance(answer, Exhausted)
    assert answer.until is None


def test_evidence_of_all_targets_ends_a_request() -> None:
    """Softly blocked targets that refused since it came have answered for it."""
    answer = choose([standing("guessed", 30.0, answered=True)], 1.0)
    assert isinstance(answer, Exhausted)
    assert answer.blocks[0].reason == "refused"


@pytest.mark.parametrize(
    ("probe_at", "end", "until"),
    [(2.0, 30.0, 2.0), (inf, 30.0, 30.0), (inf, None, None), (5.0, 3.0, 3.0)],
)
def test_a_wait_ends_with_the_first_thing_that_may_change(
    probe_at: float, end: float | None, until: float | None
) -> None:
    """The probe's second, the block's own end, or, with a probe out, an event."""
    answer = choose([standing("guessed", end, probe_at=probe_at)], 1.0)
    assert isinstance(answer, Wait)
    assert answer.until == until


def test_a_hard_block_that_ends_first_ends_the_wait() -> None:
    """Its target is available then, whatever the others say."""
    answer = choose(
        [standing("cooldown", 2.0, hard=True), standing("guessed", 30.0, probe_at=inf)], 1.0
    )
    assert isinstance(answer, Wait)
    assert answer.until == 2.0


def test_slow_start_is_a_queue_that_an_accident_does_not_close() -> None:
    """Those behind it keep their turn, and do not push past it either."""
    answer = choose([standing("slow_start", answered=True)], 1.0)
    assert isinstance(answer, Wait)
    assert answer.until is None


def test_the_worst_block_decides_for_a_target() -> None:
    """Hard before soft, then the latest end; an unknown end may come at any moment."""
    hard, soft = block("a", 2.0, hard=True), block("b", 9.0)
    assert worst([soft, hard]) is hard
    assert worst([block("c", None, hard=True), hard]) is hard
    assert worst([block("d"), soft]) is soft
    assert worst([]) is None


def test_what_the_provider_told_is_shown_where_our_own_count_is_unsure() -> None:
    """Its word, its words and its end; but a day that is surely spent is longer than a told delay."""
    told = Block("t", "cooldown", 9.0, told=True, hard=True, words="slow down")
    count = replace(block("count", 30.0, hard=True), may_end=9.4)
    assert worst([told, count]) == told
    assert worst([replace(told, hard=False), count]) == count
    later = replace(count, may_end=20.0)
    assert worst([told, later]) == later
    sure = block("count", 30.0, hard=True)
    assert worst([told, sure]) == sure


def test_who_can_wait_does_not_probe_where_room_may_come() -> None:
    """By a count that was confirmed; one that nobody has confirmed is probed at once."""
    guess = block("count", 90.0)
    confirmed = replace(guess, may_end=5.0)
    for each, expected in ((guess, 0), (confirmed, Wait(90.0, (confirmed,)))):
        asked = [Standing.of(each, answered=False, probe_at=0.0)]
        assert choose(asked, now=10.0, waits_until=40.0) == expected
        assert choose(asked, now=10.0, waits_until=9.0) == 0, "its patience has ended"


def test_who_can_wait_probes_where_nothing_will_tell_that_room_has_come() -> None:
    """It may have come already, no moment is named, and no call is in flight whose end would tell."""
    unsure = replace(block("count"), may_end=5.0)
    waits = Wait(None, (unsure,))
    for now, flying, expected in ((10.0, False, 0), (4.0, False, waits), (10.0, True, waits)):
        asked = [Standing.of(unsure, answered=False, probe_at=0.0, flying=flying, now=now)]
        assert choose(asked, now=now, waits_until=40.0) == expected
