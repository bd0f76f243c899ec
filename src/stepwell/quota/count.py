"""Count: our own count against one limit, and what is learned about the limit by counting.

A call counts from its reservation on. Until the provider must have counted it (a request when its
response begins, tokens when it ends) it is in flight and does not age; then it comes back as the
provider's window moves. How that is, is not known at first: every law that may be true is kept
(`law`), and each outcome that could not be foreseen refutes some of them.

- There is *room* if every law has it.
- There is *none* if no law has it. What goes on in between is soft: it orders the choice and never
  refuses.
- Refusals that were foreseen, and that no larger amount explains, prove the amount right: "none" is
  *hard* then for an hour, or a window if that is longer, and for twice as long each time that a
  refusal after that confirms it.

An outcome that no law explains shows that the limit is another one, or that the provider has
changed: then it limits nothing any more, until a reading names it, or a refusal shows it anew
(`suspicion`). How soon a limit that was configured wrongly is found out depends on what answers
tell: where they tell nothing, laws of a wrong amount may explain them for long, but nothing proves
them.

Of some calls nobody can say whether they were counted: those that were refused or failed. They
count until the first success that shows otherwise, or for good once a refusal shows that they do.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from operator import attrgetter
from typing import Any, Final, Self

from stepwell.quota.gate import known
from stepwell.quota.laws import after, capped, is_far, laws_of, read, shown, written
from stepwell.quota.laws.first_call import ANY
from stepwell.quota.laws.law import Gauge, Kind, Law, Outcome
from stepwell.quota.ledger import Block, LimitStatus
from stepwell.quota.limit import Limit
from stepwell.quota.opening import Opening
from stepwell.quota.proofs import STRONG, WEAK, Proofs
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
# Of such windows a reading shows the length as well.
_MEASURED: Final = (Kind.SLIDING, Kind.BUCKET)


class Count:
    """A limit, what was counted against it, and how the provider may count.

    Attributes:
        limit: As it was configured, told or first learned.
        usage: What was counted.
        gauges: The last readings of it.
        is_misread: The last one fits no law: its window may be another one.
        is_configured: The settings name it.
        kind: How the window moves; None while that is open.
        proofs: How sure the amount is.
        source: Who says what it is now: `configured`, `told` or `learned`.
        laws: Those that may be true, the likeliest first. Without any nothing is limited.
    """

    __slots__ = (
        "_challengers",
        "_due",
        "_first",
        "_heard",
        "_heard_until",
        "_least",
        "gauges",
        "is_configured",
        "is_misread",
        "kind",
        "laws",
        "limit",
        "proofs",
        "source",
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
        self.is_configured = source == "configured"
        self.source = source
        self._challengers: set[int] = set()
        self._due = -inf  # when the laws are to be settled
        self.proofs = Proofs(limit.window)
        self.gauges: deque[Gauge] = deque(maxlen=_COMPARED)
        self.is_misread = False
        self.laws: tuple[Law, ...] = ()
        self.kind: Kind | None = None
        self._least = 0
        self._heard, self._heard_until = 0, -inf
        self._first: Outcome | None = None  # the first refusal of those that came together last
        self._believe(laws_of(usage, limit.amount, limit.amount) if laws is None else laws)

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
        return self._least if self.laws else self.limit.amount

    @property
    def is_known(self) -> bool:
        """Whether it limits anything now."""
        return bool(self.laws)

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
            self._learn_success(Outcome(sent, answered, cost, served=True))
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
        used = max((law.used(now) for law in self.laws), default=0)
        return used + self.usage.in_flight

    # --- the gate

    def opens(self, now: float, tokens: int) -> float:
        if not self.laws:
            return now
        # What fits into a sliding window fits into any other of the same length and amount, but for a
        # bucket in debt.
        usage = self.usage
        if usage.in_use(now) + usage.need(tokens) <= self._least and not usage.counts_refused:
            return now
        return max([law.opens(tokens, now) for law in self.laws])

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        if not self.laws:
            return True
        need = calls if self.usage.by_request else tokens
        return self.usage.in_use(now) + need <= self._least

    def may_open(self, now: float, tokens: int) -> float:
        """Return since when, or from when, the provider may have room; -inf if nobody can tell."""
        return min([law.may_open(tokens, now) for law in self.laws], default=-inf)

    def may_have_opened(self, after: float, now: float, tokens: int) -> bool:
        """Tell whether by any law there may be room now since a moment, and not since before it.

        What probably has another amount foresees no window's end.
        """
        if after == -inf and self.proofs.doubles(self._least):
            return bool(self.laws)
        return any(after < law.may_open(tokens, now) <= now for law in self.laws)

    def opening(self, now: float, tokens: int) -> Opening | None:
        """Return between which moments there is room by the law that soonest has it for sure.

        None if there is none now by any law, and while no refusal has shown that there is a limit.
        """
        if not self.proofs.is_confirmed and self.source != "learned":
            return None
        openings = [Opening(law.may_open(tokens, now), law.opens(tokens, now)) for law in self.laws]
        coming = [each for each in openings if each.since <= now and each.by < inf]
        return min(coming, key=attrgetter("by"), default=None)

    def block(self, key: str, now: float, tokens: int, least: int) -> Block:
        opens, may_open = self.opens(now, tokens), self.may_open(now, least)
        if self.proofs.until > now and may_open > now:
            return Block(key, "count", known(opens), told=False, hard=True, may_end=may_open)
        return Block(
            key,
            "count",
            known(opens),
            told=False,
            hard=False,
            is_ending=_SAME < opens - now <= _MOMENT,
            may_end=may_open if self.proofs.is_confirmed else None,
        )

    # --- learning

    def foresees(self, outcome: Outcome) -> bool:
        """Tell whether a refusal is no surprise: some law explains it."""
        return any(law.after(outcome) is not None for law in self.laws)

    def refuse(self, outcome: Outcome) -> bool:
        """A call was refused, for all we know by this limit; return whether that is believable."""
        first = self._first_refusal(outcome)
        if not self.usage.is_prompt and is_far(self.usage, outcome, self.amount):
            return False
        explained = after(self.laws, outcome)
        if not explained and self.usage.is_prompt:
            self.usage.is_prompt = False  # calls may not be counted as they come after all
            explained = after(self.laws, outcome)
        if not explained:
            return False
        ceiling = self._ceiling(first, outcome)
        explained = capped(explained, ceiling)
        if not explained:
            return False
        self._believe(explained)
        self.proofs.add(self._proof(outcome, ceiling), self.source, outcome.answered)
        self._blame(outcome)
        return self.proofs.is_plausible

    def _blame(self, outcome: Outcome) -> None:
        """See whether a refusal is explained only if refused calls are counted.

        At a fixed window's end they are gone as well, so that it need not be known there.
        """
        usage = self.usage
        if usage.forgives or usage.counts_refused:
            return
        if any(law.kind not in _MEASURED for law in self.laws):
            return
        forgiving = usage.forgiving()
        if not after([replace(law, usage=forgiving) for law in self.laws], outcome):
            usage.blame()

    def suppose(self, laws: Sequence[Law]) -> None:
        """Believe that these may be true as well, in place of others of the same kinds."""
        kinds = {law.kind for law in laws}
        self._believe([*(law for law in self.laws if law.kind not in kinds), *laws])

    def _first_refusal(self, outcome: Outcome) -> Outcome | None:
        """Return the first refusal of those together with which this one came; None if open."""
        usage, first = self.usage, self._first
        if first is None or outcome.sent > first.answered:
            if usage.doubted(outcome.sent - usage.window, outcome.sent):
                return None
            first = outcome
        if outcome.need > first.need:
            first = first._replace(need=outcome.need)
        self._first = first
        return first

    def _ceiling(self, first: Outcome | None, outcome: Outcome) -> float:
        """Return more than which surely do not fit, by all refusals of its window so far; inf if open.

        Before the first call that was refused in a window nobody but those who were served had
        taken anything, in whatever order they came. So the amount is no more than these, and those
        which may still be served. This holds for every kind of window, and whether or not refused
        calls are counted; but a bucket then holds what is older than a window.
        """
        usage = self.usage
        if first is None or not usage.remembers(first.sent - usage.window):
            return inf
        if usage.counts_refused and self.kind is not Kind.SLIDING:
            return inf
        served = usage.served(first.sent - usage.window, first.answered)
        rivals = usage.rivals(usage.need(outcome.need))
        return served + rivals + usage.need(first.need) - 1

    def _proof(self, outcome: Outcome, ceiling: float) -> int:
        """Return the weight with which a foreseen refusal proves the amount; see `proofs`."""
        usage, need = self.usage, self.usage.need(outcome.need)
        used = usage.served(outcome.sent - usage.window, outcome.answered)
        self.proofs.trough = min(self.proofs.trough, used + usage.rivals(need) + need)
        fits = outcome.told is not None and self.kind is not None
        if ceiling <= self._least or (fits and not self.proofs.doubles(self._least)):
            return STRONG
        may_be_more = self.proofs.slides(self._least) or after(map(_larger, self.laws), outcome)
        return 0 if may_be_more else WEAK

    def hear_limit(self, amount: int) -> None:
        """The provider names the limit: it knows best."""
        if not self.laws or {(law.least, law.most) for law in self.laws} != {(amount, amount)}:
            self.source = "told"
            self.proofs.distrust()
            self._believe(laws_of(self.usage, amount, amount))

    def hear(self, reading: Reading, sent: float, now: float, *, served: bool) -> None:
        """Compare a reading with what each law would show.

        Args:
            reading: Of this limit; limit and rest are told.
            sent: When the call was sent whose answer it is.
            now: When the answer came.
            served: The call was not refused.
        """
        assert reading.limit is not None
        assert reading.remaining is not None
        if served and self.laws and now < self._heard_until and reading.limit == self._heard:
            return
        self.hear_limit(reading.limit)
        if not served:
            return  # its delay says more
        self._heard, self._heard_until = reading.limit, now + self.limit.window / _PARTS
        used = max(0, reading.limit - reading.remaining)
        # Who writes units, as those do whose counters refill, writes milliseconds.
        gauge = Gauge(sent, now, used, reading.reset, is_exact=reading.refills)
        self._make_up(gauge)
        self.gauges.append(gauge)
        fitting = shown(self.laws, gauge)
        self.is_misread = not fitting
        if fitting:
            self._believe(fitting)
        if fitting and self.kind in _MEASURED:
            self.proofs.measured(now)

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
        """A refusal names this limit, and no law that is left explains it; tell whether another would.

        Then that one was refuted by mistake, as what a refused call costs is only estimated. If none
        would, others have used the same quota, and that says nothing of the laws.
        """
        if is_far(self.usage, outcome, self.amount):
            return False
        self.usage.counts_refused = False  # that may have been seen in others' use as well
        laws = after(laws_of(self.usage, self.amount, self.amount, ANY), outcome)
        if laws:
            self.proofs.begin_anew(outcome.answered)
            self._believe(laws)
        return bool(laws)

    def silence(self) -> None:
        """Limit nothing any more."""
        self.usage.counts_refused = False
        self.proofs.forget()
        self._believe(())

    # --- for others

    def export(self, now: float) -> dict[str, Any]:
        """Return what was counted and learned, in plain values, with times relative to `now`."""
        return {
            "metric": self.limit.metric,
            "window": self.limit.window,
            "amount": self.limit.amount,
            "source": self.source,
            "proven": max(0.0, self.proofs.until - now),
            "proofs": self.proofs.weight,
            "usage": self.usage.export(now),
            "laws": [written(law, now) for law in self.laws],
        }

    def restore(self, state: Mapping[str, Any], then: float, now: float) -> None:
        """Learn what was exported at `then`.

        What the settings say now goes before what was learned against other settings.
        """
        self.usage.restore(state["usage"], then, now)
        if self.is_configured and state["amount"] != self.limit.amount:
            return
        self.source = str(state["source"])
        self.proofs.restore(int(state["proofs"]), float(state["proven"]), then)
        self._believe([read(each, self.usage, then) for each in state["laws"]])

    def status(self, now: float) -> LimitStatus:
        used = self.used(now)
        whole = max((law.falls_to(0, now) for law in self.laws[:1]), default=now)
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

    def _believe(self, laws: Sequence[Law]) -> None:
        self.laws = tuple(laws)
        self._least = min((law.least for law in laws), default=0)
        kinds = {law.kind for law in laws}
        self.kind = kinds.pop() if len(kinds) == 1 else None

    def _settle(self, now: float) -> None:
        """Let the laws learn from calls that will be forgotten."""
        self._due = now + min(self.usage.window, MOST_KEPT) / 4
        self.laws = tuple(law.settled(now - self.usage.window) for law in self.laws)

    def _learn_success(self, outcome: Outcome) -> None:
        self._forgive(outcome)
        before = self.usage.surely(outcome.answered - self.usage.window, outcome.before)
        self.proofs.peak = max(self.proofs.peak, before + self.usage.need(outcome.need))
        explained = after(self.laws, outcome)
        if not explained:
            self.proofs.distrust()
        self._believe(explained)

    def _forgive(self, outcome: Outcome) -> None:
        """See whether refused calls, or the time between sending and answer, stood in the way."""
        usage = self.usage
        since, need = outcome.sent - usage.window, usage.need(outcome.need)
        late = usage.maybe(since, outcome.sent) + need
        if late > self._least >= usage.counted(since, outcome.sent) + need:
            usage.forgive()
        elif self.kind and late > self._least >= usage.surely(since, outcome.sent) + need:
            usage.is_prompt = True  # while several kinds may be true, another one may be why

    def _make_up(self, gauge: Gauge) -> None:
        """Count what others have used of the same quota."""
        usage = self.usage
        missing = gauge.used - usage.in_flight - usage.surely(gauge.sent - usage.window)
        if missing > 0:
            usage.add(missing, gauge.answered, gauge.answered)


def _larger(law: Law) -> Law:
    """Return the law of the next larger amount."""
    return replace(law, least=int(law.most) + 1, most=law.most + 1)
