"""Family google-rpc: no header speaks of quota, the body's `details` tell all.

`QuotaFailure` lists what tripped, the window hidden in `quotaId`; `RetryInfo` has a delay. Where a
day's quota tripped that delay is still a few seconds and wrong: the day ends at midnight Pacific
time, and it wins. A limit of 0 means that the model is not in the free tier: no wait helps.

Source: ai.google.dev/gemini-api/docs/rate-limits and refusals in public issues, read 2026-11-22.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from stepwell.providers.dialects.bodies import Node, text_of
from stepwell.providers.dialects.calendars import PACIFIC, midnight
from stepwell.providers.dialects.durations import DAY, HOUR, MINUTE, SECOND, clamp, count, duration
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import About, Hint, Reading

_WINDOWS = (("PerDay", DAY), ("PerHour", HOUR), ("PerMinute", MINUTE), ("PerSecond", SECOND))
_end_of_day = midnight(PACIFIC)
_ZERO = re.compile(r"\blimit: 0(?![0-9.])")


class Violation(NamedTuple):
    """One quota that tripped; `window` in seconds, what is not told is None."""

    metric: Metric
    window: float | None
    limit: int | None
    scope: Scope


def with_quota_details(node: Node, hint: Hint, now: float) -> Hint:
    """The hint of a rate's refusal, corrected by google.rpc details if the body has them."""
    if not _is_google(node):
        return hint
    message = text_of(node.get("message"))
    nothing = _ZERO.search(message) is not None
    violations = tuple(_violations(node, nothing=nothing))
    if nothing or any(violation.limit == 0 for violation in violations):
        return hint._replace(
            about=About.MODEL,
            delay=None,
            guess=None,
            readings=_readings(hint, violations, {}),
        )
    delay = _retry_delay(node)
    delay = hint.delay if delay is None else delay
    resets = {violation.window: delay for violation in violations}
    if DAY in resets or "PerDay" in message:
        delay = resets[DAY] = _end_of_day(now)
    readings = _readings(hint, violations, resets)
    guess = hint.guess if delay is None else None
    return hint._replace(delay=delay, guess=guess, readings=readings, scope=_scope(violations))


def _scope(violations: tuple[Violation, ...]) -> Scope:
    """The whole account only where nothing narrower tripped."""
    whole = bool(violations) and all(v.scope is Scope.ACCOUNT for v in violations)
    return Scope.ACCOUNT if whole else Scope.MODEL


def _is_google(node: Node) -> bool:
    return node.get("status") == "RESOURCE_EXHAUSTED" or any(
        text_of(detail.get("@type")).startswith("type.googleapis.com/") for detail in _details(node)
    )


def _details(node: Node) -> list[Node]:
    return _mappings(node.get("details"))


def _mappings(value: Any) -> list[Node]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _violations(node: Node, *, nothing: bool) -> Iterator[Violation]:
    """The quotas that tripped. A limit of 0 is not sent; only the message tells it."""
    for detail in _details(node):
        for item in _mappings(detail.get("violations")):
            limit = count(text_of(item.get("quotaValue")))
            limit = 0 if limit is None and nothing else limit
            yield _violation(text_of(item.get("quotaId")), text_of(item.get("quotaMetric")), limit)


def _violation(quota: str, metric: str, limit: int | None) -> Violation:
    names = f"{quota} {metric}".lower()
    return Violation(
        metric=Metric.TOKENS if "token" in names else Metric.REQUESTS,
        window=next((seconds for word, seconds in _WINDOWS if word in quota), None),
        limit=limit,
        scope=Scope.MODEL if "PerModel" in quota or "PerProject" not in quota else Scope.ACCOUNT,
    )


def _readings(
    hint: Hint, violations: tuple[Violation, ...], resets: Mapping[float | None, float | None]
) -> tuple[Reading, ...]:
    """One counter for each quota that tripped, with nothing left; it replaces what prose says."""
    told = {(v.metric, v.window) for v in violations}
    return (
        *(reading for reading in hint.readings if (reading.metric, reading.window) not in told),
        *(
            Reading(v.metric, v.window, v.limit, 0, resets.get(v.window), v.scope)
            for v in dict.fromkeys(violations)
        ),
    )


def _retry_delay(node: Node) -> float | None:
    """RetryInfo's delay, a protobuf duration: `34s`, `20.04466179s`."""
    delays = (duration(text_of(detail.get("retryDelay"))) for detail in _details(node))
    delay = next((delay for delay in delays if delay is not None), None)
    return None if delay is None else clamp(delay)
