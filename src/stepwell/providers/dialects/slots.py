"""Slot: which number of which counter a header holds, told by its name alone.

Each family spells the names in its own way; a module with the family's name holds its grammar, a
`Speller`. No two grammars share a name, so whoever reads all of them recognises every family.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from stepwell.providers.dialects.durations import DAY, HOUR, MINUTE, MONTH, SECOND, WEEK
from stepwell.quota.limit import Metric, Scope

Field: TypeAlias = Literal["limit", "remaining", "reset", "period"]


class Slot(NamedTuple):
    """One number of a counter.

    Attributes:
        field: Which number; `period` is the length of the window.
        counts: `requests`, `tokens`, or a word for what the ledger does not count.
        window: Seconds, where the name tells them.
        scope: What shares the counter, where the name tells it.
        clock: Its provider's windows begin and end by the clock in UTC.
        bucket: It refills evenly where its reset is a length with units or an instant, and the
            reset is when it is whole.
    """

    field: Field
    counts: str
    window: float | None = None
    scope: Scope | None = None
    clock: bool = False
    bucket: bool = False


Speller: TypeAlias = Callable[[str], Slot | None]
"""From a header's name in lower case to what it holds; None if the family has no such name."""

FIELDS: dict[str, Field] = {
    "limit": "limit",
    "remaining": "remaining",
    "reset": "reset",
    "renewalperiod": "period",
}
COUNTED = {
    **dict.fromkeys(("requests", "request", "req"), "requests"),
    **dict.fromkeys(("tokens", "token"), "tokens"),
    **dict.fromkeys(("input-tokens", "prompt-tokens"), "input_tokens"),
    **dict.fromkeys(("output-tokens", "completion-tokens"), "output_tokens"),
}
METRICS = {metric.value: metric for metric in Metric}
WINDOWS = {
    **dict.fromkeys(("second", "sec", "1s"), SECOND),
    **dict.fromkeys(("minute", "min", "1m"), MINUTE),
    **dict.fromkeys(("hour", "1h"), HOUR),
    **dict.fromkeys(("day", "1d", "24h"), DAY),
    **dict.fromkeys(("week", "7d"), WEEK),
    **dict.fromkeys(("month", "30d"), MONTH),
}
