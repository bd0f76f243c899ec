"""One request's way down, as a state machine that does nothing itself.

`dispatch` asks for a move (`next`), carries it out, and reports what happened:

    Reserve(targets)   -> reserved(reservation) or exhausted(answer)
    Send(step, ...)    -> judged(verdict, reply)
    Pause()            -> next()
    Deliver(reply)        the end: an answer, or a refusal that is the client's to read
    GiveUp(...)           the end: nothing could serve

A pass tries each target at most once. A request that can wait does not give up: after its wait it
goes down once more (`anew`). Replies that may become the answer if nothing better comes
(a refusal awaiting a second opinion, an empty completion) are held meanwhile.

"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from stepwell.quota.ledger import Exhausted, Reservation
from stepwell.routing.chain import Step, Target
from stepwell.routing.verdict import Outcome, Then, Verdict

ReplyT = TypeVar("ReplyT")


# How often a request comes back to those that refused it for rates, whatever they told of when to: each
# time the ledger decides whether that makes sense, and a provider that does not keep its word must not
# hold it for ever. Where nothing is told, the ledger alone decides.
CHANCES: Final = 2


class Reserve(msgspec.Struct):
    """Ask the ledger for the first of these with room.

    Attributes:
        targets: In order.
        may_wait: Nothing is held that could be delivered instead.
    """

    targets: list[Target]
    may_wait: bool


class Send(msgspec.Struct):
    """Call this step on this reservation."""

    step: Step
    target: Target
    reservation: Reservation


class Pause(msgspec.Struct):
    """Wait a moment, with jitter, before the second pass."""


class Deliver(msgspec.Struct, Generic[ReplyT]):
    """Hand this reply to the client."""

    reply: ReplyT


class GiveUp(msgspec.Struct):
    """Nothing could serve; `exhausted` is the ledger's last word, None if all were tried."""

    exhausted: Exhausted | None


Hop: TypeAlias = tuple[Step, Target]
"""A target, and the step that it belongs to."""


@lru_cache(maxsize=256)
def hops_of(steps: tuple[Step, ...]) -> tuple[Hop, ...]:
    """Return whom to ask by these steps, in order."""
    return tuple((step, target) for step in steps for target in step.targets)


Move = Reserve | Send | Pause | Deliver[ReplyT] | GiveUp


class Waterfall(Generic[ReplyT]):
    """The moves of one request.

    Args:
        hops: Whom it may ask, in order; not empty.

    Attributes:
        failed: Keys of the targets that failed since the last wait.
    """

    __slots__ = (
        "_all_too_large",
        "_chances",
        "_held",
        "_hops",
        "_left",
        "_refused",
        "_second_pass",
        "_sent",
        "_spare",
        "_too_large",
        "_was_told",
        "failed",
    )

    def __init__(self, hops: Sequence[Hop]) -> None:
        self._hops = tuple(hops)
        self._left = list(self._hops)
        self._spare: list[Hop] = []
        self._refused: list[Hop] = []
        self._chances = CHANCES
        self._was_told = False  # one that refused it since it was asked last told until when
        self._second_pass = False
        self._held: tuple[Outcome, ReplyT] | None = None
        self._all_too_large = True
        self._too_large: list[Hop] = []
        self._sent: Hop | None = None
        self.failed: set[str] = set()

    def next(self) -> Move[ReplyT]:
        """Return the first move, or the one after a pause."""
        if not self._left:
            return self._bottom(None)
        return Reserve([target for _, target in self._left], self._held is None)

    def reserved(self, reservation: Reservation) -> Send:
        for hop in self._left:
            if hop[1] is reservation.target:
                self._sent = hop
                return Send(*hop, reservation)
        raise LookupError(reservation)  # nobody reserves what was not asked for

    def exhausted(self, answer: Exhausted) -> Move[ReplyT]:
        return self._bottom(answer)

    def anew(self) -> list[Target]:
        """Begin another pass and return whom to ask: all but those for which it is too large."""
        self._left = [hop for hop in self._hops if hop not in self._too_large]
        self._spare = []
        self._refused = []
        self.failed = set()
        return [target for _, target in self._left]

    def judged(self, verdict: Verdict, reply: ReplyT) -> Move[ReplyT]:
        """Take in what the call came to."""
        assert self._sent is not None
        hop, rule = self._sent, verdict.rule
        if rule.then is Then.ANSWER:
            return Deliver(reply)
        self._left.remove(hop)
        if rule.then is Then.NEXT:
            self._note(verdict.outcome, reply)
            if rule.accident:
                self._spare.append(hop)
            elif verdict.outcome is Outcome.RATE_LIMITED:
                self._refused.append(hop)
                self._was_told = self._was_told or verdict.hint.delay is not None
            return self.next()
        return self._second_opinion(verdict.outcome, reply, hop[0])

    def best_so_far(self) -> ReplyT | None:
        """Return the reply that is held, for a request whose time is up."""
        return self._held[1] if self._held else None

    def _note(self, outcome: Outcome, reply: ReplyT) -> None:
        """Hold the first "too large", which is the answer only if all targets say so."""
        assert self._sent is not None
        if outcome is not Outcome.TOO_LARGE:
            self._all_too_large = False
            self.failed.add(self._sent[1].key)
            return
        self._too_large.append(self._sent)
        if self._held is None:
            self._held = (outcome, reply)

    def _second_opinion(self, outcome: Outcome, reply: ReplyT, step: Step) -> Move[ReplyT]:
        """Hold a first refusal or empty answer and ask one other; a second one decides.

        Two refusals: the first one is the client's. An empty answer is still an answer, so it
        wins over a refusal, and the later of two empty ones is delivered.
        """
        held = self._held
        self._all_too_large = False
        if held is None or held[0] is Outcome.TOO_LARGE:
            self._held = (outcome, reply)
            if outcome is Outcome.REFUSED:
                self._left = [hop for hop in self._left if hop[0].provider != step.provider]
            return self.next()
        if outcome is Outcome.EMPTY:
            return Deliver(reply)
        return Deliver(held[1])

    def _bottom(self, answer: Exhausted | None) -> Move[ReplyT]:
        """Nothing can be asked now: deliver what is held, go round once more, or give up."""
        held = self._held
        if held is not None and held[0] is not Outcome.TOO_LARGE:
            return Deliver(held[1])
        if self._spare and not self._second_pass:
            self._second_pass = True
            again = [*self._spare, *self._left]
            self._left = [hop for hop in self._hops if hop in again]
            self._spare = []
            return Pause()
        if self._refused and self._chances:
            return self._ask_again()
        if held is not None and self._all_too_large and not self._left:
            return Deliver(held[1])
        return GiveUp(answer)

    def _ask_again(self) -> Move[ReplyT]:
        """Ask the ledger also for those that refused: their windows may have moved meanwhile."""
        self._chances -= self._was_told
        self._was_told = False
        again = {*self._refused, *self._left}
        self._left = [hop for hop in self._hops if hop in again]
        self._refused = []
        return self.next()
