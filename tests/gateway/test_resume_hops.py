"""Streams that break again and again, and are continued by one model after the other."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from stepwell.testing import Call, Failure, Fleet, Reply, SimProvider
from stepwell.testing.acts import Cut, Send

TEXT = (
    "Ein Stufenbrunnen (階段井戸) führt hinab zum Wasser 🪣, so tief es auch steht: "
    "one walks down, step by step, until a foot gets wet. "
    "Q: \"why 'step'?\"\n\tA: \\because é is not e\u0301, and 👩‍👩‍👧 is one sign\\. "
    "Thus every word here comes but once, or nearly so."
)
NAMES = "abcd"
PREFILL = {"prefill": True}
EVERYBODY = dict.fromkeys(NAMES, PREFILL)


def datas_of(body: str) -> list[Any]:
    lines = (line for line in body.splitlines() if line.startswith("data: {"))
    return [json.loads(line[6:]) for line in lines]


def text_of(body: str) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for data in datas_of(body)
        for choice in data.get("choices", ())
    )


def words_before(call: Call) -> str:
    """Return the assistant's words that a request ends with."""
    last = call.body["messages"][-1]
    return str(last["content"]) if last["role"] == "assistant" else ""


def repeating(characters: int) -> Callable[[Call], str]:
    """Return a model that says the end of what it was given once more, and goes on."""

    def reply(call: Call) -> str:
        return TEXT[max(0, len(words_before(call)) - characters) :]

    return reply


# What models do with the beginning of an answer: go on, say some of its end again, or start over.
MANNERS = (0, 16, 25, 60, 10_000)
BREAKS: tuple[Callable[[int], Failure], ...] = (
    Failure.cut,
    Failure.ends_early,
    Failure.malformed,
    Failure.hang_after,
    lambda events: Failure.in_band_error(500, after=events),
    lambda events: Failure.cut_bytes(170 * events + 85),
)
FORMS = (
    (),
    (Failure.crlf(),),
    (Failure.comments(),),
    (Failure.lump(),),
    (Failure.bytewise(1),),
    (Failure.crlf(), Failure.bytewise(7)),
)


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_breaks_the_text_is_whole(seed: int, fleet: Fleet, serve: Any) -> None:
    """Three of four break, anywhere and in any way: character by character it is one text."""
    chance = random.Random(seed)
    for name in NAMES:
        provider = fleet.add(name, reply=repeating(chance.choice(MANNERS)))
        broken = name != NAMES[-1]
        # At least a role and two words, so that each adds to the text or breaks while it repeats.
        damage = [chance.choice(BREAKS)(chance.randint(3, 14))] if broken else []
        form = chance.choice([form for form in FORMS if not (broken and form == FORMS[3])])
        if damage or form:
            provider.fail(*damage, *form)
    response = await serve(providers=EVERYBODY).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert {len(provider.calls) for provider in fleet} == {1}
    assert [line for line in response.text.splitlines() if line.startswith(": resumed")] == [
        f": resumed by {name}/sim-model" for name in NAMES[1:]
    ]
    assert len({data["id"] for data in datas_of(response.text)}) == 1
    assert '"error"' not in response.text
    assert response.text.count("[DONE]") == 1


@pytest.fixture
def add(fleet: Fleet) -> Callable[..., SimProvider]:
    """Add a provider that says TEXT and goes on where the assistant's words stop."""

    def add(name: str, **manners: Any) -> SimProvider:
        return fleet.add(name, **{"reply": TEXT, "prefill": True, **manners})

    return add


async def test_each_hop_begins_with_the_request_itself(add: Any, fleet: Fleet, serve: Any) -> None:
    """One assistant message with all text so far, and what is left of `max_tokens`."""
    for name in NAMES:
        add(name)
    for name in NAMES[:3]:
        fleet[name].fail(Failure.cut(6))  # a role and five words
    await serve(providers=EVERYBODY).ask(stream=True, max_tokens=1000, temperature=0.5)
    bodies = [fleet[name].calls[0].body for name in NAMES]
    assert [len(body["messages"]) for body in bodies] == [1, 2, 2, 2]
    assert [body["max_tokens"] for body in bodies] == [1000, 994, 988, 982]
    assert {body["temperature"] for body in bodies} == {0.5}
    words = TEXT.split(" ")
    assert [body["messages"][1] for body in bodies[1:]] == [
        {"role": "assistant", "content": " ".join(words[: 5 * hop])} for hop in (1, 2, 3)
    ]


@pytest.mark.parametrize("parts", [False, True], ids=["text", "parts"])
async def test_words_that_the_client_began_with_stay_in_one_message(
    parts: bool, add: Any, fleet: Fleet, serve: Any
) -> None:
    """No provider sees two of the assistant's messages in a row."""
    a, b, c = add("a"), add("b"), add("c")
    a.fail(Failure.cut(6))
    b.fail(Failure.cut(6))
    content = [{"type": "text", "text": TEXT[:20]}] if parts else TEXT[:20]
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": content}]
    response = await serve(providers=dict.fromkeys("abc", PREFILL)).ask(
        stream=True, messages=messages
    )
    assert TEXT[:20] + text_of(response.text) == TEXT
    for provider in (b, c):
        sent = provider.calls[0].body["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant"]
        assert [sent[1]["content"][0]] == content if parts else sent[1]["content"] < TEXT


