"""How simulated providers speak of quota: headers on every answer, and the form of a refusal.

Everything said is true unless a provider of that family is known to lie (see `_gemini_delay`). The
forms are those of recorded answers (read 2026-11):

    openai            x-ratelimit-{limit,remaining,reset}-{requests,tokens} with Go durations, of
                      the shortest window; Retry-After in whole seconds on refusals
    groq              the same names, but requests are those of the day; decimal Retry-After; the
                      limit that binds is named in the message only
    openrouter        no headers on answers; a refusal has them, unsplit, with the reset as Unix
                      time in milliseconds, and names the free models' minute or day
    gemini            no headers; a refusal is a JSON array with google.rpc details
    retry-after       nothing but Retry-After on refusals, in whole seconds
    retry-after-date  the same as an HTTP-date, with a Date header beside it
    silent            a refusal says nothing but 429
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Literal, Protocol, TypeAlias

from stepwell.testing.limits import Gauge, Metric, Refusal

Headers: TypeAlias = tuple[tuple[str, str], ...]
DialectName = Literal[
    "openai", "groq", "openrouter", "gemini", "retry-after", "retry-after-date", "silent"
]

_DAY = 86_400.0
_WINDOWS = {1.0: "second", 60.0: "minute", 3_600.0: "hour", _DAY: "day"}
# Gemini's retryDelay stays below a minute also when the day's quota is spent.
_GEMINI_DAY_DELAY = 34.07


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole buffered answer, before it is put on the wire; `body` is JSON."""

    status: int
    body: Any
    headers: Headers = ()


class Dialect(Protocol):
    """A family of providers; write your own and hand it to `Fleet.add(dialect=...)`."""

    def headers(self, gauges: Sequence[Gauge], /) -> Headers:
        """Return what an answer says of quota, be it 200 or an error."""
        ...

    def refuse(self, refusal: Refusal, gauges: Sequence[Gauge], now: float, /) -> Answer:
        """Return the answer to a request that was not admitted; `now` is Unix time."""
        ...


class OpenAIDialect:
    def headers(self, gauges: Sequence[Gauge], /) -> Headers:
        return _split_headers(
            {"requests": _shortest(gauges, "requests"), "tokens": _shortest(gauges, "tokens")}
        )

    def refuse(self, refusal: Refusal, gauges: Sequence[Gauge], _now: float, /) -> Answer:
        headers = self.headers(gauges)
        if refusal.wait is not None:
            headers = (("retry-after", whole_seconds(refusal.wait)), *headers)
        where = f"{refusal.model} in organization org-sim"
        return Answer(429, _rate_error(refusal, where, minute="min"), headers)


class GroqDialect:
    def headers(self, gauges: Sequence[Gauge], /) -> Headers:
        days = [gauge for gauge in gauges if gauge.limit.window == _DAY]
        shorter = [gauge for gauge in gauges if gauge.limit.window < _DAY]
        return _split_headers(
            {"requests": _shortest(days, "requests"), "tokens": _shortest(shorter, "tokens")}
        )

    def refuse(self, refusal: Refusal, gauges: Sequence[Gauge], _now: float, /) -> Answer:
        headers = self.headers(gauges)
        if refusal.wait is not None:
            headers = (("retry-after", _decimal_seconds(refusal.wait)), *headers)
        where = f"`{refusal.model}` in organization `org_1` service tier `on_demand`"
        advice = " Need more tokens? Upgrade to Dev Tier today."
        # A request larger than the whole minute is a 413 with a rate limit's code.
        status = 413 if refusal.too_large else 429
        return Answer(status, _rate_error(refusal, f"model {where}", advice=advice), headers)


class OpenRouterDialect:
    def headers(self, _gauges: Sequence[Gauge], /) -> Headers:
        return ()

    def refuse(self, refusal: Refusal, gauges: Sequence[Gauge], now: float, /) -> Answer:
        gauge = next((gauge for gauge in gauges if gauge.limit == refusal.limit), None)
        if gauge is None or gauge.limit.scope != "free":
            body = error_body("Provider returned error", "rate_limit_error", 429)
            return Answer(429, body)
        window = {60.0: "min", _DAY: "day"}.get(gauge.limit.window, "window")
        headers = {
            "X-RateLimit-Limit": str(gauge.limit.amount),
            "X-RateLimit-Remaining": str(gauge.remaining),
            "X-RateLimit-Reset": str(math.ceil((now + (refusal.wait or 0.0)) * 1_000)),
        }
        error = {
            "message": f"Rate limit exceeded: free-models-per-{window}. ",
            "code": 429,
            "metadata": {"headers": headers},
        }
        lines = tuple((name.lower(), value) for name, value in headers.items())
        return Answer(429, {"error": error}, lines)


class GeminiDialect:
    def headers(self, _gauges: Sequence[Gauge], /) -> Headers:
        return ()

    def refuse(self, refusal: Refusal, _gauges: Sequence[Gauge], _now: float, /) -> Answer:
        if refusal.limit is None:
            message = "Resource has been exhausted (e.g. check quota)."
            return Answer(429, {"error": _gemini_error(message, [])})
        delay = _gemini_delay(refusal)
        details = [_gemini_violation(refusal)]
        message = "You exceeded your current quota. Quota exceeded."
        if delay is not None:
            message += f" Please retry in {delay}."
            details.append(
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
            )
        return Answer(429, [{"error": _gemini_error(message, details)}])


