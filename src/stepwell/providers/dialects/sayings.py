"""Sayings: codes and sentences that tell more than their subject.

A few words of a provider imply what they do not spell out: which counter is empty, when its window
ends, whom it covers, or how long such a refusal is known to last. They are looked up in whatever
arrives, so `auto` understands them too. Of several that match the first counts.

Where a window's end is documented or was measured, it is told: it fills the counter's reset. Where
it is only somebody's analysis (`assumed`), it is a delay and no more.

Sources: the providers' error pages, public issues and fixtures, read 2026-11-22.
"""

import re
from datetime import UTC, tzinfo
from typing import NamedTuple

from stepwell.providers.dialects.bodies import BodyError
from stepwell.providers.dialects.calendars import (
    BEIJING,
    Ends,
    every,
    first_of_month,
    midnight,
    monday,
)
from stepwell.providers.dialects.durations import DAY, HOUR, MINUTE, MONTH, WEEK
from stepwell.providers.dialects.remembered import remembered
from stepwell.quota.limit import Scope

_ACCOUNT = Scope.ACCOUNT
_READ = 4_000  # characters of a message that are looked at
_SESSION = 5 * HOUR


class Saying(NamedTuple):
    """What some words imply.

    Attributes:
        counts: What the empty counter counts; empty if the words imply no counter.
        window: Its window in seconds.
        scope: Whom the refusal covers; None if the words leave it open.
        paid: It covers the account's models that cost money, and no others.
        ends: When the window ends.
        assumed: That end is an analysis, not documented and not measured.
        guess: Seconds that such a refusal is known to last.
        limit: A pattern whose first group is the limit.
        zone: Whose clock moments in the message are read by, where they name no offset.
    """

    counts: str = ""
    window: float | None = None
    scope: Scope | None = None
    paid: bool = False
    ends: Ends | None = None
    assumed: bool = False
    guess: float | None = None
    limit: str = ""
    zone: tzinfo = UTC


SILENCE = Saying()

_FREE_DAY = Saying("requests", DAY, Scope.FREE, ends=midnight(UTC))
_NEURONS = Saying(
    "neurons",
    DAY,
    _ACCOUNT,
    ends=midnight(UTC),
    limit=r"allocation of ([0-9][0-9,]{0,18}) neurons",
)
_WORDS: tuple[tuple[str, Saying], ...] = (
    # OpenRouter: all models that end in :free share a day, until 00:00 UTC, and a minute.
    ("free-models-per-day|^openrouter_free_tier_daily$", _FREE_DAY),
    ("free-models-per-min", Saying("requests", MINUTE, Scope.FREE)),
    ("requires more credits|can only afford", Saying(paid=True)),
    # Cloudflare: neurons of a day, until 00:00 UTC; 3036 is documented, 4006 is sent.
    ("daily free allocation|^(?:3036|4006)$", _NEURONS),
    # Mistral sends no delay; refusals end with the minute of the clock. Below its headers.
    ("^1300$[\\s\\S]*tokens rate limit", Saying("tokens", MINUTE, ends=every(MINUTE))),
    ("^1300$", Saying("requests", MINUTE, ends=every(MINUTE))),
    # Cohere: the sentence tells limit and window; the month is taken for the calendar's.
    (
        r"trial key[\s\S]{0,100}/ ?month",
        Saying("requests", MONTH, _ACCOUNT, ends=first_of_month, assumed=True),
    ),
    ("trial key", Saying(scope=_ACCOUNT)),
    # Hugging Face: credits of a month, as a 402.
    (
        r"monthly (?:included )?credits|included credits",
        Saying("credits", MONTH, _ACCOUNT, ends=first_of_month, assumed=True),
    ),
    # Z.ai: 1304 a day's calls; the 1308 family a window of hours or days, named in the message.
    ("^1302$", Saying(scope=_ACCOUNT, guess=1.0)),
    ("^1303$", Saying(scope=_ACCOUNT, guess=5.0)),
    ("^1304$", Saying("requests", DAY, _ACCOUNT)),
    # Its moments have no zone; mainland pages imply Beijing's.
    (
        "^13(?:08|10|16|17)$|usage limit reached for [0-9]+ hour",
        Saying("requests", None, _ACCOUNT, zone=BEIJING),
    ),
    ("^1313$", Saying(scope=_ACCOUNT)),
    # Ollama: sessions begin every 5 hours of Unix time, weeks on Monday. Public analysis, 2026-08.
    (
        "(?:reached|exceeded) your session usage limit",
        Saying("compute", _SESSION, _ACCOUNT, ends=every(_SESSION), assumed=True),
    ),
    (
        "(?:reached|exceeded) your weekly usage limit",
        Saying("compute", WEEK, _ACCOUNT, ends=monday, assumed=True),
    ),
    (
        "(?:reached|exceeded) your monthly usage limit",
        Saying("compute", MONTH, _ACCOUNT, ends=first_of_month, assumed=True),
    ),
    ("(?:reached|exceeded) your daily usage limit", Saying("compute", DAY, _ACCOUNT)),
    ("(?:reached|exceeded) your hourly usage limit", Saying("compute", HOUR, _ACCOUNT)),
    # ModelScope: where its day ends is not documented.
    ("today's quota", Saying("requests", DAY)),
    ("we have to rate limit you for model", Saying("requests", MINUTE)),
    # MiniMax's numbers inside a 200.
    ("^1002$", Saying("requests", MINUTE, _ACCOUNT)),
    ("^1039$", Saying("tokens", MINUTE, _ACCOUNT)),
    # Kilo: 200 requests an hour and address, of all free models; it says neither.
    ("rate limit exceeded for free models", Saying("requests", HOUR, _ACCOUNT, guess=60.0)),
    # Moonshot names the axis; Vercel, OpenCode Zen and Pollinations only whom it covers.
    ("reached organization [a-z ]{1,30} limit", Saying(scope=_ACCOUNT)),
    ("free credits temporarily have rate limits|^freeusagelimiterror$", Saying(scope=_ACCOUNT)),
    ("queue full for ip", Saying(scope=_ACCOUNT, guess=3.0)),
    # How long a lack of capacity lasts: seconds, except where it was seen to last a minute.
    ("^queue_exceeded$|maximum pending requests|server busy", Saying(guess=2.0)),
    ("^service_tier_capacity_exceeded$|^3505$", Saying(guess=60.0)),
    ("degraded function cannot be invoked", Saying(guess=60.0)),
)
_TABLE = tuple((re.compile(words, re.MULTILINE), saying) for words, saying in _WORDS)


def saying_in(error: BodyError) -> Saying:
    """What the words of a refusal imply beyond their subject."""
    return _saying(error.lines(_READ))


@remembered
def _saying(lines: str) -> Saying:
    return next((saying for words, saying in _TABLE if words.search(lines)), SILENCE)
