"""The delay that a response states in its headers.

Source: RFC 9110, section 10.2.3. Beyond it, providers send decimals (Groq: `7.66`; reading these
with `int()` or a lenient date parser loses them or turns them into 2001) and `retry-after-ms`
(Azure, OpenAI).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_tz

from stepwell.providers.dialects.durations import clamp, number, reset_in

# The three forms of an HTTP-date (RFC 9110, section 5.6.7) begin with a day's name. The parser
# behind this accepts nearly anything, so this stands before it.
_DATE = re.compile(
    r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},? [a-z0-9 -]{5,12} [0-9:]{8}(?: [0-9]{4}| gmt)?",
    re.IGNORECASE,
)


# What tripped resets then: GitHub's seconds, and the subscription keys' instant at Anthropic.
_RESETS = ("x-ratelimit-timeremaining", "anthropic-ratelimit-unified-reset")


def stated_delay(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, as `retry-after-ms` or `retry-after` say; None if neither does.

    Milliseconds are finer and go first, but Azure sends 0 of them beside a `retry-after: 1`, so
    their zero counts only where nothing else is said.
    """
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds is not None and milliseconds > 0:
        return clamp(milliseconds / 1000)
    delay = parse_retry_after(headers.get("retry-after"), headers.get("date"), now=now)
    if delay is None and milliseconds is not None:
        delay = 0.0
    if delay is None:
        resets = (reset_in(headers.get(name), now) for name in _RESETS)
        delay = next((reset for reset in resets if reset is not None), None)
    return delay


def parse_retry_after(value: str | None, date: str | None = None, *, now: float) -> float | None:
    """Seconds to wait, as a Retry-After field says.

    Args:
        value: Seconds, whole or decimal; a length with units; or an HTTP-date.
        date: The response's own Date field. A Retry-After date is measured from it, so that a
            wrong clock, theirs or ours, does no harm.
        now: Unix time in seconds when the response arrived.
    """
    delay = reset_in(value, now)
    if delay is not None or value is None:
        return delay
    until = http_date(value)
    if until is None:
        return None
    sent = http_date(date) if date else None
    return clamp(until - (now if sent is None else sent))


def http_date(text: str) -> float | None:
    """Unix seconds of an HTTP-date, None for anything else."""
    if not _DATE.fullmatch(text):
        return None
    parsed = parsedate_tz(text)
    if parsed is None:
        return None
    try:
        return datetime(*parsed[:6], tzinfo=UTC).timestamp()  # an HTTP-date is always in GMT
    except ValueError:
        return None
