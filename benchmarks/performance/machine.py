"""The machine: which core is whose, and whether the tools are there."""

import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

CORES: Final = sorted(os.sched_getaffinity(0))

# The gateway has a core of its own if there are two; load and providers share the other.
GATEWAY_CORE: Final = CORES[0]
OTHER_CORE: Final = CORES[1 % len(CORES)]

# Debian keeps servers where a user's PATH does not look.
SEARCH_PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

TOOLS: Final[Mapping[str, str]] = {
    "wrk": "apt-get install wrk",
    "nginx": "apt-get install nginx-light",
    "taskset": "apt-get install util-linux",
    "openssl": "apt-get install openssl",
}


def tool(name: str) -> str:
    """Return the path of a program that `missing_tools` has found."""
    found = shutil.which(name, path=SEARCH_PATH)
    assert found is not None, name
    return found


def missing_tools(names: Iterable[str]) -> list[str]:
    """Return for each tool that is not there the line that installs it."""
    return [
        f"{name} is not installed: {TOOLS[name]}"
        for name in names
        if shutil.which(name, path=SEARCH_PATH) is None
    ]


def pinned(core: int) -> list[str]:
    """Return what stands before a command that is to run on that core."""
    return [tool("taskset"), "--cpu-list", str(core)]


def description() -> str:
    """Say what the figures were measured on; no host's name."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    count = f"{len(CORES)} virtual core{'s' if len(CORES) > 1 else ''}"
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{count} ({cpu}), {system}, Python {platform.python_version()}"
