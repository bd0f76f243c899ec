"""A load of requests over keep-alive connections, by raw sockets.

    python benchmarks/load.py PORT PATH KEY MODEL whole|stream CONNECTIONS REQUESTS

prints a JSON object: the seconds it took, and of each request's latency the median and the 99th
percentile in milliseconds (of a stream: of its first event with text, and of its whole length).
"""

import asyncio
import json
import statistics
import sys
import time
from itertools import repeat
from typing import Any


def request(path: str, key: str, model: str, *, stream: bool) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "Say something about stepwells, in sixty words."},
            ],
            "temperature": 0.7,
            "stream": stream,
        },
        separators=(",", ":"),
    ).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        "user-agent: AsyncOpenAI/Python 3.54.0\r\nx-stainless-lang: python\r\n"
        "x-stainless-package-version: 3.54.0\r\nx-stainless-os: Linux\r\n"
        "x-stainless-arch: x64\r\nx-stainless-runtime: CPython\r\n"
        "x-stainless-async: async:asyncio\r\nx-stainless-retry-count: 0\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> float:
    """Read one whole answer; return the time at which its text began."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise SystemExit(f"unexpected answer: {head!r} {await reader.read(2000)!r}")
    if b"transfer-encoding: chunked" not in head:
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        return time.perf_counter()
    first = 0.0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunk = await reader.readexactly(size + 2)
        if not first and b"word" in chunk:
            first = time.perf_counter()
    await reader.readexactly(2)
    return first


async def run(port: int, wire: bytes, connections: int, requests: int) -> dict[str, Any]:
    firsts: list[float] = []
    wholes: list[float] = []
    left = repeat(None, requests)

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            begun = time.perf_counter()
            writer.write(wire)
            first = await read_answer(reader)
            firsts.append(1000 * (first - begun))
            wholes.append(1000 * (time.perf_counter() - begun))
        writer.close()
        await writer.wait_closed()

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "first": _spread(firsts), "whole": _spread(wholes)}


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": statistics.median(ordered), "p99": ordered[int(0.99 * (len(ordered) - 1))]}


def main() -> None:
    port, path, key, model, kind, connections, requests = sys.argv[1:]
    wire = request(path, key, model, stream=kind == "stream")
    print(json.dumps(asyncio.run(run(int(port), wire, int(connections), int(requests)))))


if __name__ == "__main__":
    main()
