"""Streams that break in the middle and are continued by another model."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from stepwell.testing import Failure, FakeClock, Fleet, Reply, SimProvider

TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps until the next morning."
PREFILL = {"prefill": True}


def datas_of(body: str) -> list[Any]:
    lines = (line for line in body.splitlines() if line.startswith("data: {"))
    return [json.loads(line[6:]) for line in lines]


def text_of(body: str) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for data in datas_of(body)
        for choice in data.get("choices", ())
    )


@pytest.fixture
def add(fleet: Fleet) -> Callable[..., SimProvider]:
    """Add a provider that says TEXT and goes on where the assistant's words stop."""

    def add(name: str, **manners: Any) -> SimProvider:
        return fleet.add(name, **{"reply": TEXT, "prefill": True, **manners})

    return add


@pytest.mark.parametrize("events", range(2, 18))
async def test_text_after_a_break_is_whole(events: int, add: Any, fleet: Fleet, serve: Any) -> None:
    """Wherever it breaks: nothing lost, nothing doubled, character by character."""
    a, b = add("a"), add("b")
    a.fail(Failure.cut(events))
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert (len(a.calls), len(b.calls)) == (1, 1)
    assert response.text.endswith("data: [DONE]\n\n")
    assert response.text.count("[DONE]") == 1


@pytest.mark.parametrize(
    "failure",
    [
        Failure.ends_early(6),
        Failure.in_band_error(500, after=5),
        Failure.malformed(6),
        Failure.hang_after(6),
        Failure.cut_bytes(1000),
    ],
    ids=lambda failure: failure.name,
)
async def test_every_kind_of_break_is_resumed(
    failure: Failure, add: Any, fleet: Fleet, serve: Any
) -> None:
    """Silence, an error event, nonsense or the end: the next model goes on."""
    a, b = add("a"), add("b")
    a.fail(failure)
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert (len(a.calls), len(b.calls)) == (1, 1)
    assert "error" not in response.text


async def test_a_text_that_only_lacks_its_finish_gets_one(
    add: Any, fleet: Fleet, serve: Any
) -> None:
    """The next model has nothing to add, and its finish is the whole stream's."""
    a, _ = add("a"), add("b")
    a.fail(Failure.no_finish())
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert datas_of(response.text)[-1]["choices"][0]["finish_reason"] == "stop"
    assert response.text.endswith("data: [DONE]\n\n")


async def test_the_next_model_is_given_the_text_so_far(add: Any, fleet: Fleet, serve: Any) -> None:
    """As the beginning of the assistant's message, with what is left of `max_tokens`."""
    a, b = add("a"), add("b")
    a.fail(Failure.cut(6))  # a role and five words
    site = serve(providers={"a": PREFILL, "b": PREFILL})
    await site.ask(stream=True, max_tokens=100, temperature=0.5)
    assert b.calls[0].body["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "The quick brown fox jumps"},
    ]
    assert b.calls[0].body["max_tokens"] == 94
    assert b.calls[0].body["temperature"] == 0.5
    assert a.calls[0].body["max_tokens"] == 100


async def test_it_stays_one_stream(add: Any, fleet: Fleet, serve: Any) -> None:
    """One id, one model, one role, and a comment at the seam."""
    a, _ = add("a"), add("b")
    a.fail(Failure.cut(6))
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    datas = datas_of(response.text)
    assert {data["id"] for data in datas} == {"chatcmpl-a-1"}
    assert len({(data["model"], data["created"], data["object"]) for data in datas}) == 1
    roles = [c["delta"]["role"] for data in datas for c in data["choices"] if "role" in c["delta"]]
    assert roles == ["assistant"]
    before, after = response.text.split(": resumed by b/sim-model\n\n")
    assert text_of(before) == "The quick brown fox jumps"
    assert text_of(after) == TEXT.removeprefix("The quick brown fox jumps")
    finishes = [c["finish_reason"] for data in datas for c in data["choices"]]
    assert finishes == [None] * (len(finishes) - 1) + ["stop"]


