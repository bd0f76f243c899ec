"""Count: our own count against one limit, and what is learned about the limit by counting.

A call counts from its reservation on. Until the provider must have counted it (a request when its
response begins, tokens when it ends) it is in flight and does not age; then it comes back as the
provider's window moves, which `Rhythm` learns. As long as the kind of window is not known, the
count is a sliding one: what fits into it fits into a fixed window of any alignment and into a
bucket as well.

The count is soft: it orders the choice and never refuses. What goes past it teaches:

1. a success beyond it speaks against every kind of window by which it was surely full; if that is
   every kind, the limit is larger than believed;
2. a refusal speaks against every kind by which there was room; if that is every kind, the limit is
   smaller, or it was not this limit that refused;
3. a refusal that the count foresaw confirms it: until the window may have moved it is *hard* then,
   and for a while its further forecasts are as well: twice as long with every confirmation, until
   one fails.

Of some calls nobody can say whether they were counted: those that were refused or failed. They
count until the first success that shows otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, Final

from stepwell.quota.bucket import Bucket
from stepwell.quota.gate import known
from stepwell.quota.ledger import Block, LimitStatus
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.reading import Reading
from stepwell.quota.rhythm import Kind, Rhythm
from stepwell.quota.traffic import Traffic
from stepwell.quota.window import SlidingWindow

# A provider counts a request when it comes; the way there takes less than this.
_WAY: Final = 0.05
# Sums of floats miss by some 1e-13; a millionth of a unit is no theft.
_EPSILON: Final = 1e-6
# Readings are as old as their call; nearly all calls are answered within this time.
_KEPT: Final = 30.0
# Settings may be wrong by a small factor. A limit of a day is not wrong because a call is refused
# after the first one.
_WRONG_BY: Final = 5
# For so many windows, and seconds, may the count be believed without another refusal.
_MOST_WINDOWS: Final = 16
_LONGEST_TRUST: Final = 600.0
# Told delays and resets are rounded, to milliseconds or, where they are whole, to seconds.
_ROUNDED: Final = 0.02
# A refusal after fewer calls may have any reason.
_FEWEST: Final = 3
# So many readings in a row that no kind explains are no accident.
_MISFITS: Final = 3


@dataclass(frozen=True, slots=True)
class Challenge:
    """A call that goes past a count, and what its success would prove.

    Attributes:
        full: The kinds of window by which there is surely no room for it.
        first: When the entry was counted that has to leave a sliding window for it.
        is_late: Only by the later of the times at which an entry may have been counted is it full.
        is_strict: Only with refused and failed calls is it full.
    """

    full: frozenset[Kind]
    first: float
    is_late: bool
    is_strict: bool


class Count:
    """A limit, what was counted against it, and the traffic that is still to be counted.

    Attributes:
        limit: As it was configured, told or first guessed.
        amount: How many are believed to fit now.
        is_configured: The settings name it.
        is_known: It limits anything; a count that only watches does not.
        source: Who says so: `configured`, `told` or `learned`.
        rhythm: How the window moves.
    """

    __slots__ = (
        "_bucket",
        "_confirmed",
        "_doubtful",
        "_forgives",
        "_is_prompt",
        "_lag",
        "_misfits",
        "_sent",
        "_sent_bucket",
        "_told_by",
        "_traffic",
        "_trust",
        "_window",
        "amount",
        "by_request",
        "is_configured",
        "is_known",
        "limit",
        "rhythm",
        "source",
    )

    def __init__(
        self, limit: Limit, traffic: Traffic, *, source: str = "configured", is_known: bool = True
    ) -> None:
        self.limit = limit
        self.amount = limit.amount
        self.by_request = limit.metric is Metric.REQUESTS
        self.is_known = is_known
        self.is_configured = source == "configured"
        self.source = source
        self.rhythm = Rhythm(limit.window)
        kept = min(limit.window, _KEPT)
        self._window = SlidingWindow(limit.window, keep=kept)
        self._sent = SlidingWindow(
            limit.window, keep=min(limit.window, _KEPT)
        )  # the same, as if counted when it was sent
        self._told_by = -1  # the call whose answer told the level, itself included
        self._doubtful = SlidingWindow(limit.window)
        self._forgives = False  # refused and failed calls are not counted by the provider
        self._bucket = Bucket()
        self._sent_bucket = Bucket()  # the same, as if counted when it was sent
        self._is_prompt = False  # the provider counts a call as it comes, not as it answers
        self._lag = 0.0  # seconds between the two, lately
        self._confirmed = -inf  # until then its forecasts are believed
        self._trust = 1
        self._misfits = 0  # readings in a row that fit no kind of window
        self._traffic = traffic

    def __repr__(self) -> str:
        what = f"{self.amount} {self.limit.metric}/{self.limit.window:g}s"
        return f"<Count {what}, {self._traffic.amount} in flight>"

    # --- counting

    def add(self, call: int, cost: int, started: float, now: float, *, sure: bool = True) -> None:
        """Let what a call came to age.

        Args:
            call: Its number.
            cost: Units.
            started: When the call was sent.
            now: When the provider must have counted it.
            sure: The provider has counted it; it may not count what it refuses.
        """
        if not sure:
            if not self._forgives:
                self._doubtful.add(cost, now)
            return
        self._lag = max(now - started, self._lag * 0.9)
        self._sent.add(cost, started)
        self._window.add(cost, now)
        if call != self._told_by:
            self._sent_bucket.add(cost, started, self._rate)
            self._bucket.add(cost, now, self._rate)

    def used(self, now: float) -> int:
        """Return how many are in use, calls in flight included."""
        return self._traffic.amount + self._counted(now) + self._doubtful.used(now)

    def available(self, now: float) -> int:
        return max(0, self.amount - self.used(now))

    # --- the gate

    def opens(self, now: float, tokens: int) -> float:
        spare = self.amount - (1 if self.by_request else tokens) - self._traffic.amount
        kind = self.rhythm.kind
        if kind is Kind.FIXED and self.rhythm.has_edge:
            return self._fixed_opens(spare, now)
        if kind is Kind.BUCKET:
            return self._drains_to(spare, now)
        if self._slid(now) + self._doubtful.used(now) <= spare:
            return now
        # With both, the later of two ends is late enough, if not exact.
        return max(self._slides_to(spare), self._doubtful.falls_to(spare), now + _EPSILON)

    def may_open(self, now: float, tokens: int) -> float:
        """Return since when, or from when, the provider may have room by some possible kind.

        -inf where nobody can tell.
        """
        spare = self.amount - (1 if self.by_request else tokens) - self._traffic.amount
        return min(self._may_open_by(kind, spare, now) for kind in self.rhythm.possible)

    def block(self, key: str, now: float, tokens: int) -> Block:
        hard = self._confirmed > now and self.may_open(now, tokens) > now
        return Block(key, "count", known(self.opens(now, tokens)), told=False, hard=hard)

    # --- learning

    def challenge(self, now: float, tokens: int) -> Challenge | None:
        """Return what a call teaches that goes past this count now; None if it is not past it."""
        if self.opens(now, tokens) <= now:
            return None
        need = 1 if self.by_request else tokens
        limit = self.amount - need
        late, sure = self._slid(now), self._sent.used(now)
        slow, level = self._drained(now), self._sent_bucket.level(now, self._rate)
        full = set()
        if sure > limit:
            full.add(Kind.SLIDING)
        if level > limit + 0.05 * need:
            full.add(Kind.BUCKET)
        _, edge = self.rhythm.last_edge(now)
        if self.rhythm.has_edge and self._sent.since(edge) > limit:
            full.add(Kind.FIXED)
        return Challenge(
            frozenset(full),
            first=self._sent.falls_to(limit) - self.limit.window,
            is_late=late > limit >= sure or slow > limit >= level,
            is_strict=late <= limit,
        )

    def succeed(self, past: Challenge, started: float, now: float, cost: int) -> None:
        """A call that went past this count was served."""
        if past.is_strict:
            self._forgives = True
            self._doubtful = SlidingWindow(self.limit.window)
            return
        self._is_prompt |= past.is_late and self.rhythm.kind is not Kind.FIXED
        refuted = set(past.full)
        if self.rhythm.next_edge(started)[0] <= now:
            refuted.discard(Kind.FIXED)
        if Kind.FIXED not in refuted and not self.rhythm.find_edge(past.first, now):
            refuted.add(Kind.FIXED)
        if self.rhythm.kind is None or self.rhythm.kind in refuted:
            self._distrust()
        if len(refuted) == len(Kind):
            self._resize(self.amount + cost)
        else:
            self.rhythm.doubt(refuted)

    def foresees(self, moment: float, tokens: int) -> bool:
        """Tell whether a refusal would be no surprise: by some possible kind there is no room."""
        return any(not self._has_room(kind, moment, tokens) for kind in self.rhythm.possible)

    def refuse(self, started: float, now: float, tokens: int, delay: float | None) -> bool:
        """A call was refused, for all we know by this limit; return whether that is believable.

        Args:
            started: When it was sent.
            now: When the refusal came.
            tokens: What it would have cost.
            delay: Told seconds until there is room; None if not told.
        """
        roomy = {kind for kind in Kind if self._has_room(kind, started, tokens)}
        if len(roomy) == len(Kind):
            return self._shrink(started)
        self.rhythm.doubt(roomy)
        if delay is not None:
            self._hear(started, now, tokens, delay)
        elif Kind.FIXED not in roomy:
            need = 1 if self.by_request else tokens
            first = self._window.falls_to(self.amount - need) - self.limit.window
            if not self.rhythm.exclude_edge(first, started):
                self.rhythm.doubt({Kind.FIXED})
        self.confirm(now)
        return True

    def confirm(self, now: float) -> None:
        """The provider has shown that the count is right."""
        windows = min(self._trust, _MOST_WINDOWS) * self.limit.window
        self._trust *= 2
        self._confirmed = now + max(self.limit.window, min(windows, _LONGEST_TRUST))

    def hear_limit(self, amount: int) -> None:
        """The provider names the limit: it knows best."""
        if amount != self.amount or not self.is_known:
            self._distrust()
            self.source, self.is_known = "told", True
            self._resize(amount)

    def hear(
        self, call: int, reading: Reading, started: float, now: float, *, served: bool
    ) -> None:
        """Compare a reading with what each kind of window would show.

        Args:
            call: In whose answer it stood.
            reading: Of this limit; limit and rest are told.
            started: When the call was sent whose answer it is.
            now: When the answer came.
            served: The call was not refused.
        """
        assert reading.limit is not None
        assert reading.remaining is not None
        self.hear_limit(reading.limit)
        used = max(0, reading.limit - reading.remaining)
        if not served:
            return  # its delay says more
        self._make_up(used, started, now)
        wrong = self._overfull(used, now)
        if reading.reset is not None and used:
            wrong |= self._misplaced(reading.reset, used, started, now)
        self._misfits = self._misfits + 1 if wrong.issuperset(self.rhythm.possible) else 0
        self.rhythm.doubt(wrong)
        if self.rhythm.kind is not None and self.rhythm.kind not in wrong:
            alone = len(self._traffic) == 1 and self._bucket.changed <= started
            if self.rhythm.kind is Kind.BUCKET and reading.reset is not None and alone:
                self._told_by = call
                self._bucket.set(reading.reset * self._rate, started)
                self._sent_bucket.set(reading.reset * self._rate, started)
            self._confirmed = max(self._confirmed, now + self.limit.window)

    @property
    def is_refuted(self) -> bool:
        """Tell whether readings do not fit such a window at all: its length is another one."""
        return self._misfits >= _MISFITS

    def guess(self, now: float) -> bool:
        """Take what was counted until this refusal for the limit; False if that says nothing."""
        counted = self._counted(now)
        if counted < _FEWEST:
            return False
        self.is_known, self.source = True, "learned"
        self._resize(counted)
        return True

    # --- for others

    def export(self, now: float) -> dict[str, Any]:
        """Return what was counted and learned, in plain values, with times relative to `now`."""
        return {
            "metric": self.limit.metric,
            "window": self.limit.window,
            "used": self._window.export(now),
            "doubtful": self._doubtful.export(now),
            "in_flight": self._traffic.amount,
            "limit": None if self.source == "configured" else self.amount,
            "known": self.is_known,
            "source": self.source,
            "forgives": self._forgives,
            "rhythm": self.rhythm.export(now),
        }

    def restore(self, state: Mapping[str, Any], then: float, now: float) -> None:
        """Learn what was exported at `then`.

        Calls under way then count as if they ended now: when they were counted nobody has seen.
        What the settings say now goes before what was learned against other settings.
        """
        self._window.restore(state["used"], then)
        self._window.add(state["in_flight"], now)
        self._doubtful.restore(state["doubtful"], then)
        self._forgives = state["forgives"]
        self.rhythm.restore(state["rhythm"], then)
        if state["limit"] is not None and not self.is_configured:
            self.amount, self.is_known = int(state["limit"]), bool(state["known"])
            self.source = str(state["source"])
        self._sent.restore(self._window.export(now), now)
        self._resize(self.amount)

    def status(self, now: float) -> LimitStatus:
        used = self.used(now)
        whole = self._whole(now)
        return LimitStatus(
            metric=self.limit.metric,
            window=self.limit.window,
            limit=self.amount,
            used=used,
            remaining=max(0, self.amount - used),
            reset=whole if whole > now and not self._traffic.amount else None,
            scope=self.limit.scope,
            source=self.source,
        )

    # --- inner

    @property
    def _rate(self) -> float:
        return self.amount / self.limit.window

    def _slid(self, now: float) -> int:
        """Return what is in use by a sliding window, whenever the provider counts a call."""
        return self._sent.used(now - _WAY) if self._is_prompt else self._window.used(now)

    def _slides_to(self, level: int) -> float:
        if self._is_prompt:
            return self._sent.falls_to(level) + _WAY
        return self._window.falls_to(level)

    def _drained(self, now: float) -> float:
        """Return what is in use by a bucket, whenever the provider counts a call."""
        if self._is_prompt:
            return self._sent_bucket.level(now - _WAY, self._rate)
        return self._bucket.level(now, self._rate)

    def _drains_to(self, level: int, now: float) -> float:
        if self._is_prompt:
            return self._sent_bucket.falls_to(level, now - _WAY, self._rate) + _WAY
        return self._bucket.falls_to(level, now, self._rate)

    def _counted(self, now: float) -> int:
        kind = self.rhythm.kind
        if kind is Kind.FIXED and self.rhythm.has_edge:
            return self._window.since(self.rhythm.last_edge(now)[0])
        if kind is Kind.BUCKET:
            return ceil(self._drained(now) - _EPSILON)
        return self._slid(now)

    def _whole(self, now: float) -> float:
        kind = self.rhythm.kind
        if kind is Kind.FIXED and self.rhythm.has_edge:
            return self.rhythm.next_edge(now)[1]
        if kind is Kind.BUCKET:
            return self._drains_to(0, now)
        return max(self._slides_to(0), self._doubtful.falls_to(0))

    def _fixed_opens(self, spare: int, now: float) -> float:
        low, _ = self.rhythm.last_edge(now)
        if self._window.since(low) <= spare:
            return now
        return self.rhythm.next_edge(now)[1] if spare >= 0 else inf

    def _may_open_by(self, kind: Kind, spare: int, now: float) -> float:
        if kind is Kind.SLIDING:
            return self._sent.falls_to(spare)
        if kind is Kind.BUCKET:
            return self._sent_bucket.falls_to(spare, now, self._rate)
        _, last = self.rhythm.last_edge(now)
        if not self.rhythm.knows_edge or self._sent.since(last) <= spare:
            return -inf
        return self.rhythm.next_edge(now)[0]

    def _has_room(self, kind: Kind, moment: float, tokens: int) -> bool:
        """Tell whether a call that was refused had surely room by one kind when it was sent."""
        need = 1 if self.by_request else tokens
        limit = self.amount - max(need, self._traffic.amount)  # it is in flight itself
        if kind is Kind.BUCKET:
            return self._bucket.level(moment, self._rate) <= limit - 0.05 * need
        if kind is Kind.FIXED and self.rhythm.has_edge:
            return self._window.since(self.rhythm.last_edge(moment)[0]) <= limit
        return self._window.used(moment) + self._doubtful.used(moment) <= limit

    def _make_up(self, used: int, started: float, now: float) -> None:
        """Count what others have used of the same quota."""
        missing = used - self._traffic.amount - self._sent.used(started)
        if missing > 0:
            self._window.add(missing, now)
            self._sent.add(missing, now)

    def _overfull(self, used: int, now: float) -> set[Kind]:
        """Return the kinds by which more would be used than the provider says."""
        most = used + max(1, used // 50)
        wrong = set()
        if self._sent.used(now) > most:
            wrong.add(Kind.SLIDING)
        if self._sent_bucket.level(now, self._rate) > most:
            wrong.add(Kind.BUCKET)
        return wrong

    def _misplaced(self, reset: float, used: int, started: float, now: float) -> set[Kind]:
        """Return the kinds of which the told reset, the time until nothing is used, is not true."""
        window = self.limit.window
        rounded = 1.0 if reset == int(reset) else _ROUNDED
        lag = now - started
        wrong = set()
        if not window - lag - rounded <= reset <= window + rounded:
            wrong.add(Kind.SLIDING)  # the call itself is the last to leave
        if abs(reset - used / self._rate) > 1 / self._rate + lag + rounded:
            wrong.add(Kind.BUCKET)
        low, high = started + reset - rounded, now + reset
        if reset > window + rounded or not self.rhythm.find_edge(low, high, proven=True):
            wrong.add(Kind.FIXED)
        return wrong

    def _shrink(self, moment: float) -> bool:
        """Believe in a smaller limit, if what was counted comes near enough."""
        self._is_prompt = False
        counted = self._window.used(moment)
        if counted * _WRONG_BY < self.amount or not counted:
            return False
        self._distrust()
        self._resize(min(counted, self.amount))
        return True

    def _resize(self, amount: int) -> None:
        """Believe in another limit; a bucket of that size has drained at another pace."""
        self.amount = amount
        for bucket, window in ((self._bucket, self._window), (self._sent_bucket, self._sent)):
            bucket.set(0.0, -inf)
            for moment, cost in window.entries():
                bucket.add(cost, moment, self._rate)

    def _distrust(self) -> None:
        self._confirmed = -inf
        self._trust = 1

    def _hear(self, started: float, now: float, tokens: int, delay: float) -> None:
        """Compare a told delay with when each kind of window would have room."""
        rounded = 1.0 if delay == int(delay) else _ROUNDED
        low, high = started + delay - rounded, now + delay
        need = 1 if self.by_request else tokens
        spare = self.amount - need
        moments = {
            Kind.SLIDING: self._slides_to(spare),
            Kind.BUCKET: self._drains_to(spare, now),
        }
        wrong = {
            kind
            for kind, moment in moments.items()
            if not low - _WAY <= moment <= high + self._lag + _WAY
        }
        if delay > self.limit.window + rounded or not self.rhythm.find_edge(low, high, proven=True):
            wrong.add(Kind.FIXED)
        self.rhythm.doubt(wrong)
