"""x-stepwell-max-wait: how long a request will wait for quota instead of failing."""

from typing import Final

from starlette.types import Scope

from stepwell.errors import BadRequest
from stepwell.quota.limit import parse_duration

HEADER: Final = b"x-stepwell-max-wait"


def max_wait_of(scope: Scope, *, default: float, allowed: float) -> float:
    """Return the seconds that a request may wait.

    Args:
        scope: The request's.
        default: Of requests that say nothing.
        allowed: The most that one may ask for. Who asks for more gets as much and is told nothing:
            it is an upper bound in any case.

    Raises:
        BadRequest: The header is there and holds no duration.
    """
    value = next((value for name, value in scope["headers"] if name == HEADER), None)
    if value is None:
        return default
    try:
        return min(parse_duration(value.decode("latin-1")), max(allowed, default))
    except ValueError:
        raise BadRequest(
            "The header x-stepwell-max-wait must be seconds or a duration, such as 45 or 1m30s."
        ) from None
