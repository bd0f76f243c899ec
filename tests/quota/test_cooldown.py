from math import inf

import pytest

from stepwell.quota.cooldown import RULES, Cooldown
from stepwell.quota.ledger import Bench
from stepwell.quota.limit import Scope
from stepwell.quota.reading import MAX_TOLD


def test_every_bench_has_a_rule() -> None:
    """The table is complete, and its guesses can grow."""
    assert set(RULES) == set(Bench)
    assert all(0 < rule.first < rule.longest for rule in RULES.values())


def test_key_and_credit_always_cover_the_account() -> None:
    """A key that is wrong is wrong for every model."""
    assert {RULES[bench].scope for bench in (Bench.KEY, Bench.CREDIT)} == {Scope.ACCOUNT}


@pytest.mark.parametrize("bench", Bench)
def test_guesses_double_up_to_their_cap(bench: Bench) -> None:
    """Each time the guess proved too short it doubles, and stops at the longest."""
    cooldown, rule, now = Cooldown(bench), RULES[bench], 0.0
    for _ in range(1, rule.patience):
        cooldown.set(now, call=0, mark=0)
    for repeat in range(12):
        cooldown.set(now, call=repeat, mark=repeat)
        expected = min(rule.first * 2**repeat, rule.longest)
        assert cooldown.opens(now, 1) == now + expected
        now += expected


def test_refusals_while_it_runs_are_one_piece_of_news() -> None:
    """A burst, and an early probe, confirm the guess and lengthen nothing."""
    cooldown = Cooldown(Bench.RATE)
    for call in (1, 2, 3):
        cooldown.set(0.0, call=call, mark=3)
    cooldown.set(20.0, call=4, mark=4)
    assert cooldown.opens(20.0, 1) == 30.0


def test_a_late_refusal_of_an_older_call_does_not_double() -> None:
    """It starts the guess again, because it is fresh, at the same length, because it is old."""
    cooldown = Cooldown(Bench.RATE)
    cooldown.set(0.0, call=1, mark=5)
    cooldown.set(40.0, call=2, mark=6)
    assert cooldown.opens(40.0, 1) == 70.0


def test_a_success_resets_the_doubling_only_if_it_started_after() -> None:
    """Calls are compared by number: the same moment on a coarse clock does not matter."""
    cooldown = Cooldown(Bench.RATE)
    cooldown.set(0.0, call=1, mark=5)
    cooldown.recover(5)
    assert cooldown.opens(0.0, 1) == 30.0
    cooldown.recover(6)
    assert cooldown.opens(0.0, 1) <= 0.0
    cooldown.set(1.0, call=7, mark=7)
    assert cooldown.opens(1.0, 1) == 31.0


def test_told_beats_guessed_and_is_never_shortened() -> None:
    """A told time replaces a longer guess; of told times the latest stands, also after success."""
    cooldown = Cooldown(Bench.RATE)
    cooldown.set(0.0, call=1, mark=1)
    cooldown.set(0.0, call=1, mark=1, delay=5.0)
    assert cooldown.opens(0.0, 1) == 5.0
    cooldown.set(1.0, call=1, mark=1, delay=1.0)
    cooldown.set(1.0, call=1, mark=1)
    cooldown.recover(99)
    assert cooldown.opens(1.0, 1) == 5.0
    block = cooldown.block("t", 1.0, 1, 1)
    assert (block.told, block.hard, block.reason) == (True, True, "cooldown")
    assert not cooldown.is_half_open(5.0)


def test_told_times_are_clamped() -> None:
    """A date read wrongly cannot take a provider away for ever."""
    cooldown = Cooldown(Bench.RATE)
    cooldown.set(0.0, call=1, mark=1, delay=1e12)
    assert cooldown.opens(0.0, 1) == MAX_TOLD


def test_a_told_time_extends_out_of_service() -> None:
    """The later of told and guessed holds, and it still ends half-open."""
    cooldown = Cooldown(Bench.CREDIT)
    cooldown.set(0.0, call=1, mark=1, delay=1000.0)
    assert cooldown.opens(0.0, 1) == 1000.0
    assert cooldown.block("t", 0.0, 1, 1).told
    assert cooldown.is_half_open(1000.0)
    shorter = Cooldown(Bench.CREDIT)
    shorter.set(0.0, call=1, mark=1, delay=10.0)
    assert shorter.opens(0.0, 1) == 300.0
    assert not shorter.block("t", 0.0, 1, 1).told


@pytest.mark.parametrize("bench", [Bench.RATE, Bench.FAULT])
def test_a_known_length_is_the_first_guess(bench: Bench) -> None:
    """It takes as much patience, doubles, is capped and stays soft, as every guess."""
    cooldown, now = Cooldown(bench), 0.0
    for _ in range(1, RULES[bench].patience):
        cooldown.set(now, call=0, mark=0, guess=100.0)
        assert cooldown.opens(now, 1) == now
    for repeat, expected in enumerate([100.0, 200.0, 400.0, 600.0]):
        cooldown.set(now, call=repeat, mark=repeat, guess=100.0)
        assert cooldown.opens(now, 1) == now + expected
        assert not cooldown.block("t", now, 1, 1).hard
        now += expected


def test_half_open_admits_one_probe_and_blocks_the_others_softly() -> None:
    """Also out of service: evidence is on its way, so the others may wait for it."""
    cooldown = Cooldown(Bench.KEY)
    cooldown.set(0.0, call=1, mark=1)
    assert cooldown.is_half_open(3600.0)
    cooldown.start_probe(2)
    assert cooldown.opens(3600.0, 1) == inf
    block = cooldown.block("t", 3600.0, 1, 1)
    assert (block.until, block.hard, block.reason) == (None, False, "out_of_service")
    cooldown.end_probe(1)
    assert cooldown.is_probed
    cooldown.end_probe(2)
    assert cooldown.is_half_open(3600.0)


def test_a_fault_with_a_told_delay_is_hard() -> None:
    """Retry-After on a 5xx is the provider's word."""
    cooldown = Cooldown(Bench.FAULT)
    cooldown.set(0.0, call=1, mark=1, delay=4.0)
    assert cooldown.block("t", 0.0, 1, 1).hard
    assert repr(cooldown) == "<Cooldown fault, told 4, guessed -inf>"
