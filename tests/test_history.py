"""A conversation made acceptable to a provider, without a gateway around it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.chat import ChatRequest, parse_fields
from stepwell.history import History, holds_trace
from stepwell.providers.history import RULES, rules_for
from stepwell.routing.chain import Step
from stepwell.routing.history import (
    ANY_ID,
    EXTRAS,
    NINE_ALPHANUMERICS,
    THOUGHTS,
    UNTOUCHED,
    WORD_CHARACTERS,
    HistoryRules,
    ToolIds,
    at_most,
)

SAFE = HistoryRules()
MISTRAL = RULES["mistral"]
LONG_ID = "functions.look_up_the_weather:0/" + "x" * 60


def call(call_id: Any, **more: Any) -> dict[str, Any]:
    function = {"name": "look", "arguments": '{"at": 1.10}'}
    return {"id": call_id, "type": "function", "function": function, **more}


def calls(*tool_calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(tool_calls), **more}


def result(call_id: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "dry"}


def cleaned(rules: HistoryRules, *messages: Any, **fields: Any) -> Any:
    """Return the fields of a request as a provider with these rules gets them."""
    body = json.dumps({"messages": messages, **fields}).encode()
    taken = History(parse_fields(body)).fields_for(rules)
    return {name: json.loads(bytes(raw)) for name, raw in taken.items()}


def ids_in(messages: list[Any]) -> list[str]:
    """Return all ids in order, those of calls and those of results."""
    found = []
    for message in messages:
        found += [made["id"] for made in message.get("tool_calls", ())]
        found += [message["tool_call_id"]] if "tool_call_id" in message else []
    return found


# --- ids


def test_a_call_and_its_result_get_the_same_id() -> None:
    """One hash of what the client sent, in the provider's form."""
    messages = cleaned(MISTRAL, calls(call("call_abc")), result("call_abc"))["messages"]
    first, second = ids_in(messages)
    assert first == second
    assert re.fullmatch("[a-zA-Z0-9]{9}", first)


def test_an_id_that_is_taken_stays_as_it_is() -> None:
    """A provider that knows its own id again may have a use for it."""
    messages = [calls(call("aB3dE6gH9"), call("call_b")), result("aB3dE6gH9"), result("call_b")]
    first, second, third, fourth = ids_in(cleaned(MISTRAL, *messages)["messages"])
    assert first == third == "aB3dE6gH9"
    assert second == fourth != "call_b"


def test_the_hash_is_the_same_in_every_turn_and_process() -> None:
    """So that the prompt's beginning stays the same, and with it the provider's cache of it."""
    turn = (calls(call("call_abc")), result("call_abc"))
    later = cleaned(MISTRAL, *turn, calls(call("call_def")), result("call_def"))["messages"]
    assert later[:2] == cleaned(MISTRAL, *turn)["messages"]
    assert ids_in(later)[0] == "HO82kW1Np"


def test_calls_without_an_id_are_told_apart_by_their_order() -> None:
    """Some servers give every call the empty id, or none; others refuse to read that."""
    bare = call(None)
    del bare["id"]
    messages = cleaned(
        SAFE,
        calls(call(""), call("call_b"), bare),
        result(""),
        result("call_b"),
        result(None),
        calls(call("")),
        result(""),
    )["messages"]
    first, second, third, *results, fifth, last = ids_in(messages)
    assert [first, second, third] == results
    assert second == "call_b"
    assert fifth == last
    assert len({first, second, third, fifth}) == 4
    assert all(re.fullmatch("[a-zA-Z0-9]{24}", made) for made in (first, third, fifth))


def test_a_result_that_belongs_to_nothing_is_left_alone() -> None:
    """The provider says better than we do what is wrong with it."""
    orphan = {"role": "tool", "tool_call_id": "", "content": "dry"}
    assert cleaned(SAFE, calls(call("call_a")), orphan)["messages"][1] == orphan


@pytest.mark.parametrize(
    ("rule", "taken", "refused"),
    [
        pytest.param(
            NINE_ALPHANUMERICS, ["aB3dE6gH9"], ["", "aB3dE6gH", "aB3dE6gH90", "aB3_E6gH9"]
        ),
        pytest.param(at_most(40), ["x", "functions.f:0", "x" * 40], ["", "x" * 41]),
        pytest.param(WORD_CHARACTERS, ["toolu_01-x"], ["", "functions.f:0", "x" * 65, "é"]),
        pytest.param(ANY_ID, ["x" * 500, "a\nb"], [""]),
    ],
)
def test_the_forms_of_ids(rule: ToolIds, taken: list[str], refused: list[str]) -> None:
    """As providers say when they refuse one."""
    assert [name for name in taken if not rule.takes(name)] == []
    assert [name for name in refused if rule.takes(name)] == []
    assert all(rule.takes(made) for made in rule.substitutes(refused).values())


