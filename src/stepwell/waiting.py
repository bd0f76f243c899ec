"""WaitingRoom: where requests wait for the ledger to change.

There is no polling and no task of its own: whoever changes the ledger wakes those who wait, in the
order in which they came, and a waiter's own timer wakes it when a known moment has passed.
"""

import asyncio

from stepwell.clock import Clock


class WaitingRoom:
    """See the module's text.

    Attributes:
        changes: How often the ledger has changed. Note it before asking the ledger: a change between
            the answer and `wait` is then not lost.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: dict[asyncio.Future[None], None] = {}
        self.changes = 0

    def __repr__(self) -> str:
        return f"<WaitingRoom {len(self._waiters)} waiting>"

    def changed(self) -> None:
        """Wake everyone: the next answer of the ledger may be another."""
        self.changes += 1
        for waiter in self._waiters:
            _wake(waiter)

    async def wait(self, seen: int, until: float | None) -> None:
        """Wait for a change after the one numbered `seen`, or for the monotonic time `until`."""
        if self.changes != seen:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        timer = None
        try:
            if until is not None:
                delay = max(0.0, until - self._clock.monotonic())
                timer = self._clock.call_later(delay, _wake, waiter)
            await waiter
        finally:
            del self._waiters[waiter]
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
