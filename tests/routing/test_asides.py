"""What providers say in passing."""

import pytest

from stepwell.quota.ledger import LimitStatus
from stepwell.quota.limit import Scope
from stepwell.quota.reading import Hint, Other
from stepwell.routing.asides import Asides
from stepwell.routing.chain import Step, Target
from stepwell.routing.waterfall import Hop

A, B, OTHER_KEY = Target("a", "a", "m"), Target("b", "b", "m"), Target("a", "a", "n")
HOPS: list[Hop] = [(Step(t.provider, t.model, (t,), timeout=1.0), t) for t in (A, OTHER_KEY, B)]
BEYOND, WITHIN = Hint(over_limit=True), Hint()


def order(asides: Asides, now: float) -> list[str]:
    return [target.key for _, target in asides.sorted(HOPS, now)]


def shown(asides: Asides, target: Target, now: float) -> list[LimitStatus]:
    return list(asides.counters(target.key, target.account, now))


def test_a_target_beyond_its_soft_limit_comes_last_for_a_minute() -> None:
    """All others keep their order, and none is left out."""
    asides = Asides()
    assert order(asides, 0.0) == ["a/m", "a/n", "b/m"]
    asides.served(A, BEYOND, 0.0)
    assert order(asides, 59.0) == ["a/n", "b/m", "a/m"]
    assert order(asides, 60.0) == ["a/m", "a/n", "b/m"]


def test_an_answer_within_the_limit_takes_it_back() -> None:
    """The newest word counts."""
    asides = Asides()
    asides.served(A, BEYOND, 0.0)
    asides.served(B, WITHIN, 1.0)
    assert order(asides, 2.0)[-1] == "a/m"
    asides.served(A, WITHIN, 3.0)
    assert order(asides, 4.0)[0] == "a/m"


def test_a_counter_is_shown_until_its_reset() -> None:
    """With what is used, and the moment from which it is whole again."""
    asides = Asides()
    asides.hear(A, [Other("input_tokens", 60.0, 1000, 400, 30.0)], 10.0)
    assert shown(asides, A, 20.0) == [
        LimitStatus("input_tokens", 60.0, 1000, 600, 400, 40.0, Scope.MODEL, "told")
    ]
    assert shown(asides, A, 40.0) == []
    assert shown(asides, OTHER_KEY, 20.0) == []


@pytest.mark.parametrize(("window", "seconds"), [(10.0, 10.0), (None, 60.0), (0.0, 60.0)])
def test_a_counter_without_a_reset_is_shown_for_its_window(
    window: float | None, seconds: float
) -> None:
    """Or for a minute; when it is whole nobody has said."""
    asides = Asides()
    asides.hear(A, [Other("credits", window, remaining=3)], 0.0)
    (status,) = shown(asides, A, seconds - 1)
    assert (status.limit, status.used, status.remaining, status.reset) == (None, None, 3, None)
    assert shown(asides, A, seconds) == []


def test_a_counter_of_the_account_is_shown_at_all_its_targets() -> None:
    """It is one counter, whoever was told of it."""
    asides = Asides()
    asides.hear(A, [Other("neurons", 86400.0, remaining=0, reset=9.0, scope=Scope.ACCOUNT)], 0.0)
    assert shown(asides, A, 1.0) == shown(asides, OTHER_KEY, 1.0) != []
    assert shown(asides, B, 1.0) == []


def test_the_newest_of_one_counter_is_shown_and_no_more_than_eight() -> None:
    """A provider that names a new counter each time fills no memory."""
    asides = Asides()
    for number in range(20):
        asides.hear(A, [Other("credits", 60.0, remaining=number)], 0.0)
        asides.hear(A, [Other(f"counter-{number}", 60.0)], 0.0)
    names = [status.metric for status in shown(asides, A, 1.0)]
    assert len(names) == 8
    assert names[-2:] == ["credits", "counter-19"]
    assert shown(asides, A, 1.0)[-2].remaining == 19
