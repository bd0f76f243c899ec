"""What a simulated model says, and how it looks on the wire: a JSON body or server-sent events.

Tokens are counted as ceil(characters / 4) of each message's text plus 3 a message, and
ceil(characters / 4) of the answer; no tokenizer, so that a test can do the sum in its head.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from stepwell.testing.acts import Part, Send

_CHARACTERS_A_TOKEN = 4
_TOKENS_A_MESSAGE = 3


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function; `arguments` is JSON text."""

    name: str
    arguments: str = "{}"
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says to one request.

    Attributes:
        text: The answer's content.
        reasoning: Sent before the content, as `reasoning_content`.
        tool_calls: Functions that the model calls.
        refusal: The model's own refusal, if it makes one.
        finish_reason: `stop`, `length`, `content_filter`; tool calls make `tool_calls` of `stop`.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str = "stop"

    @property
    def tokens(self) -> int:
        calls = "".join(call.name + call.arguments for call in self.tool_calls)
        return count_tokens(self.text + self.reasoning + (self.refusal or "") + calls)

    @property
    def finish(self) -> str:
        """The finish reason on the wire."""
        calls = bool(self.tool_calls) and self.finish_reason == "stop"
        return "tool_calls" if calls else self.finish_reason

    def cut_to(self, tokens: int | None) -> "Reply":
        """Return the reply as `max_tokens` leaves it; only text is shortened."""
        if tokens is None or self.tokens <= tokens:
            return self
        text = self.text[: tokens * _CHARACTERS_A_TOKEN]
        return replace(self, text=text, finish_reason="length")


@dataclass(frozen=True, slots=True)
class Wire:
    """What the events and the body of one answer have in common.

    Attributes:
        id: Of the completion.
        model: As it was asked for.
        created: Unix time in seconds.
        prompt_tokens: Counted by `count_prompt`.
        choices: How many (`n`); all say the same.
        usage_event: The stream ends with an event of usage (`stream_options.include_usage`).
    """

    id: str
    model: str
    created: int
    prompt_tokens: int
    choices: int = 1
    usage_event: bool = False

    def usage(self, reply: Reply) -> dict[str, int]:
        completion = reply.tokens * self.choices
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    def body(self, reply: Reply) -> bytes:
        """Return a buffered `chat.completion`."""
        choices = [
            {
                "index": index,
                "message": _message(reply),
                "logprobs": None,
                "finish_reason": reply.finish,
            }
            for index in range(self.choices)
        ]
        top = self._top("chat.completion")
        return msgspec.json.encode({**top, "choices": choices, "usage": self.usage(reply)})

    def events(self, reply: Reply) -> Iterator[Send]:
        """Yield a stream: role, deltas, finish, usage if asked for, `[DONE]`."""
        for part, delta, finish in _deltas(reply):
            for index in range(self.choices):
                choice = {"index": index, "delta": delta, "finish_reason": finish}
                yield self.event(part, {"choices": [choice]})
        if self.usage_event:
            yield self.event("usage", {"choices": [], "usage": self.usage(reply)})
        yield Send(b"data: [DONE]\n\n", "done")

    def event(self, part: Part, fields: Mapping[str, Any]) -> Send:
        """Return one `chat.completion.chunk` as a server-sent event."""
        chunk = {**self._top("chat.completion.chunk"), **fields}
        return Send(b"data: " + msgspec.json.encode(chunk) + b"\n\n", part)

    def _top(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def count_tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_A_TOKEN)


def count_prompt(messages: Sequence[Any]) -> int:
    """Return the prompt's tokens; parts that are no text cost nothing."""
    return sum(count_tokens(text_of(message)) + _TOKENS_A_MESSAGE for message in messages)


def text_of(message: Any) -> str:
    """Return a message's text, of a plain content or of its text parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _message(reply: Reply) -> dict[str, Any]:
    says_nothing = reply.tool_calls or reply.refusal is not None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if says_nothing and not reply.text else reply.text,
        "refusal": reply.refusal,
    }
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in reply.tool_calls]
    return message


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _deltas(reply: Reply) -> Iterator[tuple[Part, dict[str, Any], str | None]]:
    yield "role", {"role": "assistant", "content": ""}, None
    for word in _words(reply.reasoning):
        yield "content", {"reasoning_content": word}, None
    for word in _words(reply.text):
        yield "content", {"content": word}, None
    if reply.refusal is not None:
        yield "content", {"refusal": reply.refusal}, None
    for index, call in enumerate(reply.tool_calls):
        yield from _tool_deltas(index, call)
    yield "finish", {}, reply.finish


def _tool_deltas(index: int, call: ToolCall) -> Iterator[tuple[Part, dict[str, Any], None]]:
    """Yield the name first and the arguments in two pieces, as providers stream them."""
    opening = _tool_call(replace(call, arguments=""))
    yield "tool", {"tool_calls": [{"index": index, **opening}]}, None
    half = len(call.arguments) // 2
    for piece in (call.arguments[:half], call.arguments[half:]):
        if piece:
            yield "tool", {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None


def _words(text: str) -> list[str]:
    """Split text into words with the space before each, so that they join to the same text."""
    return re.findall(r"\s*\S+|\s+", text)
