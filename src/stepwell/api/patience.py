"""x-stepwell-max-wait: how long a request will wait for quota instead of failing."""

from typing import Final

from stepwell.errors import BadRequest
from stepwell.quota.limit import parse_duration

HEADER: Final = b"x-stepwell-max-wait"


def max_wait_of(value: bytes, *, default: float, allowed: float) -> float:
    """Return the seconds that a request may wait.

    Args:
        value: What its header says.
        default: Of requests that have none.
        allowed: The most that one may ask for. Who asks for more gets as much and is told nothing:
            it is an upper bound in any case.

    Raises:
        BadRequest: It is no duration.
    """
    try:
        return min(parse_duration(value.decode("latin-1")), max(allowed, default))
    except ValueError:
        raise BadRequest(
            "The header x-stepwell-max-wait must be seconds or a duration, such as 45 or 1m30s."
        ) from None
