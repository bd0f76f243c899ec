"""What observers are told: every Attempt when it is over, and every request's end as a Finished.

    def observe(event: Attempt | Finished) -> None: ...
    create_app(settings, observers=[observe])

Both are frozen records of names, numbers and the provider's redacted words, without a prompt, an answer
or a key. Whoever records, counts or shows requests listens here, so that the loop that serves stays
short.
"""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from stepwell.errors import AllProvidersExhausted, BadRequest, RequestRejected, StreamBroken
from stepwell.routing.trail import Attempt


class End(StrEnum):
    """What became of a request."""

    SERVED = "served"
    EXHAUSTED = "exhausted"  # nothing could serve it, or not in time
    REJECTED = (
        "rejected"  # the request itself is at fault: providers say so, or no step can ever serve it
    )
    BROKEN = "broken"  # its stream broke after content, and nobody could go on
    ABANDONED = "abandoned"  # the client left, or the gateway stopped
    FAILED = "failed"  # a mistake of ours


@dataclass(frozen=True, slots=True)
class Finished:
    """One request that is over, from its arrival to its last byte.

    Attributes:
        arrived: Unix time of its arrival in seconds.
        seconds: From then to its end.
        route: The chain that it asked for, the step that it pinned, or the model.
        client: The principal's name.
        stream: It asked for a stream.
        prompt_tokens: Estimated tokens of the prompt.
        tokens: Estimated tokens of prompt and answer.
        max_tokens: The longest answer it takes; None if it did not say.
        needs: What it asks of a model: `vision`, `tools`, `json`.
        free_only: No paid step may serve it.
        max_wait: Seconds that it could wait for quota.
        waited: Seconds that it did.
        end: What became of it.
        target: `provider/model` that answered; empty if none did.
        account: With which account; empty if none did.
        used: Total tokens of the answer as the provider counted; None if it did not say.
        retry_after: Seconds until the soonest reset, told to the client; None if it was not exhausted.
        attempts: All calls of providers, in order.
    """

    arrived: float
    seconds: float
    route: str
    client: str
    stream: bool
    prompt_tokens: int
    tokens: int
    max_tokens: int | None
    needs: frozenset[str]
    free_only: bool
    max_wait: float
    waited: float
    end: End
    target: str = ""
    account: str = ""
    used: int | None = None
    retry_after: float | None = None
    attempts: tuple[Attempt, ...] = ()


Event: TypeAlias = Attempt | Finished


class Observer(Protocol):
    """Whoever wants to know; it is called on the request's own path, so it must not block or raise."""

    def __call__(self, event: Event, /) -> object: ...


_ENDS: tuple[tuple[type[BaseException], End], ...] = (
    (AllProvidersExhausted, End.EXHAUSTED),
    (RequestRejected, End.REJECTED),
    (BadRequest, End.REJECTED),
    (StreamBroken, End.BROKEN),
    (asyncio.CancelledError, End.ABANDONED),
    (GeneratorExit, End.ABANDONED),
    # A server says so by an error of the socket if the client leaves while something is sent.
    (OSError, End.ABANDONED),
)


def end_of(error: BaseException | None) -> End:
    """Name what a request came to that ended with this error, or without one."""
    if error is None:
        return End.SERVED
    return next((end for kind, end in _ENDS if isinstance(error, kind)), End.FAILED)
