"""Limit: so many requests or tokens in a window, and which of an account's models share them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from stepwell.quota.calendar import WINDOWS, Calendar

_EXAMPLE: Final = '"30 requests/minute"'
_EXAMPLE_OF_RESET: Final = '"1000 requests/day from 00:00 America/Los_Angeles"'

# Every unit a window or duration may be written in, in seconds.
_SECONDS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}

_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_AMOUNT: Final = re.compile(r"\d+|\d{1,3}(?:[_,]\d{3})+", re.ASCII)
_LIMIT: Final = re.compile(
    r"\s*([\d_,]+)\s*([a-z]+)\s*/\s*(.+?)(?:\s+from\s+(.+?))?\s*", re.ASCII | re.IGNORECASE
)


class Metric(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"


# OpenRouter's names for what costs nothing, and that of its own choice among these.
_FREE_NAMES: Final = (":free", "/free")


class Scope(StrEnum):
    """What shares a quota, from narrow to wide."""

    MODEL = "model"
    FREE = "free"  # those of an account's models whose names end in `:free`, or are `.../free`
    ACCOUNT = "account"

    def covers(self, model: str) -> bool:
        """Tell whether a model, or a target by its key, has a quota of this scope."""
        return self is not Scope.FREE or model.endswith(_FREE_NAMES)


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` of `metric` in any `window` seconds.

    Attributes:
        metric: What is counted.
        amount: How many; at least 1.
        window: Length in seconds; about that, if there is a calendar.
        scope: Whether each model has its own count, or all models of the account share one, or all
            free ones.
        calendar: Whose days or months are counted; None: any stretch of that length.
    """

    metric: Metric
    amount: int
    window: float
    scope: Scope = Scope.MODEL
    calendar: Calendar | None = None

    @classmethod
    def parse(cls, value: str | Mapping[str, Any]) -> Self:
        """Read a limit as settings and the catalogue write it.

            Limit.parse("30 requests/minute")
            Limit.parse("6000 tokens/60s")
            Limit.parse("1000 requests/day from 00:00 America/Los_Angeles")
            Limit.parse({"metric": "requests", "limit": 20, "window": "60s", "scope": "account"})
            Limit.parse({..., "window": "day", "reset": "00:00 America/Los_Angeles"})

        A day is any 24 hours unless it says when it begins. A month is always the calendar's, and
        begins at midnight UTC unless it says otherwise.

        Raises:
            ValueError: It is neither form; the message names what is wrong and an example.
        """
        fields = value if isinstance(value, Mapping) else _split(value)
        try:
            return cls(**_read(fields))
        except ValueError as error:
            example = _EXAMPLE if fields.get("reset") is None else _EXAMPLE_OF_RESET
            raise ValueError(f"limit {_show(value)}: {error}; write it like {example}") from None


def parse_duration(value: str | float) -> float:
    """Return seconds from `90s`, `1.5h`, `1m30s`, `250ms`, or a bare number of seconds.

    Raises:
        ValueError: It is no duration, negative, or not finite.
    """
    seconds = _add_up(value.strip().lower()) if isinstance(value, str) else _real(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is not a duration: it must be finite and not negative")
    return seconds


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a duration; write it like 90s, 1m30s or 250ms")  # noqa: TRY004 - one error for every wrong value
    return float(value)


def _add_up(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    total, position, last = 0.0, 0, math.inf
    while position < len(text) and (part := _PART.match(text, position)):
        unit = _SECONDS.get(part[2])
        if unit is None or unit >= last:  # 30s1m is more likely a slip than meant
            break
        total += float(part[1]) * unit
        position, last = part.end(), unit
    if not text or position < len(text):
        raise ValueError(f"{text!r} is not a duration; write it like 90s, 1m30s or 250ms")
    return total


def _split(text: Any) -> Mapping[str, Any]:
    found = _LIMIT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is not a limit; write it like {_EXAMPLE}")
    return {"limit": found[1], "metric": found[2], "window": found[3], "reset": found[4]}


def _read(fields: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := set(fields) - {"metric", "limit", "window", "scope", "reset"}:
        raise ValueError(f"unknown field {min(map(str, unknown))!r}")
    if missing := [name for name in ("metric", "limit", "window") if name not in fields]:
        raise ValueError(f"{missing[0]!r} is missing")
    calendar = _calendar(fields["window"], fields.get("reset"))
    return {
        "metric": _metric(fields["metric"]),
        "amount": _amount(fields["limit"]),
        "window": _window(fields["window"]) if calendar is None else calendar.window,
        "scope": _scope(fields.get("scope", Scope.MODEL)),
        "calendar": calendar,
    }


def _calendar(window: Any, reset: Any) -> Calendar | None:
    if _is_month(window):
        return Calendar.parse("month", "00:00" if reset is None else str(reset))
    if reset is None:
        return None
    if _window(window) != WINDOWS["day"]:
        raise ValueError("only a day or a month begins at a time of day")
    return Calendar.parse("day", str(reset))


def _is_month(window: Any) -> bool:
    return isinstance(window, str) and window.strip().lower() in {"month", "months", "1 month"}


def _metric(value: Any) -> Metric:
    word = str(value).lower()
    for metric in Metric:
        if word in (metric, metric.removesuffix("s")):
            return metric
    raise ValueError(f"{value!r} is no metric; it counts requests or tokens")


def _amount(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not _AMOUNT.fullmatch(text):
        raise ValueError(f"{value!r} is not a whole number")
    amount = int(text.replace(",", "").replace("_", ""))
    if amount < 1:
        raise ValueError("it must be at least 1")
    return amount


def _window(value: Any) -> float:
    word = value.strip().lower() if isinstance(value, str) else value
    unit = _SECONDS.get(word) if isinstance(word, str) else None
    window = parse_duration(word) if unit is None else unit
    if window <= 0:
        raise ValueError("its window must be longer than nothing")
    return window


def _scope(value: Any) -> Scope:
    try:
        return Scope(str(value).lower())
    except ValueError:
        raise ValueError(f"{value!r} is no scope; it is model, free or account") from None


def _show(value: str | Mapping[str, Any]) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)
