"""What stepwell adds to a request: time, CPU and memory.

One command, a minute or two, Linux only:

    .venv-dev/bin/python benchmarks/run.py [--json] [--rounds 3]

The provider is a process of canned answers, the load comes from another process, and the gateway is
`stepwell serve` as users run it. CPU is user and system time of the gateway's process, from /proc.
Beside each figure stands that of a server that answers by itself what the gateway has to fetch (a
canned ASGI application under the same uvicorn), so that a slow machine can be told from slow code.
Medians of the rounds; machines are noisy, so compare ratios of one run.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from load import request

HERE = Path(__file__).parent
KEY = "sk-benchmark"
TICK = os.sysconf("SC_CLK_TCK")
PATH = "/v1/chat/completions"

CANNED = """
import sys
sys.path.insert(0, {here!r})
from upstream import WHOLE
BODY = WHOLE.partition(b"\\r\\n\\r\\n")[2]
START = {{"type": "http.response.start", "status": 200, "headers": [
    (b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]}}
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send({{"type": "http.response.body", "body": BODY}})
"""

SETTINGS = """
api_keys: [{key}]
providers:
  canned:
    base_url: http://127.0.0.1:{port}/v1
    api_keys: [sk-upstream-key]
    dialect: groq
    limits: [100000000 requests/minute, 100000000 tokens/minute, 1000000000 requests/day]
chains:
  default: [canned/whole]
  paced: [canned/paced]
  slow: [canned/slow]
"""


class Process:
    """A server process, with what it has cost so far."""

    def __init__(self, *command: str, port: int, cwd: str | None = None) -> None:
        self.port = port
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=cwd
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout
        self.pid = self._process.pid
        begun = time.monotonic()
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() - begun > 30:
                raise SystemExit(f"{' '.join(command)} did not start")
            time.sleep(0.005)
        self.started_in = time.monotonic() - begun

    def cpu_ms(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / TICK

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self.output.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load(port: int, model: str, kind: str, connections: int, requests: int) -> dict[str, Any]:
    command = [str(HERE / "load.py"), str(port), PATH, KEY, model, kind]
    output = subprocess.run(
        [sys.executable, *command, str(connections), str(requests)],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    return dict(json.loads(output))


def cost(server: Process, model: str, kind: str, connections: int, requests: int) -> float:
    """Return the CPU milliseconds that a request costs the server."""
    before = server.cpu_ms()
    load(server.port, model, kind, connections, requests)
    return (server.cpu_ms() - before) / requests


def hang_up(gateway: Process, upstream: Process) -> float:
    """Return the milliseconds from a client's leaving a stream to the provider's seeing it."""
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(request(PATH, KEY, "slow", stream=True))
        received = b""
        while b"word" not in received:
            received += client.recv(65536)
        left = time.monotonic()
    line = upstream.output.readline().split()
    return 1000 * (float(line[1]) - left)


def hang_up_often(gateway: Process, times: int) -> None:
    """Leave at every point of a request's life, from just after sending to amid the stream."""
    wire = request(PATH, KEY, "paced", stream=True)
    for number in range(times):
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(wire if number % 4 else wire[: 100 + number % 700])
            time.sleep((number % 20) / 2000)


def import_cost() -> dict[str, float]:
    """Return the seconds and megabytes of `import stepwell`, and of all that create_app needs."""
    script = (
        "import resource,time;t=time.perf_counter();{};t=time.perf_counter()-t;"
        "print(t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
    )
    found = {}
    for name, code in (("import", "import stepwell"), ("create_app", "import stepwell.app")):
        runs = [
            subprocess.run(
                [sys.executable, "-c", script.format(code)], check=True, capture_output=True
            ).stdout.split()
            for _ in range(5)
        ]
        found[f"{name}_seconds"] = statistics.median(float(run[0]) for run in runs)
        found[f"{name}_peak_mb"] = statistics.median(float(run[1]) for run in runs)
    return found


@contextlib.contextmanager
def servers() -> Iterator[tuple[Process, Process, Process]]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ports = [_free_port() for _ in range(3)]
        Path(folder, "canned_app.py").write_text(CANNED.format(here=str(HERE)))
        config = Path(folder, "stepwell.yaml")
        config.write_text(SETTINGS.format(key=KEY, port=ports[0]))
        upstream = Process(str(HERE / "upstream.py"), str(ports[0]), port=ports[0])
        stack.callback(upstream.stop)
        uvicorn = ("-m", "uvicorn", "canned_app:app", "--no-access-log", "--port", str(ports[1]))
        canned = Process(*uvicorn, port=ports[1], cwd=folder)
        stack.callback(canned.stop)
        serve = ("-m", "stepwell", "serve", "--config", str(config), "--port", str(ports[2]))
        gateway = Process(*serve, port=ports[2], cwd=folder)
        stack.callback(gateway.stop)
        yield upstream, canned, gateway


def measure(rounds: int) -> dict[str, float]:
    figures: dict[str, float] = import_cost()
    with servers() as (upstream, canned, gateway):
        figures["start_seconds"] = gateway.started_in
        figures["idle_mb"] = gateway.resident_mb()
        for server in (canned, gateway):
            load(server.port, "default", "whole", 32, 2000)  # warm up
        before = gateway.descriptors()
        table: dict[str, list[float]] = {}

        def note(name: str, value: float) -> None:
            table.setdefault(name, []).append(value)

        for _ in range(rounds):
            note("canned_cpu_ms", cost(canned, "default", "whole", 32, 4000))
            note("request_cpu_ms", cost(gateway, "default", "whole", 32, 4000))
            note("request_cpu_ms_100", cost(gateway, "default", "whole", 100, 4000))
            note("stream_unpaced_cpu_ms", cost(gateway, "default", "stream", 32, 1000))
            note("stream_paced_cpu_ms", cost(gateway, "paced", "stream", 32, 320))
            direct = load(upstream.port, "whole", "whole", 1, 1000)["whole"]
            through = load(gateway.port, "default", "whole", 1, 1000)["whole"]
            note("added_median_ms", through["median"] - direct["median"])
            note("added_p99_ms", through["p99"] - direct["p99"])
            direct = load(upstream.port, "paced", "stream", 1, 3)["first"]
            through = load(gateway.port, "paced", "stream", 1, 3)["first"]
            note("first_token_added_ms", through["median"] - direct["median"])
            note("hang_up_ms", hang_up(gateway, upstream))
        hang_up_often(gateway, 1000)
        load(gateway.port, "default", "whole", 32, 2000)
        time.sleep(1)
        figures |= {name: statistics.median(values) for name, values in table.items()}
        figures["request_to_canned"] = figures["request_cpu_ms"] / figures["canned_cpu_ms"]
        figures["descriptors_more_after_hang_ups"] = gateway.descriptors() - before
        figures["loaded_mb"] = gateway.resident_mb()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="repeats of each measurement (3)")
    options = parser.parse_args()
    figures = measure(options.rounds)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:10.3f}")


if __name__ == "__main__":
    main()
