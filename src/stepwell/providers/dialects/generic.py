"""What any provider may say: Retry-After, a delay in the body, and the IETF draft's headers.

Source: draft-ietf-httpapi-ratelimit-headers, versions up to 07: RateLimit-Limit, -Remaining, and
-Reset in seconds from now. Of what, and in which window, they do not say; requests is what proxies
count.
"""

from stepwell.providers.dialects.durations import count, reset_in
from stepwell.providers.dialects.refusal import read
from stepwell.providers.dialects.reply import Reply
from stepwell.quota.limit import Metric
from stepwell.quota.reading import Hint, Reading


def generic(reply: Reply) -> Hint:
    """The reading that needs to know nothing of the provider."""
    return read(reply, draft_counters(reply))


def draft_counters(reply: Reply) -> tuple[Reading, ...]:
    """The counter of the IETF draft's headers, if they are there."""
    headers = reply.headers
    remaining = count(headers.get("ratelimit-remaining"))
    if remaining is None:
        return ()
    return (
        Reading(
            Metric.REQUESTS,
            limit=count(headers.get("ratelimit-limit")),
            remaining=remaining,
            reset=reset_in(headers.get("ratelimit-reset"), reply.now),
        ),
    )
