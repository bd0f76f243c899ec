"""The public surface: what `stepwell` and `stepwell.testing` export, and nothing more."""

import pkgutil
import subprocess
import sys
from types import FunctionType, ModuleType

import pytest

import stepwell
import stepwell.testing

PUBLIC = [
    "AllProvidersExhausted",
    "Anonymous",
    "AuthenticationError",
    "BadRequest",
    "Gateway",
    "HostAuth",
    "Overloaded",
    "Principal",
    "QueueFull",
    "RequestRejected",
    "Settings",
    "SettingsError",
    "ShuttingDown",
    "StepwellError",
    "StreamBroken",
    "UnknownModel",
    "create_app",
    "lifespan",
]
TESTING = [
    "Answer",
    "Call",
    "DeadlockError",
    "Dialect",
    "DialectName",
    "Failure",
    "FakeClock",
    "FakeTimer",
    "Fleet",
    "FleetServer",
    "Gauge",
    "OpenStream",
    "Refusal",
    "Reply",
    "SimLimit",
    "SimProvider",
    "Start",
    "ToolCall",
    "check_ledger",
    "open_stream",
]

SURFACES = [(stepwell, PUBLIC), (stepwell.testing, TESTING)]


@pytest.mark.parametrize(("module", "names"), SURFACES, ids=lambda value: str(value)[:24])
def test_the_public_names_are_these(module: ModuleType, names: list[str]) -> None:
    """A change of this list is a change of the API: the changelog says so."""
    assert module.__all__ == names


@pytest.mark.parametrize(("module", "names"), SURFACES, ids=lambda value: str(value)[:24])
def test_every_public_name_exists_and_explains_itself(module: ModuleType, names: list[str]) -> None:
    """It can be imported, `dir` shows it, and it has a docstring if it can have one."""
    for name in names:
        value = getattr(module, name)
        assert name in dir(module)
        if isinstance(value, type | FunctionType):
            assert value.__doc__, name


def test_a_star_import_brings_them_all() -> None:
    """Though they load on first use; in a process of its own, where none has loaded yet."""
    code = f"from stepwell import *; assert set({PUBLIC}) <= set(globals())"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module, so that `hasattr` and typing mistakes behave."""
    assert not hasattr(stepwell, "createApp")
    with pytest.raises(ImportError):
        exec("from stepwell import nothing_of_the_kind")


def test_errors_have_one_base() -> None:
    """`except stepwell.StepwellError` catches whatever is raised on purpose."""
    exceptions = [
        value
        for value in map(stepwell.__getattr__, PUBLIC)
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(exceptions) == 11
    assert all(issubclass(error, stepwell.StepwellError) for error in exceptions)


def test_the_package_says_that_it_is_typed() -> None:
    """PEP 561: type checkers read our annotations."""
    assert pkgutil.get_data("stepwell", "py.typed") is not None
