"""The test kit's public names, and what it must not need."""

import ast
import sys
from pathlib import Path

import stepwell.testing

NAMES = """
Answer Call DeadlockError Dialect DialectName Failure FakeClock FakeTimer Fleet FleetServer Gauge
OpenStream Refusal Reply SimLimit SimProvider Start ToolCall check_ledger open_stream
"""
# Python's own, stepwell's base dependencies, and itself.
BASE = {"aiohttp", "httpx", "msgspec", "starlette", "stepwell"}


def imported(file: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def test_the_public_names_are_pinned() -> None:
    """A name is added or dropped on purpose."""
    assert stepwell.testing.__all__ == NAMES.split()


def test_it_needs_base_dependencies_only() -> None:
    """Nothing of the extras and no pytest: users bring their own test runner."""
    files = Path(stepwell.testing.__file__).parent.glob("*.py")
    foreign = set().union(*map(imported, files)) - sys.stdlib_module_names
    assert foreign <= BASE
