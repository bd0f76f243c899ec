"""PeriodCount: our own count against a limit of a calendar day or month.

It does what `Count` does, and has less to learn: when all comes back is known. It is soft until a
refusal that it foresaw confirms it; then it is hard until the reset. An outcome that it cannot
explain shows that the limit is another one, and silences it.
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, Final, Self

from stepwell.quota.calendar import Calendar
from stepwell.quota.gate import known
from stepwell.quota.laws.law import Kind, Outcome
from stepwell.quota.ledger import Block, LimitStatus
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.opening import Opening
from stepwell.quota.period import Period, Wall
from stepwell.quota.reading import Reading
from stepwell.quota.traffic import Served, Traffic

# As `count` has it: a day's limit is not wrong because a call is refused after the first one.
_WRONG_BY: Final = 5


class PeriodCount:
    """A limit of a calendar's period, and what was counted in it.

    Attributes:
        limit: As it was configured.
        amount: How many are believed to fit.
        is_known: It limits anything now.
        source: Who says so: `configured` or `told`.
    """

    is_configured: Final = True
    is_misread: Final = False
    kind: Final = Kind.FIXED

    __slots__ = (
        "_challengers",
        "_confirmed",
        "_period",
        "_traffic",
        "_used",
        "_wall",
        "amount",
        "is_known",
        "limit",
        "source",
    )

    def __init__(self, limit: Limit, calendar: Calendar, traffic: Traffic, wall: Wall) -> None:
        self.limit = limit
        self.amount = limit.amount
        self.is_known = True
        self.source = "configured"
        self._traffic = traffic
        self._wall = wall
        self._period = Period(calendar)
        self._used = 0  # in that period
        self._confirmed = -inf  # until that Unix time its word is believed
        self._challengers: set[int] = set()

    @classmethod
    def of(cls, limit: Limit, traffic: Traffic, wall: Wall) -> Self:
        """Begin to count against a limit that has a calendar."""
        assert limit.calendar is not None
        return cls(limit, limit.calendar, traffic, wall)

    def __repr__(self) -> str:
        what = f"{self.amount} {self.limit.metric}, {self._period!r}"
        return f"<PeriodCount {what}, {self._traffic.amount} in flight>"

    # --- counting

    def challenge(self, call: int, tokens: int, now: float) -> None:
        """See `Count.challenge`."""
        if self.opens(now, tokens) > now:
            self._challengers.add(call)

    def add(self, call: int, cost: int, sent: float, answered: float, *, served: bool) -> None:
        """See `Count.add`. A call that spans a reset counts after it."""
        if served and call in self._challengers:
            self.silence()
        self._count(cost, answered)

    def serve(self, calls: Iterable[Served]) -> None:
        """See `Count.serve`."""
        for call, cost, sent, answered in calls:
            self.add(call, cost, sent, answered, served=True)
            self.forget(call)

    def doubt(self, cost: int, answered: float) -> None:
        """Who counts by the day does not count what is refused."""

    def forget(self, call: int) -> None:
        """A call has ended."""
        self._challengers.discard(call)

    def used(self, now: float) -> int:
        """Return how many are in use, calls in flight included."""
        return self._counted(now) + self._traffic.amount

    # --- the gate

    def opens(self, now: float, tokens: int) -> float:
        need = self._need(tokens)
        if not self.is_known or self.used(now) + need <= self.amount:
            return now
        return self._reset(now) if self._traffic.amount + need <= self.amount else inf

    def has_plenty(self, now: float, calls: int, tokens: int) -> bool:
        need = calls if self.limit.metric is Metric.REQUESTS else tokens
        return not self.is_known or self.used(now) + need <= self.amount

    def may_open(self, now: float, tokens: int) -> float:
        return self.opens(now, tokens)

    def may_have_opened(self, after: float, now: float, tokens: int) -> bool:
        """See `Count.may_have_opened`."""
        return after < self.opens(now, tokens) <= now

    def opening(self, _now: float, _tokens: int) -> Opening | None:
        """See `Count.opening`. When a period begins is known."""
        return None

    def block(self, key: str, now: float, tokens: int, typical: int) -> Block:
        hard = self._confirmed > self._wall.unix(now) and self.opens(now, typical) > now
        opens = self.opens(now, tokens)
        lasts = min(opens, self._wall.monotonic(self._confirmed)) if hard else opens
        lasts = lasts if self.limit.metric is Metric.REQUESTS else -inf
        return Block(key, "count", known(opens), told=False, hard=hard, lasts=lasts)

    # --- learning

    def foresees(self, outcome: Outcome, *, forgiving: bool = False) -> bool:
        """Tell whether a refusal is no surprise; the refused call is in flight itself.

        Refused calls are never counted here, so `forgiving` changes nothing.
        """
        others = self._traffic.amount - self._need(outcome.need)
        taken = self._counted(outcome.sent) + max(0, others) + self._need(outcome.need)
        return self.is_known and taken > self.amount

    def refuse(self, outcome: Outcome) -> bool:
        """A call was refused, for all we know by this limit; return whether that is believable."""
        if not self.foresees(outcome):
            return False
        self._confirmed = self._period.next_reset(self._wall.unix(outcome.answered))
        return True

    def is_near(self, outcome: Outcome) -> bool:
        """See `Count.is_near`."""
        return self._counted(outcome.sent) * _WRONG_BY >= self.amount

    def begin_anew(self, _outcome: Outcome) -> bool:
        """See `Count.begin_anew`. Of a calendar nothing was learned that could be wrong."""
        return False

    def silence(self) -> None:
        """Limit nothing any more."""
        self.is_known = False
        self._confirmed = -inf

    def hear(self, reading: Reading, sent: float, now: float, *, served: bool) -> None:
        """The provider names the limit, and what is left of it."""
        assert reading.limit is not None
        assert reading.remaining is not None
        if reading.limit != self.amount or not self.is_known:
            self.amount, self.source, self.is_known = reading.limit, "told", True
        missing = reading.limit - reading.remaining - self.used(now)
        if missing > 0:  # others use the same quota
            self._count(missing, now)

    # --- for others

    def export(self, now: float) -> dict[str, Any]:
        """Return what was counted, in plain values; times in Unix time, as they are dates."""
        return {
            "metric": self.limit.metric,
            "window": self.limit.window,
            "calendar": str(self._period.calendar),
            "amount": self.limit.amount,
            "source": self.source,
            "believed": self.amount,
            "known": self.is_known,
            "began": self._period.began if self._used else None,
            "used": self._used,
            "in_flight": self._traffic.amount,
            "confirmed": self._confirmed if self._confirmed > -inf else None,
        }

    def restore(self, state: Mapping[str, Any], then: float, now: float) -> None:
        """Learn what was exported, as far as its period is not over.

        What the settings say now goes before what was learned against other settings.
        """
        began = state["began"]
        if began is not None and began >= self._period.began:
            self._turn(float(began))
            self._used += int(state["used"])
        self._count(int(state["in_flight"]), now)
        if state["amount"] == self.limit.amount:
            self.amount, self.is_known = int(state["believed"]), bool(state["known"])
            self.source = str(state["source"])
            self._confirmed = -inf if state["confirmed"] is None else float(state["confirmed"])

    def status(self, now: float) -> LimitStatus:
        used = self.used(now)
        return LimitStatus(
            metric=self.limit.metric,
            window=self.limit.window,
            limit=self.amount,
            used=used,
            remaining=max(0, self.amount - used),
            reset=self._reset(now) if used and not self._traffic.amount else None,
            scope=self.limit.scope,
            source=self.source,
            calendar=str(self._period.calendar),
        )

    # --- inner

    def _need(self, tokens: int) -> int:
        return 1 if self.limit.metric is Metric.REQUESTS else tokens

    def _counted(self, now: float) -> int:
        return self._used if self._period.holds(self._wall.unix(now)) else 0

    def _count(self, cost: int, now: float) -> None:
        self._turn(self._wall.unix(now))
        self._used += cost

    def _turn(self, unix: float) -> None:
        if self._period.turn(unix):
            self._used = 0

    def _reset(self, now: float) -> float:
        return self._wall.monotonic(self._period.next_reset(self._wall.unix(now)))
