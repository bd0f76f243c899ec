"""What providers say about quota in sentences.

Two things are read: a delay (`Please try again in 7m12.5s`, `will reset at 2026-10-02 23:30:00`),
and the counter that tripped, which for some limits is told nowhere else: Groq's requests per minute
and tokens per day appear in no header. Counters are told in these forms:

    on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619      OpenAI, Groq, Moonshot
    Rate limit of 50 per 86400s exceeded for UserByModelByDay              GitHub
    limited to 20 API calls / minute                                       Cohere
    Tokens per minute limit exceeded; TPM limit reached                    Cerebras, SiliconFlow
    Usage limit reached for 5 hour                                         Z.ai
    Queue full for IP: 203.0.113.7: 1 requests already queued (max: 1)     Pollinations
"""

import re
from datetime import UTC, tzinfo
from typing import NamedTuple

from stepwell.providers.dialects.durations import (
    DAY,
    HOUR,
    LENGTH,
    MINUTE,
    MONTH,
    SECOND,
    WEEK,
    clamp,
    instant,
    total,
)
from stepwell.providers.dialects.remembered import remembered
from stepwell.providers.dialects.slots import METRICS
from stepwell.quota.limit import Metric, Scope

_READ = 4_000  # characters; messages are one or two sentences

_DELAY = re.compile(
    r"\b(?:try again|retry|wait|available again|resets?)(?: (?:in|after|for))?(?: about)?"
    rf"((?:[\s,]*(?:and )?{LENGTH})+)",
    re.IGNORECASE,
)
_RESET_AT = re.compile(
    r"\bresets? (?:at|on) ([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{5,18}(?:Z| ?[+-][0-9:]{4,6})?)",
    re.IGNORECASE,
)
_NUMBER = "([0-9][0-9,]{0,18})"
_AMOUNT = r":? ?(?:of )?~?([0-9][0-9,]{0,18})"
_LIMIT = re.compile(rf"\blimit{_AMOUNT}", re.IGNORECASE)
_USED = re.compile(rf"\b(?:used|current){_AMOUNT}", re.IGNORECASE)
_REQUESTED = re.compile(rf"\brequested{_AMOUNT}", re.IGNORECASE)

# `tokens per min`, `output tokens per day`; and the short forms RPM, TPD, ITPM, OTPM.
_AXIS = re.compile(
    r"\b(?:(input|output)[ _])?(requests?|tokens?)[ _]per[ _](sec|min|hour|day|week|month)",
    re.IGNORECASE,
)
_SHORT_AXIS = re.compile(r"\b([IO])?([RT])P([SMHD])\b")
_COUNTS = {"r": "requests", "t": "tokens", "c": "requests"}
_PARTS = {"i": "input_tokens", "o": "output_tokens"}
_WINDOW = {
    **dict.fromkeys(("s", "sec"), SECOND),
    **dict.fromkeys(("m", "min", "minute"), MINUTE),
    **dict.fromkeys(("h", "hour"), HOUR),
    **dict.fromkeys(("d", "day"), DAY),
    "week": WEEK,
    "month": MONTH,
}
_SPENT = re.compile(r"\b(?:exceeded|reached|exhausted|used up)\b", re.IGNORECASE)
_RATIO = re.compile(
    rf"\b(?:limited to|limit of|limit is|maximum of|at most) {_NUMBER} (?:api )?"
    r"(requests?|calls?|tokens?) ?(?:per|/|an?|each|every) ?(sec|min|hour|day|week|month)",
    re.IGNORECASE,
)
_SPAN = re.compile(r"\blimit reached for ([0-9]{1,3}) ?(hour|day|week|month)s?\b", re.IGNORECASE)
_QUEUE = re.compile(rf"\bqueue full for ip\b.{{0,100}}\(max: {_NUMBER}\)", re.IGNORECASE)

# GitHub names its limits; the name is also in `x-ratelimit-type`, where Azure writes `Tokens`.
_GITHUB = re.compile(rf"\brate limit of {_NUMBER} per {_NUMBER}s exceeded for (\w+)", re.IGNORECASE)
_GITHUB_NAME = re.compile(r"User(?:By|Concurrent)\w{3,60}")
_GITHUB_WINDOW = re.compile(r"By(Minute|Hour|Day)")

# How many tokens a request may have, in the words of OpenAI, GitHub, Mistral, Anthropic, Gemini.
_SIZES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"maximum context length (?:is|of) ([0-9][0-9,]{0,12})",
        r"max(?:imum)? size:? ([0-9][0-9,]{0,12}) tokens",
        r"([0-9][0-9,]{0,12}) maximum context length",
        r"tokens > ([0-9][0-9,]{0,12}) maximum",
        r"maximum number of tokens allowed \(?([0-9][0-9,]{0,12})",
        r"context (?:window|length|size) (?:is|of) ([0-9][0-9,]{0,12})",
    )
)


