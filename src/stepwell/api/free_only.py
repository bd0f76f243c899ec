"""x-stepwell-free-only: a request that must cost nothing, whatever its chain has."""

from typing import Final

from stepwell.api.envelope import Headers
from stepwell.errors import BadRequest

HEADER: Final = b"x-stepwell-free-only"

_YES: Final = frozenset({b"1", b"true"})
_NO: Final = frozenset({b"0", b"false"})


def wants_free_only(headers: Headers) -> bool:
    """Whether a request asks for steps that cost nothing; a no lifts no rule of its chain.

    Raises:
        BadRequest: The header says something else: half a wish must not cost money.
    """
    said = {value.strip().lower() for name, value in headers if name == HEADER}
    if not said <= _YES | _NO:
        raise BadRequest("The header x-stepwell-free-only must be 1 or 0.")
    return bool(said & _YES)