async def test_the_beginning_is_marked_where_it_must_be(add: Any, fleet: Fleet, serve: Any) -> None:
    """Mistral refuses a request that ends with the assistant's words, unless they say `prefix`."""
    a, mistral, c = add("a"), add("mistral"), add("c")
    a.fail(Failure.cut(6))
    mistral.fail(Failure.cut(6))
    providers = {"a": PREFILL, "mistral": {**PREFILL, "preset": "mistral"}, "c": PREFILL}
    response = await serve(providers=providers).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert mistral.calls[0].body["messages"][-1]["prefix"] is True
    assert c.calls[0].body["messages"][-1].keys() == {"role", "content"}


async def test_usage_is_the_sum_of_all_calls(add: Any, fleet: Fleet, serve: Any) -> None:
    """What broke is counted by its events and our estimates, what ended by the provider."""
    for name in NAMES:
        add(name)
    for name in NAMES[:3]:
        fleet[name].fail(Failure.cut(6))
    site = serve(providers=EVERYBODY)
    response = await site.ask(stream=True, stream_options={"include_usage": True})
    said = " ".join(TEXT.split(" ")[:15])
    usage = datas_of(response.text)[-1]["usage"]
    assert usage["completion_tokens"] == 3 * 6 + -(-len(TEXT.removeprefix(said)) // 4)
    assert usage["prompt_tokens"] > sum(fleet[name].calls[0].tokens for name in NAMES) / 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert await site.in_flight() == 0
    assert [call.outcome for call in fleet.calls] == ["failed"] * 3 + ["served"]


async def test_a_target_may_break_twice_and_no_more(add: Any, fleet: Fleet, serve: Any) -> None:
    """Those that have not broken come first, then the others in order; then the break is told."""
    for name in "abc":
        add(name).fail(Failure.cut(3), times=None)
    response = await serve(providers=dict.fromkeys("abc", PREFILL)).ask(stream=True)
    assert [len(provider.calls) for provider in fleet] == [2, 2, 2]
    names = [line.split()[-1] for line in response.text.splitlines() if "resumed" in line]
    assert names == [f"{name}/sim-model" for name in "bcabc"]
    assert text_of(response.text) == " ".join(TEXT.split(" ")[: 6 * 2])
    assert datas_of(response.text)[-1]["error"]["code"] == "upstream_stream_truncated"
    assert "[DONE]" not in response.text


async def test_the_one_that_broke_first_may_end_it(add: Any, fleet: Fleet, serve: Any) -> None:
    """If the others break or are down, a second chance is better than half an answer."""
    a, b, c = add("a"), add("b"), add("c")
    a.fail(Failure.cut(6))
    b.fail(Failure.cut(6))
    c.fail(Failure.status(500), times=None)
    response = await serve(providers=dict.fromkeys("abc", PREFILL)).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert (len(a.calls), len(b.calls)) == (2, 1)


async def test_another_key_of_the_same_provider_goes_on(add: Any, fleet: Fleet, serve: Any) -> None:
    """It is another target, and has not broken."""
    a = add("a", keys=["sk-1", "sk-2", "sk-3"])
    a.fail(Failure.cut(6), times=2)
    response = await serve(providers={"a": PREFILL}).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert sorted(call.key for call in a.calls) == ["sk-1", "sk-2", "sk-3"]


async def test_each_hop_has_a_deadline_of_its_own(add: Any, fleet: Fleet, serve: Any) -> None:
    """`timeouts.total` bounds the time until an answer goes on, not all hops together."""
    for name in NAMES:
        add(name, latency=6.0)
    for name in NAMES[:3]:
        fleet[name].fail(Failure.cut(6))
    response = await serve(providers=EVERYBODY, timeouts={"total": "10s"}).ask(stream=True)
    assert text_of(response.text) == TEXT


async def test_a_hop_that_takes_too_long_ends_in_an_error(
    add: Any, fleet: Fleet, serve: Any
) -> None:
    """The client is told of the break, with all that came before it."""
    a, b = add("a"), add("b")
    c = add("c", latency=30.0)
    a.fail(Failure.cut(6))
    b.fail(Failure.cut(6), times=None)
    response = await serve(providers=dict.fromkeys("bc", PREFILL), timeouts={"total": "10s"}).ask(
        stream=True
    )
    assert text_of(response.text) == " ".join(TEXT.split(" ")[:10])
    assert datas_of(response.text)[-1]["error"]["code"] == "upstream_stream_truncated"
    assert len(c.calls) == 1


async def test_nonsense_before_a_break_is_not_continued(add: Any, fleet: Fleet, serve: Any) -> None:
    """Nobody can tell what text the client made of it."""
    a, b = add("a"), add("b")
    nonsense = Send(b"data: {oops}\n\n", "other")
    a.fail(Failure("nonsense", damage=lambda acts: (*acts[:5], nonsense, Cut())))
    response = await serve(providers=dict.fromkeys("ab", PREFILL)).ask(stream=True)
    body = response.text.replace("data: {oops}\n\n", "")
    assert datas_of(body)[-1]["error"]["code"] == "upstream_stream_truncated"
    assert (len(a.calls), len(b.calls)) == (1, 0)


async def test_thoughts_of_a_later_model_are_no_text(add: Any, fleet: Fleet, serve: Any) -> None:
    """They reach the client, and what goes on after a break is the content alone."""
    add("a").fail(Failure.cut(6))
    said = " ".join(TEXT.split(" ")[:5])
    thinking = Reply(TEXT.removeprefix(said), reasoning="Where was I?")
    add("b", reply=thinking, prefill=False).fail(Failure.cut(8))
    c = add("c")
    response = await serve(providers=dict.fromkeys("abc", PREFILL)).ask(stream=True)
    assert text_of(response.text) == TEXT
    assert "Where" in response.text
    assert TEXT.startswith(words_before(c.calls[0]))
    assert len(words_before(c.calls[0])) > len(said)
