"""A large request's body, sent without a copy of it."""

import json

import pytest

from stepwell.chat import LARGE, ChatRequest
from stepwell.routing.chain import Step
from stepwell.routing.history import UNTOUCHED

STEP = Step("p", "theirs", (), 1.0, history=UNTOUCHED)
TEXT = json.dumps([{"role": "user", "content": "é" + "x" * LARGE}], ensure_ascii=False)


def _request(*fields: str) -> ChatRequest:
    return ChatRequest(("{" + ", ".join(fields) + "}").encode())


@pytest.mark.parametrize(
    "more",
    [
        (),
        ('"model": "mine"', '"temperature": 1.10'),
        ('"tools": [' + " " * LARGE + "]", '"\\u00e9\\"": 1'),
    ],
)
def test_the_parts_of_a_large_body_are_its_json(more: tuple[str, ...]) -> None:
    """Whatever else is in it, and however many of its fields are large."""
    request = _request(f'"messages": {TEXT}', *more)
    sent = json.loads(b"".join(request.parts_for(STEP)))
    assert sent == {**json.loads("{" + ", ".join(more) + "}"), "messages": json.loads(TEXT)} | {
        "model": "theirs"
    }


def test_a_large_field_is_sent_from_where_it_came() -> None:
    """In the bytes of the client, which stand in memory once; the rest is written anew."""
    parts = _request('"model": "mine"', f'"messages": {TEXT}').parts_for(STEP)
    views = [part for part in parts if isinstance(part, memoryview)]
    assert [bytes(view) for view in views] == [TEXT.encode()]
    assert sum(map(len, parts)) - len(views[0]) < 100


def test_a_small_body_is_one_part() -> None:
    """As it always was, its fields in the client's order."""
    parts = _request('"messages": ["a"]', '"model": "mine"').parts_for(STEP)
    assert parts == [b'{"messages":["a"],"model":"theirs"}']
