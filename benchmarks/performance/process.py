"""A server process, and what it costs."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from .machine import pinned

START_LIMIT: Final = 120.0  # seconds; LiteLLM takes twenty on an idle machine
STOP_LIMIT: Final = 10.0


class DidNotStartError(Exception):
    """A server ended, or took no connection in time."""


class Process:
    """A server on a port of this machine.

    Args:
        command: What to run.
        port: Where it will listen.
        core: The core that it gets.
        folder: Its working directory, where its output goes too.
        environment: Variables besides ours.

    Attributes:
        started_in: Seconds from its start until it took a connection.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        core: int,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.output = folder / f"{port}.log"
        self.begun = time.monotonic()
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*pinned(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self._process.pid
        try:
            self._wait_until_it_listens(command)
        except BaseException:
            self.stop()
            raise
        self.started_in = time.monotonic() - self.begun

    def _wait_until_it_listens(self, command: Sequence[str]) -> None:
        while not listens(self.port):
            late = time.monotonic() - self.begun > START_LIMIT
            if late or self._process.poll() is not None:
                last = self.output.read_text(errors="replace")[-2000:]
                raise DidNotStartError(f"{' '.join(command)} did not start:\n{last}")
            time.sleep(0.005)

    def cpu_ms(self) -> float:
        """Return the user and system time of all its threads and children so far.

        The scheduler's own clocks, to the nanosecond: /proc/PID/stat has the same in steps of 10 ms.
        """
        return sum(1000 * _cpu_seconds(pid) for pid in self._family())

    def resident_mb(self) -> float:
        return sum(_status_mb(pid, "VmRSS") for pid in self._family())

    def forget_peak(self) -> None:
        """Let `peak_mb` begin anew with what is resident now."""
        for pid in self._family():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        return sum(_status_mb(pid, "VmHWM") for pid in self._family())

    def descriptors(self) -> int:
        return sum(1 for pid in self._family() for _ in Path(f"/proc/{pid}/fd").iterdir())

    def stop(self) -> None:
        """End it and all that it started; the ports are free afterwards."""
        family = list(self._family())
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def _family(self) -> Iterator[int]:
        """Yield the process and its descendants that live."""
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            with suppress(FileNotFoundError, ProcessLookupError):
                for thread in list(Path(f"/proc/{pid}/task").iterdir()):
                    waiting += map(int, (thread / "children").read_text().split())
                yield pid


def _cpu_seconds(pid: int) -> float:
    """Read another process's CPU clock; its number is made as <linux/posix-timers.h> says."""
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def _status_mb(pid: int, field: str) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
