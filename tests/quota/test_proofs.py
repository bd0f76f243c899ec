from math import inf

import pytest

from stepwell.quota.proofs import MOST_TRUST, STRONG, TRUST, WEAK, Proofs


def test_one_strong_proof_is_enough() -> None:
    """For an hour; a limit of our own finding wants one more."""
    configured, learned = Proofs(60.0), Proofs(60.0)
    configured.add(STRONG, "configured", 10.0)
    learned.add(STRONG, "learned", 10.0)
    assert (configured.until, learned.until) == (10.0 + TRUST, -inf)
    learned.add(WEAK, "learned", 40.0)
    assert learned.until == 40.0 + TRUST
    assert repr(configured) == "<Proofs of weight 3, until 3610>"


def test_what_proves_right_again_is_believed_twice_as_long() -> None:
    """A refusal after an hour, then after two, up to a day; one that comes sooner changes nothing."""
    proofs, trust = Proofs(60.0), []
    for _ in range(7):
        now = max(0.0, proofs.until)
        for moment in (now, now + 1.0):
            proofs.add(STRONG, "told", moment)
        trust.append((proofs.until - now - 1.0) / TRUST)
    assert trust == [1, 2, 4, 8, 16, MOST_TRUST / TRUST, MOST_TRUST / TRUST]


def test_what_was_refuted_is_believed_for_an_hour_again() -> None:
    """Whatever was right for long before is another limit now."""
    proofs = Proofs(60.0)
    for moment in (0.0, TRUST):
        proofs.add(STRONG, "told", moment)
    proofs.distrust()
    proofs.add(STRONG, "told", 3 * TRUST)
    assert proofs.until == 4 * TRUST


def test_proofs_count_half_a_window_apart() -> None:
    """Refusals that come together are one piece of news."""
    proofs = Proofs(60.0)
    for now in (0.0, 1.0, 29.0, 30.0, 60.0):
        proofs.add(WEAK, "configured", now)
    assert (proofs.weight, proofs.until) == (3, 60.0 + TRUST)


def test_what_is_never_proven_is_not_plausible_for_ever() -> None:
    """Six refusals, half a window apart, that might have proven it; one proof begins anew."""
    proofs = Proofs(60.0)
    for number in range(5):
        proofs.add(0, "configured", 30.0 * number)
        proofs.add(0, "configured", 30.0 * number + 1)
    assert proofs.is_plausible
    proofs.add(WEAK, "configured", 150.0)
    for number in range(6):
        assert proofs.is_plausible
        proofs.add(0, "configured", 200.0 + 30.0 * number)
    assert not proofs.is_plausible


def test_what_is_proven_stays_plausible() -> None:
    """Later refusals need not prove it again."""
    proofs = Proofs(60.0)
    proofs.add(STRONG, "told", 0.0)
    for number in range(20):
        proofs.add(0, "told", 30.0 * number)
    assert proofs.is_plausible


@pytest.mark.parametrize(
    ("peak", "trough", "slides"), [(10, 13, True), (15, 13, False), (10, 11, False)]
)
def test_no_window_slides_that_once_held_more_than_it_refused(
    peak: int, trough: float, slides: bool
) -> None:
    """More were served at one time than it refused at another; or a larger one had refused none."""
    proofs = Proofs(60.0)
    proofs.peak, proofs.trough = peak, trough
    assert proofs.slides(10) is slides


def test_distrust_keeps_what_was_seen_of_the_window() -> None:
    """That the amount is another one says nothing of what was served and refused."""
    proofs = Proofs(60.0)
    proofs.peak, proofs.trough = 5, 4
    proofs.add(STRONG, "told", 0.0)
    proofs.distrust()
    assert (proofs.weight, proofs.until, proofs.peak, proofs.is_confirmed) == (0, -inf, 5, True)
    proofs.forget()
    assert (proofs.peak, proofs.is_confirmed) == (0, False)


def test_a_count_that_no_law_foresaw_is_not_proven_for_an_hour() -> None:
    """The window may move in a way that is none of the laws: then "none" must not be hard."""
    proofs = Proofs(60.0)
    proofs.begin_anew(0.0)
    proofs.add(STRONG, "configured", 3599.0)
    assert proofs.until == -inf
    proofs.add(STRONG, "configured", 3700.0)
    assert proofs.until == 7300.0


@pytest.mark.parametrize(
    ("peak", "trough", "doubles"),
    [(10, 11.0, True), (9, 11.0, False), (10, 10.0, False), (10, inf, True)],
)
def test_a_window_that_held_twice_the_amount_may_be_one_of_that(
    peak: int, trough: float, doubles: bool
) -> None:
    """Unless it once refused a call although it held less."""
    proofs = Proofs(60.0)
    proofs.peak, proofs.trough = peak, trough
    assert proofs.doubles(5) is doubles