async def test_usage_is_the_sum_of_both_calls(add: Any, fleet: Fleet, serve: Any) -> None:
    """The client pays for the prompt twice, and learns of it."""
    a, b = add("a"), add("b")
    a.fail(Failure.cut(6))
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(
        stream=True, stream_options={"include_usage": True}
    )
    usage = datas_of(response.text)[-1]["usage"]
    assert usage["completion_tokens"] == 6 + -(-len(TEXT[25:]) // 4)
    assert usage["prompt_tokens"] > b.calls[0].tokens - usage["completion_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert len(a.calls) == 1


@pytest.mark.parametrize("events", [8, 11, 14, 17])
async def test_a_model_that_starts_over_is_not_heard_twice(
    events: int, add: Any, fleet: Fleet, serve: Any
) -> None:
    """Though configured to go on it repeats all: what was said before is taken off."""
    a, b = add("a"), add("b", prefill=False)
    a.fail(Failure.cut(events))
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert len(b.calls) == 1


async def test_a_model_that_repeats_the_last_words_is_not_heard_twice(
    add: Any, fleet: Fleet, serve: Any
) -> None:
    """Some begin with the end of what they were given."""
    a, b = add("a"), add("b", reply=lambda call: TEXT[10:], prefill=False)
    a.fail(Failure.cut(12))
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert len(b.calls) == 1


async def test_two_breaks_are_resumed_as_well(add: Any, fleet: Fleet, serve: Any) -> None:
    """The third model gets one assistant message with all text so far, and one budget."""
    a, b, c = add("a"), add("b"), add("c")
    a.fail(Failure.cut(6))
    b.fail(Failure.cut(5))
    providers = dict.fromkeys("abc", PREFILL)
    response = await serve(providers=providers).ask(
        stream=True, max_tokens=100, stream_options={"include_usage": True}
    )
    assert text_of(response.text) == TEXT
    assert [len(p.calls) for p in (a, b, c)] == [1, 1, 1]
    assert c.calls[0].body["messages"][1:] == [
        {"role": "assistant", "content": "The quick brown fox jumps over the lazy dog,"}
    ]
    assert c.calls[0].body["max_tokens"] == 100 - 6 - 5
    datas = datas_of(response.text)
    assert {data["id"] for data in datas} == {"chatcmpl-a-1"}
    assert datas[-1]["usage"]["completion_tokens"] == 6 + 5 + -(-len(TEXT[44:]) // 4)
    assert response.text.count("resumed by") == 2


@pytest.mark.parametrize("cut", [3, 5, 8, 12])
async def test_a_repeat_that_breaks_off_is_not_heard_either(
    cut: int, add: Any, fleet: Fleet, serve: Any
) -> None:
    """The second model starts over and breaks in the middle of its repeating."""
    a, b, c = add("a"), add("b", prefill=False), add("c")
    a.fail(Failure.cut(10))
    b.fail(Failure.cut(cut))
    response = await serve(providers=dict.fromkeys("abc", PREFILL)).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert [len(p.calls) for p in (a, b, c)] == [1, 1, 1]


async def test_the_provider_that_broke_is_asked_last(add: Any, fleet: Fleet, serve: Any) -> None:
    """If no other can go on, it may try itself."""
    a, b = add("a"), add("b")
    a.fail(Failure.cut(6))
    b.fail(Failure.status(500), times=None)
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert ": resumed by a/sim-model\n\n" in response.text
    assert (len(a.calls), len(b.calls)) == (2, 1)


async def test_only_targets_that_continue_a_prefill_are_asked(
    add: Any, fleet: Fleet, serve: Any
) -> None:
    """A model that is not known to go on would answer its own half sentence."""
    a, b, c = add("a"), add("b"), add("c")
    a.fail(Failure.cut(6))
    response = await serve(providers={"c": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert [len(p.calls) for p in (a, b, c)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        pytest.param({"streams": {"on_break": "error"}}, {}, id="switched off"),
        pytest.param({"providers": {}}, {}, id="nobody continues a prefill"),
        pytest.param({}, {"n": 2}, id="two choices"),
        pytest.param({}, {"tools": [{"type": "function", "function": {"name": "f"}}]}, id="tools"),
        pytest.param({}, {"response_format": {"type": "text"}}, id="response_format"),
        pytest.param({}, {"logprobs": True}, id="logprobs"),
    ],
)
async def test_what_cannot_be_resumed_honestly_is_an_error(
    settings: dict[str, Any], fields: dict[str, Any], add: Any, fleet: Fleet, serve: Any
) -> None:
    """Then an error event ends the stream, and nobody else is asked."""
    a, b = add("a"), add("b")
    a.fail(Failure.cut(6))
    response = await serve(**{"providers": {"a": PREFILL, "b": PREFILL}, **settings}).ask(
        stream=True, **fields
    )
    assert datas_of(response.text)[-1]["error"]["code"] == "upstream_stream_truncated"
    assert "[DONE]" not in response.text
    assert (len(a.calls), len(b.calls)) == (1, 0)


async def test_reasoning_alone_is_not_resumed(add: Any, fleet: Fleet, serve: Any) -> None:
    """A model cannot go on with another one's thoughts."""
    a, b = add("a", reply=Reply("Yes.", reasoning="Let me think about it.")), add("b")
    a.fail(Failure.cut(4))
    response = await serve(providers={"a": PREFILL, "b": PREFILL}).ask(stream=True)
    assert "error" in datas_of(response.text)[-1]
    assert (len(a.calls), len(b.calls)) == (1, 0)


async def test_if_nobody_can_go_on_the_break_is_told(add: Any, fleet: Fleet, serve: Any) -> None:
    """The error is the stream's, not the exhaustion behind it."""
    a, b = add("a"), add("b")
    a.fail(Failure.cut(6), times=None)
    b.fail(Failure.rate_limit(60), times=None)
    providers = {"b": PREFILL}
    response = await serve(providers=providers).ask(stream=True)
    assert text_of(response.text) == "The quick brown fox jumps"
    assert datas_of(response.text)[-1]["error"]["code"] == "upstream_stream_truncated"
    assert (len(a.calls), len(b.calls)) == (1, 1)


async def test_both_calls_are_settled(clock: FakeClock, add: Any, fleet: Fleet, serve: Any) -> None:
    """Neither the broken call nor its continuation stays in flight."""
    a, _ = add("a"), add("b")
    a.fail(Failure.cut(6))
    site = serve(providers={"a": PREFILL, "b": PREFILL})
    await site.ask(stream=True)
    assert await site.in_flight() == 0
    assert [call.outcome for call in fleet.calls] == ["failed", "served"]
