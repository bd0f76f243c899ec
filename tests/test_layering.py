"""Imports point one way; the files are parsed, because loaded modules prove nothing.

A room is a package or a module directly below `stepwell`. This table is the rule of docs and
design: who may import whom.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import stepwell

SOURCE = Path(stepwell.__file__).parent

LEAVES = {"errors", "clock", "secrets"}
PURE = {"quota", "routing"}

MAY_IMPORT: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "quota": {"errors"},
    "routing": {"errors", "quota"},
    # The edges: they know the pure rooms, and of each other only what a provider's words mean.
    "providers": {"errors", *PURE},
    "settings": {"errors", "secrets", "providers", *PURE},
    "ledgers": {"errors", "clock", *PURE},
    "history": {*PURE},
    "payloads": {*PURE},
    "chat": {"errors", "history", "payloads", *PURE},
    "upstream": {"errors", "clock", "chat", "providers", *PURE},
    # Who watches: what they are told, a record of it, and what can be learned from that.
    "observe": {"errors", *PURE},
    "trace": {"observe", *PURE},
    "replay": {"observe", "trace", *PURE},
    # The waterfall, from the loop up to the host.
    "waiting": {"clock", *PURE},
    "dispatch": {"errors", "clock", "chat", "observe", "waiting", "providers", "upstream", *PURE},
    "gateway": {
        *LEAVES,
        *PURE,
        *("chat", "dispatch", "ledgers", "observe", "providers", "settings", "trace", "upstream"),
    },
    "api": {"errors", "clock", "chat", "dispatch", "gateway", *PURE},
    "app": {"errors", "clock", "api", "gateway", "observe", "settings", *PURE},
    # The test kit stands outside: it plays the providers, and must not borrow our opinion of them.
    "testing": {"clock", "errors", "quota"},
    "__main__": {"cli"},
    "cli": {
        *LEAVES,
        *PURE,
        *("api", "app", "chat", "gateway", "providers", "settings", "testing", "upstream"),
        *("dispatch", "observe", "replay", "trace"),
    },
}

# The files that may use the test kit: the demonstration and its traffic, and the replay's providers.
USE_TESTING = {"cli/demo.py", "cli/board.py", "cli/traffic.py", "cli/rerun.py"}

# What a rule that is told the time has no use for.
IMPURE = {"asyncio", "contextvars", "logging", "os", "random", "socket", "threading", "time"}

# What makes records in C, for those that every request has some of.
RECORDS = {"routing": {"msgspec"}}

# Imports inside functions, each with its reason there: an extra that may be missing, and what
# pydantic has loaded already when it asks.
LATE = {"cli/__init__.py": 1, "gateway.py": 1, "secrets.py": 2}

FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """One name that a file imports: a dotted module, and where."""

    module: str
    line: int

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def room(self) -> str:
        return self.module.split(".")[1]


def tree_of(file: str) -> ast.Module:
    return ast.parse((SOURCE / file).read_text())


def imports_of(tree: ast.AST) -> Iterator[Import]:
    """Every import wherever it stands, those for type checkers included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from _imported_from(str(node.module), node)


def _imported_from(module: str, node: ast.ImportFrom) -> Iterator[Import]:
    """`from stepwell.providers import dialects` imports the package `stepwell.providers.dialects`."""
    for alias in node.names:
        inner = SOURCE.parent.joinpath(*module.split("."), alias.name)
        is_module = inner.with_suffix(".py").exists() or inner.is_dir()
        yield Import(f"{module}.{alias.name}" if is_module else module, node.lineno)


def ours(file: str) -> Iterator[Import]:
    """A file's imports of our own rooms; `__version__` comes from the package itself."""
    found = (item for item in imports_of(tree_of(file)) if item.top == "stepwell")
    return (item for item in found if item.module != "stepwell")


def room_of(file: str) -> str:
    return Path(file).parts[0].removesuffix(".py")


def test_every_room_stands_in_the_table() -> None:
    """A new room has to say whom it may import."""
    assert {room_of(file) for file in FILES} - {"__init__"} == set(MAY_IMPORT)


def test_the_table_has_no_circle() -> None:
    """Imports run one way."""
    order = list(TopologicalSorter(MAY_IMPORT).static_order())
    assert order.index("quota") < order.index("routing") < order.index("dispatch")
    assert order.index("dispatch") < order.index("gateway") < order.index("api")


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_a_file_imports_only_what_its_room_may(file: str) -> None:
    """The rule, file by file."""
    allowed = MAY_IMPORT[room_of(file)] | {room_of(file)}
    wrong = [f"{file}:{item.line} {item.module}" for item in ours(file) if item.room not in allowed]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Also within a room there is no circle."""
    graph = {_module_of(file): {item.module for item in ours(file)} for file in FILES}
    graph.pop("stepwell")  # the package's public names, which load on first use
    for module, imported in graph.items():
        imported.discard(module)
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) in PURE])
def test_a_pure_room_needs_only_arithmetic(file: str) -> None:
    """The standard library without its clocks, tasks and sockets, its records, the rooms below."""
    pure = sys.stdlib_module_names - IMPURE | {"stepwell"} | RECORDS.get(room_of(file), set())
    for item in imports_of(tree_of(file)):
        assert item.top in pure, item


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) in PURE])
def test_a_pure_room_never_awaits(file: str) -> None:
    """But for the protocol of the ledger, whose keepers may: it declares, and has no bodies."""
    tree = tree_of(file)
    declared = {
        method
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and _is_protocol(node)
        for method in node.body
        if isinstance(method, ast.AsyncFunctionDef) and _has_no_body(method)
    }
    kinds = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [
        node.lineno for node in ast.walk(tree) if isinstance(node, kinds) and node not in declared
    ]
    assert not declared or file == "quota/ledger.py"


def test_only_the_demonstration_uses_the_test_kit() -> None:
    """What serves must not depend on what tests."""
    users = {file for file in FILES for item in ours(file) if item.room == "testing"}
    assert {file for file in users if room_of(file) != "testing"} <= USE_TESTING


@pytest.mark.parametrize("file", FILES)
def test_imports_stand_at_the_top(file: str) -> None:
    """Hidden inside functions they would hide circles; the exceptions are counted."""
    late = [
        item.line
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for item in imports_of(node)
    ]
    assert len(late) == LATE.get(file, 0), late


def _module_of(file: str) -> str:
    parts = ["stepwell", *Path(file).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def _has_no_body(method: ast.AsyncFunctionDef) -> bool:
    """A docstring and an ellipsis."""
    return all(
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        for statement in method.body
    )
