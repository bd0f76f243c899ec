"""The seam to whatever calls providers: a Line for each account, prepared once.

Our own engine prepares its lines itself. Any other httpx transport, a host's or a test's, is called
as httpx would call it, by way of `HttpxLine`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

import httpx

RawHeaders = list[tuple[bytes, bytes]]


Tap = Callable[[bytes], bool]
"""Is offered the next bytes of a body; returns whether it took them."""


class Body(Protocol):
    """A body as it comes.

    Attributes:
        tap: May be offered what comes while somebody waits to read; what it takes is not read.
    """

    tap: Tap | None

    def read(self) -> Awaitable[bytes]:
        """Return the next bytes; none at the end."""
        ...


class Answer(Body, Protocol):
    """What came back; whoever gets one closes it, whatever it has read of it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> RawHeaders:
        """As they were sent."""
        ...

    @property
    def is_complete(self) -> bool:
        """All of the body is known to be there, read or not."""
        ...

    @property
    def is_bound(self) -> bool:
        """Only the task that opened it may read and close it."""
        ...

    def whole(self) -> bytes | None:
        """Return the body if it is known to be there, and leave it there; ask before any `read`."""
        ...

    async def aclose(self) -> None: ...


class Line(Protocol):
    """Sends POST requests to one URL, always with the same headers."""

    async def open(self, body: Sequence[bytes | memoryview], connect: float) -> Answer:
        """Send a body, and return the answer once its head is there.

        Args:
            body: Its bytes, in parts that follow each other.
            connect: Seconds for a new connection to be made.

        Raises:
            httpx.TransportError: There is no answer.
        """
        ...


class HttpxLine:
    """A Line over any httpx transport."""

    def __init__(
        self,
        url: httpx.URL,
        headers: Sequence[tuple[str, str]],
        transport: httpx.AsyncBaseTransport,
    ) -> None:
        self._url = url
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers]
        self._transport = transport

    async def open(self, body: Sequence[bytes | memoryview], connect: float) -> "HttpxAnswer":
        """See Line; all other times are the caller's to watch."""
        timeout = {"connect": connect, "read": None, "write": None, "pool": None}
        request = httpx.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=b"".join(body),
            extensions={"timeout": timeout},
        )
        return HttpxAnswer(await self._transport.handle_async_request(request))


class HttpxAnswer:
    """An Answer out of httpx's response.

    Whose transport it is may hold a scope of anyio open meanwhile, which belongs to one task.
    """

    is_complete = False
    is_bound = True
    tap: Tap | None = None  # never offered anything

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks: AsyncIterator[bytes] | None = None
        self.status = response.status_code
        self.headers: RawHeaders = response.headers.raw

    def whole(self) -> None:
        """See Answer: it is not known."""

    async def read(self) -> bytes:
        """See Answer."""
        if self._chunks is None:
            assert isinstance(self._response.stream, httpx.AsyncByteStream)
            self._chunks = aiter(self._response.stream)
        while (chunk := await anext(self._chunks, None)) is not None:
            if chunk:
                return chunk
        return b""

    async def aclose(self) -> None:
        """See Answer."""
        try:
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()  # else whoever collects garbage would
        finally:
            await self._response.aclose()
