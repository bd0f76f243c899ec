"""FleetTransport: a fleet behind httpx, without sockets.

Its answers are what httpx makes of such a peer: the same exceptions, and a body that comes chunk
by chunk as the client asks for it, so that backpressure shows. The request's read timeout runs on
the fleet's clock.
"""

from collections.abc import AsyncIterator, Callable

import httpx

from stepwell.clock import Clock, Deadline
from stepwell.testing.acts import Cut, Head, Refuse, Reset, Send
from stepwell.testing.performance import Performance
from stepwell.testing.provider import SimProvider

_CUT = "peer closed connection without sending complete message body (incomplete chunked read)"


class FleetTransport(httpx.AsyncBaseTransport):
    """Made by `Fleet.transport`."""

    def __init__(self, find: Callable[[str], SimProvider | None], clock: Clock) -> None:
        self._find = find
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        provider = self._find(request.url.host)
        if provider is None:
            raise httpx.ConnectError(f"No provider at {request.url.host}", request=request)
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.url.path.removeprefix("/v1")
        performance = provider.receive(request.method, path, headers, body)
        player = _Player(performance, request, self._clock)
        head = await player.next()
        assert isinstance(head, Head)
        length = () if head.length is None else (("content-length", str(head.length)),)
        return httpx.Response(
            head.status, headers=[*head.headers, *length], stream=player, request=request
        )


class _Player(httpx.AsyncByteStream):
    """Plays one answer to httpx, act by act."""

    def __init__(self, performance: Performance, request: httpx.Request, clock: Clock) -> None:
        self._performance = performance
        self._request = request
        self._clock = clock
        self._read_timeout: float | None = request.extensions.get("timeout", {}).get("read")

    async def next(self) -> Head | Send | None:
        try:
            with Deadline(self._clock, self._read_timeout):
                act = await self._performance.next()
        except TimeoutError as error:
            raise httpx.ReadTimeout("", request=self._request) from error
        if isinstance(act, Refuse):
            raise httpx.ConnectError("All connection attempts failed", request=self._request)
        if isinstance(act, Reset):
            raise httpx.ReadError("Connection reset by peer", request=self._request)
        if isinstance(act, Cut):
            raise httpx.RemoteProtocolError(_CUT, request=self._request)
        return act

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(act := await self.next(), Send):
            yield act.data

    async def aclose(self) -> None:
        self._performance.abandon()
