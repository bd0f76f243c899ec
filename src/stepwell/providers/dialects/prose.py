"""What providers say about quota in sentences.

Two things are read: a delay (`Please try again in 7m12.5s`), and the counter that tripped (`on
tokens per day (TPD): Limit 100000, Used 97050, Requested 3619`), which for some limits is told
nowhere else: Groq's requests per minute and tokens per day appear in no header.
"""

import re
from dataclasses import dataclass

from stepwell.providers.dialects.durations import LENGTH, clamp, total
from stepwell.quota.limit import Metric

_READ = 4_000  # characters; messages are one or two sentences

_DELAY = re.compile(
    r"\b(?:try again|retry|wait|available again|resets?)(?: (?:in|after|for))?(?: about)?"
    rf"((?:[\s,]*(?:and )?{LENGTH})+)",
    re.IGNORECASE,
)
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
_METRIC = {"r": Metric.REQUESTS, "t": Metric.TOKENS}
_WINDOW = {
    **dict.fromkeys(("s", "sec"), 1.0),
    **dict.fromkeys(("m", "min"), 60.0),
    **dict.fromkeys(("h", "hour"), 3_600.0),
    **dict.fromkeys(("d", "day"), 86_400.0),
    "week": 604_800.0,
    "month": 2_592_000.0,
}

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


@dataclass(frozen=True, slots=True)
class Tripped:
    """The counter that a message names.

    Attributes:
        metric: What is counted; None for input or output tokens alone, which bound only a part of
            a request: read as a limit of whole requests they would turn prompts away.
        window: Seconds; None if not told.
        limit: How many fit.
        used: How many were used; None if not told.
        requested: How many were asked for on top; None if not told.
    """

    metric: Metric | None
    window: float | None
    limit: int
    used: int | None
    requested: int | None

    @property
    def never_fits(self) -> bool:
        """The request alone is larger than the limit: waiting does not help."""
        return self.requested is not None and self.requested > self.limit

    @property
    def refills(self) -> bool:
        """The sentence with all three numbers is OpenAI's and Groq's, whose buckets refill evenly.

        Their delays agree: 669 tokens too many of 100000 a day, `try again in 9m38.016s`.
        """
        return self.used is not None and self.requested is not None

    @property
    def remaining(self) -> int | None:
        return None if self.used is None else max(0, self.limit - self.used)


def stated_wait(text: str) -> float | None:
    """Seconds of the delay that a message asks for, None if it asks for none."""
    match = _DELAY.search(text[:_READ])
    return clamp(total(match[1].lower())) if match else None


def tripped(text: str, kind: str) -> Tripped | None:
    """The counter that a message names with its limit, None if it names none.

    Args:
        text: The message.
        kind: The error's type, `tokens` or `requests` at OpenAI and Groq. It tells the metric where
            an old message leaves it out (`on : Limit 500000, Used ...`).
    """
    text = text[:_READ]
    limit = _amount(_LIMIT, text)
    axis = _AXIS.search(text) or _SHORT_AXIS.search(text)
    if limit is None or (axis is None and kind not in {"tokens", "requests"}):
        return None
    part, what, per = axis.groups() if axis else (None, kind, "")
    return Tripped(
        metric=None if part else _METRIC[what[0].lower()],
        window=_WINDOW.get(per.lower()),
        limit=limit,
        used=_amount(_USED, text),
        requested=_amount(_REQUESTED, text),
    )


def largest_request(text: str) -> int | None:
    """The most tokens that a request may have, where a refusal names it."""
    found = (_amount(pattern, text[:_READ]) for pattern in _SIZES)
    return next((size for size in found if size), None)


def _amount(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(match[1].replace(",", "")) if match else None
