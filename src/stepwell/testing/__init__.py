"""The test kit: what stepwell tests itself with, and you your application.

- `FakeClock`: time that moves when the test says so.
- `Fleet`: simulated providers that enforce their own limits and fail as scripted.
- `open_stream`: an ASGI application, driven message by message.
- `check_ledger`: the one suite that every keeper of quota passes.

Nothing here needs pytest or a server.
"""

from stepwell.testing.clock import DeadlockError, FakeClock, FakeTimer
from stepwell.testing.dialects import Answer, Dialect, DialectName
from stepwell.testing.failure import Failure
from stepwell.testing.fleet import Fleet
from stepwell.testing.ledger import check_ledger
from stepwell.testing.limits import Gauge, Refusal, SimLimit
from stepwell.testing.performance import Call
from stepwell.testing.provider import SimProvider
from stepwell.testing.reply import Reply, ToolCall
from stepwell.testing.server import FleetServer
from stepwell.testing.stream import OpenStream, Start, open_stream

__all__ = [
    "Answer",
    "Call",
    "DeadlockError",
    "Dialect",
    "DialectName",
    "Failure",
    "FakeClock",
    "FakeTimer",
    "Fleet",
    "FleetServer",
    "Gauge",
    "OpenStream",
    "Refusal",
    "Reply",
    "SimLimit",
    "SimProvider",
    "Start",
    "ToolCall",
    "check_ledger",
    "open_stream",
]
