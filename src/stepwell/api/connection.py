"""Connection: what a server may offer beyond ASGI, in a request's scope under CONNECTION.

`stepwell serve` does. On any other server the same comes about by ASGI's own means, which cost each
request a task and a system call.
"""

from collections.abc import Callable
from typing import Final, Protocol

CONNECTION: Final = "stepwell.connection"


class Connection(Protocol):
    """The client's, as long as its request is not answered."""

    def watch(self, lost: Callable[[], object] | None) -> None:
        """Call back when the client has left, also if it has by now; None: nobody any more."""
        ...

    def hold(self) -> None:
        """Let what is sent next leave together with what is sent after it."""
        ...