class Tripped(NamedTuple):
    """The counter that a message names.

    Attributes:
        counts: What is counted: `requests`, `tokens`, or a word for what the ledger does not count;
            `input_tokens` and `output_tokens` bound only a part of a request, and read as a limit
            of whole requests they would turn prompts away.
        window: Seconds, 0 for calls at once; None if not told.
        limit: How many fit; None if not told.
        used: How many were used; None if not told.
        requested: How many were asked for on top; None if not told.
        scope: What shares it; None if not told.
        is_spent: The message says that nothing is left, without saying how many were used.
        is_implied: No message names it; it follows from what kind of refusal this is.
    """

    counts: str
    window: float | None = None
    limit: int | None = None
    used: int | None = None
    requested: int | None = None
    scope: Scope | None = None
    is_spent: bool = False
    is_implied: bool = False

    @property
    def metric(self) -> Metric | None:
        """What the ledger calls it; None if the ledger does not count it."""
        return METRICS.get(self.counts)

    @property
    def never_fits(self) -> bool:
        """The request alone is larger than the limit: waiting does not help."""
        return self.requested is not None and self.limit is not None and self.requested > self.limit

    @property
    def refills(self) -> bool:
        """The sentence with all three numbers is OpenAI's and Groq's, whose buckets refill evenly.

        Their delays agree: 669 tokens too many of 100000 a day, `try again in 9m38.016s`.
        """
        return self.used is not None and self.requested is not None

    @property
    def remaining(self) -> int | None:
        if self.used is None or self.limit is None:
            return 0 if self.is_spent else None
        return max(0, self.limit - self.used)


@remembered
def stated_wait(text: str) -> float | None:
    """Seconds of the delay that a message asks for, None if it asks for none."""
    match = _DELAY.search(text[:_READ])
    return clamp(total(match[1].lower())) if match else None


def stated_moment(text: str, zone: tzinfo, now: float) -> float | None:
    """Seconds until the moment at which a message says the limit resets, None if it says none.

    Args:
        text: The message.
        zone: Whose clock the provider is thought to read where it writes no offset. If that moment
            is already past, the message was not meant so, and is read in UTC.
        now: Unix time in seconds.
    """
    match = _RESET_AT.search(text[:_READ])
    if match is None:
        return None
    moments = (instant(match[1], each) for each in (zone, UTC))
    waits = [moment - now for moment in moments if moment is not None]
    return clamp(next((wait for wait in waits if wait > 0), 0.0)) if waits else None


@remembered
def tripped(text: str, kind: str) -> Tripped | None:
    """The counter that a message names, None if it names none.

    Args:
        text: The message.
        kind: The error's type: at OpenAI and Groq `tokens` or `requests`, which tells what an old
            message leaves out (`on : Limit 500000, Used ...`); at GitHub the limit's name.
    """
    text = text[:_READ]
    return _by_github(text, kind) or _by_numbers(text, kind) or _by_ratio(text) or _by_axis(text)


def largest_request(text: str) -> int | None:
    """The most tokens that a request may have, where a refusal names it."""
    found = (_amount(pattern, text[:_READ]) for pattern in _SIZES)
    return next((size for size in found if size), None)


def _by_github(text: str, kind: str) -> Tripped | None:
    sentence = _GITHUB.search(text)
    name = sentence[3] if sentence else kind
    if sentence is None and not _GITHUB_NAME.fullmatch(name):
        return None
    limit = _int(sentence[1]) if sentence else None
    window = float(_int(sentence[2])) if sentence else _window_in(name)
    scope = Scope.MODEL if "ByModel" in name else Scope.ACCOUNT
    if "Concurrent" in name or window == 0:
        return Tripped("concurrency", 0.0, limit, scope=scope, is_spent=True)
    counts = "tokens" if "Token" in name else "requests"
    return Tripped(counts, window, limit, scope=scope, is_spent=True)


def _window_in(name: str) -> float | None:
    match = _GITHUB_WINDOW.search(name)
    return _WINDOW[match[1].lower()] if match else None


def _by_numbers(text: str, kind: str) -> Tripped | None:
    limit = _amount(_LIMIT, text)
    axis = _axis(text)
    if limit is None or (axis is None and kind not in {"tokens", "requests"}):
        return None
    counts, window = axis or (kind, None)
    return Tripped(counts, window, limit, _amount(_USED, text), _amount(_REQUESTED, text))


def _by_ratio(text: str) -> Tripped | None:
    if match := _RATIO.search(text):
        counts, window = _COUNTS[match[2][0].lower()], _WINDOW[match[3].lower()]
        return Tripped(counts, window, _int(match[1]), is_spent=True)
    if match := _SPAN.search(text):
        return Tripped("requests", int(match[1]) * _WINDOW[match[2].lower()], is_spent=True)
    if match := _QUEUE.search(text):
        return Tripped("concurrency", 0.0, _int(match[1]), scope=Scope.ACCOUNT, is_spent=True)
    return None


def _by_axis(text: str) -> Tripped | None:
    axis = _axis(text) if _SPENT.search(text) else None
    return Tripped(*axis, is_spent=True) if axis else None


def _axis(text: str) -> tuple[str, float] | None:
    """What is counted, and the window in seconds."""
    match = _AXIS.search(text) or _SHORT_AXIS.search(text)
    if match is None:
        return None
    part, what, per = (word.lower() if word else "" for word in match.groups())
    return _PARTS[part[0]] if part else _COUNTS[what[0]], _WINDOW[per]


def _amount(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return _int(match[1]) if match else None


def _int(text: str) -> int:
    return int(text.replace(",", ""))
