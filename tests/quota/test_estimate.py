import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.quota.calibration import Calibration
from stepwell.quota.estimate import estimate_tokens

ANSWER = 1024
IMAGE = 800


def image(size: int) -> str:
    return "data:image/png;base64," + "iVBORw0K" * (size // 8)


def test_text_costs_a_token_for_four_bytes() -> None:
    """Rounded up, with the expected answer on top."""
    assert estimate_tokens(b"x" * 401) == 101 + ANSWER
    assert estimate_tokens(401) == 101 + ANSWER


@pytest.mark.parametrize(("bound", "answer"), [(10, 10), (100_000, ANSWER), (0, 0), (-5, 0)])
def test_the_answer_is_bounded_by_max_tokens(bound: int, answer: int) -> None:
    """A small bound is believed; a large one is seldom used up."""
    assert estimate_tokens(b"", bound) == answer


def test_pictures_cost_a_flat_rate_whatever_their_size() -> None:
    """Base64 is not read as text by the model."""
    parts = [{"type": "image_url", "image_url": {"url": image(size)}} for size in (800, 4_000_000)]
    bare = [{"type": "image_url", "image_url": {"url": image(0)}} for _ in parts]
    full, empty = json.dumps(parts).encode(), json.dumps(bare).encode()
    assert estimate_tokens(full, 0) == -(-len(empty) // 4) + 2 * IMAGE


def test_base64_inside_prose_is_text() -> None:
    """A pasted page with pictures in it is read letter by letter."""
    page = json.dumps([{"role": "user", "content": f'<img src="{image(4000)}"> and more'}]).encode()
    assert estimate_tokens(page, 0) == -(-len(page) // 4)


@pytest.mark.parametrize(
    "body", [b";base64,", b'"data:;base64,AAAA', b'";base64,' * 3, b"\xff\x00"]
)
def test_torn_bodies_are_estimated_all_the_same(body: bytes) -> None:
    """An estimate never raises, and never falls below nothing."""
    assert estimate_tokens(body, 0) >= 0


def test_a_body_made_of_marks_is_given_up_on() -> None:
    """After a thousand pictures the rest is weighed as text, so that no body holds up the others."""
    url = b'"data:image/png;base64,AAAA",'
    few, many = (estimate_tokens(url * number, 0) for number in (1000, 2000))
    assert few > 1000 * IMAGE
    assert many - few == 1000 * len(url) // 4


def calibrated(pairs: list[tuple[int, int]]) -> Calibration:
    calibration = Calibration()
    for estimate, tokens in pairs:
        calibration.learn(estimate, tokens)
    return calibration


def test_a_few_calls_correct_nothing() -> None:
    """What seven calls came to may be chance; so may what came to nothing."""
    calibration = calibrated([(1000, 100)] * 7 + [(0, 50), (50, 0)])
    assert calibration.likely(1000) == 1000


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


def test_no_estimate_becomes_a_multiple_without_bound() -> None:
    """A single absurd count does not shut a target for everyone."""
    assert calibrated([(10, 10**9)] * 20).likely(100) == 400


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 20_000)), max_size=60),
    st.integers(1, 10**6),
)
def test_a_correction_is_at_least_one_token_and_bounded(
    pairs: list[tuple[int, int]], estimate: int
) -> None:
    """Whatever calls came to."""
    assert 1 <= calibrated(pairs).likely(estimate) <= 4 * estimate
