import json

import pytest

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
