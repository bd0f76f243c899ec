"""OpenAI's six headers: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.

    x-ratelimit-limit-requests: 14400        x-ratelimit-limit-tokens: 6000
    x-ratelimit-remaining-requests: 14369    x-ratelimit-remaining-tokens: 5963
    x-ratelimit-reset-requests: 3m6s         x-ratelimit-reset-tokens: 370ms

The window is not in the name: OpenAI counts requests in a minute, Groq in a day. Both are buckets
that refill evenly, and the reset is the time until they are whole, never the wait before the next
request. Read 2026-11-22 from both providers' rate-limit pages.
"""

from stepwell.providers.dialects.durations import count, has_unit, reset_in
from stepwell.providers.dialects.refusal import read
from stepwell.providers.dialects.reply import Reply
from stepwell.quota.limit import Metric
from stepwell.quota.reading import Hint, Reading

_MINUTE = 60.0
_DAY = 86_400.0


def openai(reply: Reply) -> Hint:
    """OpenAI: both counters are of a minute, unless a refusal's text names the day."""
    return read(reply, split_counters(reply, _MINUTE, _MINUTE))


def groq(reply: Reply) -> Hint:
    """Groq: requests of a day, tokens of a minute; the other two limits stand in refusals only."""
    return read(reply, split_counters(reply, _DAY, _MINUTE))


def split_counters(
    reply: Reply, requests_window: float | None, tokens_window: float | None
) -> tuple[Reading, ...]:
    """The counters of the six headers; the windows, in seconds, are what the caller knows."""
    requests = _counter(reply, Metric.REQUESTS, requests_window)
    tokens = _counter(reply, Metric.TOKENS, tokens_window)
    if requests is None:
        return () if tokens is None else (tokens,)
    return (requests,) if tokens is None else (requests, tokens)


_NAMES = {
    metric: tuple(f"x-ratelimit-{what}-{metric}" for what in ("limit", "remaining", "reset"))
    for metric in Metric
}


def _counter(reply: Reply, metric: Metric, window: float | None) -> Reading | None:
    headers = reply.headers
    limit_name, remaining_name, reset_name = _NAMES[metric]
    limit = count(headers.get(limit_name))
    remaining = count(headers.get(remaining_name))
    if limit is None and remaining is None:
        return None
    if limit == 0 and reply.status < 400:
        return None  # a served request refutes a limit of nothing
    text = headers.get(reset_name, "")
    reset = reset_in(text, reply.now)
    if reset == 0 and remaining == 0:
        reset = None  # empty and whole at once: Azure's 0 for "not known"
    # The families that write units are those whose buckets refill evenly.
    refills = reset is not None and has_unit(text)
    return Reading(metric, window, limit, remaining, reset, refills=refills)
