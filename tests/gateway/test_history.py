"""Conversations that wander from provider to provider, each of which refuses what it does not know."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepwell.testing import Call, Failure, Fleet, Reply, ToolCall

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
SIGNED = {"google": {"thought_signature": "c2lnbmVk"}}
FIELDS = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "refusal"},
    "tool": {"role", "content", "tool_call_id"},
}


@dataclass(frozen=True)
class Kind:
    """What a provider says and takes.

    Attributes:
        preset: Its name.
        own_id: Of the calls that its model makes.
        ids: What all ids must match.
        extras: What its answers hold beyond OpenAI's fields, and must hold when they come back.
        parts: Types of parts of a content, beside texts and pictures.
        call_extras: What its tool calls hold, likewise.
        marks: It takes `cache_control`.
        signed: Every message's first call must have a signature.
    """

    preset: str
    own_id: str
    ids: str
    extras: dict[str, Any] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()
    call_extras: dict[str, Any] = field(default_factory=dict)
    marks: bool = False
    signed: bool = False


KINDS = (
    Kind(
        "mistral",
        "D681PevKs",
        "[a-zA-Z0-9]{9}",
        extras={"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
        parts=frozenset({"thinking"}),
    ),
    Kind("openai", "call_" + "a1" * 12, ".{1,40}", extras={"annotations": [], "refusal": None}),
    Kind("groq", "functions.look:0", ".{1,64}", extras={"reasoning": "Hm."}),
    Kind("gemini", "", ".{1,64}", call_extras={"extra_content": SIGNED}, signed=True),
    Kind("deepseek", "call_00_" + "x" * 60, ".{1,64}", extras={"reasoning_content": "Hm."}),
    Kind(
        "openrouter",
        "toolu_vrtx_01" + "y" * 30,
        ".{1,64}",
        extras={
            "reasoning": "Hm.",
            "reasoning_details": [{"type": "reasoning.text"}],
            "annotations": [],
        },
        marks=True,
    ),
)


def complaints(kind: Kind, messages: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield all that a strict provider finds wrong with a conversation."""
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                yield f"messages[{number}]: no call for {message['tool_call_id']!r}"
            else:
                waiting.remove(message["tool_call_id"])
        elif waiting:
            yield f"messages[{number}]: calls without a result: {waiting}"
        yield from unknown_fields(kind, message)
        calls = message.get("tool_calls") or []
        yield from wrong_calls(kind, calls)
        waiting += [call["id"] for call in calls]


def unknown_fields(kind: Kind, message: dict[str, Any]) -> Iterator[str]:
    own = kind.extras if message["role"] == "assistant" else {}
    known = {*FIELDS[message["role"]], *own, *(["cache_control"] if kind.marks else [])}
    yield from (f"{name} is not permitted" for name in message.keys() - known)
    yield from (
        f"{name} is null" for name in message if message[name] is None and name != "content"
    )
    content = message.get("content")
    for part in content if isinstance(content, list) else []:
        if part["type"] not in {"text", "image_url", *kind.parts}:
            yield f"a part may not be {part['type']}"
        if "cache_control" in part and not kind.marks:
            yield "cache_control is not permitted"


def wrong_calls(kind: Kind, calls: Sequence[dict[str, Any]]) -> Iterator[str]:
    for call in calls:
        if not re.fullmatch(kind.ids, call["id"]):
            yield f"id {call['id']!r} must match {kind.ids}"
        known = {"id", "type", "function", *kind.call_extras}
        yield from (f"tool_calls: {name} is not permitted" for name in call.keys() - known)
    if kind.signed and calls and "extra_content" not in calls[0]:
        yield "the call is missing a thought_signature"


@pytest.fixture
def strict(fleet: Fleet) -> Fleet:
    """A fleet whose providers call a tool in every answer, and refuse what they do not know."""
    for kind in KINDS:

        def refuses(call: Call, kind: Kind = kind) -> bool:
            return any(complaints(kind, call.body["messages"]))

        calls = (ToolCall("look", '{"at": "sea"}', kind.own_id),)
        provider = fleet.add(kind.preset, reply=Reply(tool_calls=calls))
        provider.fail(Failure.bad_request("Extra inputs", status=422), times=None, when=refuses)
    return fleet


PRESETS = {kind.preset: {"preset": kind.preset} for kind in KINDS}
OPENING: list[dict[str, Any]] = [
    {
        "role": "system",
        "content": [{"type": "text", "text": "Look.", "cache_control": {"type": "ephemeral"}}],
    },
    {"role": "user", "content": "How is the sea?"},
]


