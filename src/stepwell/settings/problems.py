"""What is wrong with the settings: collected, put in order, and kept clear of secrets."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from stepwell.secrets import Redactor
from stepwell.settings.tree import Value

_KEY_PATH: Final = re.compile(r"(?:^|\.)api_keys(?!\[\d+\]\.(?:name|chains|pins)\b)")
"""Paths of keys: all below `api_keys` but what is said of a key besides."""

_CREDENTIAL_PATH: Final = re.compile(r"\.(?:headers|query|proxy|url|base_url)(?:$|\.)")
"""Paths of other values that may hold credentials."""

MAX_SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""


class Problems:
    """Collects mistakes, each about one value."""

    def __init__(self) -> None:
        self._found: list[tuple[Value, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, value: Value, text: str) -> None:
        self._found.append((value, text))

    def lines(self, tree: Value) -> list[str]:
        """Return a line for each: the file's in its order, then those of variables and of code.

        Args:
            tree: Its keys are replaced wherever a line holds one, be it by the wrong place.
        """
        redact = Redactor(_written_keys(tree))
        ordered = sorted(self._found, key=_place)
        return list(dict.fromkeys(redact(value.complain(text)) for value, text in ordered))


def _place(found: tuple[Value, str]) -> tuple[bool, int, str]:
    value, _ = found
    return (value.line == 0, value.line, value.path)


def is_key(value: Value) -> bool:
    """Whether this is, or should be, a key or what holds one."""
    return _KEY_PATH.search(value.path) is not None


def is_showable(value: Value) -> bool:
    """Whether a message may repeat what was written."""
    return not (value.private or is_key(value) or _CREDENTIAL_PATH.search(value.path))


def shown(value: Value) -> str:
    """Return the value for a sentence, or a word for it if it must not be seen."""
    if not is_showable(value) or not isinstance(value.data, str | int | float):
        return "this value"
    text = repr(value.data)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'groq'?` if a known name is near, else what is known, else nothing."""
    names = list(known)
    # Short enough for difflib, which is quadratic.
    near = difflib.get_close_matches(name[:MAX_SHOWN].lower(), names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def _written_keys(tree: Value) -> Iterator[str]:
    for value in tree.walk():
        if isinstance(value.data, str) and is_key(value):
            yield value.data
