"""Splice: another model's continuation made part of the stream that broke.

The text so far went to the next model as the beginning of the assistant's message. What it answers is
relayed under the first stream's id, without text that it says again, with the usage of both calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from stepwell.chat import encode
from stepwell.upstream.completion import decode
from stepwell.upstream.sse import EventSplitter, event_data

# A model that starts over repeats a good part of a sentence. Shorter repeats ("very, very") are as
# likely meant, and are left as they are.
LEAST_OVERLAP: Final = 16

_IDENTITY: Final = ("id", "created", "model", "system_fingerprint")


class Overlap:
    """Takes text that was said before off the beginning of a continuation."""

    __slots__ = ("_before", "_pending")

    def __init__(self, before: str) -> None:
        self._before = before
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

    def _starts(self) -> range:
        """Positions in the text before from which a repeat would be long enough."""
        return range(len(self._before) - min(LEAST_OVERLAP, len(self._before)) + 1)

    def _may_repeat_more(self, said: str) -> bool:
        return not said or any(
            len(self._before) - start > len(said) and self._before.startswith(said, start)
            for start in self._starts()
        )

    def _repeated(self, said: str) -> int:
        """Return the length of the longest end of the text before that `said` begins with."""
        for start in self._starts():
            tail = self._before[start:]
            if tail and said.startswith(tail):
                return len(tail)
        return 0


class Splice:
    """Turns a continuation's events into more events of the first stream.

    It goes through as many continuations as it takes; `resume` comes before each.

    Args:
        sent: The events of the first stream that the client has.
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
        self._splitter = EventSplitter()

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
        return b"".join(self._event(event) for event in self._splitter.feed(piece))

    def _event(self, event: bytes) -> bytes:
        data = event_data(event)
        if data is None or data == b"[DONE]":
            return event
        body: dict[str, Any] = {**decode(data), **self._identity}
        for choice in body.get("choices") or ():
            self._trim(choice)
        if isinstance(usage := body.get("usage"), dict):
            body["usage"] = self._summed(usage)
        return b"data: " + encode(body) + b"\n\n"

    def _trim(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
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
    for event in sent:
        data = event_data(event)
        if data and data.startswith(b"{"):
            body = msgspec.json.decode(data)
            return {key: body[key] for key in _IDENTITY if key in body}
    return {}
