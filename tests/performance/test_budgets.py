"""What a request may cost, counted instead of timed: the same on every machine, however busy.

The application runs in this process on a transport without sockets and a clock that stands still
while it works, so each number is exact and repeats; Python versions and our dependencies' releases
move it by a few in a hundred, for which there is some room.

When a test fails, it says what it counted and the budget that this makes. If the new cost is worth
it, write that into BUDGETS; when work has become cheaper, likewise, so that it stays so.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import httpx
import pytest
from starlette.types import Message

from stepwell import create_app
from stepwell.testing import FakeClock

CALLS: Final = 100
"""Requests over which calls are averaged; a few pay for what is made once in many."""

LIFE: Final = 2_000
"""Requests after which nothing more may be kept than after as many before."""

EVENTS: Final = 50

# Calls of functions for one request, Python's and C's: a whole answer, one of a hundred in a second, a
# stream of EVENTS, one whose first step is skipped for want of quota, one whose first step refuses in
# words that came before. As counted, and a tenth.
BUDGETS: Final = {
    "whole": 1004,
    "busy": 826,
    "stream": 2020,
    "dry": 1018,
    "refused": 2234,
}

SLACK: Final = 0.8
"""Of its budget, a request uses at least this; else the budget is an old one, and lets too much pass."""

BEFORE: Final = ("first", "second")
"""Chains whose first steps refuse before the one that is counted does: most refusals come again."""

LEFT_OVER: Final = 400
"""Blocks of memory by which LIFE requests may differ: a fifth of one for each. A single object kept
for each request would be 2,000."""

KEY: Final = "sk-client-1"
HEADERS: Final = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-remaining-requests": "14000",
    "x-ratelimit-reset-requests": "6s",
    "x-ratelimit-limit-tokens": "6000000",
    "x-ratelimit-remaining-tokens": "5900000",
    "x-ratelimit-reset-tokens": "7ms",
}
AMPLE: Final = ["100000 requests/minute", "100000000 tokens/minute", "1000000 requests/day"]
LIMITS: Final = ["1000 requests/minute", "1000000 tokens/minute", "100000 requests/day"]
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}


def _choice(**fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, **fields}]}


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    return b"data: %s\n\n" % json.dumps(_choice(delta=delta, finish_reason=finish)).encode()


WHOLE: Final = json.dumps(
    _choice(message={"role": "assistant", "content": "word " * 60}, finish_reason="stop")
    | {"usage": USAGE}
).encode()
STREAM: Final = [
    _event({"role": "assistant", "content": ""}),
    *[_event({"content": "word "})] * (EVENTS - 3),
    _event({}, "stop"),
    b"data: [DONE]\n\n",
]


class Events(httpx.AsyncByteStream):
    """A stream whose events come one by one."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in STREAM:
            yield event


class Canned(httpx.AsyncBaseTransport):
    """Providers that answer at once; one of them has nothing left, one will have nothing."""

    def __init__(self) -> None:
        self.dry = {"dry.test"}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host in self.dry:
            return httpx.Response(429, headers={"retry-after": "86400"}, json={"error": {}})
        if b'"stream":true' in request.content:
            headers = {**HEADERS, "content-type": "text/event-stream"}
            return httpx.Response(200, headers=headers, stream=Events())
        headers = {**HEADERS, "content-type": "application/json"}
        return httpx.Response(200, headers=headers, content=WHOLE)


def _settings() -> dict[str, Any]:
    provider = {"api_keys": ["sk-upstream"], "dialect": "groq", "limits": LIMITS}
    return {
        "api_keys": [KEY],
        "providers": {
            "sound": {**provider, "base_url": "http://sound.test/v1"},
            "ample": {**provider, "base_url": "http://sound.test/v1", "limits": AMPLE},
            "dry": {**provider, "base_url": "http://dry.test/v1"},
            "drying": {**provider, "base_url": "http://drying.test/v1"},
        },
        "chains": {
            "whole": ["sound/m"],
            "busy": ["ample/m"],
            "stream": ["sound/m"],
            "dry": ["dry/m", "sound/m"],
            "refused": ["drying/m", "sound/m"],
            **{name: [f"drying/{name}", "sound/m"] for name in BEFORE},
        },
    }


