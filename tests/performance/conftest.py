"""The benchmark's package, which is not installed, found by its path."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def performance() -> ModuleType:
    """Return the package; its modules import a script that stands beside it."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("performance")
    finally:
        sys.path.remove(str(BENCHMARKS))
