"""Numbers and lengths of time, as providers write them.

What cannot be read is absent (None), never zero: zero is a value.
"""

import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

SECOND: Final = 1.0
MINUTE: Final = 60.0
HOUR: Final = 3_600.0
DAY: Final = 86_400.0
WEEK: Final = 604_800.0
MONTH: Final = 2_592_000.0
"""Thirty days: what a counter of a month is named by; where it ends, the calendar says."""

TWO_DAYS = 172_800.0
"""No told time is believed beyond this, in seconds. The longest honest one is a day limit's reset;
a month's is worth a new question every two days."""

_EPOCH_MS = 1e12
_EPOCH_S = 1e9
_NUMBER = r"[0-9]{1,40}(?:\.[0-9]{0,30})?"
_COUNT = re.compile(r"(-?[0-9]{1,15})(?:\.[0-9]*)?\s*(?:$|;|,\s)")
_PLAIN = re.compile(rf"-?{_NUMBER}")
# The order of the units matters: `m` must not take the first letter of `ms` or `min`.
_UNIT = {
    **dict.fromkeys(("milliseconds", "millisecond", "msec", "ms"), 1e-3),
    **dict.fromkeys(("microseconds", "us", "µs", "μs"), 1e-6),
    **dict.fromkeys(("nanoseconds", "ns"), 1e-9),
    **dict.fromkeys(("minutes", "minute", "mins", "min", "m"), 60.0),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), 1.0),
    **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), 3_600.0),
    **dict.fromkeys(("days", "day", "d"), 86_400.0),
}
_PART = rf"({_NUMBER})\s*({'|'.join(_UNIT)})"
_PARTS = re.compile(_PART)

LENGTH = rf"{_NUMBER}\s*(?:{'|'.join(_UNIT)})(?![a-z])"
"""A pattern for one part of a length in prose: `9m`, `38.016s`, `20 seconds`."""

_SHORT = 18
_LONGEST = 64  # characters of a reset; an instant with all its parts has half as many
_REMEMBERED = 1024
_GO_PARTS = re.compile("([0-9.]{1,36})([a-zµμ]+)")

# RFC 3339, and the same with a space and without a zone, as people write it.
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"(?:[Zz]| ?[+-][0-9]{2}:?[0-9]{2})?"
)


def clamp(seconds: float) -> float:
    """A told time, kept in what can be believed: the past is 0, and two days are the most."""
    return min(max(seconds, 0.0), TWO_DAYS)


def text_in(field: str | bytes) -> str:
    """A header's field as text."""
    return field if isinstance(field, str) else field.decode("latin-1").strip()


def count(text: str | bytes | None) -> int | None:
    """A counter: a whole number, never below 0. Of a list (IETF draft) the first member counts."""
    if not text:
        return None
    if text.isdigit() and text.isascii() and len(text) <= 15:
        return int(text)
    match = _COUNT.match(text_in(text))
    return max(0, int(match[1])) if match else None


def number(value: object) -> float | None:
    """A plain number, from JSON or from text; None for anything else."""
    if isinstance(value, str):
        return float(value) if _PLAIN.fullmatch(value) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Beyond this an int cannot become a float; the comparison also turns NaN away.
        return float(value) if -1e40 < value < 1e40 else None
    return None


def total(text: str) -> float:
    """The sum of all parts with a unit in `text`, in seconds: `9m38.016s` is 578.016."""
    return sum(float(amount) * _UNIT[unit] for amount, unit in _PARTS.findall(text))


def duration(text: str) -> float | None:
    """Seconds of a length written with units, as Go prints it: `7m12s`, `12ms`, `2m59.56s`."""
    if text[:-1].isdecimal() and len(text) <= _SHORT and text[-1] in _UNIT:  # `6s`, as most are
        return float(text[:-1]) * _UNIT[text[-1]]
    seconds = 0.0
    read = 0
    for amount, unit in _GO_PARTS.findall(text):
        try:
            seconds += float(amount) * _UNIT[unit]
        except (KeyError, ValueError):
            return None
        read += len(amount) + len(unit)
    return seconds if read and read == len(text) else None


class Reset(NamedTuple):
    """A reset as it was written.

    Attributes:
        seconds: From the response on, as far as they can be believed; 0 for a moment.
        moment: In Unix seconds; None for a length.
        has_unit: It is a length with units, or an instant in UTC.
    """

    seconds: float
    moment: float | None
    has_unit: bool


def reset_in(text: str | None, now: float) -> float | None:
    """Seconds until a reset written as a length, a number of seconds, a Unix time, or RFC 3339."""
    reset = reset_of(text)
    if reset is None:
        return None
    return reset.seconds if reset.moment is None else clamp(reset.moment - now)


def reset_of(text: str | bytes | None) -> Reset | None:
    """What a reset says; None if there is none, or it cannot be read."""
    return _read_reset(text) if text and len(text) <= _LONGEST else None


@lru_cache(maxsize=_REMEMBERED)
def _read_reset(field: str | bytes) -> Reset | None:
    """Those that a provider sends again and again are read once.

    A plain number is seconds from now, Unix seconds or Unix milliseconds; the three lie far apart:
    1e9 is 31 years as a delay and 2001 as a Unix time, and 1e12 the same year in milliseconds.
    """
    text = text_in(field)
    with_unit = text[-1:].isalpha()
    seconds = duration(text) if with_unit else number(text)
    if seconds is None:
        moment = instant(text)
        return None if moment is None else Reset(0.0, moment, with_unit)
    if with_unit or seconds < _EPOCH_S:
        return Reset(clamp(seconds), None, with_unit)
    return Reset(0.0, seconds / 1000 if seconds >= _EPOCH_MS else seconds, has_unit=False)


def instant(text: str, zone: tzinfo = UTC) -> float | None:
    """Unix seconds of an RFC 3339 date and time, None for anything else.

    Args:
        text: With `T` or a space between date and time, with or without an offset.
        zone: Whose time it is if it has no offset.
    """
    if not _INSTANT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper().replace(" +", "+").replace(" -", "-"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None
