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
    delta: _Message | None = None
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


def adds_text(data: bytes) -> bool:
    """Tell whether an event of a stream surely does that and nothing else, as most do."""
    try:
        seen = _peek(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if len(seen.choices) != 1 or seen.usage is not None:
        return False
    choice = seen.choices[0]
    return choice.finish_reason is None and choice.delta is not None and bool(choice.delta.content)


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
