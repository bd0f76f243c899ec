"""`${NAME}` in the values of a file: filled in once, while the file is read.

    ${NAME}             the variable; an error if it is not set
    ${NAME:-default}    the default if it is not set or empty (the shell's rule)
    $$                  a dollar sign

What comes out is text and never looked at again: a variable that holds `${OTHER}` or YAML stays
text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(
    r"""
    \$ (?:
        (?P<dollar>\$)
      | \{ (?P<name>[A-Za-z_][A-Za-z0-9_]*) (?: :- (?P<default>[^}]*) )? \}
      | (?P<broken>\{)
    )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Filled:
    """A text after its variables were filled in.

    Attributes:
        text: The result.
        variables: The names in it, set or not.
        private: The environment gave some of the text.
        missing: The names that are not set and have no default.
        broken: There is a `${` that begins no reference.
    """

    text: str
    variables: tuple[str, ...]
    private: bool
    missing: tuple[str, ...]
    broken: bool


def fill_in(text: str, environ: Mapping[str, str]) -> Filled:
    """Replace the references of `text`, in one pass from left to right."""
    found = [match for match in _REFERENCE.finditer(text) if match["name"]]
    return Filled(
        text=_REFERENCE.sub(lambda match: _replacement(match, environ), text),
        variables=tuple(match["name"] for match in found),
        private=any(environ.get(match["name"]) for match in found),
        missing=tuple(
            m["name"] for m in found if m["default"] is None and m["name"] not in environ
        ),
        broken=any(match["broken"] for match in _REFERENCE.finditer(text)),
    )


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    if match["broken"]:
        return match[0]
    value = environ.get(match["name"], "")
    return value or match["default"] or ""
