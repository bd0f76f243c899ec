"""History: a request's conversation made acceptable to one provider after the other.

Only what a rule forbids is taken out or replaced; everything else keeps the bytes that the client
sent. Most requests hold nothing that any rule is about, which a search for a few names tells: then
nothing is decoded, however large it is. Otherwise the messages in which such a name stands are, once
for a request, and once more for each kind of rules.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from stepwell.routing.history import (
    EXTRAS,
    LEFTOVERS,
    THOUGHTS,
    UNTOUCHED,
    CallName,
    HistoryRules,
)

Fields = dict[str, msgspec.Raw]

_encode: Final = msgspec.json.Encoder().encode
_decode_object: Final = msgspec.json.Decoder(Fields).decode
_decode_objects: Final = msgspec.json.Decoder(list[Fields]).decode
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str | None).decode

# The beginnings of all names that a rule is about. In a text these quotes would be escaped.
_TRACES: Final = re.compile(
    rb'"(?:tool_call|cache_control|reasoning|thinking|redacted_thinking|signature|thought_sig'
    rb"|extra_content|prefix|provider_spec|annotations|audio|function_call|refusal)"
)
# Where a search from quote to quote is cheaper than the pattern: in a body of so many bytes, after the
# quotes with which any request begins, where so many bytes or more lie between two of them.
_LARGE: Final = 64 * 1024
_FIRST_HOPS: Final = 32
_LONG_HOP: Final = 512
_CACHE_CONTROL: Final = re.compile(rb'"cache_control"')
_SIGNATURE: Final = re.compile(rb'"thought_signature"')
_NOTHING: Final = re.compile(rb"null|\[\s*\]")


@dataclass(slots=True)
class _Message:
    """One message, as far as it had to be decoded.

    Attributes:
        raw: As it came.
        fields: Its fields; None if no rule is about any of them.
        calls: The tool calls in it.
        names: What each of the calls goes by.
        answers: What the call goes by whose result it is; None if it is no result.
    """

    raw: msgspec.Raw
    fields: Fields | None = None
    calls: list[Fields] = field(default_factory=list)
    names: list[CallName] = field(default_factory=list)
    answers: CallName | None = None


class History:
    """See the module's text; of use for a request that `holds_trace`.

    Args:
        fields: A request's, each in its own bytes; `messages` among them.
    """

    __slots__ = ("_cleaned", "_fields", "_messages")

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._messages: list[_Message] | None = None
        self._cleaned: dict[HistoryRules, Fields] = {}

    def fields_for(self, rules: HistoryRules) -> Fields:
        """Return the request's fields as a provider takes them; the same object for equal rules."""
        if rules == UNTOUCHED:
            return self._fields
        cleaned = self._cleaned.get(rules)
        if cleaned is None:
            cleaned = self._cleaned[rules] = self._clean(rules)
        return cleaned

    def _clean(self, rules: HistoryRules) -> Fields:
        cleaned = dict(self._fields)
        messages = self._fields["messages"]
        if _TRACES.search(messages):
            cleaned["messages"] = self._clean_messages(messages, rules)
        if not rules.cache_control:
            cleaned.pop("cache_control", None)
            if (tools := cleaned.get("tools")) is not None and _CACHE_CONTROL.search(tools):
                cleaned["tools"] = _without_cache_control(tools)
        return cleaned

    def _clean_messages(self, raw: msgspec.Raw, rules: HistoryRules) -> msgspec.Raw:
        if self._messages is None:
            self._messages = _read(_decode_list(raw))
        names = (name for message in self._messages for name in _names_in(message))
        ids = rules.tool_ids.substitutes(names)
        after = [_clean_message(message, rules, ids) for message in self._messages]
        if all(new is old.raw for new, old in zip(after, self._messages, strict=True)):
            return raw
        return _raw(after)


# --- searching


def holds_trace(body: bytes) -> bool:
    """Tell whether any rule may be about something in a request.

    In a body of megabytes most bytes are those of a picture: from quote to quote a search for them is
    a hundred times faster than the pattern. Where there are many quotes it is the other way round.
    """
    place, hops = -1, 0
    while len(body) > _LARGE and hops < _FIRST_HOPS + place // _LONG_HOP:
        place = body.find(b'"', place + 1)
        if place < 0:
            return False
        if _TRACES.match(body, place):
            return True
        hops += 1
    return _TRACES.search(body, place + 1) is not None


# --- reading


def _read(raws: Sequence[msgspec.Raw]) -> list[_Message]:
    """Decode the messages that a rule may be about, and find out what their calls go by."""
    nameless = _Nameless()
    return [_read_message(raw, nameless) for raw in raws]


def _read_message(raw: msgspec.Raw, nameless: "_Nameless") -> _Message:
    message = _Message(raw)
    try:
        if _TRACES.search(raw) is None:
            return message
        message.fields = _decode_object(raw)
        if (calls := message.fields.get("tool_calls")) is not None and not _is_nothing(calls):
            message.calls = _decode_objects(calls)
            message.names = nameless.calls([_id_of(call.get("id")) for call in message.calls])
        if (answered := message.fields.get("tool_call_id")) is not None:
            message.answers = nameless.answer(_id_of(answered))
    except msgspec.ValidationError:
        return _Message(raw)  # not in OpenAI's shape: the provider says so better
    return message


