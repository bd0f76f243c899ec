"""The demo's clients: a burst, a pause, then a steady stream of requests over real HTTP."""

import asyncio
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import httpx

from stepwell.testing import Fleet

# Shares of what the fleet can give. After such a burst and pause a stream of this strength finds
# room at some provider at every moment, though hardly ever at all of them.
BURST: Final = 0.6
PAUSE: Final = 3.0
STEADY: Final = 0.85
JITTER: Final = (0.7, 1.3)

PATIENCE: Final = 30.0
"""Seconds; the slowest provider of the demo needs one."""

QUESTIONS: Final = (
    "Why do wells have steps?",
    "How deep is it?",
    "Is there water below?",
    "Hello!",
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What one request came to.

    Attributes:
        number: Of the request, from 1.
        ok: It was answered in full.
        stream: It was a stream.
        trail: Who was asked, in order, as the gateway tells: `swift(429) > brook`.
    """

    number: int
    ok: bool
    stream: bool
    trail: str


@dataclass(slots=True)
class Tally:
    """What the clients have seen.

    Attributes:
        sent: Requests.
        answered: Those that got a whole answer.
        failed: Those that did not.
        needless: Those that failed while some provider had room, by the fleet's own count.
        streamed: Requests for a stream.
        ran_dry: Names of the providers seen without room, in the order of the fleet.
        recent: The latest answers.
    """

    sent: int = 0
    answered: int = 0
    failed: int = 0
    needless: int = 0
    streamed: int = 0
    ran_dry: dict[str, bool] = field(default_factory=dict)
    recent: deque[Answered] = field(default_factory=lambda: deque(maxlen=6))

    @property
    def waiting(self) -> int:
        return self.sent - self.answered - self.failed

    def note(self, answer: Answered, fleet: Fleet) -> None:
        """Count an answer; the fleet is asked now, at the moment of a failure."""
        self.recent.append(answer)
        if answer.ok:
            self.answered += 1
        else:
            self.failed += 1
            self.needless += fleet.has_room()
        for provider in fleet:
            self.ran_dry[provider.name] = (
                self.ran_dry.get(provider.name, False) or not provider.room()
            )


class Traffic:
    """Sends requests to the gateway and keeps a tally.

    Args:
        client: Its base URL is the gateway's.
        fleet: Says how much there is, and whether there was room when a request failed.
        seconds: How long to send.
        seed: The same seed sends the same requests.
    """

    def __init__(
        self, client: httpx.AsyncClient, fleet: Fleet, *, seconds: float, seed: int
    ) -> None:
        self.tally = Tally()
        self._client = client
        self._fleet = fleet
        self._seconds = seconds
        self._random = random.Random(seed)  # noqa: S311 - a demo is to be repeated

    async def run(self) -> None:
        """Send, and return when the last answer is in."""
        limits = [limit for provider in self._fleet for limit in provider.limits]
        burst = round(BURST * sum(limit.amount for limit in limits))
        rate = STEADY * sum(limit.amount / limit.window for limit in limits)
        clock = self._fleet.clock
        end = clock.monotonic() + self._seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(burst):
                group.create_task(self._ask())
            await clock.sleep(min(PAUSE, self._seconds))
            while clock.monotonic() < end:
                group.create_task(self._ask())
                await clock.sleep(self._random.uniform(*JITTER) / rate)

    async def _ask(self) -> None:
        self.tally.sent += 1
        number, stream = self.tally.sent, self._random.random() < 0.5
        self.tally.streamed += stream
        body = {
            "model": "default",
            "messages": [{"role": "user", "content": self._random.choice(QUESTIONS)}],
            "stream": stream,
        }
        ok, trail = await self._answer(body)
        self.tally.note(Answered(number, ok, stream, trail), self._fleet)

    async def _answer(self, body: dict[str, object]) -> tuple[bool, str]:
        """Return whether the answer was whole, and its trail."""
        try:
            response = await self._client.post("/v1/chat/completions", json=body, timeout=PATIENCE)
        except httpx.HTTPError as error:
            return False, type(error).__name__
        trail = " > ".join(_hops(response.headers.get("x-stepwell-trail", "")))
        return response.status_code == 200 and _is_whole(response), trail or "nobody had room"


def _is_whole(response: httpx.Response) -> bool:
    """Whether it is a completion, or a stream that ended as streams end, without an error event."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return '"choices"' in response.text
    events = response.text.strip().split("\n\n")
    return events[-1] == "data: [DONE]" and not any(e.startswith('data: {"error"') for e in events)


def _hops(trail: str) -> Iterator[str]:
    """Yield the stations of `swift/m:rate_limited(429), brook/m:answer`: `swift(429)`, `brook`."""
    for hop in filter(None, trail.split(", ")):
        target, _, outcome = hop.partition(":")
        provider = target.partition("/")[0]
        reason = outcome.partition("(")[2].rstrip(")") or outcome
        yield provider if outcome == "answer" else f"{provider}({reason})"
