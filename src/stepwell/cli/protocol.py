"""HTTP to clients as uvicorn speaks it, with a way out of its own for what the gateway sends most.

Uvicorn writes the head of a response by itself and looks at each of its headers by two patterns: for a
small answer that costs as much as finding who gives it. `replying` puts a Reply before an application,
which writes an ordinary head in a few steps, and with the first of the body. Whatever is not ordinary
goes the way of uvicorn's own.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from stepwell.api.connection import Connection

# A longer body is not copied for the sake of one call of the system less.
_SMALL: Final = 64 * 1024

# What headers are made of. Uvicorn refuses all else; here that finds no end of line but our own.
_VISIBLE: Final = bytes([9, *range(32, 127), *range(128, 256)])

# Headers by which the one who sets them frames the body in another way, or ends the connection.
_UNUSUAL: Final = frozenset((b"transfer-encoding", b"connection"))

# Writes a header, its name and value.
_LINE: Final = b"%b: %b\r\n".__mod__

_CLOSE: Final = (b"connection", b"close")
_OK: Final = 200


class ClientProtocol(HttpToolsProtocol):
    """Uvicorn's, which tells that the client has left."""

    _lost: Callable[[], object] | None = None
    _is_lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_lost = True
        self._tell()

    def watch(self, lost: Callable[[], object] | None) -> None:
        """See Connection."""
        self._lost = lost
        if self._is_lost:
            self.loop.call_soon(self._tell)
        elif lost is not None:
            self.flow.resume_reading()  # a large body has paused it, and then nothing is noticed

    def _tell(self) -> None:
        if self._lost is not None:
            self._lost()


def replying(app: ASGIApp) -> ASGIApp:
    """Return an application as uvicorn shall call it, with a Reply for each request."""

    def call(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        cycle = getattr(send, "__self__", None)
        if isinstance(cycle, RequestResponseCycle):
            send = Reply(cycle).send
        return app(scope, receive, send)

    return call


class Reply(Connection):
    """One request's response. All that uvicorn must know of it is kept where uvicorn keeps it."""

    __slots__ = ("_cycle", "_start")

    pushes = True

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Send as ASGI says; the start leaves with the first of the body.

        An application that fails in between is answered for by uvicorn: nothing was sent.
        """
        start = self._start
        if start is None:
            if message["type"] == "http.response.start" and not self._cycle.response_started:
                self._start = message
                return
        elif message["type"] == "http.response.body":
            self._start = None
            if self._wrote_both(start, message):
                return
            await self._cycle.send(start)  # type: ignore[arg-type] # uvicorn's own types
        await self._cycle.send(message)  # type: ignore[arg-type]

    def push(self, body: bytes) -> bool:
        """See Connection."""
        cycle = self._cycle
        is_open = cycle.chunked_encoding and not cycle.response_complete
        if not is_open or cycle.flow.write_paused or cycle.transport.is_closing():
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    def watch(self, lost: Callable[[], object] | None) -> None:
        """See Connection."""
        # Not by the transport: uvloop's lets go of its protocol when the connection is lost.
        protocol = getattr(self._cycle.on_response, "__self__", None)
        assert isinstance(protocol, ClientProtocol)
        protocol.watch(lost)

    def _wrote_both(self, start: Message, message: Message) -> bool:
        """Write an ordinary head, with the whole body or the first of a stream; else nothing."""
        cycle, body = self._cycle, message.get("body", b"")
        is_whole = not message.get("more_body", False)
        headers = [*cycle.default_headers, *start["headers"]]
        names = dict(headers)
        if is_whole:
            is_framed = names.get(b"content-length") == b"%d" % len(body)
        else:
            is_framed = bool(body) and b"content-length" not in names
            headers.append((b"transfer-encoding", b"chunked"))
        head = b"".join(map(_LINE, headers))
        is_ordinary = (
            is_framed
            and start["status"] == _OK
            and len(body) <= _SMALL
            and _is_plain(cycle)
            and _UNUSUAL.isdisjoint(names)
            and (joined := b"".join(names)) == joined.lower()
            and head.translate(None, _VISIBLE) == b"\r\n" * len(headers)
        )
        if not is_ordinary:
            return False
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        cycle.chunked_encoding = not is_whole
        piece = body if is_whole else b"%x\r\n%b\r\n" % (len(body), body)
        cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[_OK], head, piece))
        if is_whole:
            cycle.response_complete = True
            cycle.message_event.set()
            cycle.on_response()
        return True


def _is_plain(cycle: RequestResponseCycle) -> bool:
    """Tell whether a response takes the usual course: it is wanted, now, and others may follow."""
    return (
        cycle.keep_alive
        and not cycle.flow.write_paused
        and not cycle.disconnected
        and not cycle.access_log
        and cycle.scope["method"] != "HEAD"
        and _CLOSE not in cycle.scope["headers"]  # where older ones look only now
    )
