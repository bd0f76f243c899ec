"""Sink: where a stream's events go."""

from collections.abc import Awaitable
from typing import Protocol


class Sink(Protocol):
    """Where a stream's events go, whole ones at a time.

    Attributes:
        pushes: It may take events at once.
    """

    @property
    def pushes(self) -> bool: ...

    def push(self, events: bytes) -> bool:
        """Take them at once, or return False: then nothing was taken."""
        ...

    def write(self, events: bytes) -> Awaitable[object]:
        """Take them; its errors are the writer's, and its time is nobody's silence."""
        ...