@given(st.lists(st.text(max_size=3) | st.integers(1, 9), max_size=40))
def test_no_two_ids_become_one(names: list[str | int]) -> None:
    """Also where the alphabet is so small that hashes meet each other and ids that are kept."""
    rule = ToolIds("[a-zA-Z0-9]{2}", 2)
    made = rule.substitutes(names)
    sent = {name: made.get(name, name) for name in names}
    assert len(set(sent.values())) == len(sent)
    assert all(rule.takes(name) for name in sent.values())
    assert made == rule.substitutes(names)


# --- fields


@pytest.mark.parametrize("name", sorted(EXTRAS))
def test_an_extra_is_dropped_where_it_is_not_taken(name: str) -> None:
    """And kept where it is; what is no extra travels on, also if nobody knows it."""
    message = {"role": "assistant", "content": "Yes.", name: [{"x": 1}], "x_new": "reasoning"}
    without = {key: value for key, value in message.items() if key != name}
    assert cleaned(SAFE, message)["messages"] == [without]
    assert cleaned(HistoryRules(fields=frozenset({name})), message)["messages"] == [message]


@pytest.mark.parametrize("kind", sorted(THOUGHTS))
def test_foreign_thoughts_are_dropped_from_a_content(kind: str) -> None:
    """What is left of it becomes a plain text, which everybody takes from an assistant."""
    thought = {"type": kind, kind: [{"type": "text", "text": "Hm."}], "signature": "sig"}
    texts = [{"type": "text", "text": "Y"}, {"type": "text", "text": "es."}]
    message = {"role": "assistant", "content": [thought, *texts]}
    assert cleaned(SAFE, message)["messages"] == [{"role": "assistant", "content": "Yes."}]
    assert cleaned(HistoryRules(fields=frozenset({kind})), message)["messages"] == [message]


def test_a_signed_thought_is_foreign_to_who_does_not_sign() -> None:
    """Mistral's thoughts and Anthropic's are parts of the same type, but of unlike shapes."""
    text = {"type": "text", "text": "Yes."}
    own = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    message = {"role": "assistant", "content": [own, signed, text]}
    assert cleaned(MISTRAL, message)["messages"][0]["content"] == [own, text]
    assert cleaned(UNTOUCHED, message)["messages"] == [message]
    returning = HistoryRules(fields=frozenset({"thinking", "signature"}))
    assert cleaned(returning, message)["messages"] == [message]


def test_a_picture_beside_a_thought_stays_a_part() -> None:
    """Only texts can be joined."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, picture]}
    assert cleaned(SAFE, message)["messages"][0]["content"] == [picture]


def test_cache_marks_are_dropped_wherever_they_stand() -> None:
    """At the top, in messages, in parts, in tools; a tool's parameter of that name is no mark."""
    mark = {"cache_control": {"type": "ephemeral"}}
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    function = {"name": "look", "parameters": schema}
    marked = {
        "tools": [{"type": "function", "function": {**function, **mark}, **mark}],
        **mark,
    }
    parts = [{"type": "text", "text": '"cache_control"', **mark}]
    user = {"role": "user", "content": parts, **mark}
    assert cleaned(SAFE, user, **marked) == {
        "messages": [{"role": "user", "content": [{"type": "text", "text": '"cache_control"'}]}],
        "tools": [{"type": "function", "function": function}],
    }
    assert cleaned(RULES["openrouter"], user, **marked) == {"messages": [user], **marked}


def test_what_is_left_over_of_an_answer_is_dropped() -> None:
    """Clients send back whole answers, with fields that are null and an index from the stream."""
    message = calls(call("call_a", index=0), refusal=None, audio=None, function_call=None)
    answer = {"role": "assistant", "content": "Yes.", "tool_calls": [], "refusal": "No."}
    assert cleaned(SAFE, message, answer)["messages"] == [
        calls(call("call_a")),
        {"role": "assistant", "content": "Yes.", "refusal": "No."},
    ]


