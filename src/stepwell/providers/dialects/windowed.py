"""Family windowed-suffix: the window stands in the header's name.

    x-ratelimit-limit-requests-day: 2400               Cerebras; reset in decimal seconds
    x-ratelimit-remaining-req-minute: 22               Mistral; no reset
    x-ratelimit-limit-tokens-per-day: 5000000          DigitalOcean; reset in Unix seconds
    x-ratelimit-remaining-requests-1h: 700             Nous; reset in seconds
    ratelimitbysize-remaining: 1999000                 Mistral, older: tokens of a minute
    x-ratelimitbysize-remaining-month: 1999000000

Mistral's windows are those of the clock: refusals end at second :00, a month's with the month.
Seen in public fixtures and measurements, read 2026-11-22.
"""

import re

from stepwell.providers.dialects.durations import MINUTE
from stepwell.providers.dialects.slots import COUNTED, FIELDS, WINDOWS, Slot

_FIELD = "limit|remaining|reset"
_WINDOW = "|".join(WINDOWS)
_SPLIT = re.compile(
    rf"x-ratelimit-({_FIELD})-(requests|req|tokens|custom)-(?:per-)?({_WINDOW})",
)
_BY_SIZE = re.compile(rf"(?:x-)?ratelimitbysize-({_FIELD})(?:-({_WINDOW}))?")


def spell(name: str) -> Slot | None:
    """`x-ratelimit-FIELD-{requests,req,tokens}-WINDOW`, and Mistral's `ratelimitbysize`."""
    if match := _SPLIT.fullmatch(name):
        field, counts, window = match.groups()
        # Only Mistral writes `req`; its connectors' `custom` limits count requests too.
        clock = counts in {"req", "custom"}
        return Slot(FIELDS[field], COUNTED.get(counts, "requests"), WINDOWS[window], clock=clock)
    if match := _BY_SIZE.fullmatch(name):
        window_seconds = WINDOWS[match[2]] if match[2] else MINUTE
        return Slot(FIELDS[match[1]], "tokens", window_seconds, clock=True)
    return None
