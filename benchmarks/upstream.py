"""A provider that costs next to nothing: canned answers from an asyncio.Protocol.

The model's name says how it answers:

    whole        JSON, also to who asks for a stream
    stream-N-MS  N events MS milliseconds apart, or all at once; each has a chunk of its own, as
                 providers send them, and if they are paced the time (CLOCK_MONOTONIC) of its sending
    dry          429, and not again for an hour
    turn-...     JSON for its first two calls, then as `dry`

When a connection is lost in the middle of an answer, the time goes to standard output.

    python benchmarks/upstream.py PORT
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from typing import Any, Final, cast

import uvloop

# What is told never falls, so no run may reach these limits: past them a provider that still serves
# would be one that contradicts itself.
LIMITS: Final = {
    "x-ratelimit-limit-requests": "144000000",
    "x-ratelimit-remaining-requests": "140000000",
    "x-ratelimit-reset-requests": "6s",
    "x-ratelimit-limit-tokens": "6000000000",
    "x-ratelimit-remaining-tokens": "5900000000",
    "x-ratelimit-reset-tokens": "7ms",
    "via": "1.1 google",
    "vary": "Origin",
    "cf-cache-status": "DYNAMIC",
}
DRY_SECONDS: Final = 3600
TURNS: Final = 2
"""Calls that a `turn-...` answers: one to make its acquaintance, one to compare with."""

ANSWER: Final = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "whole",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 60},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80},
    }
)
REFUSAL: Final = json.dumps(
    {
        "error": {
            "message": "Rate limit reached for requests per day. Please try again in 1h0m0s.",
            "type": "requests",
            "code": "rate_limit_exceeded",
        }
    }
)

MODEL = re.compile(rb'"model":\s*"([^"]*)"')
WANTS_STREAM = re.compile(rb'"stream":\s*true')
MOST_KEPT: Final = 1 << 16
"""Bytes of a body that are looked at; the rest is counted only."""


def _http(status: str, body: str, headers: dict[str, str]) -> bytes:
    fields = {"content-type": "application/json", **headers, "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n{body}".encode()


def _event(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "whole",
        "system_fingerprint": "fp_0123456789",
        "choices": [choice],
        **more,
    }
    return _chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


WHOLE: Final = _http("200 OK", ANSWER, LIMITS)
DRY: Final = _http(
    "429 Too Many Requests", REFUSAL, {"retry-after": str(DRY_SECONDS), "x-should-retry": "false"}
)
STREAM_HEAD: Final = (
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in LIMITS.items())
    + "transfer-encoding: chunked\r\n\r\n"
).encode()
ROLE: Final = _event({"role": "assistant", "content": ""})
WORD: Final = _event({"content": "word "})
FINISH: Final = _event({}, "stop")
DONE: Final = _chunk(b"data: [DONE]\n\n")
END: Final = b"0\r\n\r\n"

# The same with a time in it, which takes the place of these characters; JSON allows spaces there.
STAMP: Final = b"1234567.123456"
STAMPED: Final = _event({"content": "word "}, sent=float(STAMP))


def _stamped() -> bytes:
    return STAMPED.replace(STAMP, b"%14.6f" % time.monotonic())


class Provider(asyncio.Protocol):
    """Answers one request at a time on a connection; `calls` counts those of each model."""

    def __init__(self, calls: Counter[bytes]) -> None:
        self._calls = calls
        self._kept = b""
        self._missing = 0
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
            if len(self._kept) < MOST_KEPT:
                self._kept += data
        else:
            self._kept += data
            head, found, rest = self._kept.partition(b"\r\n\r\n")
            if not found:
                return
            size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            self._missing = size - len(rest)
        if not self._missing:
            request, self._kept = self._kept, b""
            self._answer(request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None and not self._answering.done():
            print(f"lost {time.monotonic()}", flush=True)
            self._answering.cancel()

    def _answer(self, request: bytes) -> None:
        found = MODEL.search(request)
        model = found[1] if found else b"whole"
        self._calls[model] += 1
        if model == b"dry" or (model.startswith(b"turn-") and self._calls[model] > TURNS):
            self._transport.write(DRY)
        elif not model.startswith(b"stream-") or not WANTS_STREAM.search(request):
            self._transport.write(WHOLE)
        else:
            events, milliseconds = map(int, model.split(b"-")[1:])
            if milliseconds:
                self._answering = asyncio.create_task(self._pace(events, milliseconds / 1000))
            else:
                words = WORD * (events - 3)
                self._transport.write(STREAM_HEAD + ROLE + words + FINISH + DONE + END)

    async def _pace(self, events: int, seconds: float) -> None:
        """Send by the clock, so that what came late once is not late ever after."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._transport.write(STREAM_HEAD)
        for number, event in enumerate([ROLE, *[STAMPED] * (events - 3), FINISH, DONE]):
            await asyncio.sleep(begun + number * seconds - loop.time())
            self._transport.write(_stamped() if event is STAMPED else event)
        self._transport.write(END)


async def main(port: int) -> None:
    calls: Counter[bytes] = Counter()
    server = await asyncio.get_running_loop().create_server(
        lambda: Provider(calls), "127.0.0.1", port, backlog=4096
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
