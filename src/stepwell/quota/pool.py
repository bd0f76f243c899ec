"""Pool: everything that is counted and known in one scope.

A target has a pool of its own and shares its account's with the account's other targets; free models
share one more. Each reservation is booked in all of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepwell.quota.cooldown import Cooldown
from stepwell.quota.count import Count
from stepwell.quota.gate import Gate
from stepwell.quota.health import Health
from stepwell.quota.laws import has_fixed
from stepwell.quota.laws.law import Kind, Outcome
from stepwell.quota.ledger import Bench, Ended, LimitStatus
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.meters import Meters
from stepwell.quota.period import Wall
from stepwell.quota.period_count import PeriodCount
from stepwell.quota.reading import Reading
from stepwell.quota.suspicion import Log
from stepwell.quota.tab import Page, Tab
from stepwell.quota.traffic import Served, Traffic

# One that names a new limit each time must not fill memory.
_COUNTS = 12

Tally = Count | PeriodCount

# Such calls were counted by the provider; others perhaps not.
_SURE = (Ended.SUCCESS, Ended.NEUTRAL)

# Of such windows the count knows when something comes back, and the reading does not.
_MEASURED = (Kind.SLIDING, Kind.BUCKET)

# So many readings are needed to look for a window, and so often it is tried: some fit none.
_GAUGES = 3
_TRIES = 8

# What was counted before a restart: the state, when it was written, when it was read.
_Remembered = tuple[Mapping[str, Any], float, float]


class Pool:
    """Counts, meters, cooldowns and traffic of one scope.

    Attributes:
        gates: All that may stand in the way, hard ones first, because they decide more often.
        version: Rises with every change, so that an answer can be kept until then.
        health: How its last calls ended.
        tab: Where it is noted what is to be booked here.
        wall: The wall clock, for limits of the calendar.
    """

    __slots__ = (
        "_by_metric",
        "_counts",
        "_learned",
        "_log",
        "_meant",
        "_meters",
        "_remembered",
        "_requests",
        "_tallies",
        "_tokens",
        "_tries",
        "_windows",
        "gates",
        "health",
        "scope",
        "tab",
        "version",
        "wall",
    )

    def __init__(self, scope: Scope, wall: Wall | None = None) -> None:
        self.scope = scope
        self.wall = wall or Wall()
        self.gates: tuple[Gate, ...] = ()
        self.version = 0
        self.tab: Tab | None = None
        # Of every limit, also of those not believed in now; by what they count; by readings that mean
        # them.
        self._tallies: tuple[Tally, ...] = ()
        self._by_metric: dict[Metric, tuple[Tally, ...]] = dict.fromkeys(Metric, ())
        self._meant: dict[tuple[Metric, float | None, int | None], Tally | None] = {}
        self.health = Health()
        self._counts: dict[Limit, Tally] = {}
        self._remembered: dict[tuple[str, float, str | None], _Remembered] = {}
        # By what counters are called: the window that their readings fit, and how often one was
        # looked for.
        self._windows: dict[tuple[Metric, float | None], float] = {}
        self._tries: dict[tuple[Metric, float | None], int] = {}
        self._log = Log()
        self._learned: Count | None = None  # of a limit that nobody told
        self._requests = Traffic()  # until the response begins
        self._tokens = Traffic()  # until the call ends
        self._meters = Meters(self._requests, self._tokens)

    def __repr__(self) -> str:
        return f"<Pool {self.scope}, {self.in_flight} in flight, {len(self.gates)} gates>"

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._tokens.flying)

    # --- what is counted

    def post(self) -> None:
        """Book what was noted."""
        if self.tab is not None:
            self.tab.post()

    def book(self, page: Page) -> None:
        """Book what was noted of calls that were served, as `take`, `age` and `spend` would."""
        self.version += 1
        taken, answered, ended = page
        calls, tokens = zip(*taken, strict=True) if taken else ((), ())
        self._requests.start_all(calls, [1] * len(calls))
        self._tokens.start_all(calls, tokens)
        self._meters.debit(len(calls), sum(tokens))
        self._requests.end(answered)
        self._meters.correct(self._tokens.end(ended), by_request=False)
        self._serve(Metric.REQUESTS, answered)
        self._serve(Metric.TOKENS, ended)

    def _serve(self, metric: Metric, calls: Sequence[Served]) -> None:
        if calls:
            self._log.serve(metric, calls)
            for count in self._by_metric[metric]:
                count.serve(calls)

    def adopt(self, limits: Iterable[Limit]) -> None:
        """Count against the configured limits of this scope from now on."""
        for limit in limits:
            if limit.scope is self.scope and limit not in self._counts:
                self._add(self._tally(limit))
        self._arrange()

    def take(self, call: int, tokens: int) -> None:
        """Book one request and its estimated tokens."""
        self.version += 1
        self._requests.start(call, 1)
        self._tokens.start(call, tokens)
        self._meters.debit(1, tokens)

    def read(
        self, call: int, readings: Iterable[Reading], started: float, now: float, *, served: bool
    ) -> None:
        """Believe what the answer to `call` says about this scope."""
        self.version += 1
        for reading in readings:
            if reading.scope is self.scope and reading.remaining is not None:
                self._read(call, reading, started, now, served=served)

    def _read(
        self, call: int, reading: Reading, started: float, now: float, *, served: bool
    ) -> None:
        count = self._taught(reading, started, now, served=served)
        kind = None if count is None else count.kind
        if count is not None and (kind in _MEASURED or not served):
            # The count knows better when something comes back, and of a refusal its delay does.
            if self._meters.drop(reading):
                self._arrange()
            return
        meter = self._meters.find(reading)
        if meter is None:
            meter = self._meters.add(reading, now)
            self._arrange()
        refills = reading.refills and kind is not Kind.FIXED
        meter.read(reading, call, now, lag=now - started, refills=refills)
        meter.count = self._counted(reading) if count is None else count

    def age(self, call: int, started: float, now: float, *, ended: Ended) -> None:
        """The provider must have counted the request by now, if it counts such a call."""
        self.version += 1
        self._requests.end([(call, 1, started, now)])
        self._book(Metric.REQUESTS, call, 1, started, now, ended)

    def spend(self, call: int, tokens: int, started: float, now: float, *, ended: Ended) -> None:
        """The call ended and came to so many tokens."""
        self.version += 1
        corrections = self._tokens.end([(call, tokens, started, now)])
        self._meters.correct(corrections, by_request=False)
        self._book(Metric.TOKENS, call, tokens, started, now, ended)

    def _book(  # noqa: PLR0917 - as its callers have them
        self, metric: Metric, call: int, cost: int, started: float, now: float, ended: Ended
    ) -> None:
        if ended in _SURE:
            self._log.add(metric, started, now, cost)
            for count in self._by_metric[metric]:
                count.add(call, cost, started, now, served=ended is Ended.SUCCESS)
        elif cost:
            for count in self._by_metric[metric]:
                count.doubt(cost, now)

    def end_probe(self, call: int) -> None:
        """A call that went past what is known has ended, and what it came to is booked."""
        self.health.end_probe(call)
        for count in self._tallies:
            count.forget(call)

    def give_back(self, call: int, *, request: bool) -> None:
        """Nothing was sent: take the tokens back, and the request unless it has begun to age."""
        self.version += 1
        self._meters.correct([(call, -self._tokens.cancel(call))], by_request=False)
        if request:
            self._meters.correct([(call, -self._requests.cancel(call))], by_request=True)

    # --- what is known

    def is_known(self, now: float) -> bool:
        """Tell whether limits or living readings say anything of this scope."""
        for count in self._counts.values():
            if count.is_known:
                return True
        return bool(self._meters.live(now))

    def statuses(self, now: float) -> Iterator[LimitStatus]:
        """Yield each limit once: while the provider's word of what is left lives, it goes first."""
        live = self._meters.live(now)
        for count in self.counts:
            told = [meter for meter in live if self._counted(meter.reading) is count]
            live = [meter for meter in live if meter not in told]
            status = count.status(now)
            if told:
                least = min(told, key=lambda meter: meter.room(now))
                status = _joined(least.status(now), status)
            yield status
        for meter in live:
            yield meter.status(now)

    @property
    def counts(self) -> tuple[Tally, ...]:
        """Every count of a limit that is known or believed in."""
        return tuple([count for count in self._tallies if count.is_known])

    def challenge(self, call: int, tokens: int, now: float) -> None:
        """A call is about to go past what is counted, where something is full."""
        for count in self.counts:
            count.challenge(call, tokens, now)

    def named(self, readings: Iterable[Reading]) -> Tally | None:
        """Return the count of the limit that a refusal names as used up."""
        for reading in readings:
            if reading.scope is self.scope and reading.remaining == 0:
                count = self._counted(reading)
                if count is not None and count.is_known:
                    return count
        return None

    def refuse(self, count: Tally, outcome: Outcome) -> bool:
        """Teach a refusal to the count that it is about; return whether that is believable."""
        guess = self._learned if outcome.told is None and count is self._learned else None
        was_fixed = guess is not None and has_fixed(guess.belief.laws)
        is_explained = count.refuse(outcome)
        if guess is not None and is_explained and was_fixed and not has_fixed(guess.belief.laws):
            self._log.reconsider(guess, outcome)
        return is_explained

    def suspect(self, outcome: Outcome) -> bool:
        """Find a limit that nobody told and that explains a refusal; False if it says nothing."""
        self._learned = self._log.suspect(outcome, self.scope, self._traffic)
        self._arrange()
        return self._learned is not None

    # --- health

    def note(self, outcome: Outcome) -> None:
        """Remember a refusal, to explain later ones."""
        self._log.refuse(outcome)

    def has_answered(self, arrived: float, since: float, now: float, tokens: int) -> bool:
        """Tell whether a call was refused or failed since `arrived`, and that is still news.

        It is not if the told delay has passed, or a window may have moved since it was sent, or since
        the search for room began, or the wait for it ended.
        """
        if self.health.is_stubborn(now):
            return True
        if not self.health.is_refused_since(arrived, now):
            return False
        sent = self.health.evidence_from(since, now)
        return not any(count.may_have_opened(sent, now, tokens) for count in self.counts)

    def cooldown(self, bench: Bench) -> Cooldown:
        cooldown = self.health.cooldown(bench)
        if cooldown not in self.gates:
            self.gates = (cooldown, *self.gates)
        return cooldown

    # --- memory

    def export(self, now: float) -> dict[str, Any]:
        """Return all that outlives a restart, in plain values, with times relative to `now`."""
        return {
            "counts": [count.export(now) for count in self._counts.values()],
            "learned": None if self._learned is None else self._learned.export(now),
            "meters": self._meters.export(now),
            **self.health.export(now),
        }

    def restore(self, state: Mapping[str, Any], then: float, now: float) -> None:
        """Add what was exported at `then`; counts, as soon as their limits are known."""
        self.version += 1
        self.health.restore(state, then)
        self._meters.restore(state["meters"], self.scope, then)
        for each in state["counts"]:
            name = each["metric"], each["window"], each.get("calendar")
            self._remembered[name] = each, then, now
        for count in self._counts.values():
            self._recall(count)
        for each in state["counts"]:
            self._restore_told(each)
        if state["learned"] is not None and self._learned is None:
            self._learned = self._restored(state["learned"], source="learned")
            self._learned.restore(state["learned"], then, now)
        self._arrange()

    def _restore_told(self, state: Mapping[str, Any]) -> None:
        """Count on against a limit that a response had told; the settings do not know of it."""
        told = state["source"] == "told" and state.get("laws") and len(self._counts) < _COUNTS
        name = (state["metric"], state["window"])
        if told and all((c.limit.metric, c.limit.window) != name for c in self._counts.values()):
            self._add(self._restored(state, source="told"))

    def _restored(self, state: Mapping[str, Any], *, source: str) -> Count:
        metric = Metric(state["metric"])
        limit = Limit(metric, int(state["amount"]), float(state["window"]), self.scope)
        return Count.of(limit, self._traffic(metric), source=source)

    def _recall(self, count: Tally) -> None:
        # The limit's amount may have been configured anew; what was used is still used.
        limit = count.limit
        calendar = None if limit.calendar is None else str(limit.calendar)
        found = self._remembered.get((limit.metric, limit.window, calendar))
        if found is not None:
            count.restore(*found)

    # --- inner

    def _tally(self, limit: Limit) -> Tally:
        traffic = self._traffic(limit.metric)
        if limit.calendar is not None:
            return PeriodCount.of(limit, traffic, self.wall)
        return Count.of(limit, traffic)

    def _add(self, count: Tally) -> None:
        self._counts[count.limit] = count
        self._recall(count)
        self._arrange()

    def _taught(
        self, reading: Reading, started: float, now: float, *, served: bool
    ) -> Tally | None:
        """Teach a reading to the count of its limit, and return that; None if there is none."""
        if not reading.limit:
            return None
        count = self._counted(reading) or self._told(reading, now)
        if count is None:
            return None
        count.hear(reading, started, now, served=served)
        if count.is_misread and isinstance(count, Count) and not count.is_configured:
            return self._measured(reading, count)
        return count

    def _measured(self, reading: Reading, count: Count) -> Count:
        """Return the count of a told limit with the window that its readings fit; itself if none."""
        name = reading.metric, reading.window
        tries = self._tries.get(name, 0)
        if len(count.gauges) < _GAUGES or tries == _TRIES:
            return count
        self._tries[name] = tries + 1
        found = self._log.measure(count.limit, count.gauges, self._traffic)
        if found is None:
            return count
        count.silence()
        self._windows[name] = found.limit.window
        self._add(found)
        return found

    def _counted(self, reading: Reading) -> Tally | None:
        """Return the count of a reading's limit.

        A configured limit of the same amount is meant, whatever its window: a dialect may only
        presume that. Else it is the one of the same window.
        """
        name = reading.metric, reading.window, reading.limit
        if name not in self._meant:
            self._meant[name] = self._find_meant(reading)
        return self._meant[name]

    def _find_meant(self, reading: Reading) -> Tally | None:
        same = [count for count in self._counts.values() if count.limit.metric is reading.metric]
        for count in same:
            if count.is_configured and count.limit.amount == reading.limit:
                return count
        window = self._windows.get((reading.metric, reading.window), reading.window)
        return next((count for count in same if count.limit.window == window), None)

    def _told(self, reading: Reading, now: float) -> Count | None:
        """Make a count of a limit of which a response told first."""
        if reading.window is None or not reading.limit or len(self._counts) >= _COUNTS:
            return None
        metric, window = reading.metric, reading.window
        usage = self._log.usage(metric, window, self._traffic(metric), now - window, now)
        limit = Limit(metric, reading.limit, window, self.scope)
        count = Count(limit, usage, source="told")
        self._learned = None  # this is better
        self._add(count)
        return count

    def _traffic(self, metric: Metric) -> Traffic:
        return self._requests if metric is Metric.REQUESTS else self._tokens

    def _arrange(self) -> None:
        learned = () if self._learned is None else (self._learned,)
        self._tallies = (*self._counts.values(), *learned)
        self._by_metric = {
            metric: tuple(count for count in self._tallies if count.limit.metric is metric)
            for metric in Metric
        }
        self._meant.clear()
        self.gates = (*self.health.cooldowns, *self._meters, *self._tallies)


def _joined(told: LimitStatus, counted: LimitStatus) -> LimitStatus:
    """Return what was told of a limit that we count as well, with what only the count knows.

    A reading that names no limit may tell of more than the limit that we know.
    """
    limit, left = told.limit, told.remaining
    if limit is None:
        limit = counted.limit
        left = left if left is None or limit is None else min(left, limit)
    used = None if limit is None or left is None else max(0, limit - left)
    calendar = counted.calendar
    return replace(
        told, window=counted.window, limit=limit, used=used, remaining=left, calendar=calendar
    )