class Site:
    """One gateway, asked the same over and over."""

    def __init__(self, chain: str) -> None:
        self.clock = FakeClock()
        self._every = 0.01 if chain == "busy" else 1.0
        self.transport = Canned()
        self.app = create_app(_settings(), transport=self.transport, clock=self.clock)
        self._sent = 0
        self.turn_to(chain)

    def turn_to(self, chain: str) -> None:
        """Ask this chain from now on."""
        body = {"model": chain, "messages": [{"role": "user", "content": "hi"}]}
        self._body = json.dumps(
            {**body, "stream": chain == "stream"}, separators=(",", ":")
        ).encode()

    async def ask(self) -> None:
        """Send one request, and read its answer."""
        coming = iter([{"type": "http.request", "body": self._body, "more_body": False}])
        self._sent = 0

        async def receive() -> Message:
            for message in coming:
                return message
            await asyncio.get_running_loop().create_future()  # the client stays
            raise AssertionError

        await self.app(self._scope(), receive, self._send)
        assert self._sent >= len(WHOLE)

    async def _send(self, message: Message) -> None:
        assert message.get("status", 200) == 200
        self._sent += len(message.get("body", b""))

    async def ask_often(self, times: int, around: Callable[[], Any] | None = None) -> None:
        """Ask once in a while; what is done in between is not `around` the request."""
        for _ in range(times):
            if around is None:
                await self.ask()
            else:
                with around():
                    await self.ask()
            await self.clock.advance(self._every)

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"gateway.test"),
                (b"authorization", f"Bearer {KEY}".encode()),
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(self._body)),
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8429),
        }


def _run(work: Callable[[], Awaitable[int]]) -> int:
    async def main() -> int:
        return await work()

    return asyncio.run(main())


def count_calls(chain: str) -> float:
    """Return the calls of functions that one request costs, once everything is warm."""
    count = 0
    times = 1 if chain == "refused" else CALLS  # after one refusal the step is dry

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    @contextmanager
    def counted() -> Iterator[None]:
        before = sys.getprofile()
        sys.setprofile(see)
        try:
            yield
        finally:
            sys.setprofile(before)

    async def work() -> int:
        site = Site(chain)
        await site.ask_often(CALLS)
        site.transport.dry.add("drying.test")
        for before in BEFORE if chain == "refused" else ():
            site.turn_to(before)
            await site.ask_often(1)
        site.turn_to(chain)
        gc.disable()
        try:
            await site.ask_often(times, counted)
        finally:
            gc.enable()
        return count

    return _run(work) / times


def count_blocks(chain: str) -> int:
    """Return how many blocks of memory the second LIFE requests left behind."""

    async def work() -> int:
        site = Site(chain)
        await site.ask_often(LIFE)
        gc.collect()
        before = sys.getallocatedblocks()
        await site.ask_often(LIFE)
        gc.collect()
        return sys.getallocatedblocks() - before

    return _run(work)


@pytest.mark.parametrize("chain", BUDGETS)
def test_a_request_calls_as_many_functions_as_its_budget_says(chain: str) -> None:
    """No more, and not so few that the budget would let a regression pass."""
    calls = count_calls(chain)
    budget = f"{calls:.0f} calls a request, so BUDGETS[{chain!r}] would be {1.1 * calls:.0f}"
    assert SLACK * BUDGETS[chain] <= calls <= BUDGETS[chain], budget


def test_a_count_repeats() -> None:
    """Otherwise a budget would say nothing."""
    assert count_calls("whole") == count_calls("whole")


def test_a_dry_first_step_costs_little_more_than_none() -> None:
    """It is skipped, and no call is made: at most a tenth more."""
    assert count_calls("dry") <= 1.1 * count_calls("whole")


@pytest.mark.parametrize("chain", ["whole", "stream", "dry"])
def test_nothing_is_kept_of_a_request(chain: str) -> None:
    """Memory after 4,000 requests is that after 2,000."""
    blocks = count_blocks(chain)
    assert blocks <= LEFT_OVER, f"{chain}: {blocks} blocks more after {LIFE} requests"
