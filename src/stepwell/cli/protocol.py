"""HTTP to clients as uvicorn speaks it, which is a Connection besides (`api/connection`)."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stepwell.api.connection import CONNECTION

# Longer ones are not copied for the sake of one call of the system less.
_SMALL: Final = 64 * 1024


class ClientProtocol(HttpToolsProtocol):
    """See the module's text."""

    _lost: Callable[[], object] | None = None
    _is_lost = False
    _held: "_HoldingTransport"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._held = _HoldingTransport(transport)
        self.transport = cast("asyncio.Transport", self._held)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[CONNECTION] = self

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

    def hold(self) -> None:
        """See Connection."""
        self._held.holds = True

    def _tell(self) -> None:
        if self._lost is not None:
            self._lost()


class _HoldingTransport:
    """As much of a transport as uvicorn writes to."""

    __slots__ = ("_data", "_transport", "abort", "close", "holds", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._data = b""
        self.holds = False
        self.abort = transport.abort
        self.close = transport.close
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self.holds:
            self._data, self.holds = data, False
            return
        if self._data:
            before, self._data = self._data, b""
            if len(data) > _SMALL:
                self._transport.write(before)
            else:
                data = before + data
        self._transport.write(data)
