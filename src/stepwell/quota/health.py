"""Health: how the last calls of one scope ended, and what it is benched for."""

from collections.abc import Iterable, Mapping
from math import inf, isfinite
from typing import Any, Final

from stepwell.quota.cooldown import Cooldown
from stepwell.quota.ledger import Bench

# As often a target is probed at most that has just refused.
_MOMENT: Final = 1.0
# What a window's arithmetic loses.
_SAME: Final = 1e-5
# Refusals in a row after which a target is asked less and less often: more than it takes to find a
# window's end, a second at a time, by a limit that is nearly right.
_STUBBORN: Final = 32
# It is left alone for this part of the time since the first of them, and not for longer than guesses
# about rates may last.
_PART: Final = 1 / 4
_LONGEST: Final = 600.0


class Health:
    """Cooldowns and the last refusal of one scope.

    Attributes:
        refused_at: When a call was last refused or failed.
        refused_from: When that call was sent.
        is_wary: The last answer was such a one.
        pause: Seconds for which a stubborn target is not probed after a refusal; 0 as a rule.
    """

    __slots__ = (
        "_cooldowns",
        "_dry_since",
        "_in_a_row",
        "_mark",
        "_refused_until",
        "is_wary",
        "pause",
        "refused_at",
        "refused_from",
    )

    def __init__(self) -> None:
        self.refused_at = -inf
        self.refused_from = -inf
        self._refused_until = inf
        self.is_wary = False
        self.pause = 0.0
        self._in_a_row = 0  # refusals for rates
        self._dry_since = -inf
        self._mark = -1
        self._cooldowns: dict[Bench, Cooldown] = {}

    def __repr__(self) -> str:
        return f"<Health of {len(self._cooldowns)} cooldowns, refused at {self.refused_at:g}>"

    @property
    def cooldowns(self) -> Iterable[Cooldown]:
        return self._cooldowns.values()

    def refuse(self, started: float, now: float, mark: int, until: float) -> None:
        """A call was refused or failed; by what was told there is room at `until`, inf if not."""
        self._refused_until = until
        self.refused_at, self.is_wary, self._mark = now, True, mark
        self.refused_from = started

    def insist(self, now: float) -> None:
        """A call was refused because of a rate.

        Where refused calls count as well, as OpenAI's documentation says of its own limits (collected
        2026-11-22), asking once a second keeps a window full for ever. What no law foresees after so
        many refusals is asked less often, and at first as often as helped the last time.
        """
        if not self._in_a_row:
            self._dry_since = now
        self._in_a_row += 1
        if self.pause or self._in_a_row > _STUBBORN:
            self.pause = min(max(self.pause, _PART * (now - self._dry_since)), _LONGEST)

    def is_stubborn(self, now: float) -> bool:
        """Tell whether the last refusal is evidence for whoever comes, as it is no use to ask."""
        return self.is_wary and now < self.refused_at + self.pause

    def is_refused_since(self, arrived: float, now: float) -> bool:
        """Tell whether a call was refused or failed since `arrived`, and nothing is newer.

        A younger call that was served is, and that the told delay has passed.
        """
        return self.is_wary and self.refused_at >= arrived and now < self._refused_until

    def evidence_from(self, since: float, now: float) -> float:
        """Return the moment after which no window may have moved, if the last refusal is evidence.

        Where it may move at any moment, also since before the refusal, that one is evidence for a
        moment only, and only for who looked for room already when its call was sent: for a second, or
        for half the time of the search, so that a search comes to its end.

        Args:
            since: When the search for room began, or a wait for it ended.
            now: Monotonic time.
        """
        lasts = max(_MOMENT, (now - since) / 2)
        is_news = self.refused_from >= since and now <= self.refused_at + lasts
        return self.refused_from + _SAME if is_news else -inf

    def recover(self, call: int) -> bool:
        """A call succeeded; return whether that is news, being younger than the last refusal."""
        for cooldown in self._cooldowns.values():
            cooldown.recover(call)
        if call <= self._mark:
            return False
        if self._in_a_row:
            self._in_a_row = 0
            self.pause = self.pause / 2 if self.pause > _MOMENT else 0.0
        self.is_wary = False
        return True

    def cooldown(self, bench: Bench) -> Cooldown:
        found = self._cooldowns.get(bench)
        if found is None:
            found = self._cooldowns[bench] = Cooldown(bench)
        return found

    def is_half_open(self, now: float) -> bool:
        # Asked on every reservation, and mostly of none: a generator would cost more than the rest.
        cooldowns = self._cooldowns
        return bool(cooldowns) and any(each.is_half_open(now) for each in cooldowns.values())

    @property
    def is_probed(self) -> bool:
        return any(cooldown.is_probed for cooldown in self._cooldowns.values())

    def start_probe(self, call: int) -> None:
        for cooldown in self._cooldowns.values():
            cooldown.start_probe(call)

    def end_probe(self, call: int) -> None:
        for cooldown in self._cooldowns.values():
            cooldown.end_probe(call)

    def export(self, now: float) -> dict[str, Any]:
        """Return all that outlives a restart, in plain values, with times relative to `now`."""
        return {
            "cooldowns": [cooldown.export(now) for cooldown in self._cooldowns.values()],
            "refused": now - self.refused_at if isfinite(self.refused_at) else None,
            "refused_from": now - self.refused_from if isfinite(self.refused_from) else None,
            "wary": self.is_wary,
        }

    def restore(self, state: Mapping[str, Any], then: float) -> None:
        """Learn what was exported at `then`; a refusal of our own is newer."""
        for each in state["cooldowns"]:
            self.cooldown(Bench(each["bench"])).restore(each, then)
        if state["refused"] is not None and not isfinite(self.refused_at):
            self.refused_at, self.is_wary = then - state["refused"], state["wary"]
            self.refused_from = then - state["refused_from"]
