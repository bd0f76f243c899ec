"""Performance: one call from its coming to its end, whoever plays the answer.

The in-process transport and the real server ask for the next act and put it on their wire; pauses,
the gate and the record are kept here, once for both.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stepwell.clock import Clock
from stepwell.testing.acts import Acts, Cut, Hang, Head, Pause, Refuse, Reset, Send

Outcome = Literal["open", "served", "refused", "failed", "aborted"]


@dataclass(slots=True, eq=False)
class Call:
    """One chat request as the provider saw it; times are the clock's monotonic seconds.

    Attributes:
        number: Counts the provider's calls, from 1.
        time: When it came.
        key: The bearer token, empty if there was none.
        headers: All of the request's, names in lower case.
        raw: The body as it came.
        body: The body decoded; empty if it is no JSON object.
        tokens: What it cost; 0 if it was not admitted.
        status: Of the answer; None if there was none.
        outcome: `open` until it ended; then `served` in full, `refused` by the provider's own
            rules, `failed` as scripted, or `aborted` by the client.
        failure: Names of the scripted failures that met it, joined by `+`.
        sent: Events (or buffered bodies) that were handed over so far.
        ended: When it ended; None while it is open.
    """

    number: int
    time: float
    key: str
    headers: Mapping[str, str]
    raw: bytes
    body: Mapping[str, Any]
    tokens: int = 0
    status: int | None = None
    outcome: Outcome = "open"
    failure: str = ""
    sent: int = 0
    ended: float | None = None

    def __repr__(self) -> str:
        return f"<Call {self.number} to {self.model!r}: {self.status} {self.outcome}>"

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def aborted(self) -> bool:
        """The client went away before the end."""
        return self.outcome == "aborted"


class Gate:
    """Holds events back until a test lets them go, one by one."""

    def __init__(self) -> None:
        self._permits: int | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    def hold(self) -> None:
        self._permits = 0

    def let(self, count: int) -> None:
        assert self._permits is not None, "Nothing is held: call hold() first."
        self._permits += count
        self._wake()

    def release(self) -> None:
        self._permits = None
        self._wake()

    async def pass_through(self) -> None:
        while self._permits == 0:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        if self._permits is not None:
            self._permits -= 1

    def _wake(self) -> None:
        # All look again; those who find no permit wait anew, in the same order.
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)


class Performance:
    """One answer on its way: waits, gives each act to whoever plays it, and keeps the record."""

    def __init__(
        self, call: Call, acts: Acts, clock: Clock, gate: Gate, close: Callable[[Outcome], None]
    ) -> None:
        self._call = call
        self._left = deque(acts)
        self._clock = clock
        self._gate = gate
        self._close = close
        # What the end will be called if nobody leaves before.
        self.outcome: Outcome = "served"

    async def next(self) -> Head | Send | Refuse | Reset | Cut | None:
        """Return the next act when its time has come, None after the last one."""
        try:
            return await self._next()
        except BaseException:
            self.abandon()
            raise

    def abandon(self, outcome: Outcome = "aborted") -> None:
        """Break it off: the client left, or the provider died. After the end this does nothing."""
        self._left.clear()
        self._close(outcome)

    async def _next(self) -> Head | Send | Refuse | Reset | Cut | None:
        while self._left:
            act = self._left.popleft()
            if isinstance(act, Pause):
                await self._clock.sleep(act.seconds)
            elif isinstance(act, Hang):
                await asyncio.get_running_loop().create_future()
            else:
                await self._note(act)
                if not self._left:
                    # Handing over the last act is the end: nobody has to ask for more.
                    self._close(self.outcome)
                return act
        return None

    async def _note(self, act: Head | Send | Refuse | Reset | Cut) -> None:
        if isinstance(act, Head):
            self._call.status = act.status
        elif isinstance(act, Send) and act.ends:
            await self._gate.pass_through()
            self._call.sent += 1
