"""Families openai-duration and azure-seconds: OpenAI's six headers, and Azure's two more.

    x-ratelimit-limit-requests: 14400        x-ratelimit-limit-tokens: 6000
    x-ratelimit-remaining-requests: 14369    x-ratelimit-remaining-tokens: 5963
    x-ratelimit-reset-requests: 3m6s         x-ratelimit-reset-tokens: 370ms

The window is not in the name: OpenAI counts requests in a minute, Groq in a day. Both are buckets
that refill evenly, and the reset is the time until they are whole, never the wait before the next
request. Azure and GitHub write bare seconds, and the window into `x-ratelimit-renewalperiod-*`.
Read 2026-11-22 from the providers' rate-limit pages and recorded answers.
"""

import re

from stepwell.providers.dialects.slots import COUNTED, FIELDS, Slot

_NAME = re.compile(
    rf"x-ratelimit-({'|'.join(FIELDS)})-((?:input-|output-|prompt-|completion-)?tokens|requests)"
)


def spell(name: str) -> Slot | None:
    """`x-ratelimit-{limit,remaining,reset,renewalperiod}-{requests,tokens}`."""
    match = _NAME.fullmatch(name)
    return Slot(FIELDS[match[1]], COUNTED[match[2]], bucket=True) if match else None
