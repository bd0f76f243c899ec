"""The examples of docs/testing.md run as they stand."""

import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.testing import Failure

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"


def examples() -> dict[str, Callable[[], Awaitable[None]]]:
    """Return the test functions of all code blocks, which share one namespace as in one file."""
    namespace: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(compile(block, GUIDE.name, "exec"), namespace)
    return {name: value for name, value in namespace.items() if name.startswith("test_")}


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_runs(name: str) -> None:
    """Each example of the page passes as a test."""
    await EXAMPLES[name]()


def test_the_page_lists_every_failure() -> None:
    """A constructor of Failure that the page forgets fails this test."""
    made = {name for name, _ in inspect.getmembers(Failure, inspect.ismethod)}
    assert made <= set(re.findall(r"`(\w+)\(", GUIDE.read_text()))
