"""Load from processes of their own: wrk by the clock, `benchmarks/load.py` by number."""

import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .contestants import KEY, Contestant, Request
from .machine import OTHER_CORE, pinned, tool

LOADER: Final = Path(__file__).parents[1] / "load.py"

WRK_SCRIPT: Final = """
wrk.method = "POST"
local file = io.open("{body}", "rb"); wrk.body = file:read("*a"); file:close()
{headers}
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format('\\nDONE {{"requests": %d, "micros": %d, "errors": %d}}\\n',
        summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class LoadError(Exception):
    """Something answered with an error, so that nothing was measured."""


@dataclass(frozen=True)
class Flood:
    """What came of keeping a number of connections busy for a while."""

    requests: int
    rate: float
    cpu_ms: float
    """Of the server, for each request."""


def flood(who: Contestant, request: Request, connections: int, seconds: float) -> Flood:
    """Keep connections busy for whole seconds, which are all that wrk knows.

    Raises:
        LoadError: There were errors, or no answer at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "wrk.lua")
        body.write_text(request.body)
        headers = "".join(
            f'wrk.headers["{name}"] = "{value}"\n' for name, value in request.headers.items()
        )
        script.write_text(WRK_SCRIPT.format(body=body, headers=headers))
        address = f"http://127.0.0.1:{who.port}{request.path}"
        options = [
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds * who.slowness))}s",
            "--timeout",
            "60s",
        ]
        before = who.process.cpu_ms()
        output = subprocess.run(
            [*pinned(OTHER_CORE), tool("wrk"), *options, "-s", str(script), address],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        cpu = who.process.cpu_ms() - before
    done = json.loads(output.partition("DONE ")[2])
    if done["errors"] or not done["requests"]:
        raise LoadError(f"{who.name}, {request.path}: {output}")
    return Flood(done["requests"], 1e6 * done["requests"] / done["micros"], cpu / done["requests"])


@dataclass(frozen=True)
class Timed:
    """What came of a fixed number of requests; times in milliseconds."""

    cpu_ms: float
    """Of the server, for each request."""

    seconds: float
    first: dict[str, float]
    whole: dict[str, float]
    late: dict[str, float]


def timed(
    who: Contestant, request: Request, connections: int, requests: int, *, begin: float = 0.0
) -> Timed:
    """Send requests, each connection one after the other.

    Raises:
        LoadError: An answer was not 200.
    """
    before = who.process.cpu_ms()
    result = at_port(who.port, request, connections, requests, begin=begin)
    return Timed((who.process.cpu_ms() - before) / requests, **result)


def at_port(
    port: int, request: Request, connections: int, requests: int, *, begin: float = 0.0
) -> dict[str, Any]:
    """Return the loader's own words."""
    job = {
        "port": port,
        "head": request.head,
        "body": request.body,
        "connections": connections,
        "requests": requests,
        "begin": begin,
    }
    done = subprocess.run(
        [*pinned(OTHER_CORE), sys.executable, str(LOADER)],
        input=json.dumps(job),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise LoadError(f"port {port}, {request.path}: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout))


def first_answer(who: Contestant, request: Request) -> None:
    """Send one request from here, without a process's start.

    Raises:
        LoadError: The answer was not 200.
    """
    _ask(who, "POST", request.path, request.body, request.headers)


def targets(who: Contestant) -> list[dict[str, Any]]:
    """Return what stepwell says of its targets; see docs/quota.md."""
    answer = _ask(who, "GET", "/v1/quota", None, {"authorization": f"Bearer {KEY}"})
    return list(json.loads(answer)["targets"])


def _ask(
    who: Contestant, method: str, path: str, body: str | None, headers: Mapping[str, str]
) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", who.port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise LoadError(f"{who.name}, {path}: {answer.status} {content[:500]!r}")
    return content
