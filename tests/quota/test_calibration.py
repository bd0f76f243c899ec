from hypothesis import given
from hypothesis import strategies as st

from stepwell.quota.calibration import Calibration

pairs_of_calls = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 20_000)), max_size=60)


def calibrated(pairs: list[tuple[int, int]]) -> Calibration:
    calibration = Calibration()
    for estimate, tokens in pairs:
        calibration.learn(estimate, tokens)
    return calibration


def test_a_few_calls_correct_nothing() -> None:
    """What seven calls came to may be chance; so may what came to nothing."""
    calibration = calibrated([(1000, 100)] * 7 + [(0, 50), (50, 0)])
    assert calibration.likely(1000) == 1000
    assert calibration.typical(1000) == 1000
    assert calibration.least(1000) == 1000


def test_short_answers_are_learned_whatever_the_prompt() -> None:
    """1,024 tokens are reserved for answers of 100; a long prompt must not be taken for shorter."""
    calibration = calibrated([(200 + 1024, 300)] * 40)
    assert calibration.likely(200 + 1024) == 300
    assert calibration.likely(4000 + 1024) == 4000 + 100
    assert repr(calibration) == "<Calibration x 0.25 or - 924>"


def test_another_vocabulary_is_learned() -> None:
    """Where prompts come to twice the estimate, the next one is expected to."""
    calibration = calibrated([(1000, 2000)] * 40)
    assert calibration.likely(3000) == 6000


def test_the_least_takes_the_smaller_of_both_corrections() -> None:
    """Nobody is refused for tokens that a call may not come to: the smaller result counts."""
    calibration = calibrated([(200 + 1024, 300)] * 40)
    assert calibration.least(4000 + 1024) == round((4000 + 1024) * 300 / 1224)


def test_the_typical_lies_between_the_least_and_the_likely() -> None:
    """As many calls come to more as to less."""
    calibration = calibrated([(1000, 200), (1000, 600)] * 40)
    assert calibration.least(1000) <= 200
    assert 350 <= calibration.typical(1000) <= 450
    assert calibration.likely(1000) >= 600


def test_the_least_is_never_more_than_the_estimate() -> None:
    """Where calls come to more than was estimated, the estimate is what they surely come to."""
    assert calibrated([(1000, 2000)] * 40).least(3000) == 3000


def test_answers_that_differ_widen_the_margin() -> None:
    """Between the least and the likely lie the calls that were seen."""
    calibration = calibrated([(1000, 200), (1000, 600)] * 40)
    assert calibration.least(1000) <= 200
    assert 600 <= calibration.likely(1000) < 1000


def test_no_estimate_becomes_a_multiple_without_bound() -> None:
    """A single absurd count does not shut a target for everyone."""
    assert calibrated([(10, 10**9)] * 20).likely(100) == 400


@given(pairs_of_calls, st.integers(1, 10**6))
def test_a_correction_is_at_least_one_token_and_bounded(
    pairs: list[tuple[int, int]], estimate: int
) -> None:
    """Whatever calls came to."""
    calibration = calibrated(pairs)
    assert 1 <= calibration.likely(estimate) <= 4 * estimate
    assert 1 <= calibration.least(estimate) <= min(estimate, calibration.likely(estimate))


@given(pairs_of_calls, st.integers(1, 10**6))
def test_what_was_learned_outlives_a_restart(pairs: list[tuple[int, int]], estimate: int) -> None:
    """A calibration that was written down says what the first one says, and learns on."""
    first, second = calibrated(pairs), Calibration()
    second.restore(first.export())
    for calibration in (first, second):
        calibration.learn(1000, 10)
    assert second.likely(estimate) == first.likely(estimate)
    assert second.least(estimate) == first.least(estimate)
