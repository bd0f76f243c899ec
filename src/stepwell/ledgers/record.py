"""Record and Memory: how a keeper's state outlives the process, whatever it is written to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one target, or of what the targets of an account share.

    Attributes:
        account: The account's name.
        target: The target's key; `ACCOUNT/*:free` for what the account's free models share, None
            for what all its targets do.
        state: Plain values for JSON, as `stepwell.quota` exports them: times are seconds before or
            after the moment of the export, so that no clock stands in them.
        age: Seconds since the export.
    """

    account: str
    target: str | None
    state: Mapping[str, Any]
    age: float = 0.0


class Memory(Protocol):
    """Where a keeper writes through to."""

    @property
    def is_recalled(self) -> bool:
        """Nothing is to be waited for any more."""
        ...

    async def recall(self) -> None:
        """Wait, for a bounded time, until the keeper has its records back."""
        ...

    def note(self, target: str, *, urgent: bool = False) -> None:
        """Learn that a target's record has changed; returns at once.

        Args:
            target: Its key.
            urgent: It is to be written at once, not with the next batch.
        """
        ...
