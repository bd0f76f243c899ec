"""Reading the YAML file: every value with its line, every trap of YAML as a plain sentence.

The file is composed into YAML's node graph and walked here; no YAML constructor runs, so a file
cannot make objects. Deliberate differences from YAML 1.1:

1. Only null, true, false and decimal numbers are not text (YAML 1.2's core schema): `on`, `no`,
   `1:30` and `2026-01-01` stay what was written.
2. Keys are text; a key twice in one mapping is a mistake.
3. Tags (`!!python/...`) are refused. Aliases and merge keys work, within MAX_VALUES.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stepwell.errors import SettingsError
from stepwell.settings.problems import Problems
from stepwell.settings.tree import Value, joined
from stepwell.settings.variables import fill_in

MAX_BYTES: Final = 1 << 20
"""1 MiB. A chain of a thousand steps has about 60 kB."""

MAX_VALUES: Final = 100_000
"""Values after aliases are resolved: nine lines of YAML can stand for a billion of them."""

_NUMBER: Final = "0123456789"
_RESOLVERS: Final = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?[0-9]+$"), list("-+" + _NUMBER)),
    (
        "float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+." + _NUMBER),
    ),
    ("merge", re.compile(r"^<<$"), ["<"]),
)


class _Loader(yaml.SafeLoader):
    """Composes only; resolves by the table above."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 # PyYAML's way of declaring it


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)


