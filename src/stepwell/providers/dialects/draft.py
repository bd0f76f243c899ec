"""Family ietf: the headers of the IETF draft, in the forms of its versions.

    RateLimit-Limit: 100, 100;w=60      RateLimit-Remaining: 50      RateLimit-Reset: 5
    RateLimit: limit=100, remaining=50, reset=5
    RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400
    RateLimit: "burst";r=50;t=5, "daily";r=900;t=3600

Resets are seconds from now. What is counted, only `qu` of the last form says; requests is what
proxies count. Sent by proxies and self-hosted gateways.

Source: draft-ietf-httpapi-ratelimit-headers, versions 03 to 10.
"""

import re
from collections.abc import Iterator

from stepwell.providers.dialects.durations import DAY, count, number, reset_in
from stepwell.providers.dialects.reply import Reply
from stepwell.quota.limit import Metric
from stepwell.quota.reading import Reading

_LONGEST = 1_000  # characters of a field; a few policies take a hundred
_MOST = 8  # policies
_LONGEST_WINDOW = 366 * DAY
# One member of a list: a name in quotes or bare, or a number, and parameters.
_MEMBER = re.compile(r'\s*("[^",;]{0,64}"|[A-Za-z0-9_.*-]{1,64})((?:\s*;\s*[a-z]+=[^,;]{0,64})*)')
_PARAMETER = re.compile(r"([a-z]+)=([^,;\s]{1,64})")
_UNITS = {"requests": Metric.REQUESTS, "tokens": Metric.TOKENS}

_Member = tuple[str, dict[str, str]]


def draft_counters(reply: Reply) -> tuple[Reading, ...]:
    """The counters of the draft's headers, if they are there."""
    field = reply.headers.get("ratelimit")
    if field is not None and "remaining" not in field:
        return tuple(_structured(field, reply))
    named = reply.headers if field is None else _dictionary(field)
    remaining = count(named.get("ratelimit-remaining"))
    if remaining is None:
        return ()
    text = named.get("ratelimit-limit")
    limit = count(text)
    policy = reply.headers.get("ratelimit-policy") or text or ""
    reset = reset_in(named.get("ratelimit-reset"), reply.now)
    return (Reading(Metric.REQUESTS, _window(policy, limit), limit, remaining, reset),)


def _structured(field: str, reply: Reply) -> Iterator[Reading]:
    """Versions 08 and later: a counter for each policy that is named."""
    policies = dict(_members(reply.headers.get("ratelimit-policy", "")))
    for name, state in _members(field):
        policy = policies.get(name, {})
        remaining = count(state.get("r"))
        metric = _UNITS.get(policy.get("qu", "requests").strip('"'))
        if remaining is not None and metric is not None:
            yield Reading(
                metric,
                _seconds(policy.get("w")),
                count(policy.get("q")),
                remaining,
                reset_in(state.get("t"), reply.now),
            )


def _dictionary(field: str) -> dict[str, str]:
    """Version 07: all three in one field."""
    return {f"ratelimit-{name}": value for name, value in _PARAMETER.findall(field[:_LONGEST])}


def _window(policy: str, limit: int | None) -> float | None:
    """The window of the policy with this limit, `100;w=60`, if just one has it."""
    windows = {
        _seconds(parameters.get("w"))
        for quota, parameters in _members(policy)
        if count(quota) == limit or count(parameters.get("q")) == limit
    } - {None}
    return windows.pop() if len(windows) == 1 else None


def _members(field: str) -> list[_Member]:
    found = _MEMBER.findall(field[:_LONGEST])[:_MOST]
    return [(name, dict(_PARAMETER.findall(parameters))) for name, parameters in found]


def _seconds(text: str | None) -> float | None:
    seconds = number(text)
    return seconds if seconds is not None and 0 < seconds <= _LONGEST_WINDOW else None
