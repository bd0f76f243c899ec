"""A provider that costs next to nothing: canned answers from an asyncio.Protocol.

The model's name says how it answers: `whole` with JSON or 50 events at once, `paced` with 50 events
10 ms apart, `slow` with an event a second. When a connection is lost in the middle of an answer, the
time (CLOCK_MONOTONIC, seconds) goes to standard output.

    python benchmarks/upstream.py PORT
"""

import asyncio
import json
import sys
import time
from typing import cast

EVENTS = 50
PACE = {b"paced": 0.010, b"slow": 1.0}

HEADERS = (
    "x-ratelimit-limit-requests: 14400\r\nx-ratelimit-remaining-requests: 14000\r\n"
    "x-ratelimit-reset-requests: 6s\r\nx-ratelimit-limit-tokens: 6000000\r\n"
    "x-ratelimit-remaining-tokens: 5900000\r\nx-ratelimit-reset-tokens: 7ms\r\n"
    "via: 1.1 google\r\nvary: Origin\r\nserver: cloudflare\r\n"
)


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "whole",
        "system_fingerprint": "fp_0123456789",
        "choices": [choice],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _whole() -> bytes:
    message = {"role": "assistant", "content": "word " * 60}
    usage = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
    body = json.dumps(
        {
            "id": "chatcmpl-0123456789abcdef0123456789abcdef",
            "object": "chat.completion",
            "created": 1790000000,
            "model": "whole",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{HEADERS}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


WHOLE = _whole()
PARTS = [
    _chunk({"role": "assistant", "content": ""}),
    *(_chunk({"content": "word "}) for _ in range(EVENTS - 2)),
    _chunk({}, "stop"),
    b"data: [DONE]\n\n",
]
STREAM_HEAD = (
    f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{HEADERS}"
    "transfer-encoding: chunked\r\n\r\n"
).encode()
CHUNKS = [b"%x\r\n%s\r\n" % (len(part), part) for part in PARTS]
END = b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """Answers one request at a time on a connection."""

    def __init__(self) -> None:
        self._data = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(rest) < size:
                return
            self._answer(rest[:size])
            self._data = rest[size:]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None and not self._answering.done():
            print(f"lost {time.monotonic()}", flush=True)
            self._answering.cancel()

    def _answer(self, body: bytes) -> None:
        pace = next((seconds for name, seconds in PACE.items() if b'"%s"' % name in body), 0.0)
        if b'"stream":true' not in body:
            self._transport.write(WHOLE)
        elif not pace:
            self._transport.write(STREAM_HEAD + b"".join(CHUNKS) + END)
        else:
            self._answering = asyncio.create_task(self._pace(pace))

    async def _pace(self, seconds: float) -> None:
        self._transport.write(STREAM_HEAD)
        for chunk in CHUNKS:
            self._transport.write(chunk)
            await asyncio.sleep(seconds)
        self._transport.write(END)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        Provider, "127.0.0.1", port, backlog=4096
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main(int(sys.argv[1])))
    except (ImportError, KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
