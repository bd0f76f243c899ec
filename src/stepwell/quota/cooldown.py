"""Cooldown: a target or account that is to be left alone, why, and until when.

Three kinds, all in the table below:

- *told*: the provider named a delay. Hard; never shortened, and no success erases it.
- *guessed*: it named none. Soft, because a guess may not fail a request; it doubles while it proves
  too short.
- *out of service*: key, credit or model. Hard although guessed, because asking again sooner helps
  nobody.

What was guessed ends half-open: one request probes, and the others wait for its answer. Success
opens, failure doubles. What was told ends open, for the provider knows best.

A refusal while a cooldown runs confirms it and changes nothing, unless a delay is told: a burst of
refusals is one piece of news, and an early probe that is refused proves the guess right, not too
short.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from stepwell.quota.gate import known
from stepwell.quota.ledger import Bench, Block
from stepwell.quota.limit import Scope
from stepwell.quota.reading import believable

# Delays are told in whole seconds, rounded up, or to the millisecond; and a second is as long as
# anybody waits for a told time to end.
_WHOLE: Final = 1.0
_ROUNDED: Final = 0.02
_MOST_LAG: Final = 1.0
# By no more a told delay may be too long.
MOST_BLUR: Final = _MOST_LAG + _WHOLE

_HOUR: Final = 3600.0
_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Rule:
    """How long a bench lasts where nobody says.

    Attributes:
        first: Seconds of the first guess; each further one is twice as long.
        longest: Seconds of the longest guess.
        patience: How many in a row it takes.
        hard: Nobody asks before it is over.
        scope: What it covers, whatever the report says; None leaves it to the report.
    """

    first: float
    longest: float
    patience: int = 1
    hard: bool = False
    scope: Scope | None = None


# 30 s is half of the commonest window. Ten minutes are the most a guess may keep free tokens
# unused. Three faults in a row are no accident any more, and five seconds outlast most restarts.
# Credit may be topped up within minutes; keys and models come back when somebody acts.
RULES: Final[Mapping[Bench, Rule]] = {
    Bench.RATE: Rule(first=30.0, longest=600.0),
    Bench.FAULT: Rule(first=5.0, longest=600.0, patience=3),
    Bench.CREDIT: Rule(first=300.0, longest=_DAY, hard=True, scope=Scope.ACCOUNT),
    Bench.KEY: Rule(first=_HOUR, longest=_DAY, hard=True, scope=Scope.ACCOUNT),
    Bench.MODEL: Rule(first=_HOUR, longest=_DAY, hard=True, scope=Scope.MODEL),
}


class Cooldown:
    """One bench of one target or account.

    Calls are known by rising numbers; `mark` is the number of the youngest call when something was
    learned, so that "started after" does not depend on how fine the clock is.
    """

    __slots__ = (
        "_blur",
        "_guessed",
        "_level",
        "_mark",
        "_probe",
        "_row",
        "_rule",
        "_told",
        "_until",
        "_words",
        "bench",
    )

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._rule = RULES[bench]
        self._told = -inf  # until when, by the provider's word
        self._guessed = -inf  # until when, by ours
        self._until = -inf  # the later of the two
        self._level = 0  # how often the guess was made; 0 when there is none
        self._row = 0  # how many in a row, until they make a guess
        self._mark = -1
        self._probe: int | None = None  # the call that tries it out
        self._words = ""
        self._blur = 0.0

    def __repr__(self) -> str:
        return f"<Cooldown {self.bench}, told {self._told:g}, guessed {self._guessed:g}>"

    def set(
        self,
        now: float,
        *,
        call: int,
        mark: int,
        delay: float | None = None,
        guess: float | None = None,
        blur: float = 0.0,
        words: str = "",
    ) -> None:
        """Learn that `call` was refused or failed, and perhaps for how long.

        Args:
            now: Monotonic seconds.
            call: Its number.
            mark: The youngest call's number.
            delay: The seconds that the provider told.
            guess: The seconds that what it said is known to last, instead of the rule's first guess.
            blur: By so many seconds the told time may be too long.
            words: The provider's.
        """
        if delay is None or self._rule.hard:
            self._guess(now, call, mark, guess, words)
        if delay is not None:
            self._tell(now + believable(delay), blur, mark, words)

    def recover(self, call: int) -> None:
        """Learn that `call` succeeded. What was told stays, and an older call proves nothing."""
        if call > self._mark:
            self._level = self._row = 0
            self._move(guessed=-inf)

    def is_half_open(self, now: float) -> bool:
        """Tell whether the next call is the one that tries it out."""
        return self._level > 0 and self._until <= now and self._probe is None

    @property
    def is_probed(self) -> bool:
        return self._probe is not None

    def start_probe(self, call: int) -> None:
        if self._level:
            self._probe = call

    def end_probe(self, call: int) -> None:
        if self._probe == call:
            self._probe = None

    def opens(self, now: float, tokens: int) -> float:
        until = self._until
        if until > now:
            return until
        return inf if self._level and self._probe is not None else now

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        return not self._level and self._until <= now

    def block(self, key: str, now: float, tokens: int, typical: int) -> Block:
        until = self.opens(now, tokens)
        told = self._told == until
        return Block(
            key,
            reason="out_of_service" if self._rule.hard else "cooldown" if told else "guessed",
            until=known(until),
            told=told,
            hard=until < inf and (told or self._rule.hard),
            is_ending=told and until - self._blur <= now,
            bench=self.bench,
            words=self._words,
            lasts=until - MOST_BLUR,  # so long before its end it cannot be over yet
        )

    def export(self, now: float) -> dict[str, Any]:
        """Return what is known, in plain values, with times relative to `now`."""
        return {
            "bench": self.bench,
            "told": max(0.0, self._told - now),
            "guessed": self._guessed - now if self._level else None,
            "level": self._level,
            "row": self._row,
            "words": self._words,
        }

    def restore(self, state: Mapping[str, Any], then: float) -> None:
        """Learn what was exported at `then`; a guess of our own, being newer, stays."""
        if not self._level:
            self._level, self._row = state["level"], max(self._row, state["row"])
            if self._level:
                self._move(guessed=then + min(state["guessed"], self._rule.longest))
        if state["told"] > 0:
            self._move(told=then + believable(state["told"]))
        self._words = self._words or state["words"]

    def _tell(self, until: float, blur: float, mark: int, words: str) -> None:
        self._blur = blur if until >= self._told else self._blur
        self._mark, self._words = mark, words
        if self._rule.hard:
            self._move(told=until)
        else:  # told beats guessed
            self._level = 0
            self._move(told=until, guessed=-inf)

    def _guess(self, now: float, call: int, mark: int, lasts: float | None, words: str) -> None:
        if self._until > now:
            return
        self._row += 1
        if not self._level and self._row < self._rule.patience:
            return
        if call > self._mark or not self._level:
            self._level += 1
        first = self._rule.first if lasts is None else believable(lasts)
        doubled = first * 2 ** min(self._level - 1, 32)
        self._mark, self._words = mark, words
        self._move(guessed=now + min(doubled, self._rule.longest))

    def _move(self, *, told: float = -inf, guessed: float | None = None) -> None:
        self._told = max(self._told, told)
        if guessed is not None:
            self._guessed = guessed
        self._until = max(self._told, self._guessed)


def blur(delay: float | None, lag: float) -> float:
    """Return by how much a told delay may be too long: it is rounded up, and aged on its way."""
    if delay is None:
        return 0.0
    return min(lag, _MOST_LAG) + (_WHOLE if delay == int(delay) else _ROUNDED)
