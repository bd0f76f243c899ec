"""HTTP to clients as uvicorn speaks it, which is a Connection besides (`api/connection`)."""

from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from stepwell.api.connection import CONNECTION

# Longer ones are not copied for the sake of one call of the system less.
_SMALL: Final = 64 * 1024


class ClientProtocol(HttpToolsProtocol):
    """See the module's text."""

    _lost: Callable[[], object] | None = None
    _is_lost = False

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
        if not self.pipeline:  # else the last cycle is not the one that is under way
            _Held(self.cycle)

    def _tell(self) -> None:
        if self._lost is not None:
            self._lost()


class _Held:
    """The transport of a response until its second write, with which the first one leaves."""

    __slots__ = ("_cycle", "_data", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._data = b""
        cycle.transport = cast("Any", self)

    def write(self, data: bytes) -> None:
        if not self._data:
            self._data = data
            return
        self._cycle.transport = self._transport
        if len(data) > _SMALL:
            self._transport.write(self._data)
            self._transport.write(data)
        else:
            self._transport.write(self._data + data)

    def close(self) -> None:
        """Close it where the second write never comes."""
        self._cycle.transport = self._transport
        self._transport.write(self._data)
        self._transport.close()
