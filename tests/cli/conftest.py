import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

COMMAND = [sys.executable, "-m", "stepwell"]
_OURS = re.compile(
    r"STEPWELL_|.*_(API_KEY|TOKEN|ACCOUNT_ID)$|SCW_|NO_COLOR$|FORCE_COLOR$|COLUMNS$|TERM$"
)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Command:
    """A command that runs; `line` reads its output as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seen = ""

    async def line(self, *, holding: str) -> str:
        """Return the next line of standard output that holds these words."""
        assert self._process.stdout is not None
        while raw := await self._process.stdout.readline():
            line = raw.decode()
            self.seen += line
            if holding in line:
                return line
        raise AssertionError(
            f"no line with {holding!r} in:\n{self.seen}\n{await self.complaints()}"
        )

    async def address(self) -> str:
        found = re.search(r"http://\S+:\d+", await self.line(holding="http://"))
        assert found is not None
        return found[0]

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def complaints(self) -> str:
        """Return standard error, which ends with the process."""
        assert self._process.stderr is not None
        return (await self._process.stderr.read()).decode()

    async def exit_code(self) -> int:
        assert self._process.stdout is not None
        self.seen += (await self._process.stdout.read()).decode()
        return await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


Start = Callable[..., AbstractAsyncContextManager[Command]]


@pytest.fixture(autouse=True, scope="session")
def _hear_ctrl_c() -> None:
    """Commands inherit what their parent ignores, and a shell ignores Ctrl-C for its background jobs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def environment() -> dict[str, str]:
    """The surroundings of a command, without settings or wishes of who runs the tests."""
    return {name: value for name, value in os.environ.items() if not _OURS.match(name)}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run a command to its end, in an empty folder."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Start:
    """Start a command that is ended with the block."""

    @asynccontextmanager
    async def start(*arguments: str) -> AsyncIterator[Command]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        command = Command(process)
        try:
            yield command
        finally:
            await command.kill()

    return start


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], str]:
    """Write settings, as a mapping or as text, and return the file's name."""

    def write(settings: Any) -> str:
        text = settings if isinstance(settings, str) else yaml.safe_dump(settings)
        (tmp_path / "settings.yaml").write_text(text)
        return "settings.yaml"

    return write
