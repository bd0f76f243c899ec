"""Proofs: how sure it is that a limit has the amount that is counted against.

A refusal that was foreseen proves the amount if no larger one explains it:

- *strongly* if no law at all could have a larger one, or if a told delay fits a window whose kind is
  known, unless it served twice the amount within one window;
- *weakly* if none could by a law that is believed, nor by a sliding window. Not every sliding window
  explains everything: it served calls when so many were in it (`peak`), and refused one when so few
  were (`trough`).

One strong proof is enough, or three weak ones, half a window apart; a limit of our own making wants
one more, as many others would explain the same answers.

An amount that is right is proven by and by. One that is wrong may be explained for ever, where edges
that nobody sees may lie so that it fits, but it is not proven. So after twice as many refusals that
would have proven it and did not, it is no longer *plausible*.
"""

from math import inf
from typing import Final

# So long is believed what was proven, in seconds: a limit that was raised is found out late then, but
# what is asked for in vain costs more. Each time it is right once more it is believed twice as long.
TRUST: Final = 3600.0
MOST_TRUST: Final = 86400.0
STRONG: Final = 3
WEAK: Final = 1
_WANTED: Final = {"configured": 3, "told": 3, "learned": 4}
# Refusals, half a window apart, that a limit may explain without one that proves it.
_MOST_VAGUE: Final = 6


class Proofs:
    """What refusals and successes have shown of one limit's amount.

    Attributes:
        window: The limit's, in seconds.
        weight: Of all proofs.
        until: Monotonic time until which they hold; -inf where they are too few.
        peak: So many were surely in the window when a call was served.
        trough: So few may have been in it when a call was refused; both with that call.
    """

    __slots__ = (
        "_last",
        "_trust",
        "_unsure_until",
        "_vague",
        "_vague_at",
        "peak",
        "trough",
        "until",
        "weight",
        "window",
    )

    def __init__(self, window: float) -> None:
        self.window = window
        self.weight = self._vague = 0
        self._last = self._vague_at = self.until = -inf
        self._trust = TRUST
        self._unsure_until = -inf
        self.peak = 0
        self.trough = inf

    def __repr__(self) -> str:
        return f"<Proofs of weight {self.weight}, until {self.until:g}>"

    @property
    def is_plausible(self) -> bool:
        return self._vague < _MOST_VAGUE

    @property
    def is_confirmed(self) -> bool:
        """A refusal was foreseen at least once."""
        return self.trough < inf

    def add(self, weight: int, source: str, now: float) -> None:
        """A refusal was foreseen that has this weight, 0 if it proves nothing."""
        if weight and now >= self._last + self.window / 2:
            self.weight += weight
            self._last, self._vague = now, 0
        elif not weight and now >= self._vague_at + self.window / 2:
            self._vague += self.weight < _WANTED[source]
            self._vague_at = now
        if self.weight >= _WANTED[source] and now >= self._unsure_until:
            if -inf < self.until <= now:
                self._trust = min(2 * self._trust, MOST_TRUST)
            self.until = now + max(self.window, self._trust)

    def measured(self, now: float) -> None:
        """A reading shows that the count is right."""
        self.weight = max(self.weight, STRONG)
        self.until = max(self.until, now + self.window)

    def slides(self, amount: int) -> bool:
        """Tell whether a sliding window of more than this amount may explain every outcome."""
        return self.trough > max(self.peak, amount + 1)

    def doubles(self, amount: int) -> bool:
        """Tell whether one window seems to have held what two of this amount can, and no more than that.

        An edge may lie in the midst of a burst, but it is likelier that twice as much fits.
        """
        return self.peak >= 2 * amount and self.slides(amount)

    def distrust(self) -> None:
        """The amount was wrong, or is another one now."""
        self.weight = self._vague = 0
        self._last = self._vague_at = self.until = -inf
        self._trust = TRUST

    def begin_anew(self, now: float) -> None:
        """No law foresaw what the provider did, so for as long as proofs are trusted none will do."""
        self.distrust()
        self._unsure_until = now + TRUST

    def forget(self) -> None:
        """It is another limit."""
        self.distrust()
        self.peak, self.trough = 0, inf

    def restore(self, weight: int, seconds: float, then: float) -> None:
        """Learn what was known at `then`, which would hold for so many seconds."""
        self.weight = weight
        self.until = then + min(seconds, max(self.window, MOST_TRUST))
