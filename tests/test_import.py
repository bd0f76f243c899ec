"""Importing costs nothing and does nothing; each case runs in a process of its own."""

import json
import subprocess
import sys
from typing import Any

import pytest

# Notes what a program does that an import must not do; then `{code}` runs, and the notes are printed.
PROGRAM = """
import asyncio, json, logging, signal, sys, threading

noted = []
watched = {{"socket.__new__", "_thread.start_new_thread", "subprocess.Popen", "os.fork"}}
sys.addaudithook(lambda event, args: noted.append(event) if event in watched else None)
before = set(sys.modules)
handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

{code}

print(json.dumps({{
    "events": noted,
    "modules": sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}),
    "threads": threading.active_count(),
    "root": [len(logging.root.handlers), logging.root.level],
    "ours": [len(logging.getLogger("stepwell").handlers), logging.getLogger("stepwell").level],
    "signals": handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)),
}}))
"""

MAKE = """
import stepwell
stepwell.create_app({
    "api_keys": ["sk-client-1"],
    "providers": {"alpha": {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["sk-alpha"]}},
    "chains": {"default": ["alpha/sim-model"]},
})
"""


def run(code: str) -> dict[str, Any]:
    """Run code in a new interpreter and return what was noted."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(code=code)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    noted: dict[str, Any] = json.loads(done.stdout)
    return noted


def third_party(noted: dict[str, Any]) -> set[str]:
    return set(noted["modules"]) - sys.stdlib_module_names - {"stepwell"}


def test_importing_the_package_imports_nobody_else() -> None:
    """No framework, no HTTP client, no pydantic: public names load on first use."""
    assert third_party(run("import stepwell")) == set()


def test_a_name_loads_only_what_it_needs() -> None:
    """The exceptions are for code that calls; it need not pay for the server."""
    assert third_party(run("from stepwell import SettingsError")) == set()
    assert "starlette" in third_party(run("import stepwell; stepwell.create_app"))


@pytest.mark.parametrize(
    "code",
    ["import stepwell", "from stepwell import *", "import stepwell.testing", MAKE],
    ids=["package", "every name", "test kit", "an application"],
)
def test_nothing_happens(code: str) -> None:
    """No socket, thread or process; no logging, no signal handler, no warning."""
    noted = run(code)
    assert noted["events"] == []
    assert noted["threads"] == 1
    assert noted["root"] == [0, 30]  # WARNING, Python's own default
    assert noted["ours"] == [0, 0]
    assert noted["signals"]


def test_the_gateway_needs_nothing_of_the_stand_alone_server() -> None:
    """A mounted gateway runs without uvicorn, typer, SQLAlchemy, or an SDK.

    httpx loads rich by itself where it is installed.
    """
    extras = {"uvicorn", "uvloop", "typer", "sqlalchemy", "aiosqlite", "openai", "httpx2"}
    assert not third_party(run(MAKE)) & extras
