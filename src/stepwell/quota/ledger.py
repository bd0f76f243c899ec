"""The Ledger protocol: the one keeper of quota.

`reserve` is the only question that may wait for a round trip; what happened is reported by calls
that never await, so that no cancellation can come between an answer and its settling.

Every block is *hard* (told cooldowns, readings until their reset, concurrency, out of service, counts
that the provider's answers have confirmed) or *soft* (other counts, guessed cooldowns, slow start).
Soft blocks order the choice and never refuse. The rule of evidence: a request fails only when every
target asked for is hard-blocked or has refused or failed a call, anyone's, after the request
arrived, or before, while it is left alone because it refuses on and on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple, Protocol

from stepwell.quota.limit import Limit, Scope
from stepwell.quota.reading import Reading


class Reservable(Protocol):
    """What the ledger needs to know of a target."""

    @property
    def key(self) -> str:
        """The target's identity: account and model."""
        ...

    @property
    def account(self) -> str: ...

    @property
    def limits(self) -> Sequence[Limit]:
        """Configured limits, of both scopes."""
        ...

    @property
    def concurrency(self) -> int | None:
        """Calls in flight at most, per account; None is unbounded."""
        ...


class Bench(StrEnum):
    """Why a target or account is left alone for a time; `quota/cooldown.py` says how long."""

    RATE = "rate"  # 429: told, else a soft guess
    FAULT = "fault"  # connection, 5xx, broken stream: circuit breaker after three in a row, soft
    CREDIT = "credit"  # out of service, account
    KEY = "key"  # out of service, account
    MODEL = "model"  # out of service, target


@dataclass(frozen=True, slots=True)
class Block:
    """Why a target was not chosen.

    Attributes:
        key: The target's.
        reason: A short word: `cooldown`, `reading`, `concurrency`, `out_of_service`, `count`,
            `guessed`, `slow_start`; `refused` for a soft block of whatever kind whose target has
            refused or failed a call since the request arrived.
        until: Monotonic time from which it may be asked again; None if only an event can tell.
        told: The provider said so (otherwise we guess or count).
        hard: See the module's text.
        bench: What the cooldown is about, if it is one.
        words: The provider's own words, shortened; empty if none.
        may_end: Monotonic time from which it may be over, where `until` is when it surely is; None
            where these are the same.
        is_ending: It may be over already, but for rounding and delay on the way: worth a moment's
            wait.
        lasts: Monotonic time until which it is the same for every request, whatever it needs, if
            nothing happens meanwhile; -inf if that is not known.
    """

    key: str
    reason: str
    until: float | None
    told: bool
    hard: bool
    bench: Bench | None = None
    words: str = ""
    is_ending: bool = False
    may_end: float | None = None
    lasts: float = -inf


