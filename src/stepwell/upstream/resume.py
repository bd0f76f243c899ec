"""Splice: another model's continuation made part of the stream that broke.

The text so far went to the next model as the beginning of the assistant's message. What it answers is
relayed under the first stream's id, without text that it says again, with the usage of both calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from stepwell.chat import encode
from stepwell.upstream.completion import decode
from stepwell.upstream.sse import event_data, events_in

# A model that starts over repeats a good part of a sentence. Shorter repeats ("very, very") are as
# likely meant, and are left as they are.
LEAST_OVERLAP: Final = 16

_IDENTITY: Final = ("id", "created", "model", "system_fingerprint")


class Overlap:
    """Takes text that was said before off the beginning of a continuation."""

    __slots__ = ("_before", "_least", "_pending")

    def __init__(self, before: str) -> None:
        self._before = before
        self._least = min(LEAST_OVERLAP, len(before))
        self._pending: str | None = ""

    def feed(self, text: str, *, last: bool = False) -> str:
        """Return what of the continuation so far is new; holds back what may still be a repeat.

        Args:
            text: The next part.
            last: Nothing follows, so nothing is held back any more.
        """
        if self._pending is None:
            return text
        said = self._pending + text
        if not last and self._may_repeat_more(said):
            self._pending = said
            return ""
        self._pending = None
        return said[self._repeated(said) :]

    def _may_repeat_more(self, said: str) -> bool:
        """Whether `said` stands in the text before where a long enough repeat could begin."""
        before = self._before
        last = len(before) - self._least + len(said)
        return not said or before.find(said, 0, min(last, len(before) - 1)) >= 0

    def _repeated(self, said: str) -> int:
        """Return the length of the longest end of the text before that `said` begins with.

        What is searched for is the least of a repeat: to try every place takes too long in a text
        of some thousand words.
        """
        before, head = self._before, said[: self._least]
        if not head or len(head) < self._least:
            return 0
        start = before.find(head, max(0, len(before) - len(said)))
        while start >= 0 and not said.startswith(before[start:]):
            start = before.find(head, start + 1)
        repeated = len(before) - start if start >= 0 else 0
        return 0 if self._goes_round(said, repeated) else repeated

    def _goes_round(self, said: str, repeated: int) -> bool:
        """Whether the text repeated itself before, so that it goes on with one more repeat.

        A table, a refrain: it comes round every `period` characters, and `said` begins where it comes
        round again. What was seen of a second round must be whole, or long, or all that there is
        before a repeat: nobody who starts over leaves out a few letters.
        """
        before, end = self._before, len(self._before)
        for period in range(1, repeated + 1):
            seen = max(repeated, period + min(period, LEAST_OVERLAP))
            if repeated < end < seen:
                seen = end
            if (
                seen <= end
                and said.startswith(before[end - period :])
                and before[end - seen : end - period] == before[end - seen + period :]
            ):
                return True
        return False


class Splice:
    """Turns a continuation's events into more events of the first stream.

    It goes through as many continuations as it takes; `resume` comes before each.

    Args:
        sent: What the client has of the first stream, in pieces of whole events.
        text: Their text.

    Attributes:
        spent: Completion tokens of all calls that broke.
    """

    def __init__(self, sent: Sequence[bytes], text: str) -> None:
        self._identity = _identity(sent)
        self._said = [text]
        self._overlap = Overlap(text)
        self._prompt = 0
        self.spent = 0

    @property
    def text(self) -> str:
        """All text that the client has."""
        return "".join(self._said)

    def resume(self, *, prompt: int, completion: int) -> None:
        """A call broke after so many tokens; what follows goes on after the text so far."""
        self._prompt += prompt
        self.spent += completion
        self._overlap = Overlap(self.text)

    def feed(self, piece: bytes) -> bytes:
        """Return the events to send in place of `piece`, which holds whole events."""
        return b"".join(map(self._event, events_in((piece,))))

    def _event(self, event: bytes) -> bytes:
        body = _body_of(event)
        if body is None:
            return event
        body |= self._identity
        for choice in _choices_of(body):
            self._trim(choice)
        if isinstance(usage := body.get("usage"), dict):
            body["usage"] = self._summed(usage)
        return b"data: " + encode(body) + b"\n\n"

    def _trim(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        delta.pop("role", None)
        last = choice.get("finish_reason") is not None
        content = delta.get("content")
        if isinstance(content, str) or last:
            new = self._overlap.feed(content or "", last=last)
            self._said.append(new)
            if new or isinstance(content, str):
                delta["content"] = new
        choice["delta"] = delta

    def _summed(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        more = {
            "prompt_tokens": self._prompt,
            "completion_tokens": self.spent,
            "total_tokens": self._prompt + self.spent,
        }
        counted = {k: v + usage[k] for k, v in more.items() if isinstance(usage.get(k), int)}
        return {**usage, **counted}


def _identity(sent: Sequence[bytes]) -> dict[str, Any]:
    bodies = (body for event in events_in(sent) if (body := _body_of(event)) is not None)
    first = next(bodies, {})
    return {key: first[key] for key in _IDENTITY if key in first}


def _body_of(event: bytes) -> dict[str, Any] | None:
    """Return an event's completion; None of a comment, `[DONE]`, and what is none."""
    data = event_data(event)
    try:
        body = decode(data) if data else None
    except msgspec.DecodeError:
        return None
    return body if isinstance(body, dict) else None


def _choices_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = body.get("choices")
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
