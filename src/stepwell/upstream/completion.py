"""What a completion says, whole or as one event of a stream: an error, content, a finish, usage.

Only what decides a verdict is looked at; the bytes themselves are relayed as they came.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from stepwell.providers.dialects import embedded_status

decode: Final = msgspec.json.Decoder().decode

# Parts of a message or delta that carry nothing for the reader; everything else that is not empty is
# an answer (content, reasoning in its spellings, tool calls, a refusal, audio, and what comes next).
_BARE: Final = frozenset({"role", "name", "index", "annotations", "provider_specific_fields"})

# Finish reasons with which an empty completion is an answer all the same.
_SAYS_WHY: Final = frozenset({"length", "content_filter"})


@dataclass(frozen=True, slots=True)
class Content:
    """What one completion object holds.

    Attributes:
        meaningful: Something for the reader.
        finishes: The finish reasons of its choices, in order.
        indexes: The choices that appear in it.
        finished: The choices that finish in it.
        tokens: Total tokens as the provider counted; None if it does not say.
        is_usage_only: The extra event that only tells usage.
        error_status: The status that an error inside it stands for; None if it holds no error.
    """

    meaningful: bool = False
    finishes: tuple[str, ...] = ()
    indexes: frozenset[int] = frozenset()
    finished: frozenset[int] = frozenset()
    tokens: int | None = None
    is_usage_only: bool = False
    error_status: int | None = None

    @property
    def is_answer(self) -> bool:
        """Whether it is an answer, even an empty one that says why it is empty."""
        return self.meaningful or any(finish in _SAYS_WHY for finish in self.finishes)


def read_content(body: Any) -> Content:
    """Read a decoded completion, or one decoded event of a stream.

    Raises:
        ValueError: It is no completion at all.
    """
    status = embedded_status(body)  # first, since Gemini wraps an error in an array
    if status is not None:
        return Content(error_status=status)
    if not isinstance(body, Mapping):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a provider's mistake, not ours
    choices = body.get("choices")
    tokens = _total_tokens(body.get("usage"))
    if not isinstance(choices, list):
        if tokens is None and choices is not None:
            raise ValueError("'choices' is not a list")
        return Content(tokens=tokens, is_usage_only=tokens is not None)
    if not choices:
        return Content(tokens=tokens, is_usage_only=tokens is not None)
    return _read_choices([choice for choice in choices if isinstance(choice, Mapping)], tokens)


class _Usage(msgspec.Struct):
    total_tokens: int | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    """A completion as nearly every one is: with a text, and without a trace of an error."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: None = None
    base_resp: None = None


_peek: Final = msgspec.json.Decoder(_Completion).decode


def plain_tokens(body: bytes) -> int | None:
    """Return the total tokens of a completion that is surely an answer.

    Most are, and then there is no need to decode what nobody looks at.

    Returns:
        None where it is anything else, or does not say.
    """
    try:
        seen = _peek(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    first = seen.choices[0] if seen.choices else None
    if first is None or first.finish_reason == "error":
        return None
    has_text = first.message is not None and first.message.content
    tokens = None if seen.usage is None else seen.usage.total_tokens
    return tokens if has_text and tokens is not None and tokens >= 0 else None


class _Delta(msgspec.Struct, forbid_unknown_fields=True):
    """All that most deltas hold: a text, beside a role and what is null."""

    role: str | None = None
    content: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class _Part(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None
    message: None = None
    text: None = None


class _Event(msgspec.Struct):
    """An event of a stream as nearly every one is: with one choice, and without a trace of an error."""

    choices: tuple[_Part]
    usage: _Usage | None = None
    error: None = None
    base_resp: None = None


class Glance(msgspec.Struct, frozen=True):
    """What a plain event of a stream holds.

    Attributes:
        is_answer: It is one, even an empty one that says why it is empty.
        finishes: Its choice finishes.
        tokens: Total tokens as the provider counted; None if it does not say.
    """

    is_answer: bool
    finishes: bool
    tokens: int | None


_glance: Final = msgspec.json.Decoder(_Event).decode


def glance(data: bytes) -> Glance | None:
    """Return what `read_content` would find, of an event that is like most; None of any other."""
    try:
        seen = _glance(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    choice = seen.choices[0]
    finish, tokens = choice.finish_reason, None
    if seen.usage is not None:
        tokens = seen.usage.total_tokens
        if tokens is None or tokens < 0:
            return None
    if finish == "error":
        return None
    return Glance(bool(choice.delta.content) or finish in _SAYS_WHY, finish is not None, tokens)


def text_of(body: Any) -> Iterator[str]:
    """Yield the plain text that an event of a stream adds to its first choice."""
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        content = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(content, str):
            yield content


def _read_choices(choices: list[Mapping[str, Any]], tokens: int | None) -> Content:
    finishes: list[str] = []
    indexes: set[int] = set()
    finished: set[int] = set()
    meaningful = False
    for position, choice in enumerate(choices):
        index = choice.get("index")
        index = index if isinstance(index, int) else position
        indexes.add(index)
        meaningful = meaningful or _has_content(choice)
        if isinstance(finish := choice.get("finish_reason"), str):
            finishes.append(finish)
            finished.add(index)
    return Content(meaningful, tuple(finishes), frozenset(indexes), frozenset(finished), tokens)


def _has_content(choice: Mapping[str, Any]) -> bool:
    message = choice.get("delta") or choice.get("message")
    if not isinstance(message, Mapping):
        return bool(choice.get("text"))
    return any(value and key not in _BARE for key, value in message.items())


def _total_tokens(usage: Any) -> int | None:
    if not isinstance(usage, Mapping):
        return None
    total = usage.get("total_tokens")
    if isinstance(total, int) and total >= 0:
        return total
    parts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    counts = [part for part in parts if isinstance(part, int) and part >= 0]
    return sum(counts) if counts else None
