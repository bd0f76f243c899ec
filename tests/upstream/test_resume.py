"""Overlap and Splice: a continuation made part of the stream that broke."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.upstream.resume import LEAST_OVERLAP, Overlap, Splice

BEFORE = "It was the best of times, it was the worst of times, "
AFTER = "it was the age of wisdom."


def fed(overlap: Overlap, pieces: list[str]) -> str:
    """Feed a continuation in pieces and return what of it is new."""
    return "".join(overlap.feed(piece) for piece in pieces) + overlap.feed("", last=True)


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("start", range(len(BEFORE) - LEAST_OVERLAP + 1))
def test_a_repeat_of_any_length_is_taken_off(start: int, size: int) -> None:
    """From the whole text down to the last sixteen characters, in pieces of any size."""
    assert fed(Overlap(BEFORE), cut(BEFORE[start:] + AFTER, size)) == AFTER


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_continuation_that_repeats_nothing_is_left_as_it_is(size: int) -> None:
    """Not a character is lost."""
    assert fed(Overlap(BEFORE), cut(AFTER, size)) == AFTER


def test_a_short_repeat_is_meant() -> None:
    """Few characters may be a repeat, or a way of speaking: they are left as they are."""
    assert fed(Overlap("It is very, very "), ["very ", "good."]) == "very good."


@pytest.mark.parametrize(
    "period",
    ["word ", "| --- | --- |\n", "And the people in the houses all went to the university. "],
)
@pytest.mark.parametrize("more", [0, 1, 3, 11, 17])
def test_a_text_that_goes_round_may_go_round_again(period: str, more: int) -> None:
    """What was said twice already is meant once more, wherever the text broke."""
    whole = period * 12
    for end in (2 * len(period) + more, 5 * len(period) + more, len(period) + max(more, 6)):
        assert Overlap(whole[:end]).feed(whole[end:], last=True) == whole[end:]


def test_a_model_that_starts_over_is_cut_though_its_text_has_a_refrain() -> None:
    """The text as a whole does not go round."""
    before = "la la la, sang the first of them. And so they all sang la la la, la la la"
    assert Overlap(before).feed(before + " again", last=True) == " again"


@pytest.mark.parametrize("text", ["", "a", "Yes, "])
def test_a_text_shorter_than_the_least_overlap_is_recognised_as_a_whole(text: str) -> None:
    """A model that starts over after two words repeats them both."""
    assert fed(Overlap(text), [f"{text}of course."]) == "of course."


def test_half_a_repeat_that_ends_is_said() -> None:
    """What looked like a repeat and was not one comes out at the end."""
    assert fed(Overlap(BEFORE), ["It was the best"]) == "It was the best"


def test_nothing_is_held_back_longer_than_it_may_be_a_repeat() -> None:
    """The first words that differ come out at once, with those before."""
    overlap = Overlap(BEFORE)
    assert overlap.feed("It was ") == ""
    assert overlap.feed("a ") == "It was a "
    assert overlap.feed("dark night.") == "dark night."


@given(st.text("ab", max_size=60), st.text("ab", max_size=30), st.integers(1, 9))
def test_how_a_continuation_is_cut_never_shows(before: str, after: str, size: int) -> None:
    """The same text in one piece or in many gives the same result."""
    assert fed(Overlap(before), cut(after, size)) == fed(Overlap(before), [after])


@given(st.text("abc", min_size=LEAST_OVERLAP, max_size=60), st.text("xyz", max_size=30))
def test_what_is_new_always_comes_out(before: str, new: str) -> None:
    """A model that starts over and then goes on adds exactly what is new."""
    once = f"0{before}"  # it does not go round
    assert fed(Overlap(once), [once + new]) == new


# --- events


def event(content: str | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    body = {
        "id": "chatcmpl-2",
        "created": 2,
        "model": "second",
        "system_fingerprint": "fp_2",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


FIRST = [
    b": hello\n\n",
    b'data: {"id":"chatcmpl-1","created":1,"model":"first","choices":[]}\n\n',
    b'data: {"id":"chatcmpl-1","created":1,"model":"first","choices":[{"delta":{"content":"Yes"}}]}\n\n',
]


def parsed(data: bytes) -> Any:
    return json.loads(data.removeprefix(b"data: "))


def test_the_first_streams_identity_is_kept() -> None:
    """A client sees one id, one model, one time of creation."""
    body = parsed(Splice(FIRST, "Yes").feed(event(", of course.")))
    assert (body["id"], body["created"], body["model"]) == ("chatcmpl-1", 1, "first")
    assert body["choices"][0]["delta"] == {"content": ", of course."}


def test_a_second_role_is_dropped() -> None:
    """The message has begun long ago."""
    preamble = event("").replace(b'"content"', b'"role": "assistant", "content"')
    assert parsed(Splice(FIRST, "Yes").feed(preamble))["choices"][0]["delta"] == {"content": ""}


def test_comments_and_done_pass() -> None:
    """They belong to no completion."""
    splice = Splice(FIRST, "Yes")
    assert splice.feed(b": ping\n\ndata: [DONE]\n\n") == b": ping\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\r"])
def test_no_event_waits_for_the_next_piece(end: bytes) -> None:
    """However its lines end: a piece holds whole events, and the last one comes as well."""
    splice = Splice(FIRST, "Yes")
    piece = event(", of").removesuffix(b"\n\n") + end
    assert parsed(splice.feed(piece))["choices"][0]["delta"] == {"content": ", of"}
    assert splice.feed(b"data: [DONE]" + end) == b"data: [DONE]" + end


@pytest.mark.parametrize(
    "nonsense",
    [b"{oops}", b"[]", b'{"choices":[7]}', b'{"choices":[{"delta":7}]}', b'{"choices":7}'],
)
def test_an_event_in_no_known_shape_does_no_harm(nonsense: bytes) -> None:
    """It passes as it would in a stream that did not break, and adds no text."""
    splice = Splice(FIRST, "Yes")
    assert splice.feed(b"data: " + nonsense + b"\n\n").startswith(b"data: ")
    assert splice.text == "Yes"


def test_what_was_held_back_comes_with_the_finish() -> None:
    """Nothing is lost if a continuation ends while it could still have been a repeat."""
    splice = Splice(FIRST, "No, no, never in my life.")
    assert parsed(splice.feed(event("No, no")))["choices"][0]["delta"] == {"content": ""}
    body = parsed(splice.feed(event(finish="stop")))
    assert body["choices"][0] == {
        "index": 0,
        "delta": {"content": "No, no"},
        "finish_reason": "stop",
    }


def test_usage_is_summed() -> None:
    """Prompt and completion of every call; what else the usage tells is left."""
    splice = Splice(FIRST, "Yes")
    splice.resume(prompt=10, completion=2)
    splice.resume(prompt=12, completion=3)
    usage = {"prompt_tokens": 14, "completion_tokens": 4, "total_tokens": 18, "cached": 5}
    body = parsed(splice.feed(event(usage=usage)))
    assert body["usage"] == {
        "prompt_tokens": 36,
        "completion_tokens": 9,
        "total_tokens": 45,
        "cached": 5,
    }
    assert splice.spent == 5


def test_the_text_grows_with_what_the_client_gets() -> None:
    """So that a third model can go on after a second break."""
    splice = Splice(FIRST, "Yes")
    splice.resume(prompt=1, completion=1)
    splice.feed(event("Yes"))
    splice.feed(event(", of course."))
    assert splice.text == "Yes, of course."


def test_what_was_held_back_at_a_break_is_forgotten() -> None:
    """The client has not had it, and the next model is not told of it."""
    splice = Splice(FIRST, "No, no, never in my life.")
    splice.resume(prompt=1, completion=1)
    splice.feed(event("No, no"))
    splice.resume(prompt=1, completion=1)
    assert splice.text == "No, no, never in my life."
    body = parsed(splice.feed(event(" Never!")))
    assert body["choices"][0]["delta"]["content"] == " Never!"
