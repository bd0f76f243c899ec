"""Uvicorn with the gateway's own way to stop.

By itself uvicorn waits for open responses, and after a time cancels them: their clients see a body
that is cut off. Here the gateway ends them, after `grace`, with an error event that says why:

    first signal    no new connection; what is under way may end within `grace` seconds; what has not
                    ended then gets its error event and LAST_WORDS seconds to take it
    second signal   the same without `grace`
"""

import asyncio
import errno
import gc
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from stepwell.cli.console import FAILED, fail
from stepwell.cli.protocol import ClientProtocol, replying
from stepwell.gateway import Gateway

LAST_WORDS: Final = 1.0
"""Seconds for the error event of an ended stream to reach a client that reads."""

BACKLOG: Final = 2048
"""Connections that may wait to be accepted: nginx has 511, granian 1024, uvicorn 2048; a burst that
comes with a connection for each request must not be reset."""

YOUNG: Final = 20_000
"""Objects more than before, at which the collector looks for circles among the new ones. Requests make
few circles, and a look at each 700, as is usual, takes a tenth of the time of a small request."""

KEEP_ALIVE: Final = 75
"""Seconds that an idle connection is kept, as in nginx: longer than the pools of clients and proxies
keep theirs (httpx 5, the OpenAI SDK 5, AWS's balancer 60), so that they, not we, close it and no
request meets a closing connection."""


class GatewayServer(uvicorn.Server):
    """Serves one gateway's application until a signal comes.

    Args:
        app: What create_app returned.
        gateway: The application's.
        grace: Seconds that open requests have to end after the first signal.
        announce: Called once it takes connections.

    Attributes:
        stopping: Set by the first signal.
    """

    def __init__(
        self, app: ASGIApp, gateway: Gateway, *, grace: float, announce: Callable[[], object]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                replying(app),
                loop="auto",  # uvloop where it is installed
                http=ClientProtocol,
                ws="none",
                lifespan="on",
                interface="asgi3",
                log_config=None,  # the command sets up logging
                access_log=False,  # the cost of a line for every request, and nobody reads it
                proxy_headers=False,  # nothing here goes by the client's address
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
                # Only a net: `_end_requests` has ended everything by then.
                timeout_graceful_shutdown=int(grace + 2 * LAST_WORDS) + 1,
            )
        )
        self._gateway = gateway
        self._grace = grace
        self._announce = announce
        self.stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        # All that was imported lives as long as the process. Frozen, it is not looked through again
        # by every full collection, each of which would stop all streams for tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG)
        self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal.

        Uvicorn's own raises it again at the end, by which a server that stopped in good order would
        look killed.
        """
        event = self._hurry if self.should_exit else self.stopping
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(event.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.create_task(self._end_requests())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_requests(self) -> None:
        draining = asyncio.create_task(self._gateway.drain(self._grace))
        # All of the grace, also when the last request has ended: what it sent may not have left yet.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                await self._hurry.wait()
        draining.cancel()
        await self._gateway.drain(0.0)
        await asyncio.sleep(LAST_WORDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # it does not take what is sent, or sends no end


def open_port(host: str, port: int) -> socket.socket:
    """Return a listening socket, or exit with a sentence that says why there is none."""
    try:
        return listen(host, port)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno == errno.EADDRINUSE:
            reason = "the port is in use; choose another with --port"
        fail(f"stepwell: cannot listen on {host}:{port}: {reason}", FAILED)


def bound_to(listener: socket.socket) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that a socket really listens on."""
    return ipaddress.ip_address(listener.getsockname()[0])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; of a name with several addresses the first IPv4 one is taken.

    Raises:
        OSError: The name is unknown, or the address is not ours or in use.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
