"""Family anthropic: the bucket before the field, and instants in RFC 3339.

    anthropic-ratelimit-requests-limit: 50
    anthropic-ratelimit-requests-remaining: 49
    anthropic-ratelimit-requests-reset: 2026-10-02T12:00:01Z

All are buckets of a minute that refill evenly; the reset is when they are whole. `input-tokens` and
`output-tokens` bound only a part of a request, so the ledger does not count them. The `unified`
headers of subscription keys hold a share used, never a remaining count: no counter is made of them.

Source: docs.claude.com/en/api/rate-limits, read 2026-11-22.
"""

import re

from stepwell.providers.dialects.durations import MINUTE
from stepwell.providers.dialects.slots import COUNTED, FIELDS, Slot

_NAME = re.compile(
    r"anthropic-(ratelimit|priority)-(requests|(?:input-|output-)?tokens)-(limit|remaining|reset)"
)


def spell(name: str) -> Slot | None:
    """`anthropic-ratelimit-BUCKET-FIELD`; the priority tier's buckets stand apart."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    kind, bucket, field = match.groups()
    counts = COUNTED[bucket] if kind == "ratelimit" else f"priority_{COUNTED[bucket]}"
    return Slot(FIELDS[field], counts, MINUTE, bucket=True)
