"""A large request's body: payloads are sent without a copy of them, and nobody looks into them."""

import json
from typing import Any

import pytest

from stepwell.chat import ChatRequest
from stepwell.errors import BadRequest
from stepwell.routing.chain import Step
from stepwell.routing.history import UNTOUCHED

STEP = Step("p", "theirs", (), 1.0, history=UNTOUCHED)
PAYLOAD = "iVBORw0K" * 4_000
PICTURE = f"data:image/png;base64,{PAYLOAD}"
CONTENTS = [
    [PICTURE],
    [PICTURE, "data:image/gif;base64,AAAA", f"data:application/pdf;base64,{PAYLOAD[::-1]}"],
    [f"data:image/png;base64,{PAYLOAD}\\", "é" + "x" * 100_000],
    [f"data:image/png;base64,{PAYLOAD}\n{PAYLOAD}"],
    [f'say "{PICTURE}"', f"{PICTURE} in prose", ";base64,", PICTURE],
]


def _request(content: Any, **fields: Any) -> ChatRequest:
    message = {"role": "user", "content": content}
    body = {**fields, "messages": [message], "model": "mine"}
    return ChatRequest(json.dumps(body, ensure_ascii=False).encode())


@pytest.mark.parametrize("content", CONTENTS)
def test_the_parts_of_a_large_body_are_its_json(content: Any) -> None:
    """Whatever else is in it, and however many payloads there are."""
    request = _request(content, temperature=1.5)
    sent = json.loads(b"".join(request.parts_for(STEP)))
    messages = [{"role": "user", "content": content}]
    assert sent == {"temperature": 1.5, "messages": messages, "model": "theirs"}


def test_a_payload_is_sent_from_where_it_came() -> None:
    """In the bytes of the client, which stand in memory once; the rest is written anew."""
    parts = _request([PICTURE, PICTURE]).parts_for(STEP)
    views = [part for part in parts if isinstance(part, memoryview)]
    assert [bytes(view) for view in views] == [PAYLOAD.encode()] * 2
    assert sum(map(len, parts)) - 2 * len(PAYLOAD) < 200


def test_a_picture_counts_as_one_and_not_by_its_bytes() -> None:
    """As before it was taken out of the body."""
    tokens = [_request(["data:image/png;base64,AAAA"] * n + ["x" * 20_000]) for n in (1, 2)]
    large = [_request([PICTURE] * n + ["x" * 20_000]) for n in (1, 2)]
    small = tokens[1].prompt_tokens - tokens[0].prompt_tokens
    assert large[1].prompt_tokens - large[0].prompt_tokens == small


def test_a_model_that_goes_on_gets_the_payloads_too() -> None:
    """They are part of the conversation that it goes on with."""
    onward = _request([PICTURE]).continued("so far", 1)
    messages = json.loads(b"".join(onward.parts_for(STEP)))["messages"]
    assert [message["content"] for message in messages] == [[PICTURE], "so far"]


@pytest.mark.parametrize("end", ["", '"', '"]'])
def test_what_is_no_json_beside_its_payload_is_refused(end: str) -> None:
    """All but the payload is decoded."""
    body = f'{{"model": "mine", "messages": ["{PICTURE}{end}'
    with pytest.raises(BadRequest):
        ChatRequest(body.encode())


def test_a_small_body_is_one_part() -> None:
    """As it always was, its fields in the client's order."""
    request = ChatRequest(b'{"messages": ["a"], "model": "mine"}')
    assert request.parts_for(STEP) == [b'{"messages":["a"],"model":"theirs"}']