def _id_of(raw: msgspec.Raw | None) -> str:
    """Return an id; empty if there is none."""
    return ("" if raw is None else _decode_text(raw)) or ""


class _Nameless:
    """Names calls that came without an id: some servers send none, or an empty one.

    Their results have none either, so that they belong to the calls before them in order.
    """

    def __init__(self) -> None:
        self._count = 0
        self._waiting: deque[int] = deque()

    def calls(self, ids: Sequence[str]) -> list[CallName]:
        """Return what the calls of one message go by."""
        self._waiting.clear()
        return [given or self._number() for given in ids]

    def answer(self, given: str) -> CallName | None:
        """Return what the call goes by that a result belongs to; None if nobody can tell."""
        return given or (self._waiting.popleft() if self._waiting else None)

    def _number(self) -> int:
        self._count += 1
        self._waiting.append(self._count)
        return self._count


def _names_in(message: _Message) -> Iterator[CallName]:
    yield from message.names
    if message.answers is not None:
        yield message.answers


# --- writing


def _clean_message(
    message: _Message, rules: HistoryRules, ids: Mapping[CallName, str]
) -> msgspec.Raw:
    before = message.fields
    if before is None:
        return message.raw
    after = _without_extras(before, rules)
    if "content" in after:
        after["content"] = _clean_content(after["content"], rules)
    if message.calls:
        after["tool_calls"] = _clean_calls(message, rules, ids)
    if message.answers is not None and message.answers in ids:
        after["tool_call_id"] = _raw(ids[message.answers])
    return message.raw if _are_same([before], [after]) else _raw(after)


def _clean_calls(
    message: _Message, rules: HistoryRules, ids: Mapping[CallName, str]
) -> msgspec.Raw:
    assert message.fields is not None
    after = [_without_extras(call, rules) for call in message.calls]
    for call, name in zip(after, message.names, strict=True):
        call.pop("index", None)  # of an answer that was streamed; no request has one
        if name in ids:
            call["id"] = _raw(ids[name])
    # Of calls side by side only the first carries a signature.
    if rules.signature and not _SIGNATURE.search(after[0].get("extra_content", b"")):
        after[0]["extra_content"] = _raw({"google": {"thought_signature": rules.signature}})
    return message.fields["tool_calls"] if _are_same(message.calls, after) else _raw(after)


def _clean_content(raw: msgspec.Raw, rules: HistoryRules) -> msgspec.Raw:
    if bytes(memoryview(raw)[:1]) != b"[" or not _TRACES.search(raw):
        return raw  # a plain text, as nearly always
    try:
        before = _decode_objects(raw)
    except msgspec.ValidationError:
        return raw
    kept = [part for part in before if not _is_foreign_thought(part, rules)]
    if len(kept) < len(before) and all(_type_of(part) == "text" for part in kept):
        # A plain text is what every provider takes from an assistant; not all take its parts.
        return _raw("".join(_decode_text(part["text"]) or "" for part in kept if "text" in part))
    after = [part if rules.cache_control else _without(part, "cache_control") for part in kept]
    return raw if _are_same(before, after) else _raw(after)


def _is_foreign_thought(part: Fields, rules: HistoryRules) -> bool:
    kind = _type_of(part)
    if kind not in THOUGHTS:
        return False
    return kind not in rules.fields or (_is_signed_text(part) and "signature" not in rules.fields)


def _is_signed_text(part: Fields) -> bool:
    """Whether a thought is Anthropic's: Mistral's is called alike, but is a list, and not signed."""
    return "signature" in part and bytes(part.get("thinking", b"")).startswith(b'"')


def _type_of(part: Fields) -> str:
    return bytes(part.get("type", b"")).strip(b'"').decode()


def _without_cache_control(raw: msgspec.Raw) -> msgspec.Raw:
    """Return tools without their marks; a parameter of that name is no mark."""
    try:
        tools = [_without(tool, "cache_control") for tool in _decode_objects(raw)]
        for tool in tools:
            if "function" in tool:
                tool["function"] = _raw(_without(_decode_object(tool["function"]), "cache_control"))
    except msgspec.ValidationError:
        return raw
    return _raw(tools)


def _without(fields: Fields, name: str) -> Fields:
    return {key: value for key, value in fields.items() if key != name}


def _without_extras(fields: Fields, rules: HistoryRules) -> Fields:
    return {name: value for name, value in fields.items() if _is_taken(name, value, rules)}


def _is_taken(name: str, value: msgspec.Raw, rules: HistoryRules) -> bool:
    if name == "cache_control":
        return rules.cache_control
    if name in LEFTOVERS:
        return not _is_nothing(value)
    return name not in EXTRAS or name in rules.fields


def _is_nothing(raw: msgspec.Raw) -> bool:
    return _NOTHING.fullmatch(raw) is not None


def _are_same(before: Sequence[Fields], after: Sequence[Fields]) -> bool:
    """Whether nothing was taken out, replaced or added: then the bytes stay as they came."""
    return len(before) == len(after) and all(
        old.keys() == new.keys() and all(new[name] is value for name, value in old.items())
        for old, new in zip(before, after, strict=True)
    )


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
