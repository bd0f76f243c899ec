"""Dial: from an origin to an open Connection: name, TCP, TLS, and the way through a proxy."""

import asyncio
import base64
import functools
import socket
import ssl
from collections.abc import Awaitable, Sequence
from typing import Final, NamedTuple, TypeVar

import httpx
from aiohappyeyeballs import AddrInfoType, start_connection

from stepwell.upstream.connection import Connection
from stepwell.upstream.tls import default_context, trusting

_ResultT = TypeVar("_ResultT")

# Seconds after which the next address of a name is tried beside the first (RFC 8305, section 8): an
# IPv6 that leads nowhere must not cost the whole time for connecting.
HAPPY_EYEBALLS: Final = 0.25

# Seconds for which a name's addresses are used again, so that a burst of connections asks once.
NAMES_LAST: Final = 10.0

_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Whom connections of one pool lead to; the host as httpx writes it, without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> "Origin":
        """Return a URL's origin.

        Raises:
            httpx.UnsupportedProtocol: It is neither http nor https.
        """
        if url.scheme not in _PORTS or not url.host:
            raise httpx.UnsupportedProtocol(f"cannot call {url.scheme or 'no'}:// addresses")
        return cls(url.scheme, url.host, url.port or _PORTS[url.scheme])

    @property
    def authority(self) -> str:
        """Host and port, as CONNECT names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Dialer:
    """Opens connections.

    Args:
        proxy: Through which HTTP proxy; None for none.
        ca_file: PEM file of certificates to trust besides the system's.
    """

    def __init__(self, proxy: httpx.URL | None, ca_file: str | None) -> None:
        self._proxy = None if proxy is None else Origin.of(proxy)
        self._ca_file = ca_file
        self._names: dict[Origin, tuple[float, Sequence[AddrInfoType]]] = {}
        self.proxy_header = b"" if proxy is None else _proxy_header(proxy)

    def is_told_whole_url(self, origin: Origin) -> bool:
        """Whether the peer is a proxy that reads the request."""
        return self._proxy is not None and origin.scheme == "http"

    async def dial(self, origin: Origin, seconds: float | None) -> Connection:
        """Return an open connection, in so many seconds.

        Raises:
            httpx.ConnectError: It cannot be reached.
            httpx.ConnectTimeout: Not in time.
            httpx.ProxyError: The proxy cannot be reached, or does not let us through.
        """
        try:
            async with asyncio.timeout(seconds):
                if self._proxy is None:
                    return await self._connect(origin, httpx.ConnectError, "cannot connect")
                return await self._through(self._proxy, origin)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error

    async def _through(self, proxy: Origin, origin: Origin) -> Connection:
        words = "cannot connect to the proxy"
        connection = await self._connect(proxy, httpx.ProxyError, words)
        if origin.scheme == "https":
            try:
                await self._open_tunnel(connection, origin)
            except BaseException:
                connection.abort(httpx.ConnectError("the tunnel was not opened"))
                raise
        return connection

    async def _open_tunnel(self, connection: Connection, origin: Origin) -> None:
        peer = origin.authority.encode("ascii")
        head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (peer, peer, self.proxy_header)
        answer = connection.ask(head, has_no_body=True)
        try:
            await answer.head()
        except httpx.TransportError as error:
            raise httpx.ProxyError("the proxy closed the tunnel") from error
        if not 200 <= answer.status < 300:
            raise httpx.ProxyError("the proxy refused the tunnel")
        tls = connection.loop.start_tls(
            connection.transport, connection, self._context, server_hostname=origin.host
        )
        transport = await _connected(tls, httpx.ConnectError, "cannot connect")
        assert transport is not None
        connection.over(transport)

    async def _connect(
        self, origin: Origin, meaning: type[httpx.TransportError], words: str
    ) -> Connection:
        return await _connected(self._open(origin), meaning, words)

    async def _open(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._addresses(loop, origin)
        try:
            sock = await start_connection(
                addresses, happy_eyeballs_delay=HAPPY_EYEBALLS, interleave=1, loop=loop
            )
        except OSError:
            self._names.pop(origin, None)  # it may have moved
            raise
        is_secure = origin.scheme == "https"
        _, connection = await loop.create_connection(
            lambda: Connection(loop),
            sock=sock,
            ssl=self._context if is_secure else None,
            server_hostname=origin.host if is_secure else None,
        )
        return connection

    async def _addresses(
        self, loop: asyncio.AbstractEventLoop, origin: Origin
    ) -> Sequence[AddrInfoType]:
        until, addresses = self._names.get(origin, (0.0, ()))
        if loop.time() < until:
            return addresses
        host, port = origin.host, origin.port
        try:
            flags = socket.AI_NUMERICHOST  # an address needs no thread
            found: Sequence[AddrInfoType] = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=flags
            )
        except socket.gaierror:
            found = await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        self._names[origin] = (loop.time() + NAMES_LAST, found)
        return found

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        return default_context() if self._ca_file is None else trusting(self._ca_file)


async def _connected(
    work: Awaitable[_ResultT], meaning: type[httpx.TransportError], words: str
) -> _ResultT:
    try:
        return await work
    except TimeoutError:
        raise  # ours
    except (OSError, ValueError) as error:  # a name that no DNS would take is a ValueError
        raise meaning(f"{words}: {error}") from error


def _proxy_header(proxy: httpx.URL) -> bytes:
    if not proxy.userinfo:
        return b""
    token = base64.b64encode(f"{proxy.username}:{proxy.password}".encode())
    return b"Proxy-Authorization: Basic %b\r\n" % token
