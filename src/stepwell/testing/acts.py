"""What a simulated provider does on the wire, as data.

One answer is a tuple of acts, from connecting to the last byte. The in-process transport and the
real server play the same acts, so that a scripted failure means the same in both.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Part = Literal["role", "content", "tool", "finish", "usage", "done", "other", "body"]


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Head:
    """Send the status line and the headers.

    Attributes:
        length: The body's length for Content-Length; None for a body of unknown length.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes of the body.

    Attributes:
        part: What they are: a kind of event, or a buffered body.
        ends: They end their event; False for all but the last piece of one cut into pieces.
    """

    data: bytes
    part: Part = "body"
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing any more, and do not close either."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not let the client connect."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection although the message has not ended."""


Act: TypeAlias = Pause | Head | Send | Hang | Refuse | Reset | Cut
Acts: TypeAlias = tuple[Act, ...]
