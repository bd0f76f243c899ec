"""Dialects: what providers say about quota, read out of their responses.

A dialect is a pure function from a `Reply` to a `Hint`. What it goes by stands in tables, each in a
module of its own:

    names of headers   slots; split, windowed, bare, anthropic, vendor, draft: a module a family
    shapes of bodies   bodies, gemini
    words in them      subject (what a refusal is about), prose (delays and counters), sayings (what
                       known words imply), spent (the counter that refused)
    times              durations, calendars, retry_after
    memory             remembered: of what comes again and again
    providers          members, customs

`headers` reads the counters, `refusal` puts everything together, `summary` says a hint in the words
of the collected samples.
"""

from stepwell.providers.dialects.bodies import BodyError, error_of
from stepwell.providers.dialects.members import DIALECTS, FAMILIES
from stepwell.providers.dialects.remembered import Familiar, is_timeless
from stepwell.providers.dialects.reply import Dialect, Head, Reply, quota_headers, undated
from stepwell.providers.dialects.subject import embedded_status
from stepwell.providers.dialects.summary import Summary, summarize, wait_of

__all__ = [
    "FAMILIES",
    "NAMES",
    "BodyError",
    "Dialect",
    "Familiar",
    "Head",
    "Reply",
    "Summary",
    "dialect",
    "embedded_status",
    "error_of",
    "is_timeless",
    "quota_headers",
    "summarize",
    "undated",
    "wait_of",
]

NAMES: tuple[str, ...] = tuple(sorted(DIALECTS))
"""Every name that `dialect` knows."""


def dialect(name: str) -> Dialect:
    """Return the dialect of that name.

    Raises:
        ValueError: No dialect has this name; the message lists those that are known.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        raise ValueError(f"no dialect {name!r}; known are {', '.join(NAMES)}") from None
