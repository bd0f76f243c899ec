"""Belief: which laws may be true of one limit, and how sure its amount is.

Every law that may be true is kept, and each outcome that could not be foreseen refutes some of them.
An outcome that none explains shows that the limit is another one, or that the provider has changed:
then nothing is believed any more, until a reading names it, or a refusal shows it anew
(`suspicion`). How soon a limit that was configured wrongly is found out depends on what answers
tell: where they tell nothing, laws of a wrong amount may explain them for long, but nothing proves
them.

Of some calls nobody can say whether they were counted: those that were refused or failed. They
count until the first success that shows otherwise, or for good once a refusal shows that they do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Final

from stepwell.quota.laws import after, capped, is_far, laws_of, read, shown, written
from stepwell.quota.laws.first_call import ANY
from stepwell.quota.laws.law import Gauge, Kind, Law, Outcome
from stepwell.quota.proofs import STRONG, WEAK, Proofs
from stepwell.quota.usage import Usage

# Of such windows a reading shows the length as well.
_MEASURED: Final = (Kind.SLIDING, Kind.BUCKET)


class Belief:
    """What is believed of a limit, and learned of it.

    Attributes:
        usage: What is counted against it.
        laws: Those that may be true, the likeliest first. Without any nothing is limited.
        least: How many surely fit by all of them; 0 without any.
        kind: How the window moves; None while that is open.
        proofs: How sure the amount is.
        source: Who says what it is now: `configured`, `told` or `learned`.
    """

    __slots__ = ("_first", "kind", "laws", "least", "proofs", "source", "usage")

    def __init__(self, usage: Usage, laws: Sequence[Law], *, source: str) -> None:
        self.usage = usage
        self.source = source
        self.proofs = Proofs(usage.window)
        self.laws: tuple[Law, ...] = ()
        self.least = 0
        self.kind: Kind | None = None
        self._first: Outcome | None = None  # the first refusal of those that came together last
        self.believe(laws)

    def __repr__(self) -> str:
        return f"<Belief in {len(self.laws)} laws, {self.proofs!r}>"

    def believe(self, laws: Sequence[Law]) -> None:
        """Believe that these may be true, and no others."""
        self.laws = tuple(laws)
        self.least = min((law.least for law in laws), default=0)
        kinds = {law.kind for law in laws}
        self.kind = kinds.pop() if len(kinds) == 1 else None

    def suppose(self, laws: Sequence[Law]) -> None:
        """Believe that these may be true as well, in place of others of the same kinds."""
        kinds = {law.kind for law in laws}
        self.believe([*(law for law in self.laws if law.kind not in kinds), *laws])

    def settle(self, until: float) -> None:
        """Let the laws learn from calls that will be forgotten."""
        self.laws = tuple(law.settled(until) for law in self.laws)

    # --- outcomes

    def foresees(self, outcome: Outcome, *, forgiving: bool = False) -> bool:
        """Tell whether a refusal is no surprise: some law explains it.

        Args:
            outcome: It is not counted yet.
            forgiving: Refused calls were not counted, as far as that is open.
        """
        laws: Iterable[Law] = self.laws
        if forgiving:
            usage = self.usage.forgiving()
            laws = (replace(law, usage=usage) for law in laws)
        return any(law.after(outcome) is not None for law in laws)

    def serve(self, outcome: Outcome) -> None:
        """A call was served past what is counted."""
        self._forgive(outcome)
        before = self.usage.surely(outcome.answered - self.usage.window, outcome.before)
        self.proofs.peak = max(self.proofs.peak, before + self.usage.need(outcome.need))
        explained = after(self.laws, outcome)
        if not explained:
            self.proofs.distrust()
        self.believe(explained)

    def refuse(self, outcome: Outcome) -> bool:
        """A call was refused, for all we know by this limit; return whether that is believable."""
        first = self._first_refusal(outcome)
        if not self.usage.is_prompt and is_far(self.usage, outcome, self.least):
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
        self.believe(explained)
        self.proofs.add(self._proof(outcome, ceiling), self.source, outcome.answered)
        self._blame(outcome)
        return self.proofs.is_plausible

    def begin_anew(self, outcome: Outcome, amount: int) -> bool:
        """A refusal names this limit, and no law that is left explains it; tell whether another would.

        Then that one was refuted by mistake, as what a refused call costs is only estimated. If none
        would, others have used the same quota, and that says nothing of the laws.
        """
        if is_far(self.usage, outcome, amount):
            return False
        self.usage.counts_refused = False  # that may have been seen in others' use as well
        laws = after(laws_of(self.usage, amount, amount, ANY), outcome)
        if laws:
            self.proofs.begin_anew(outcome.answered)
            self.believe(laws)
        return bool(laws)

    def silence(self) -> None:
        """Believe nothing any more."""
        self.usage.counts_refused = False
        self.proofs.forget()
        self.believe(())

    # --- readings

    def hear_limit(self, amount: int) -> None:
        """The provider names the limit: it knows best."""
        if not self.laws or {(law.least, law.most) for law in self.laws} != {(amount, amount)}:
            self.source = "told"
            self.proofs.distrust()
            self.believe(laws_of(self.usage, amount, amount))

    def show(self, gauge: Gauge) -> bool:
        """Compare a reading with what each law would show; return whether any fits."""
        fitting = shown(self.laws, gauge)
        if fitting:
            self.believe(fitting)
        if fitting and self.kind in _MEASURED:
            self.proofs.measured(gauge.answered)
        return bool(fitting)

    # --- memory

    def export(self, now: float) -> dict[str, Any]:
        """Return what was learned, in plain values, with times relative to `now`."""
        return {
            "source": self.source,
            "proven": max(0.0, self.proofs.until - now),
            "proofs": self.proofs.weight,
            "laws": [written(law, now) for law in self.laws],
        }

    def restore(self, state: Mapping[str, Any], then: float) -> None:
        """Learn what was exported at `then`."""
        self.source = str(state["source"])
        self.proofs.restore(int(state["proofs"]), float(state["proven"]), then)
        self.believe([read(each, self.usage, then) for each in state["laws"]])

    # --- inner

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
        # More by less than one call's tokens is the same amount: what it would have cost nobody knows.
        amount = self.least + (0 if usage.by_request else need)
        if ceiling <= amount or (fits and not self.proofs.doubles(amount)):
            return STRONG
        larger = [_larger(law, amount - self.least) for law in self.laws]
        return 0 if self.proofs.slides(amount) or after(larger, outcome) else WEAK

    def _blame(self, outcome: Outcome) -> None:
        """See whether a refusal is explained only if refused calls are counted.

        At a fixed window's end they are gone as well, so that it need not be known there.
        """
        usage = self.usage
        if usage.forgives or usage.counts_refused:
            return
        if any(law.kind not in _MEASURED for law in self.laws):
            return
        if not self.foresees(outcome, forgiving=True):
            usage.blame()

    def _forgive(self, outcome: Outcome) -> None:
        """See whether refused calls, or the time between sending and answer, stood in the way."""
        usage = self.usage
        since, need = outcome.sent - usage.window, usage.need(outcome.need)
        late = usage.maybe(since, outcome.sent) + need
        if late > self.least >= usage.counted(since, outcome.sent) + need:
            usage.forgive()
        elif self.kind and late > self.least >= usage.surely(since, outcome.sent) + need:
            usage.is_prompt = True  # while several kinds may be true, another one may be why


def _larger(law: Law, slack: int) -> Law:
    """Return the law of the next larger amount, beyond what is as good as the same."""
    amount = int(law.most) + slack + 1
    return replace(law, least=amount, most=amount)
