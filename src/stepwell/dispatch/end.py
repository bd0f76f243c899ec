"""What a request ends with: the error that its client is told, the record that observers are told."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stepwell.clock import Clock
from stepwell.dispatch.call import Call
from stepwell.errors import AllProvidersExhausted, QueueFull, RequestRejected, StreamBroken
from stepwell.observe import Finished, end_of
from stepwell.providers.dialects import BodyError, error_of
from stepwell.quota.ledger import Block
from stepwell.routing.chain import Step
from stepwell.routing.trail import Trail
from stepwell.routing.verdict import Outcome
from stepwell.upstream.client import Reply
from stepwell.upstream.relay import Relay

# A 503 without a known reset still says when to try again; less than a second is a hammer.
LEAST_RETRY_AFTER: Final = 1.0
UNKNOWN_RETRY_AFTER: Final = 5.0

Redact = Callable[[str], str]


def rejection(reply: Reply, trail: Trail, redact: Redact) -> RequestRejected:
    """Return a provider's refusal of the request itself, in the shape of OpenAI's errors."""
    said = error_of(reply.error) or BodyError()
    too_large = reply.verdict.outcome is Outcome.TOO_LARGE
    error = {
        "message": redact(said.message or "The provider refused the request."),
        "type": redact(said.type or RequestRejected.type),
        "param": redact(said.param) or None,
        "code": "context_length_exceeded" if too_large else redact(said.code) or None,
    }
    return RequestRejected(reply.status or 400, error, trail)


def exhaustion(call: Call, seconds: float) -> AllProvidersExhausted:
    """Return the error of a request that nothing could serve.

    Args:
        call: The request.
        seconds: Until it may be tried again.
    """
    kind = QueueFull if call.was_turned_away else AllProvidersExhausted
    also = ", and the queue is full" if call.was_turned_away else ""
    return kind(
        f"No provider of the chain can serve this request now{also}.",
        trail=call.trail,
        retry_after=seconds,
    )


def retry_after(steps: Sequence[Step], blocks: Mapping[str, Block], now: float) -> float:
    """Return the seconds until some target may serve; a guess where nobody can tell.

    Args:
        steps: Those for which the request is not too large. The targets of others are open as well,
            but not for this request.
        blocks: What stands in the way, by target key.
        now: Monotonic time.
    """
    ends = [block.until for block in blocks.values()]
    waits = [end - now for end in ends if end is not None]
    is_open = any(target.key not in blocks for step in steps for target in step.targets)
    # After an accident, and behind a block that only an event ends.
    if is_open or None in ends or not waits:
        waits.append(UNKNOWN_RETRY_AFTER)
    return max(LEAST_RETRY_AFTER, min(waits))


def broken_stream(relay: Relay, redact: Redact) -> StreamBroken:
    """Return the error of a stream that broke after content."""
    error = error_of(relay.error)
    detail = f": {redact(error.message)}" if error and error.message else "."
    return StreamBroken(f"The provider's stream broke off ({relay.broken}){detail}")


def finished(call: Call, error: BaseException | None, clock: Clock) -> Finished:
    """Return the record of a request that is over now.

    Args:
        call: The request.
        error: What it ended with; None if it was served.
        clock: For all time.
    """
    seconds = clock.monotonic() - call.arrived
    request, trail, answer = call.request, call.trail, call.answer
    return Finished(
        arrived=clock.time() - seconds,
        seconds=seconds,
        route=call.route,
        client=call.client,
        stream=request.stream,
        prompt_tokens=request.prompt_tokens,
        tokens=request.tokens,
        max_tokens=request.max_tokens,
        needs=request.capabilities,
        free_only=call.free_only,
        max_wait=call.max_wait,
        waited=trail.waited,
        end=end_of(error),
        target="" if answer is None else answer.move.step.name,
        account="" if answer is None else answer.move.target.account,
        used=None if answer is None else answer.tokens,
        retry_after=getattr(error, "retry_after", None),
        attempts=tuple(trail.attempts),
    )
