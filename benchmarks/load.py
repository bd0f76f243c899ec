"""A fixed number of requests over keep-alive connections, each of which is timed.

    python benchmarks/load.py < JOB

The job is a JSON object: `port`, the request as `head` and `body`, how many `connections` and
`requests`, and the seconds within which the connections `begin`. `NUMBER` in the body stands for the
request's own number. A JSON object comes out: the seconds it took; in milliseconds the spread of how
late the answer's first text and its end were after the request, and how late each event of a paced
stream was after the provider sent it.

wrk, which sends faster, is used where only throughput and CPU count. It cannot tell the first token,
stops by the clock, and reports delays that it has corrected.
"""

import asyncio
import gc
import json
import re
import statistics
import sys
import time
from typing import Any, Final

import uvloop

# Of the events' sending, as `upstream.py` stamps them. A gateway may write JSON in its own way.
SENT: Final = re.compile(rb'"sent":\s*([\d.]+)')
TEXT: Final = b"word"


class Times:
    """What was seen, in milliseconds."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.whole: list[float] = []
        self.late: list[float] = []


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes, times: Times
) -> None:
    begun = time.perf_counter()
    writer.write(wire)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise SystemExit(f"unexpected answer: {head!r} {await reader.read(2000)!r}")
    if b"transfer-encoding: chunked" in head:
        first = await _read_chunks(reader, times)
    else:
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        first = time.perf_counter()
    times.first.append(1000 * (first - begun))
    times.whole.append(1000 * (time.perf_counter() - begun))


async def _read_chunks(reader: asyncio.StreamReader, times: Times) -> float:
    """Read a body of chunks; return the time at which its text began."""
    first = 0.0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunk = await reader.readexactly(size + 2)
        if not first and TEXT in chunk:
            first = time.perf_counter()
        for sent in SENT.findall(chunk):
            times.late.append(1000 * (time.monotonic() - float(sent)))
    await reader.readexactly(2)
    return first


async def run(job: dict[str, Any]) -> dict[str, Any]:
    connections, times = job["connections"], Times()
    numbers = iter(range(job["requests"]))

    async def worker(delay: float) -> None:
        await asyncio.sleep(delay)
        reader, writer = await asyncio.open_connection("127.0.0.1", job["port"])
        for number in numbers:
            await ask(reader, writer, _wire(job, number), times)
        writer.close()
        await writer.wait_closed()

    begun = time.perf_counter()
    pause = job.get("begin", 0.0) / connections
    async with asyncio.TaskGroup() as tasks:
        for number in range(connections):
            tasks.create_task(worker(number * pause))
    return {
        "seconds": time.perf_counter() - begun,
        "first": _spread(times.first),
        "whole": _spread(times.whole),
        "late": _spread(times.late),
    }


def _wire(job: dict[str, Any], number: int) -> bytes:
    body = job["body"].replace("NUMBER", str(number))
    return f"{job['head']}content-length: {len(body)}\r\n\r\n{body}".encode()


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "median": statistics.median(ordered),
        "p99": ordered[int(0.99 * (len(ordered) - 1))],
        "most": ordered[-1],
    }


def main() -> None:
    job = json.load(sys.stdin)
    gc.disable()  # its pauses would be read as the server's
    print(json.dumps(uvloop.run(run(job))))


if __name__ == "__main__":
    main()
