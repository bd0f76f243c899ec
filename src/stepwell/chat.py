"""ChatRequest: a chat completion's body, decoded only as far as routing needs.

Every field keeps the bytes that the client sent (`1.10` stays `1.10`), so that a parameter invented
tomorrow travels untouched; only `model` and what a step sets are replaced.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import msgspec

from stepwell.errors import BadRequest
from stepwell.history import Fields, History, holds_trace
from stepwell.payloads import put_back, take_out
from stepwell.quota.estimate import estimate_answer, estimate_tokens
from stepwell.routing.chain import AS_IT_IS, Adaptation, Step
from stepwell.routing.fit import CLIENTS_TOOLS

encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode
_decode_fields: Final = msgspec.json.Decoder(Fields).decode

# The fields that routing reads, with the types that OpenAI's API gives them.
_READ: Final[Mapping[str, tuple[Callable[[msgspec.Raw], Any], str]]] = MappingProxyType(
    {
        "model": (msgspec.json.Decoder(str | None).decode, "a string"),
        "stream": (msgspec.json.Decoder(bool | None).decode, "true or false"),
        "n": (msgspec.json.Decoder(int | None).decode, "a whole number"),
        "max_tokens": (msgspec.json.Decoder(int | None).decode, "a whole number"),
        "max_completion_tokens": (msgspec.json.Decoder(int | None).decode, "a whole number"),
        "stream_options": (msgspec.json.Decoder(Fields | None).decode, "an object"),
    }
)

# OpenAI's own ceiling for `n`; without one a single request could reserve any amount of quota.
MAX_CHOICES: Final = 128

# Another model can go on with plain text only: what it says next must not depend on any of these.
_BEYOND_TEXT: Final = frozenset(
    {"tools", "functions", "response_format", "logprobs", "audio", "modalities"}
)
_NO_FIELDS: Final[Fields] = {}
_TRUE: Final = msgspec.Raw(b"true")

# Bytes of a body in which it is worth to look for payloads.
_LARGE: Final = 16 * 1024
_ABSENT: Final = (b"null", b"false", b"[]")

_SOME_MESSAGES: Final = re.compile(rb"\[\s*[^\s\]]")

# Fields by which a request may need what not every model offers.
_ASKS_FOR_MORE: Final = frozenset({"tools", "functions", "response_format"})


class _Tool(msgspec.Struct):
    type: str | None = None  # a function


_decode_tools: Final = msgspec.json.Decoder(list[_Tool]).decode

# As a name in JSON; inside a text its quotes would be escaped.
_IMAGE: Final = re.compile(rb'"image_url"\s*:')
_JSON_FORMATS: Final = frozenset({b'"json_object"', b'"json_schema"'})


def parse_fields(body: bytes) -> Fields:
    """Return the fields of a JSON object, each still in its own bytes.

    Raises:
        BadRequest: It is no JSON object.
    """
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise BadRequest("The request body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.") from None
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.") from None


class ChatRequest:
    """One request as the waterfall sees it.

    Attributes:
        fields: The body's fields as they came, but for large payloads.
        model: What the client asked for; None if it did not say.
        stream: It asked for a stream.
        wants_usage: It asked for the usage event at the end of a stream.
        choices: How many answers it asked for (`n`).
        capabilities: What a model must be able to do: of `vision`, `tools`, `json`.
        max_tokens: The longest answer it takes, in tokens; None if it did not say.
        prompt_tokens: Estimated tokens of the prompt.
        tokens: Estimated tokens of prompt and answer.

    Args:
        body: The JSON as it came.
        payloads: What is taken out of it already; see `payloads`.

    Raises:
        BadRequest: It is no JSON object, a field that routing reads has another type, or there are
            no messages.
    """

    __slots__ = (
        "_history",
        "_options",
        "_payloads",
        "capabilities",
        "choices",
        "fields",
        "max_tokens",
        "model",
        "prompt_tokens",
        "stream",
        "tokens",
        "wants_usage",
    )

    def __init__(self, body: bytes, payloads: Sequence[memoryview] = ()) -> None:
        if len(body) > _LARGE and not payloads:
            body, payloads = take_out(body)
        self._payloads = payloads
        self.fields = fields = parse_fields(body)
        self._history = History(fields) if holds_trace(body) else None
        said: dict[str, Any] = {}
        for name in _READ:
            if name in fields:
                said[name] = self._read(name)
        self.model: str | None = said.get("model")
        self.stream = bool(said.get("stream"))
        self.choices = _choices(said.get("n")) if "n" in said else 1
        self.max_tokens = _ceiling(said.get("max_completion_tokens"), said.get("max_tokens"))
        self._options: Fields = said.get("stream_options") or _NO_FIELDS
        self.wants_usage = bool(self._options) and self._options.pop("include_usage", None) == _TRUE
        if "messages" not in fields or not _SOME_MESSAGES.match(fields["messages"]):
            raise _no_messages(fields.get("messages"))
        self.prompt_tokens = estimate_tokens(body, 0)
        self.tokens = self.prompt_tokens + self.choices * estimate_answer(self.max_tokens)
        self.capabilities = self._needed()

    def _needed(self) -> frozenset[str]:
        """Return what a model must be able to do."""
        needed = ["vision"] if _IMAGE.search(self.fields["messages"]) else []
        if not _ASKS_FOR_MORE.isdisjoint(self.fields):
            if self.has("tools") or self.has("functions"):
                needed.append("tools")
            if self.has("response_format") and self._answer_format() in _JSON_FORMATS:
                needed.append("json")
        return frozenset(needed)

    def has(self, name: str) -> bool:
        """Whether a field is there and says something."""
        raw = self.fields.get(name)
        return raw is not None and bytes(memoryview(raw)[:6]).strip() not in _ABSENT

    def _answer_format(self) -> bytes:
        """Return the type in `response_format` as it came; nothing where that has another shape."""
        try:
            return _text(_decode_fields(self.fields["response_format"]).get("type"))
        except msgspec.MsgspecError:
            return b""

    @property
    def hosted_tools(self) -> list[str]:
        """Types of tools that run at the provider and not at the client, such as a search."""
        try:
            tools = _decode_tools(self.fields["tools"]) if self.has("tools") else []
        except msgspec.ValidationError:
            return ["unknown"]
        return [tool.type for tool in tools if tool.type and tool.type not in CLIENTS_TOOLS]

    @property
    def is_resumable(self) -> bool:
        """Whether another model may go on where a broken stream stopped."""
        if self.choices != 1:
            return False
        return _BEYOND_TEXT.isdisjoint(self.fields) or not any(map(self.has, _BEYOND_TEXT))

    def body_for(self, step: Step) -> bytes:
        """Return the body to send to a step: its model, its parameters, and the usage it may tell."""
        return b"".join(self.parts_for(step))

    def parts_for(self, step: Step) -> list[bytes | memoryview]:
        """Return the same in parts, of which large payloads are views of what the client sent."""
        history = self._history
        fields = dict(self.fields if history is None else history.fields_for(step.history))
        fields["model"] = _raw_text(step.model)
        if step.adaptation is not AS_IT_IS:
            _adapt(fields, step.adaptation)  # before the step's parameters, which were meant for it
        for name, value in step.params.items():
            fields[name] = msgspec.Raw(encode(value))
        if self.stream:
            self._ask_for_usage(fields, step)
        body = encode(fields)
        return put_back(body, self._payloads) if self._payloads else [body]

    def continued(self, text: str, used_tokens: int) -> "ChatRequest":
        """Return the request by which another model goes on after `text`."""
        messages = msgspec.json.decode(self.fields["messages"], type=list[msgspec.Raw])
        fields = {**self.fields, "messages": msgspec.Raw(encode(_with_beginning(messages, text)))}
        for name in ("max_tokens", "max_completion_tokens"):
            if name in fields and (ceiling := self._read(name)) and ceiling > 0:
                fields[name] = msgspec.Raw(encode(max(1, ceiling - used_tokens)))
        return ChatRequest(encode(fields), self._payloads)

    def _ask_for_usage(self, fields: Fields, step: Step) -> None:
        options = self._options
        if step.usage:
            options = {**options, "include_usage": _TRUE}
        if options:
            fields["stream_options"] = msgspec.Raw(encode(options))
        else:
            fields.pop("stream_options", None)

    def _read(self, name: str) -> Any:
        decode, expected = _READ[name]
        try:
            return decode(self.fields[name])
        except msgspec.MsgspecError:
            raise BadRequest(f"{name!r} must be {expected}.", param=name) from None


def _choices(said: int | None) -> int:
    if said is None:
        return 1
    if not 1 <= said <= MAX_CHOICES:
        raise BadRequest(f"'n' must be from 1 to {MAX_CHOICES}.", param="n")
    return said


def _ceiling(newer: int | None, older: int | None) -> int | None:
    """Return the longest answer in tokens; some servers take -1 for no ceiling."""
    if newer and newer > 0:
        return newer
    return older if older and older > 0 else None


def _no_messages(raw: msgspec.Raw | None) -> BadRequest:
    if raw is None:
        problem = "is missing: send a list of messages"
    elif bytes(memoryview(raw)[:1]) != b"[":
        problem = "must be a list of messages"
    else:
        problem = "must hold at least one message"
    return BadRequest(f"'messages' {problem}.", param="messages")


@lru_cache(maxsize=1024)
def _raw_text(text: str) -> msgspec.Raw:
    return msgspec.Raw(encode(text))


def _adapt(fields: Fields, adaptation: Adaptation) -> None:
    """Leave out what a provider refuses, and call the rest as it does.

    Of two fields that become one the renamed one wins, as `max_completion_tokens` does over the
    older `max_tokens`, unless it is null.
    """
    for name in adaptation.drop & fields.keys():
        del fields[name]
    for name, theirs in adaptation.rename.items():
        raw = fields.pop(name, None)
        if raw is not None and (theirs not in fields or _text(raw) != b"null"):
            fields[theirs] = raw


def _with_beginning(messages: Sequence[msgspec.Raw], text: str) -> list[msgspec.Raw]:
    """Return messages that end with the assistant's first words.

    Where the client's own end so, its words and these are one message: providers refuse two of the
    assistant's in a row, or answer only the second. Mistral and DeepSeek want them marked `prefix`;
    the rules for histories leave that out for everybody else.
    """
    last = msgspec.json.decode(messages[-1])
    is_begun = isinstance(last, dict) and last.get("role") == "assistant"
    before, begun = (messages[:-1], last) if is_begun else (messages, {"role": "assistant"})
    content = begun.get("content") or ""
    if isinstance(content, list):
        content = [*content, {"type": "text", "text": text}]
    else:
        content = f"{content}{text}"
    return [*before, msgspec.Raw(encode({**begun, "content": content, "prefix": True}))]


def _text(raw: msgspec.Raw | None) -> bytes:
    return b"" if raw is None else bytes(raw)
