"""OpenAI's error envelope: the one place where an error becomes bytes."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stepwell.clock import Clock
from stepwell.errors import (
    AllProvidersExhausted,
    BadRequest,
    Overloaded,
    RequestRejected,
    ShuttingDown,
    StepwellError,
)
from stepwell.quota.ledger import Block
from stepwell.routing.trail import Attempt, Trail

Headers = list[tuple[bytes, bytes]]


def status_of(error: StepwellError) -> int:
    """Return the HTTP status of an error; some carry one of their own."""
    if isinstance(error, BadRequest | RequestRejected):
        return error.status
    return error.status_code


def envelope(error: StepwellError, clock: Clock) -> dict[str, Any]:
    """Return the body of an error: `{"error": {message, type, param, code}}`, and what we know."""
    if isinstance(error, RequestRejected):
        return {"error": {**error.error, "stepwell": _story(error.trail, clock)}}
    body: dict[str, Any] = {
        "message": str(error),
        "type": error.type,
        "param": getattr(error, "param", None),
        "code": error.code,
    }
    if isinstance(error, AllProvidersExhausted):
        body["stepwell"] = _story(error.trail, clock) | {"retry_after": round(error.retry_after, 3)}
    return {"error": body}


def encode(body: Mapping[str, Any]) -> bytes:
    # Half a surrogate pair, as a client or a provider may send it escaped, becomes a question mark.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def error_headers(error: StepwellError) -> Headers:
    """Return the headers that go with an error: when to try again, what was tried, how to log in."""
    headers: Headers = []
    if isinstance(error, AllProvidersExhausted):
        # Never prettified: the SDKs wait exactly this long, and give up by themselves if it is long.
        # Rounded up, but not for the microsecond by which sums of clock readings miss.
        milliseconds = math.ceil(round(error.retry_after * 1000, 2))
        headers = [
            (b"retry-after", b"%d" % math.ceil(milliseconds / 1000)),
            (b"retry-after-ms", b"%d" % milliseconds),
        ]
    if isinstance(error, Overloaded | ShuttingDown):
        headers = [(b"retry-after", b"1")]
    if error.status_code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, AllProvidersExhausted | RequestRejected):
        headers += trail_headers(error.trail)
    return headers


def trail_headers(trail: Trail) -> Headers:
    headers = [
        (b"x-stepwell-attempts", b"%d" % len(trail.attempts)),
        (b"x-stepwell-trail", trail.header().encode("ascii")),
    ]
    if trail.waited > 0:
        headers.append((b"x-stepwell-waited-ms", b"%d" % waited_ms(trail)))
    return headers


def waited_ms(trail: Trail) -> int:
    """Return the milliseconds that a request waited; the rounding is that of `retry-after-ms`."""
    return math.ceil(round(trail.waited * 1000, 2))


def _story(trail: Trail, clock: Clock) -> dict[str, Any]:
    return {
        "attempts": [_attempt(attempt) for attempt in trail.attempts],
        "blocked": [block_fields(block, clock) for block in trail.blocks],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "target": attempt.target,
        "account": attempt.account,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "seconds": round(attempt.seconds, 3),
        "retry_after": attempt.delay,
        "words": attempt.words,
    }


def block_fields(block: Block, clock: Clock) -> dict[str, Any]:
    """Return what stands in a target's way."""
    retry_after, until = moment(block.until, clock)
    return {
        "target": block.key,
        "reason": block.reason,
        "told": block.told,
        "retry_after": retry_after,
        "until": until,
        "words": block.words,
    }


def moment(at: float | None, clock: Clock) -> tuple[float | None, str | None]:
    """Return a monotonic time as seconds from now, and as an instant in ISO 8601."""
    if at is None:
        return None, None
    left = max(0.0, at - clock.monotonic())
    return round(left, 3), instant(clock.time() + left)


def instant(seconds: float) -> str:
    """Return a Unix time in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
