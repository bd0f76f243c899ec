"""Answer: what comes back on a connection, the head and the body as it arrives."""

import asyncio
import copy
from collections.abc import Awaitable
from typing import Final, Protocol

import httpx

from stepwell.upstream.seam import RawHeaders, Tap

# Bytes of a body that may wait to be read.
HIGH_WATER: Final = 256 * 1024


class Wire(Protocol):
    """What an answer comes on."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def drop(self) -> None:
        """Take nothing more, at once."""
        ...

    def resume(self) -> None:
        """Take more, after a pause because too much was waiting to be read."""
        ...


class Answer:
    """What comes back on a connection: the head, and the body as it arrives.

    Attributes:
        status: The HTTP status; 0 before the head is there.
        reason: The words beside it.
        headers: As they were sent, in order.
        version: `1.1` or `1.0`.
        tap: See `seam.Body`.
    """

    is_bound = False  # see `seam.Answer`

    __slots__ = (
        "_error",
        "_loop",
        "_size",
        "_waiter",
        "_wire",
        "chunks",
        "headers",
        "is_complete",
        "reason",
        "status",
        "tap",
        "version",
    )

    def __init__(self, wire: Wire) -> None:
        self._wire: Wire | None = wire
        self._loop = wire.loop
        self.chunks: list[bytes] = []  # the connection adds to it
        self._size = 0
        self._waiter: asyncio.Future[bytes] | None = None
        self._error: httpx.TransportError | None = None
        self.tap: Tap | None = None
        self.status = 0
        self.reason = b""
        self.headers: RawHeaders = []
        self.version = "1.1"
        self.is_complete = False

    async def head(self) -> None:
        """Wait for status and headers; nothing of a body comes before them."""
        if not self.status:
            await self.read()

    def whole(self) -> bytes | None:
        """Return the body if all of it has come, and leave it there; to be asked before any `read`."""
        return b"".join(self.chunks) if self.is_complete else None

    def read(self) -> Awaitable[bytes]:
        """Return all of the body that has come and was not read; wait for some; empty at the end.

        That is a future itself and no coroutine around one, which every event of a stream would
        pay for. One reader at a time.

        Raises:
            httpx.TransportError: The body was cut off, or the answer closed.
        """
        self._waiter = waiter = self._loop.create_future()
        if self.chunks or self._wire is None:
            self.wake()
        return waiter

    def close(self) -> None:
        """Read no more: before its end the socket is dropped, at once, since nobody takes the rest."""
        if self._wire is not None:
            self._wire.drop()

    async def aclose(self) -> None:
        """See `close`; for those to whom it is one answer among others."""
        self.close()

    # --- what the connection tells

    def arrived(self, size: int) -> bool:
        """Some of the body is there; return whether too much waits to be read."""
        tap, waiter, chunks = self.tap, self._waiter, self.chunks
        # Who does not wait has yet to handle what came before, or does not read on.
        is_awaited = waiter is not None and not waiter.done()
        if tap is not None and is_awaited and len(chunks) == 1 and tap(chunks[0]):
            chunks.clear()
            return False
        self._size += size
        self.wake()
        return self._size >= HIGH_WATER

    def end(self, error: httpx.TransportError | None = None) -> None:
        """Nothing comes any more: it is complete, or there is an error."""
        self._wire = None
        self._error = error
        self.is_complete = error is None
        self.wake()

    def wake(self) -> None:
        """Give whoever waits what there is by now."""
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return  # nobody, or one who was cancelled: what has come is kept
        if chunks := self.chunks:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            if self._size >= HIGH_WATER and self._wire is not None:
                self._wire.resume()
            self._size = 0
            waiter.set_result(data)
        elif self._error is not None:
            # Another one each time: with its traceback it holds us, and what was to be sent.
            waiter.set_exception(copy.copy(self._error))
        else:
            waiter.set_result(b"")
