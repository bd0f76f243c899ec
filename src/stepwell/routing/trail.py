"""Attempt and Trail: the record of how a request went down its chain."""

from functools import lru_cache

import msgspec

from stepwell.quota.ledger import Block
from stepwell.quota.reading import Reading

# A header of the whole trail stays well under the 8 KiB that servers and proxies take for all headers.
MAX_HEADER = 1024


class Attempt(msgspec.Struct, frozen=True):
    """One call of an upstream.

    Attributes:
        target: `provider/model`.
        account: The provider's name, with `#2` ... for its further keys.
        outcome: A word of `Outcome`.
        status: The upstream's HTTP status; None if none came.
        seconds: From sending to the verdict; of a stream, to its first meaningful delta.
        delay: Told seconds until it may be asked again; None if not told.
        words: The provider's own words or the error's name, shortened and redacted.
        began: Unix time at which it was sent.
        tokens: Total tokens as the provider counted; None if it did not say, or not yet.
        readings: What it told of its counters.
    """

    target: str
    account: str
    outcome: str
    status: int | None
    seconds: float
    delay: float | None = None
    words: str = ""
    began: float = 0.0
    tokens: int | None = None
    readings: tuple[Reading, ...] = ()

    def __str__(self) -> str:
        if self.outcome == "answer" or not self.status:
            return f"{self.target}:{self.outcome}"
        return f"{self.target}:{self.outcome}({self.status})"


class Trail(msgspec.Struct):
    """All attempts behind one answer, in order, and the blocks that ended the search.

    Attributes:
        attempts: In order.
        blocks: Targets that could not be asked at the end, by target key.
        waited: Seconds spent waiting for quota.
    """

    attempts: list[Attempt] = []
    blocks: tuple[Block, ...] = ()
    waited: float = 0.0

    def header(self) -> str:
        """Return the trail as one bounded ASCII line: `groq/llama:rate_limited(429), a/m:answer`."""
        return _bounded(", ".join(map(str, self.attempts)))


@lru_cache(maxsize=1024)
def _bounded(text: str) -> str:
    """Return a text as one line of ASCII that is no longer than a header may be."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char < "\x7f" else "?" for char in text)
    return text if len(text) <= MAX_HEADER else text[: MAX_HEADER - 4] + " ..."
