"""Where the gateway's time goes: py-spy's samples, by who was at work."""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .contestants import Contestant, Request
from .load import LoadError, flood
from .machine import OTHER_CORE, pinned
from .stage import Stage

PY_SPY: Final = Path(sys.executable).with_name("py-spy")
HINT: Final = "py-spy is not installed: pip install py-spy"
RATE: Final = 400  # samples a second

# What a frame belongs to; the first that matches, from the innermost frame outwards. C functions of
# no name here count for whoever called them.
PLACES: Final = (
    (
        "system calls",
        re.compile(r"^_*(libc_)?(send|recv|read|write|writev|epoll_\w+|close|accept)"),
    ),
    ("garbage collection", re.compile(r"gc_collect|visit_decref|subtract_refs|gc\.c")),
    ("stepwell", re.compile(r"\(stepwell/(?P<room>\w+)")),
    ("uvicorn", re.compile(r"\(uvicorn/|httptools")),
    ("uvloop, asyncio", re.compile(r"\(asyncio/|uvloop|uv__")),
    ("other", re.compile(r"\((?P<room>\w+)/[\w/]+\.py")),
)


# Threads that wait for work: py-spy takes them for busy on a busy machine, the scheduler does not.
WAITING: Final = re.compile(r"SimpleQueue_get|lock_acquire|pthread_cond")

# By the names of the groups that measure them.
LOADS: Final = {"small": "whole", "stream": "stream-50-0", "paced": "stream-50-10"}

Profile = Mapping[str, Mapping[str, float]]


def missing_sampler() -> list[str]:
    return [] if PY_SPY.exists() else [HINT]


def profile(stage: Stage) -> Profile:
    """Return for each load the shares of stepwell's CPU time.

    Raises:
        LoadError: py-spy could not look into the process, or there were errors.
    """
    who = stage.call("stepwell")
    return {
        load: sample(who, who.request(model, stream=model != "whole"), 2 * stage.plan.seconds)
        for load, model in LOADS.items()
    }


def sample(who: Contestant, request: Request, seconds: float) -> Mapping[str, float]:
    """Return the shares of the gateway's CPU time by place, the largest first.

    Raises:
        LoadError: py-spy could not look into the process, or there were errors.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "stacks")
        command = [str(PY_SPY), "record", "--pid", str(who.process.pid), "--native"]
        options = ["--rate", str(RATE), "--duration", f"{seconds:.0f}", "--format", "raw"]
        sampler = subprocess.Popen(
            [*pinned(OTHER_CORE), *command, *options, "--output", str(output)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        flood(who, request, 32, seconds)
        _, errors = sampler.communicate()
        if sampler.returncode or not output.exists():
            raise LoadError(f"py-spy: {errors.strip()[-500:]}")
        return shares(output.read_text())


def shares(stacks: str) -> Mapping[str, float]:
    """Return the shares of folded stacks: `outer;inner count`, one a line."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if not WAITING.search(stack):
            counts[_place(stack)] += int(count)
    total = counts.total()
    return {name: count / total for name, count in counts.most_common()}


def _place(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        for name, pattern in PLACES:
            found = pattern.search(frame)
            if found:
                room = str(found.groupdict().get("room", ""))
                return room if name == "other" else f"{name}/{room}" if room else name
    return "interpreter"