@dataclass(slots=True, eq=False)
class Reservation:
    """Quota taken before a call: one request, one slot of concurrency, estimated tokens.

    Attributes:
        target: What may be called now.
        tokens: The estimate that was taken.
        started: Monotonic time of the reservation.
        probe: It was taken past a soft block.
    """

    target: Reservable
    tokens: int
    started: float
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Only soft blocks stand in the way, and evidence is on its way.

    Attributes:
        until: Monotonic time to ask again even if nothing happens before; None: an event will come.
        blocks: One for each target asked for, in order.
    """

    until: float | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No target asked for can serve.

    Attributes:
        until: Monotonic time of the soonest reset; None if none is known.
        blocks: One for each target asked for, in order.
    """

    until: float | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What `reserve` would answer now.

    Attributes:
        taken: The position of the target that it would take; None if none. It would be a probe if
            that one's block is not None.
        blocks: What stands in the way of each target asked for, in order; None where nothing does.
        until: If none: monotonic time at which to ask again; None if only an event can tell.
        waits: If none: evidence is on its way, and the answer would be to wait for it.
    """

    taken: int | None
    blocks: tuple[Block | None, ...]
    until: float | None = None
    waits: bool = False


class Ended(StrEnum):
    """How a call ended, as far as quota and health are concerned."""

    SUCCESS = "success"
    REFUSED = "refused"  # the provider declined: evidence that it has no room
    FAILED = "failed"  # the call failed by accident
    NEUTRAL = "neutral"  # says nothing of the target: client gone, the request's own fault


class Report(NamedTuple):
    """What a call came to.

    Attributes:
        ended: See Ended.
        tokens: Tokens really used, as the provider counted; None if it did not say.
        bench: Why the target is to be left alone; None for no cooldown.
        delay: Told seconds until it may be asked again; None: the ledger guesses by `bench`.
        guess: Seconds with which that guess begins, where such a refusal is known to last so long.
        scope: What the bench covers (CREDIT and KEY always cover the account).
        words: The provider's own words, shortened and redacted.
        readings: Counters of the response, if not observed before.
        was_sent: The provider may have seen the request; if not, it costs nothing at all.
    """

    ended: Ended
    tokens: int | None = None
    bench: Bench | None = None
    delay: float | None = None
    guess: float | None = None
    scope: Scope = Scope.MODEL
    words: str = ""
    readings: tuple[Reading, ...] = ()
    was_sent: bool = True


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit or reading of a target, as `snapshot` shows it.

    Attributes:
        metric: `requests` or `tokens`.
        window: Seconds; None if the provider does not say.
        limit: How many fit into the window; None if not known.
        used: How many of them are taken, calls in flight included; more than `limit` where probes
            went past our count. None if not known.
        remaining: How many are left, from 0 to `limit`.
        reset: Monotonic time from which the limit is whole again; None while it depends on calls.
        scope: What shares it.
        source: `configured`, `told` or `learned`.
        calendar: When its day or month begins, such as `00:00 UTC`; None for any other window.
    """

    metric: str
    window: float | None
    limit: int | None
    used: int | None
    remaining: int | None
    reset: float | None
    scope: Scope
    source: str
    calendar: str | None = None


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target as `snapshot` shows it; `block` is None if it may be called now."""

    key: str
    account: str
    in_flight: int
    limits: tuple[LimitStatus, ...]
    block: Block | None


class Ledger(Protocol):
    """The contract of every keeper; `stepwell.testing.check_ledger` is its test."""

    async def reserve(
        self,
        targets: Sequence[Reservable],
        tokens: int,
        *,
        arrived: float,
        waits_until: float = -inf,
    ) -> Reservation | Wait | Exhausted:
        """Take room at the first target that has it: one atomic question for all of them.

        Args:
            targets: In order of preference, not empty.
            tokens: Estimated tokens, prompt and answer.
            arrived: Monotonic time at which the request came in, for the rule of evidence.
            waits_until: Monotonic time until which it can wait. Where room is told or counted to
                come by then, it waits for it instead of probing. If that time has passed, it counts
                whether a window may have moved since then, and where one may have moved already and
                surely will have soon, it is held until then (`quota/opening.py`). -inf if it wants no
                wait but for evidence.
        """
        ...

    async def preview(
        self,
        targets: Sequence[Reservable],
        tokens: int,
        *,
        arrived: float,
        waits_until: float = -inf,
    ) -> Preview:
        """Say what `reserve` would answer. Changes nothing: no target is known better after it."""
        ...

    def observe(self, reservation: Reservation, readings: Sequence[Reading]) -> None:
        """A response began: believe its counters at once, and age the request from now."""
        ...

    def settle(self, reservation: Reservation, report: Report) -> None:
        """The call ended. Settling twice does nothing."""
        ...

    def release(self, reservation: Reservation) -> None:
        """Nothing was sent: give all of it back. After a settle it does nothing."""
        ...

    def cool_down(
        self, target: Reservable, seconds: float, *, scope: Scope = Scope.MODEL, words: str = ""
    ) -> None:
        """Leave a target, or its account, alone for `seconds`, as if the provider had told so."""
        ...

    async def snapshot(self, targets: Sequence[Reservable] = ()) -> tuple[TargetStatus, ...]:
        """Return every target seen so far, and each of these, asked for or not. Changes nothing."""
        ...

    def subscribe(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call back after every change by which a waiting request may fare better or fail.

        Returns:
            A function that ends the subscription.
        """
        ...
