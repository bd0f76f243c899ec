"""EventStream: one SSE response, kept alive while nothing flows."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from starlette.types import Send

from stepwell.api.connection import Connection
from stepwell.api.envelope import Headers
from stepwell.clock import Clock, Timer

SSE_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Proxies must neither store, nor compress, nor hold back.
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """Sends whole events; opens the response by itself when nothing has come for `ping` seconds.

    Nothing is ever sent inside an event: what is written are whole ones, and comments go between.

    Args:
        start: Sends the response's start, which others have something to add to.
        send: The server's, for all that follows.
        connection: What the server may offer beside that.
        clock: For the pings.
        ping: Seconds of silence after which a comment is sent; 0 for never.
        doing: Says what the client is waiting for, in few words.

    Attributes:
        quiet_since: Monotonic time since which nothing was written; inf while something is, for a send
            that waits for the client is no silence.
        pushes: It may take events at once.
        is_open: The response has begun, so that errors must travel inside it.
        was_early: It was opened before there was an answer.
    """

    def __init__(
        self,
        start: Send,
        send: Send,
        connection: Connection,
        *,
        clock: Clock,
        ping: float,
        doing: Callable[[], str],
    ) -> None:
        self._start = start
        self._send = send
        self._connection = connection
        self.pushes = connection.pushes
        self._clock = clock
        self._ping = ping
        self._doing = doing
        self._timer: Timer | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._born = self.quiet_since = clock.monotonic()
        self._is_closed = False
        self.is_open = False
        self.was_early = False

    def __enter__(self) -> Self:
        if self._ping:
            self._timer = self._clock.call_later(self._ping, self._look)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._pinging is not None:
            self._pinging.cancel()

    async def open(self, headers: Headers) -> None:
        """Begin the response, unless a ping already has."""
        if self._pinging is not None:
            await self._ping_sent()
        if not self.is_open:
            since, self.quiet_since = self.quiet_since, math.inf
            await self._begin(headers)
            self.quiet_since = since

    def push(self, events: bytes) -> bool:
        """Send whole events at once, or return False: then nothing was sent."""
        if self._pinging is not None or self._is_closed or not self._connection.push(events):
            return False
        self.quiet_since = self._clock.monotonic()
        return True

    async def write(self, events: bytes) -> None:
        """Send whole events; after the end this does nothing."""
        if self._pinging is not None:
            await self._ping_sent()
        if not self._is_closed:
            self.quiet_since = math.inf
            await self._send({"type": "http.response.body", "body": events, "more_body": True})
            self.quiet_since = self._clock.monotonic()

    async def close(self, last: bytes = b"") -> None:
        """End the response, once, with the last of its events; nothing is sent after it."""
        if self._pinging is not None:
            await self._ping_sent()
        if not self._is_closed:
            self._is_closed = True
            await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def _begin(self, headers: Headers) -> Awaitable[None]:
        self.is_open = True
        headers = SSE_HEADERS + headers
        return self._start({"type": "http.response.start", "status": 200, "headers": headers})

    async def _ping_sent(self) -> None:
        """Wait until no ping is on its way: two parts of a response are not sent at once."""
        if self._pinging is not None:
            await asyncio.wait((self._pinging,))

    def _look(self) -> None:
        """Ping if nothing was sent for so long; else look again when that may be."""
        left = self.quiet_since + self._ping - self._clock.monotonic()
        if self._is_closed:
            return
        if left > 0:
            self._timer = self._clock.call_later(min(left, self._ping), self._look)
        else:
            self._pinging = asyncio.create_task(self._send_ping())

    async def _send_ping(self) -> None:
        waited = self._clock.monotonic() - self._born
        try:
            if not self.is_open:
                self.was_early = True
                await self._begin([])
            comment = f": waiting {waited:.0f}s for {self._doing()}\n\n".encode()
            if not self._is_closed:
                await self._send({"type": "http.response.body", "body": comment, "more_body": True})
                self.quiet_since = self._clock.monotonic()
        finally:
            self._pinging = None
        if not self._is_closed:
            self._timer = self._clock.call_later(self._ping, self._look)