# What PyYAML says, and what to tell. The first entry that is contained in its message wins.
_SYNTAX: Final = (
    (r"character '\t'", "a tab is used for indentation; use spaces"),
    ("found undefined alias", "unknown alias; quote a value that begins with '*'"),
    ("found duplicate anchor", "an anchor is defined twice"),
    (
        "mapping values are not allowed",
        "a ':' is not allowed here; quote a value that contains ': '",
    ),
    ("could not find expected ':'", "a ':' is missing after a key, or the indentation is wrong"),
    ("but found '<block mapping start>'", "the indentation does not fit the lines above"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("expected ',' or ']'", "a ',' or ']' is missing"),
    ("expected ',' or '}'", "a ',' or '}' is missing"),
    ("while scanning a quoted scalar", "a quote is not closed"),
    ("found unexpected end of stream", "a quote or bracket is not closed"),
    ("that cannot start any token", "a value begins with a reserved character; quote it"),
    (
        "unknown escape character",
        "unknown escape after '\\'; use single quotes to keep backslashes",
    ),
    ("expected a single document", "there is more than one document; remove the '---' line"),
    ("special characters are not allowed", "the file contains control characters"),
)


def read_file(path: str | Path, environ: Mapping[str, str], problems: Problems) -> Value:
    """Read a YAML file into a tree, with variables filled in.

    Args:
        path: The file; messages name it as it is written here.
        environ: The variables.
        problems: Takes what is wrong with keys: doubled ones, those that are not text. What is
            wrong with a value (a missing variable, a tag) is noted in the tree.

    Raises:
        SettingsError: The file cannot be read, or is not YAML, so that nothing more can be said.
    """
    name = str(path)
    text = _read_text(path, name)
    try:
        return _tree(_compose(text, name), _Reader(name, environ, problems))
    except RecursionError:
        raise SettingsError(f"{name}: values are nested too deeply") from None


def _tree(node: Node | None, reader: "_Reader") -> Value:
    if node is None or (isinstance(node, ScalarNode) and not node.value):
        raise SettingsError(f"{reader.name}: the file is empty; it needs providers and chains")
    root = reader.value(node, "")
    if not isinstance(root.data, dict):
        raise SettingsError(root.complain("the file must be a mapping: names, ':' and values"))
    return root


def _read_text(path: str | Path, name: str) -> str:
    try:
        raw = _read_bytes(Path(path), name)
    except FileNotFoundError:
        raise SettingsError(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise SettingsError(f"{name}: this is a directory, not a file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"{name}: cannot be read: {reason}") from None
    try:
        return raw.decode("utf-8-sig")  # editors on Windows write a byte order mark
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{name}:{line}: the file is not UTF-8; save it as UTF-8") from None


def _read_bytes(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise SettingsError(f"{name}: the file is larger than {MAX_BYTES >> 20} MiB")
    return raw


def _compose(text: str, name: str) -> Node | None:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SettingsError(_syntax_problem(error, text, name)) from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}: {_sentence(str(error))}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    line = 0 if mark is None else mark.line
    lines = text.splitlines()
    written = lines[line] if line < len(lines) else ""
    message = f"{error.context or ''}; {error.problem or ''}"
    sentence = _sentence(message)
    if "${" in written and "flow" in message:
        sentence = 'quote a reference inside [ ] or { }: ["${NAME}"]'
    return f"{name}:{line + 1}: {sentence}"


def _sentence(message: str) -> str:
    """Translate PyYAML's words. Its own are never passed on: they may quote the file."""
    for part, sentence in _SYNTAX:
        if part in message:
            return sentence
    return "this is not valid YAML"


class _Reader:
    """Walks YAML's nodes, collects what is wrong with them, and returns the tree."""

    def __init__(self, name: str, environ: Mapping[str, str], problems: Problems) -> None:
        self.name = name
        self._environ = environ
        self._problems = problems
        self._open: set[int] = set()
        self._seen = 0

    def value(self, node: Node, path: str) -> Value:
        here = Value(None, path, self.name, _line(node))
        self._seen += 1
        if self._seen > MAX_VALUES:
            raise SettingsError(here.complain(f"aliases expand to more than {MAX_VALUES} values"))
        if id(node) in self._open:
            here.broken = ("an alias contains itself",)
            return here
        self._open.add(id(node))
        self._read(node, here)
        self._open.discard(id(node))
        return here

    def _read(self, node: Node, here: Value) -> None:
        if _is_tagged(node):
            here.broken = ("tags ('!') are not supported; quote the value",)
        elif isinstance(node, MappingNode):
            here.data = self._mapping(node, here)
        elif isinstance(node, SequenceNode):
            here.data = [self.value(n, joined(here.path, i)) for i, n in enumerate(node.value)]
        elif isinstance(node, ScalarNode):
            self._scalar(node, here)

    def _mapping(self, node: MappingNode, here: Value) -> dict[str, Value]:
        merged: dict[str, Value] = {}
        own: dict[str, Value] = {}
        for key, child in node.value:
            if key.tag.endswith(":merge"):
                merged = self._merge(child, here) | merged
                continue
            name = self._key(key, here)
            if name in own:
                first = own[name].line
                self._complain(
                    key, here, f"the key {name!r} is given twice (first in line {first})"
                )
                continue
            own[name] = self.value(child, joined(here.path, name))
            own[name].line = _line(key)
        return merged | own

    def _merge(self, node: Node, here: Value) -> dict[str, Value]:
        """Return what `<<` brings in; of several mappings the first wins."""
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, Value] = {}
        for each in nodes:
            value = self.value(each, here.path)
            if isinstance(value.data, dict):
                merged = value.data | merged
            else:
                self._complain(each, here, "'<<' merges mappings only")
        return merged

    def _key(self, key: Node, here: Value) -> str:
        if not isinstance(key, ScalarNode):
            self._complain(key, here, "a key is a list or a mapping; it must be text")
            return ""
        if not key.tag.endswith(":str"):
            self._complain(key, here, f"the key {key.value!r} is not text; put it in quotes")
        return str(key.value)

    def _scalar(self, node: ScalarNode, here: Value) -> None:
        kind = node.tag.rpartition(":")[2]
        if kind != "str":
            here.data = _CONVERSIONS[kind](node.value)
            return
        filled = fill_in(node.value, self._environ)
        here.data, here.private, here.variables = filled.text, filled.private, filled.variables
        here.broken = tuple(
            f"the variable {name} is not set; set it, or write ${{{name}:-default}}"
            for name in filled.missing
        )
        if filled.broken:
            forms = "write ${NAME}, ${NAME:-default}, or $$ for a dollar sign"
            here.broken += (f"'${{' begins no reference; {forms}",)

    def _complain(self, node: Node, here: Value, text: str) -> None:
        self._problems.add(Value(None, here.path, self.name, _line(node)), text)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _is_tagged(node: Node) -> bool:
    kind = node.tag.rpartition(":")[2]
    if isinstance(node, ScalarNode):
        # '!' alone means "not resolved": PyYAML hands out the text tag for it.
        return not node.tag.startswith("tag:yaml.org,2002:") or kind not in _CONVERSIONS
    return node.tag not in {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


def _number(text: str) -> int | float | str:
    """Return the number; `!!int x`, and digits by the thousand that Python refuses, stay text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


_CONVERSIONS: Final[Mapping[str, Any]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _number,
    "float": _number,
    "str": str,
    "merge": str,  # only a key merges
}