@dataclass(frozen=True, slots=True)
class RetryAfterDialect:
    """Says nothing but Retry-After, in whole seconds or as an HTTP-date."""

    date: bool = False

    def headers(self, _gauges: Sequence[Gauge], /) -> Headers:
        return ()

    def refuse(self, refusal: Refusal, _gauges: Sequence[Gauge], now: float, /) -> Answer:
        body = error_body("Too many requests.", "rate_limit_error", "rate_limit_exceeded")
        return Answer(429, body, self._retry_after(refusal.wait, now))

    def _retry_after(self, wait: float | None, now: float) -> Headers:
        if wait is None:
            return ()
        if not self.date:
            return (("retry-after", whole_seconds(wait)),)
        # A date has whole seconds: rounded up, so that waiting until then is enough.
        due = formatdate(math.ceil(now + wait), usegmt=True)
        return (("date", formatdate(now, usegmt=True)), ("retry-after", due))


class SilentDialect:
    def headers(self, _gauges: Sequence[Gauge], /) -> Headers:
        return ()

    def refuse(self, _refusal: Refusal, _gauges: Sequence[Gauge], _now: float, /) -> Answer:
        return Answer(429, error_body("Too many requests.", "rate_limit_error", None))


DIALECTS: Mapping[str, Dialect] = {
    "openai": OpenAIDialect(),
    "groq": GroqDialect(),
    "openrouter": OpenRouterDialect(),
    "gemini": GeminiDialect(),
    "retry-after": RetryAfterDialect(),
    "retry-after-date": RetryAfterDialect(date=True),
    "silent": SilentDialect(),
}


def error_body(
    message: str, kind: str, code: str | int | None, param: str | None = None
) -> dict[str, Any]:
    """Return OpenAI's error envelope."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def whole_seconds(seconds: float) -> str:
    """Return whole seconds, rounded up: waiting so long is enough."""
    return str(math.ceil(seconds))


def go_duration(seconds: float) -> str:
    """Return `6m0s`, `7.66s`, `120ms`, `0s`: milliseconds at the finest, rounded up."""
    milliseconds = math.ceil(round(seconds * 1_000, 3))
    if 0 < milliseconds < 1_000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1_000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail


def _decimal_seconds(seconds: float) -> str:
    return f"{math.ceil(round(seconds * 1_000, 3)) / 1_000:.3f}".rstrip("0").rstrip(".")


def _shortest(gauges: Sequence[Gauge], metric: Metric) -> Gauge | None:
    of_metric = [gauge for gauge in gauges if gauge.limit.metric == metric]
    return min(of_metric, key=lambda gauge: gauge.limit.window, default=None)


def _split_headers(gauges: Mapping[str, Gauge | None]) -> Headers:
    return tuple(
        line
        for metric, gauge in gauges.items()
        if gauge is not None
        for line in (
            (f"x-ratelimit-limit-{metric}", str(gauge.limit.amount)),
            (f"x-ratelimit-remaining-{metric}", str(gauge.remaining)),
            (f"x-ratelimit-reset-{metric}", go_duration(gauge.reset)),
        )
    )


def _rate_error(
    refusal: Refusal, where: str, *, minute: str = "minute", advice: str = ""
) -> dict[str, Any]:
    limit = refusal.limit
    if limit is None:
        message = f"Too many requests in flight for {where}."
        return error_body(message, "requests", "rate_limit_exceeded")
    axis = _axis(limit.metric, limit.window).replace("minute", minute)
    if refusal.too_large:
        message = (
            f"Request too large for {where} on {axis}: Limit {limit.amount}, "
            f"Requested {refusal.requested}, please reduce your message size and try again."
        )
    else:
        message = (
            f"Rate limit reached for {where} on {axis}: Limit {limit.amount}, "
            f"Used {refusal.used}, Requested {refusal.requested}."
            f"{_try_again(refusal.wait)}{advice}"
        )
    return error_body(message, limit.metric, "rate_limit_exceeded")


def _axis(metric: Metric, window: float) -> str:
    """Return `requests per minute (RPM)`; a window without a letter is written out."""
    word = _WINDOWS.get(window)
    if word is None:
        return f"{metric} per {window:g}s"
    letters = f"{metric[0]}p{word[0]}".upper()
    return f"{metric} per {word} ({letters})"


def _try_again(wait: float | None) -> str:
    return "" if wait is None else f" Please try again in {go_duration(wait)}."


def _gemini_error(message: str, details: list[dict[str, Any]]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}
    return {**error, "details": details} if details else error


def _gemini_violation(refusal: Refusal) -> dict[str, Any]:
    assert refusal.limit is not None
    tokens = refusal.limit.metric == "tokens"
    metric = "input_token_count" if tokens else "requests"
    window = _WINDOWS.get(refusal.limit.window, "").capitalize()
    per = f"Per{window}" if window else ""
    quota = (
        f"GenerateContentInputTokensPerModel{per}-FreeTier"
        if tokens
        else f"GenerateRequests{per}PerProjectPerModel-FreeTier"
    )
    violation = {
        "quotaMetric": f"generativelanguage.googleapis.com/generate_content_free_tier_{metric}",
        "quotaId": quota,
        "quotaDimensions": {"location": "global", "model": refusal.model},
        "quotaValue": str(refusal.limit.amount),
    }
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def _gemini_delay(refusal: Refusal) -> str | None:
    """Return retryDelay: true for a minute, short and wrong for a day, as the real one is."""
    if refusal.limit is None or refusal.wait is None:
        return None
    lies = refusal.limit.window == _DAY
    return f"{_decimal_seconds(min(refusal.wait, _GEMINI_DAY_DELAY) if lies else refusal.wait)}s"