def test_a_call_of_another_model_gets_a_signature_where_one_must_be() -> None:
    """Gemini insists on one for the first of several calls; its own it gets back."""
    own = call("call_a", extra_content={"google": {"thought_signature": "abc="}})
    foreign = calls(call("call_b"), call("call_c"))
    first, second = cleaned(RULES["gemini"], calls(own), foreign)["messages"]
    assert first == calls(own)
    stand_in = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    assert second == calls(call("call_b", extra_content=stand_in), call("call_c"))
    assert cleaned(SAFE, calls(own))["messages"] == [calls(call("call_a"))]


# --- bytes


PLAIN = b"""{"messages" : [
  {"role":"user", "content":"the \\"reasoning\\" of \\"tool_calls\\" \\u00e9"} ],
 "temperature":1.10}"""


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_request_with_nothing_to_clean_is_not_decoded(name: str) -> None:
    """Its bytes stay the client's, whatever the text speaks of."""
    fields = parse_fields(PLAIN)
    assert History(fields).fields_for(RULES[name])["messages"] is fields["messages"]


@pytest.mark.parametrize("quotes", [0, 2_000])
@pytest.mark.parametrize("size", [10, 200_000])
def test_a_trace_is_found_however_large_the_body(size: int, quotes: int) -> None:
    """By the one search or by the other, and none is found where there is none."""
    text = 'said \\"so\\" ' * (quotes // 2) + "x" * size
    plain = f'{{"messages":[{{"role":"user","content":"{text}"}}]}}'.encode()
    assert not holds_trace(plain)
    assert holds_trace(plain.replace(b"}]}", b',"reasoning":"Hm."}]}'))


def test_what_breaks_no_rule_keeps_its_bytes() -> None:
    """Messages beside one that is changed, and all of them if none is."""
    kept = b'{"role": "assistant", "tool_calls" : [{"id":"aB3dE6gH9","x":1.10}], "content":null}'
    thought = b'{"role":"assistant","content":"Yes.","reasoning":"Hm.","x": 1.10}'
    body = b'{"messages": [' + kept + b"," + thought + b"]}"
    history = History(parse_fields(body))
    messages = bytes(history.fields_for(MISTRAL)["messages"])
    assert messages == b"[" + kept + b',{"role":"assistant","content":"Yes.","x":1.10}]'
    other = b'{"messages": [' + kept + b"]}"
    openrouter = History(parse_fields(other))
    assert (
        openrouter.fields_for(MISTRAL)["messages"] is openrouter.fields_for(UNTOUCHED)["messages"]
    )


def test_each_kind_of_rules_cleans_once() -> None:
    """However many steps of a chain share them, and however often they are asked."""
    body = json.dumps({"messages": [calls(call(LONG_ID))]}).encode()
    history = History(parse_fields(body))
    first = history.fields_for(RULES["openai"])
    assert history.fields_for(HistoryRules(at_most(40))) is first
    assert history.fields_for(MISTRAL) is not first


@pytest.mark.parametrize(
    "message",
    [
        "reasoning",
        None,
        {"role": "assistant", "tool_calls": "reasoning"},
        {"role": "assistant", "tool_calls": ["reasoning"]},
        {"role": "assistant", "tool_calls": [{"id": 7}]},
        {"role": "tool", "tool_call_id": 7},
        {"role": "user", "content": ["reasoning"]},
        {"role": "user", "content": [{"type": 7, "cache_control": None}, {"text": "thinking"}]},
    ],
)
def test_a_message_in_no_known_shape_does_no_harm(message: Any) -> None:
    """It goes to the provider, who refuses it in its own words; others are cleaned all the same."""
    thought = {"role": "assistant", "content": "Yes.", "reasoning": "Hm."}
    messages = cleaned(MISTRAL, message, thought)["messages"]
    assert messages[1] == {"role": "assistant", "content": "Yes."}
    assert cleaned(UNTOUCHED, message)["messages"] == [message]


def test_the_request_itself_never_changes() -> None:
    """What one step may not have, the next one may."""
    body = {"model": "m", "messages": [calls(call(LONG_ID), reasoning="Hm."), result(LONG_ID)]}
    request = ChatRequest(json.dumps(body).encode())
    sent = [
        json.loads(request.body_for(Step("p", "m", (), 1.0, history=rules)))["messages"]
        for rules in (MISTRAL, UNTOUCHED)
    ]
    assert LONG_ID not in json.dumps(sent[0])
    assert sent[1] == body["messages"]


def test_the_first_name_that_is_known_decides() -> None:
    """The preset, the provider's name, its dialect."""
    assert rules_for("mistral", "openai", "groq") is MISTRAL
    assert rules_for(None, "beta", "mistral") is MISTRAL
    assert rules_for(None, "beta", "auto") is None
