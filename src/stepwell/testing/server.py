"""FleetServer: the providers of a fleet on real sockets, each on a port of its own on 127.0.0.1.

It plays the same acts as the in-process transport, with one difference: a server has accepted
before it reads a request, so a scripted connect error is a reset here. `stop` makes a provider
really unreachable. A client that goes away is noticed by the closing of its connection.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from stepwell.testing.acts import Cut, Head, Refuse, Reset, Send
from stepwell.testing.performance import Performance
from stepwell.testing.provider import SimProvider

_HOST = "127.0.0.1"
# SO_LINGER with a time of zero: closing sends a reset and drops what was not sent.
_RESET = struct.pack("ii", 1, 0)


class FleetServer:
    """Made by `Fleet.serve`; an async context manager."""

    def __init__(self, providers: Iterable[SimProvider]) -> None:
        self._providers = tuple(providers)
        self._running: dict[str, tuple[_Handler, web.ServerRunner]] = {}
        self._ports: dict[str, int] = {}
        self._homes = {provider.name: provider.base_url for provider in self._providers}

    def __repr__(self) -> str:
        return f"<FleetServer on {', '.join(p.base_url for p in self._providers)}>"

    async def __aenter__(self) -> Self:
        for provider in self._providers:
            await self.start(provider)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for provider in self._providers:
            await self.stop(provider)
            provider.base_url = self._homes[provider.name]

    async def start(self, provider: SimProvider) -> None:
        """Listen again, on the port that the provider had before."""
        handler = _Handler(provider)
        server = web.Server(handler, handler_cancellation=True)
        runner = web.ServerRunner(server)
        await runner.setup()
        await web.TCPSite(runner, _HOST, self._ports.get(provider.name, 0)).start()
        port = runner.addresses[0][1]
        self._running[provider.name] = handler, runner
        self._ports[provider.name] = port
        provider.base_url = f"http://{_HOST}:{port}/v1"

    async def stop(self, provider: SimProvider) -> None:
        """Close the provider's port and connections: nobody can connect until `start`."""
        if provider.name in self._running:
            handler, runner = self._running.pop(provider.name)
            handler.die()
            await runner.cleanup()


class _Handler:
    def __init__(self, provider: SimProvider) -> None:
        self._provider = provider
        self._open: dict[Performance, asyncio.Task[Any]] = {}

    def die(self) -> None:
        """Break off the open answers: recorded as failed, before it looks like the clients' doing."""
        for performance, task in self._open.items():
            performance.abandon("failed")
            task.cancel()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.path.removeprefix("/v1")
        performance = self._provider.receive(request.method, path, headers, await request.read())
        task = asyncio.current_task()
        assert task is not None
        self._open[performance] = task
        try:
            return await _play(performance, request)
        finally:
            # An answer that has not ended now was left by its client.
            performance.abandon()
            del self._open[performance]


async def _play(performance: Performance, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    while (act := await performance.next()) is not None:
        if isinstance(act, Head):
            response = _response(act)
            await response.prepare(request)
        elif isinstance(act, Send):
            await response.write(act.data)
        else:
            await _break_off(request, act)
    await response.write_eof()
    return response


def _response(head: Head) -> web.StreamResponse:
    response = web.StreamResponse(status=head.status, headers=head.headers)
    if head.length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = head.length
    return response


async def _break_off(request: web.BaseRequest, act: Refuse | Reset | Cut) -> None:
    """Close the connection; this never returns, because closing cancels the handler."""
    transport = request.transport
    assert transport is not None
    if isinstance(act, Cut):
        transport.close()
    else:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    await asyncio.get_running_loop().create_future()
