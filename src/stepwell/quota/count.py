"""Count: our own count against one limit.

A call counts from its reservation on. Until the provider must have counted it (a request when its
response begins, tokens when it ends) it is in flight and does not age; then it comes back as the
provider's window moves. How that is, is not known at first: every law that may be true is kept
(`belief`).

- There is *room* if every law has it.
- There is *none* if no law has it. What goes on in between is soft: it orders the choice and never
  refuses.
- Refusals that were foreseen, and that no larger amount explains, prove the amount right: "none" is
  *hard* then for an hour, or a window if that is longer, and for twice as long each time that a
  refusal after that confirms it.

Where no law is left, nothing is limited any more.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from math import inf
from operator import attrgetter
from typing import Any, Final, Self

from stepwell.quota.belief import Belief
from stepwell.quota.gate import known
from stepwell.quota.laws import laws_of
from stepwell.quota.laws.law import Gauge, Kind, Law, Outcome
from stepwell.quota.ledger import Block, LimitStatus
from stepwell.quota.limit import Limit
from stepwell.quota.opening import Opening
from stepwell.quota.reading import Reading
from stepwell.quota.traffic import Served, Traffic
from stepwell.quota.usage import MOST_KEPT, Usage

# Where a window may have moved already and surely will have so soon, nobody gives up before.
_MOMENT: Final = 1.0
# What a window's arithmetic loses: so little is not worth a wait.
_SAME: Final = 1e-5
# Settings may be wrong by a small factor. A limit of a day is not wrong because a call is refused
# after the first one.
_WRONG_BY: Final = 5
# Readings are compared with the laws as often as windows have parts; more often they tell nothing new.
_PARTS: Final = 256
# So many readings are compared to find a window.
_COMPARED: Final = 6


class Count:
    """A limit, what was counted against it, and how the provider may count.

    Attributes:
        limit: As it was configured, told or first learned.
        usage: What was counted.
        belief: Which laws may be true, and how sure the amount is.
        gauges: The last readings of it.
        is_misread: The last one fits no law: its window may be another one.
        is_configured: The settings name it.
    """

    __slots__ = (
        "_challengers",
        "_due",
        "_heard",
        "_heard_until",
        "belief",
        "gauges",
        "is_configured",
        "is_misread",
        "limit",
        "usage",
    )

    def __init__(
        self,
        limit: Limit,
        usage: Usage,
        *,
        source: str = "configured",
        laws: Sequence[Law] | None = None,
    ) -> None:
        self.limit = limit
        self.usage = usage
        laws = laws_of(usage, limit.amount, limit.amount) if laws is None else laws
        self.belief = Belief(usage, laws, source=source)
        self.is_configured = source == "configured"
        self._challengers: set[int] = set()
        self._due = -inf  # when the laws are to be settled
        self.gauges: deque[Gauge] = deque(maxlen=_COMPARED)
        self.is_misread = False
        self._heard, self._heard_until = 0, -inf

    @classmethod
    def of(cls, limit: Limit, traffic: Traffic, *, source: str = "configured") -> Self:
        """Begin to count against a limit that is configured or told."""
        return cls(limit, Usage(limit.metric, limit.window, traffic), source=source)

    def __repr__(self) -> str:
        what = f"{self.amount} {self.limit.metric}/{self.limit.window:g}s"
        return f"<Count {what}, {self.usage.in_flight} in flight>"

    @property
    def amount(self) -> int:
        """How many are believed to fit."""
        return self.belief.least if self.belief.laws else self.limit.amount

    @property
    def is_known(self) -> bool:
        """Whether it limits anything now."""
        return bool(self.belief.laws)

    @property
    def kind(self) -> Kind | None:
        """How the window moves; None while that is open."""
        return self.belief.kind

    @property
    def source(self) -> str:
        """Who says what it is now: `configured`, `told` or `learned`."""
        return self.belief.source

    # --- counting

    def challenge(self, call: int, tokens: int, now: float) -> None:
        """A call is about to go past this count: what it comes to will teach something."""
        if self.opens(now, tokens) > now:
            self._challengers.add(call)

    def add(self, call: int, cost: int, sent: float, answered: float, *, served: bool) -> None:
        """Let what a call came to age.

        Args:
            call: Its number.
            cost: Units.
            sent: When the call was sent.
            answered: When the provider must have counted it.
            served: It was admitted; else nobody knows.
        """
        if served and call in self._challengers:
            self.belief.serve(Outcome(sent, answered, cost, served=True))
        self.usage.serve(((call, cost, sent, answered),))
        if answered >= self._due:
            self._settle(answered)

    def serve(self, calls: Sequence[Served]) -> None:
        """Let what calls came to age that were served, and forget them."""
        if self._challengers:
            for call, cost, sent, answered in calls:
                self.add(call, cost, sent, answered, served=True)
                self.forget(call)
        else:
            self.usage.serve(calls)
            if calls and calls[-1][3] >= self._due:
                self._settle(calls[-1][3])

    def doubt(self, cost: int, answered: float) -> None:
        """Count a call that the provider may not have counted, as it was refused or failed."""
        self.usage.doubt(cost, answered)

    def forget(self, call: int) -> None:
        """A call has ended."""
        self._challengers.discard(call)

    def used(self, now: float) -> int:
        """Return how many are in use, calls in flight included."""
        used = max((law.used(now) for law in self.belief.laws), default=0)
        return used + self.usage.in_flight

    # --- the gate

    def opens(self, now: float, tokens: int) -> float:
        belief = self.belief
        if not belief.laws:
            return now
        # What fits into a sliding window fits into any other of the same length and amount, but for a
        # bucket in debt.
        usage = self.usage
        if usage.in_use(now) + usage.need(tokens) <= belief.least and not usage.counts_refused:
            return now
        return max([law.opens(tokens, now) for law in belief.laws])

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        if not self.belief.laws:
            return True
        need = calls if self.usage.by_request else tokens
        return self.usage.in_use(now) + need <= self.belief.least

    def may_open(self, now: float, tokens: int) -> float:
        """Return since when, or from when, the provider may have room; -inf if nobody can tell."""
        return min([law.may_open(tokens, now) for law in self.belief.laws], default=-inf)

    def may_have_opened(self, after: float, now: float, tokens: int) -> bool:
        """Tell whether by any law there may be room now since a moment, and not since before it.

        What probably has another amount foresees no window's end.
        """
        if after == -inf and self.belief.proofs.doubles(self.belief.least):
            return bool(self.belief.laws)
        return any(after < law.may_open(tokens, now) <= now for law in self.belief.laws)

    def opening(self, now: float, tokens: int) -> Opening | None:
        """Return between which moments there is room by the law that soonest has it for sure.

        None if there is none now by any law, and while no refusal has shown that there is a limit.
        """
        if not self.belief.proofs.is_confirmed and self.source != "learned":
            return None
        openings = [
            Opening(law.may_open(tokens, now), law.opens(tokens, now)) for law in self.belief.laws
        ]
        coming = [each for each in openings if each.since <= now and each.by < inf]
        return min(coming, key=attrgetter("by"), default=None)

    def block(self, key: str, now: float, tokens: int, typical: int) -> Block:
        opens, may_open = self.opens(now, tokens), self.may_open(now, typical)
        if self.belief.proofs.until > now and may_open > now:
            return Block(
                key,
                "count",
                known(opens),
                told=False,
                hard=True,
                may_end=may_open,
                lasts=min(self.belief.proofs.until, may_open) if self.usage.by_request else -inf,
            )
        return Block(
            key,
            "count",
            known(opens),
            told=False,
            hard=False,
            is_ending=_SAME < opens - now <= _MOMENT,
            may_end=may_open if self.belief.proofs.is_confirmed else None,
            lasts=opens if self.usage.by_request else -inf,
        )

    # --- learning

    def foresees(self, outcome: Outcome, *, forgiving: bool = False) -> bool:
        """Tell whether a refusal is no surprise: some law explains it; see `Belief.foresees`."""
        return self.belief.foresees(outcome, forgiving=forgiving)

    def refuse(self, outcome: Outcome) -> bool:
        """A call was refused, for all we know by this limit; return whether that is believable."""
        return self.belief.refuse(outcome)

    def hear(self, reading: Reading, sent: float, now: float, *, served: bool) -> None:
        """Learn from a reading.

        Args:
            reading: Of this limit; limit and rest are told.
            sent: When the call was sent whose answer it is.
            now: When the answer came.
            served: The call was not refused.
        """
        assert reading.limit is not None
        assert reading.remaining is not None
        belief = self.belief
        if served and belief.laws and now < self._heard_until and reading.limit == self._heard:
            return
        belief.hear_limit(reading.limit)
        if not served:
            return  # its delay says more
        self._heard, self._heard_until = reading.limit, now + self.limit.window / _PARTS
        used = max(0, reading.limit - reading.remaining)
        # Who writes units, as those do whose counters refill, writes milliseconds.
        gauge = Gauge(sent, now, used, reading.reset, is_exact=reading.refills)
        self._make_up(gauge)
        self.gauges.append(gauge)
        self.is_misread = not belief.show(gauge)
        if self.is_misread:
            belief.proofs.distrust()  # its window is another one, or moves otherwise

    def is_near(self, outcome: Outcome) -> bool:
        """Tell whether a refusal speaks against this limit.

        It does if so much is used that it may be this one's, if that is smaller; and always if the limit
        is a guess: what refusals have suggested has to explain them.
        """
        if self.source == "learned":
            return True
        used = self.usage.maybe(outcome.sent - self.limit.window)
        return used * _WRONG_BY >= self.amount

    def begin_anew(self, outcome: Outcome) -> bool:
        """See `Belief.begin_anew`."""
        return self.belief.begin_anew(outcome, self.amount)

    def silence(self) -> None:
        """Limit nothing any more."""
        self.belief.silence()

    # --- for others

    def export(self, now: float) -> dict[str, Any]:
        """Return what was counted and learned, in plain values, with times relative to `now`."""
        return {
            "metric": self.limit.metric,
            "window": self.limit.window,
            "amount": self.limit.amount,
            "usage": self.usage.export(now),
            **self.belief.export(now),
        }

    def restore(self, state: Mapping[str, Any], then: float, now: float) -> None:
        """Learn what was exported at `then`.

        What the settings say now goes before what was learned against other settings.
        """
        self.usage.restore(state["usage"], then, now)
        if not self.is_configured or state["amount"] == self.limit.amount:
            self.belief.restore(state, then)

    def status(self, now: float) -> LimitStatus:
        used = self.used(now)
        whole = max((law.falls_to(0, now) for law in self.belief.laws[:1]), default=now)
        return LimitStatus(
            metric=self.limit.metric,
            window=self.limit.window,
            limit=self.amount,
            used=used,
            remaining=max(0, self.amount - used),
            reset=whole if whole > now and not self.usage.in_flight else None,
            scope=self.limit.scope,
            source=self.source,
        )

    # --- inner

    def _settle(self, now: float) -> None:
        """Let the laws learn from calls that will be forgotten."""
        self._due = now + min(self.usage.window, MOST_KEPT) / 4
        self.belief.settle(now - self.usage.window)

    def _make_up(self, gauge: Gauge) -> None:
        """Count what others have used of the same quota."""
        usage = self.usage
        missing = gauge.used - usage.in_flight - usage.surely(gauge.sent - usage.window)
        if missing > 0:
            usage.add(missing, gauge.answered, gauge.answered)
