"""Opening: between which moments room comes, where it may have come already.

A refusal is as old as its call. Where a window may move at any moment, it says nothing of the moment
at which it is heard, and a request that fails then may fail beside an open window; asking again only
makes that rarer. Yet it is known by when the window has surely moved. So a request is held until
then, rather than failed, but for no longer than `LONGEST`.

Those who are held ask as little as they can: when it is as likely as not that the window has moved.
Either answer halves what is not known, also for the windows to come, and the last second is waited
out without a question.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, Self

# What a guess begins with, half of the commonest window. Windows that are known worse are those of
# hours and days: there a refusal is seldom wrong, and nobody waits so long who did not say so.
LONGEST: Final = 30.0
# What is not known of an edge where it was asked for once a second, and each answer took its time.
_SOON: Final = 2.0
# As long as a request without patience waits for evidence in any case.
_MOMENT: Final = 1.0


class Opening(NamedTuple):
    """See the module's text.

    Attributes:
        since: Monotonic time since when there may be room.
        by: Monotonic time by which there surely is.
    """

    since: float
    by: float

    @classmethod
    def of_all(cls, openings: Iterable[Self | None]) -> Self | None:
        """Return when several limits have room; None if one of them surely has none now."""
        every = list(openings)
        known = [opening for opening in every if opening is not None]
        if not known or len(known) < len(every):
            return None
        return cls(*map(max, zip(*known, strict=True)))

    def holds(self, since: float, now: float) -> bool:
        """Tell whether a request that looks for room since then is to wait for it.

        It does if it surely comes in time, or soon.
        """
        return self.by <= max(since + LONGEST, now + _SOON)

    def asked_at(self, now: float) -> float:
        """Return when to ask whether it has come."""
        if self.by - max(now, self.since) <= _MOMENT:
            return self.by
        return (self.since + self.by) / 2
