"""What targets have refused as too large."""

from stepwell.routing.chain import Step, Target
from stepwell.routing.size import Sizes


def step(provider: str, keys: int = 1) -> Step:
    names = [provider, *(f"{provider}#{n}" for n in range(2, keys + 1))]
    return Step(provider, "m", tuple(Target(name, provider, "m") for name in names), timeout=60)


A, B = step("a"), step("b")


def test_at_first_everything_fits() -> None:
    """Nothing is known against anyone."""
    assert Sizes().fitting([A, B], 10**9) == [A, B]


def test_what_a_target_refused_is_not_asked_of_it_again() -> None:
    """That size and above; smaller ones are."""
    sizes = Sizes()
    sizes.refused("a/m", 1000)
    assert sizes.fitting([A, B], 1000) == [B]
    assert sizes.fitting([A, B], 5000) == [B]
    assert sizes.fitting([A, B], 999) == [A, B]


def test_the_smallest_refusal_counts() -> None:
    """A later, larger one teaches nothing."""
    sizes = Sizes()
    sizes.refused("a/m", 1000)
    sizes.refused("a/m", 3000)
    assert sizes.fitting([A, B], 2000) == [B]
    sizes.refused("a/m", 500)
    assert sizes.fitting([A, B], 600) == [B]


def test_a_success_takes_it_back() -> None:
    """Estimates are rough: what was served cannot be too large."""
    sizes = Sizes()
    sizes.refused("a/m", 1000)
    sizes.served("a/m", 999)
    assert sizes.fitting([A, B], 1000) == [B]
    sizes.served("a/m", 1000)
    assert sizes.fitting([A, B], 1000) == [A, B]


def test_if_nobody_seems_to_take_it_all_are_asked() -> None:
    """The providers decide, and their own words reach the client."""
    sizes = Sizes()
    sizes.refused("a/m", 1000)
    sizes.refused("b/m", 1000)
    assert sizes.fitting([A, B], 2000) == [A, B]


def test_a_step_stays_while_one_of_its_keys_may_take_it() -> None:
    """Accounts of one provider may have different plans."""
    two = step("a", keys=2)
    sizes = Sizes()
    sizes.refused("a/m", 1000)
    assert sizes.fitting([two, B], 2000) == [two, B]
    sizes.refused("a#2/m", 1500)
    assert sizes.fitting([two, B], 2000) == [B]
