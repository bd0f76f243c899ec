"""Connection: what a server may offer beyond ASGI, found by the `send` that is its own.

`stepwell serve` does. On any other server, and behind anything that has put a `send` of its own in the
way, the same comes about by ASGI's own means, which cost each request a task and a system call, and
each event of a stream a turn of its task.
"""

from collections.abc import Callable

from starlette.types import Send


class Connection:
    """The client's, as long as its request is not answered.

    A plain class, as whether something is one is asked for each request, which costs an ABC dearly.

    Attributes:
        pushes: It has a `push`.
    """

    __slots__ = ()

    pushes = False

    def watch(self, lost: Callable[[], object] | None) -> None:
        """Call back when the client has left, also if it has by now; None: nobody any more."""
        raise NotImplementedError

    def push(self, body: bytes) -> bool:
        """Send some of a body that has begun, now and whole, or return False: then nothing is sent."""
        raise NotImplementedError


def connection_of(send: Send) -> Connection | None:
    """Return whose `send` it is; None if it belongs to no Connection."""
    owner = getattr(send, "__self__", None)
    return owner if isinstance(owner, Connection) else None
