"""What a provider takes of a conversation in which other providers have had a part.

The rules as data, and the one rule that is arithmetic: an id that a provider refuses is replaced by
a hash of itself, so that a tool's call and its result get the same one without anybody remembering
it, in this turn and in every later one. The client keeps its own ids; nothing is mapped back.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CallName = str | int
"""A tool call's id; a number for one that has none, counted from the conversation's beginning."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# As long as OpenAI's own (`call_` aside): no two of any conversation will ever be alike.
_USUAL_LENGTH: Final = 24


@dataclass(frozen=True, slots=True)
class ToolIds:
    """What ids of tool calls a provider takes.

    Attributes:
        pattern: What the whole of an id must match.
        length: Letters and digits of an id that takes the place of another.
    """

    pattern: str
    length: int = _USUAL_LENGTH

    def takes(self, name: CallName) -> bool:
        return isinstance(name, str) and re.fullmatch(self.pattern, name) is not None

    def substitutes(self, names: Iterable[CallName]) -> dict[CallName, str]:
        """Return what to send in place of each name that is not taken.

        An id that is taken as it is stays what it is; so if a hash should meet one of these, or
        another hash, the next one is tried.

        Args:
            names: All of a conversation, in order; they may repeat.
        """
        distinct = list(dict.fromkeys(names))
        used: set[CallName] = {name for name in distinct if self.takes(name)}
        made: dict[CallName, str] = {}
        for name in distinct:
            if name not in used:
                made[name] = self._unused(name, used)
        return made

    def _unused(self, name: CallName, used: set[CallName]) -> str:
        tries = 0
        while (made := self._hash(name, tries)) in used:
            tries += 1
        used.add(made)
        return made

    def _hash(self, name: CallName, tries: int) -> str:
        digest = hashlib.sha256(f"{tries}:{name!r}".encode("utf-8", "backslashreplace")).digest()
        number = int.from_bytes(digest, "big")
        digits = []
        for _ in range(self.length):
            number, digit = divmod(number, len(_ALPHABET))
            digits.append(_ALPHABET[digit])
        return "".join(digits)


def at_most(length: int) -> ToolIds:
    """Return the rule of a provider that only minds how long an id is."""
    return ToolIds(rf"(?s:.{{1,{length}}})", min(length, _USUAL_LENGTH))


ANY_ID: Final = ToolIds("(?s:.+)")
"""Whatever it is, but not nothing."""
NINE_ALPHANUMERICS: Final = ToolIds("[a-zA-Z0-9]{9}", 9)
WORD_CHARACTERS: Final = ToolIds("[a-zA-Z0-9_-]{1,64}")
UP_TO_64: Final = at_most(64)
"""What providers take of which nothing else is known."""


@dataclass(frozen=True, slots=True)
class HistoryRules:
    """What a provider takes in a conversation beyond what everybody takes.

    Attributes:
        tool_ids: Which ids of tool calls.
        cache_control: Marks of what to keep in a cache, wherever they stand.
        fields: Which of `EXTRAS` in messages and tool calls, and which of `THOUGHTS` among the
            parts of a content.
        signature: Stands in for the thought signature of calls that another provider's model has
            made, where the provider insists on one; empty where it does not.
    """

    tool_ids: ToolIds = UP_TO_64
    cache_control: bool = False
    fields: frozenset[str] = frozenset()
    signature: str = ""


EXTRAS: Final = frozenset(
    {
        "annotations",
        "extra_content",
        "prefix",
        "provider_specific_fields",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "reasoning_opaque",
        "reasoning_text",
        "signature",
        "thinking",
        "thinking_blocks",
        "thought_signature",
    }
)
"""Fields that models' answers carry and that clients send back with them, though OpenAI's API has no
such fields in a request: reasoning in its spellings, what belongs to it, and `prefix`, by which a
client of Mistral's marks the assistant's words to go on with."""

THOUGHTS: Final = frozenset({"reasoning", "redacted_thinking", "thinking"})
"""Types of parts of a content that hold thoughts."""

UNTOUCHED: Final = HistoryRules(ANY_ID, cache_control=True, fields=EXTRAS | THOUGHTS)
"""The conversation is handed on as it came."""

LEFTOVERS: Final = frozenset({"audio", "function_call", "refusal", "tool_calls"})
"""Fields of answers in OpenAI's shape that mean nothing if they are null or an empty list. Clients
that keep whole answers send them back, and several providers refuse them."""
