"""Presence: whether the client is still there, from the first byte to the last.

On no server does a send fail after the client left, and none cancels the application. So the client's
connection is watched while an answer is pending, and the work is cancelled when it is lost.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive

from stepwell.api.connection import Connection
from stepwell.errors import StepwellError


class Presence:
    """Cancels the block when the client leaves, or when the work is interrupted from outside.

    A client's leaving ends the block silently (`is_gone` tells); an interruption raises its error.
    Every other cancellation passes through untouched.
    """

    __slots__ = ("_cancelling", "_connection", "_interruption", "_is_watching", "_task", "is_gone")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._task: asyncio.Task[Any] | None = None
        self._is_watching = False
        self._cancelling = 0
        self._interruption: StepwellError | None = None
        self.is_gone = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._is_watching = True
        self._connection.watch(self._leave)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._is_watching:
            self.stop()
        ours = self.is_gone or self._interruption is not None
        if not ours or self._task is None:
            return False
        ours = self._task.uncancel() <= self._cancelling and exc_type is asyncio.CancelledError
        if ours and self._interruption is not None and not self.is_gone:
            raise self._interruption from exc
        return ours

    def stop(self) -> None:
        """Watch no longer: the answer is complete, whatever the client does now."""
        if self._is_watching:
            self._is_watching = False
            self._connection.watch(None)

    def interrupt(self, error: StepwellError) -> None:
        """End the block with an error, as when the server must stop."""
        if self._is_watching and not self.is_gone and self._interruption is None:
            self._interruption = error
            self._cancel()

    def _leave(self) -> None:
        if self._interruption is None:
            self.is_gone = True
            self._cancel()

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()


class Listener(Connection):
    """A Connection by ASGI's own means: only `receive` tells, so a task waits for what it says."""

    __slots__ = ("_receive", "_task")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[None] | None = None

    def watch(self, lost: Callable[[], object] | None) -> None:
        """See Connection."""
        if lost is not None:
            self._task = asyncio.get_running_loop().create_task(self._wait(lost))
        elif self._task is not None:
            self._task.cancel()
            self._task = None

    async def _wait(self, lost: Callable[[], object]) -> None:
        # Some servers deliver one more empty body message first.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        lost()
