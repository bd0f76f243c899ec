"""Family bare-xratelimit: headers that name neither what they count nor the window.

    x-ratelimit-limit: 50
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1790985600000      OpenRouter: Unix milliseconds; Together: seconds from now

They count requests; read as tokens they would turn every longer prompt away. OpenRouter sends them
on refusals only, and repeats them in the body's `error.metadata.headers`, where alone they arrive
when its proxy drops them. Together's counters, `x-tokenlimit-*` beside them, are of one second.
Seen in public issues and fixtures, read 2026-11-22.
"""

import re

from stepwell.providers.dialects.bodies import Node, text_of
from stepwell.providers.dialects.durations import SECOND
from stepwell.providers.dialects.slots import FIELDS, Slot

_NAME = re.compile(r"x-(?:ratelimit|rate-limit)-(limit|remaining|reset)")
_TOKENS = re.compile(r"x-tokenlimit-(limit|remaining|reset)")


def spell(name: str) -> Slot | None:
    """`x-ratelimit-{limit,remaining,reset}`, and Together's `x-tokenlimit`."""
    if match := _NAME.fullmatch(name):
        return Slot(FIELDS[match[1]], "requests")
    if match := _TOKENS.fullmatch(name):
        return Slot(FIELDS[match[1]], "tokens", SECOND)
    return None


def headers_in(node: Node) -> dict[str, str]:
    """The headers that OpenRouter repeats in the body of a refusal; names in lower case."""
    metadata = node.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None
    if not isinstance(headers, dict):
        return {}
    pairs = ((str(name).lower(), text_of(value)) for name, value in headers.items())
    return {name: value for name, value in pairs if value}