def remembered(kind: Kind) -> list[dict[str, Any]]:
    """Return what a client keeps of an answer: all that the real provider sends, and the result."""
    function = {"name": "look", "arguments": '{"at": "sea"}'}
    call = {"index": 0, "id": kind.own_id, "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "refusal": None, **kind.extras}
    result = {"role": "tool", "tool_call_id": kind.own_id, "content": "dry"}
    return [{**message, "tool_calls": [{**call, **kind.call_extras}]}, result]


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize("first", range(len(KINDS)), ids=[kind.preset for kind in KINDS])
async def test_six_turns_with_six_providers(
    first: int, stream: bool, strict: Fleet, serve: Any
) -> None:
    """And a seventh with the first again: nobody refuses, and the client's ids stay its own."""
    site = serve(providers=PRESETS)
    order = (*KINDS[first:], *KINDS[:first], KINDS[first])
    messages = list(OPENING)
    for kind in order:
        response = await site.ask(
            model=f"{kind.preset}/sim-model", messages=messages, tools=TOOLS, stream=stream
        )
        assert response.status_code == 200, response.text
        assert json.dumps(kind.own_id) in response.text
        messages += remembered(kind)
    assert [provider.refused + provider.failed for provider in strict] == [0] * len(KINDS)
    assert_returned(order[0], strict[order[0].preset].calls[-1])


def assert_returned(kind: Kind, call: Call) -> None:
    """What the first provider gets back in the last turn is its own: extras, and its id if it can be."""
    first = call.body["messages"][2]
    for name, value in kind.extras.items():
        if value:
            assert first[name] == value
    assert first["tool_calls"][0]["id"] == kind.own_id or not re.fullmatch(kind.ids, kind.own_id)
    for name, value in kind.call_extras.items():
        assert first["tool_calls"][0][name] == value


async def test_every_step_of_a_waterfall_gets_what_it_takes(strict: Fleet, serve: Any) -> None:
    """One request that all six are asked, each in its own way, and each answer would be taken."""
    messages = [*OPENING, *(message for kind in KINDS for message in remembered(kind))]
    for provider in list(strict)[:-1]:
        provider.fail(Failure.status(500), times=None)
    response = await serve(providers=PRESETS).ask(messages=messages, tools=TOOLS)
    assert response.status_code == 200, response.text
    found = [
        list(complaints(kind, strict[kind.preset].calls[0].body["messages"])) for kind in KINDS
    ]
    assert found == [[]] * len(KINDS)


async def test_the_fakes_are_strict(strict: Fleet, serve: Any) -> None:
    """Without the rules nearly every one of them refuses what the others have left."""
    untouched = {"history": {"tool_ids": "any", "cache_control": True, "fields": "any"}}
    site = serve(providers={name: {**preset, **untouched} for name, preset in PRESETS.items()})
    messages = [*OPENING, *(message for kind in KINDS for message in remembered(kind))]
    for kind in KINDS:
        response = await site.ask(model=f"{kind.preset}/sim-model", messages=messages)
        assert response.status_code == 422, kind.preset


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        pytest.param({}, ("call_" + "x" * 50, False, None), id="not known"),
        pytest.param({"history": {"tool_ids": 40}}, (24, False, None), id="ids"),
        pytest.param({"history": {"tool_ids": "mistral"}}, (9, False, None), id="ids by a name"),
        pytest.param({"dialect": "mistral"}, (9, False, None), id="known by its dialect"),
        pytest.param(
            {"history": {"fields": ["reasoning"]}}, ("call_" + "x" * 50, False, "Hm."), id="fields"
        ),
        pytest.param(
            {"preset": "mistral", "history": {"cache_control": True, "fields": "any"}},
            (9, True, "Hm."),
            id="over a preset",
        ),
    ],
)
async def test_the_settings_decide(
    settings: dict[str, Any], taken: tuple[Any, bool, Any], fleet: Fleet, serve: Any
) -> None:
    """What is said of a provider wins over what is known of it."""
    a, _ = fleet.add("a", dialect="silent"), fleet.add("b")
    long = "call_" + "x" * 50
    call = {"id": long, "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "Hm."}
    result = {"role": "tool", "tool_call_id": long, "content": "dry"}
    response = await serve(providers={"a": settings}).ask(messages=[*OPENING, message, result])
    assert response.status_code == 200, response.text
    system, _, assistant, tool = a.calls[0].body["messages"]
    sent = assistant["tool_calls"][0]["id"]
    length_or_id, marks, reasoning = taken
    assert length_or_id in (sent, len(sent))
    assert tool["tool_call_id"] == sent
    assert ("cache_control" in system["content"][0]) is marks
    assert assistant.get("reasoning") == reasoning


async def test_to_the_only_provider_nothing_is_foreign(fleet: Fleet, serve: Any) -> None:
    """What a client sends it comes from it: the conversation is handed on as it came."""
    a = fleet.add("a", dialect="silent")
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "audio": None}
    messages = [*OPENING, message, {"role": "user", "content": "Why?"}]
    await serve().ask(messages=messages)
    assert a.calls[0].body["messages"] == messages
