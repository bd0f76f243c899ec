"""Desk: where one target's reservations are taken and settled.

It joins the target's own pool, that of its account's free models if it is one of them, and its
account's; all that is asked or booked concerns each.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from stepwell.quota.calibration import Calibration
from stepwell.quota.choice import Standing, worst
from stepwell.quota.cooldown import RULES, blur
from stepwell.quota.gate import Gate
from stepwell.quota.laws.law import Outcome
from stepwell.quota.ledger import Bench, Block, Ended, Report, Reservable, TargetStatus
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.opening import Opening
from stepwell.quota.pool import Pool, Tally
from stepwell.quota.reading import Reading
from stepwell.quota.slots import Slots
from stepwell.quota.slow_start import SlowStart
from stepwell.quota.standings import Standings
from stepwell.quota.tab import CALLS, OFTEN, PLENTY, Page, Tab

# A target whose last answer was a refusal is probed once in so many seconds.
_PROBE_EVERY = 1.0

# What a call will cost is estimated, so where tokens are short there may always be room for a request
# again before everybody has refused it. So many seconds it looks for that.
_SEARCH = 3.0


class Desk:
    """One target's state.

    Tokens are estimates here; what the target's calls come to beside them, `calibration` knows.

    Args:
        key: The target's.
        account: The name of its account.
        shared: The pool of its account.
        free: The pool of its account's free models; None if it is not one of them.
    """

    __slots__ = (
        "_asked_at",
        "_explained",
        "_gates",
        "_probes",
        "_slots",
        "_slow_start",
        "account",
        "calibration",
        "key",
        "own",
        "pools",
        "shared",
        "standings",
        "tab",
        "target",
    )

    def __init__(self, key: str, account: str, shared: Pool, free: Pool | None = None) -> None:
        self.key = key
        self.account = account
        self.own = Pool(Scope.MODEL, shared.wall)
        self.calibration = Calibration()
        self.shared = shared
        self.pools = (self.own, shared) if free is None else (self.own, free, shared)
        self.tab = Tab(self.pools, self._book, self.read)
        self.target: Reservable | None = None
        self._probes: set[int] = set()
        self._slots = Slots(shared)
        self._slow_start = SlowStart(self.pools)
        self._gates: tuple[Gate, ...] = ()
        self._asked_at = -inf
        self._explained = False  # a count says when a refused target has room again
        self.standings = Standings(self.pools)

    def __repr__(self) -> str:
        return f"<Desk {self.key}, {self.own.in_flight} in flight>"

    def adopt(self, target: Reservable) -> None:
        """Take over the limits of a target that is new, or was configured anew."""
        self._change()
        self.target = target
        for pool in self.pools:
            pool.adopt(target.limits)
        self._slots.limit = target.concurrency
        slots = () if target.concurrency is None else (self._slots,)
        self._gates = (*slots, self._slow_start)

    # --- questions

    def is_open(self, now: float, tokens: int, need: int) -> bool:
        """Tell whether there is room for so many tokens, of which it probably comes to `need`.

        If there is none, that is kept: see `Standings.is_shut`.
        """
        opens = self._opens(now, need)
        if opens <= now:
            return True
        self.standings.shut(opens, now, tokens)
        return False

    def _opens(self, now: float, need: int) -> float:
        """Return when the first gate that is shut opens; `now` if none is."""
        for gate in self._gates:
            if (opens := gate.opens(now, need)) > now:
                return opens
        for pool in self.pools:
            for gate in pool.gates:
                if (opens := gate.opens(now, need)) > now:
                    return opens
        return now

    def _opening(self, block: Block, now: float, tokens: int) -> Opening | None:
        """Return when all that counts against it has room, where it may have that already."""
        if block.reason != "count" or block.hard:
            return None
        need = self.calibration.likely(tokens)
        counts = [count for pool in self.pools for count in pool.counts]
        return Opening.of_all(
            count.opening(now, need) for count in counts if count.opens(now, need) > now
        )

    def _is_short_of_tokens(self, now: float, tokens: int) -> bool:
        """Tell whether it depends on what a call will cost if there is room for it."""
        need = self.calibration.likely(tokens)
        return any(
            count.limit.metric is Metric.TOKENS and count.opens(now, need) > now
            for pool in self.pools
            for count in pool.counts
        )

    def _has_refused(self, since: float) -> bool:
        """Tell whether it has refused or failed a call since a moment, whatever came after that."""
        return any(pool.health.refused_from >= since for pool in self.pools)

    def _change(self) -> None:
        """Something is otherwise from now on, also for all who share a pool."""
        for pool in self.pools:
            pool.version += 1

    def block(self, now: float, tokens: int) -> Block | None:
        """Return what stands in the way the most, None if nothing does."""
        return worst(self._blocks(now, tokens))

    def _blocks(self, now: float, tokens: int) -> list[Block]:
        """Return all that stands in the way."""
        need, typical = self.calibration.likely(tokens), self.calibration.typical(tokens)
        return [
            gate.block(self.key, now, need, typical)
            for gate in self._all_gates()
            if gate.opens(now, need) > now
        ]

    def standing(
        self, now: float, tokens: int, arrived: float, waits_until: float = -inf
    ) -> Standing | None:
        """Describe this target to one request; None if it is open after all."""
        blocks = self._blocks(now, tokens)
        block = worst(blocks)
        if block is None:
            return None
        since = max(arrived, min(waits_until, now))
        is_over = now - since > _SEARCH and self._is_short_of_tokens(now, tokens)
        if block.reason == "count" and self._probes and not is_over:
            block = replace(block, hard=False)  # what it comes to will tell more than we know
        typical = self.calibration.typical(tokens)
        answered = any(pool.has_answered(arrived, since, now, typical) for pool in self.pools)
        flying = bool(self.own.in_flight or self.shared.in_flight)
        probe_at = self._probe_at(now)
        if is_over and (block.hard or probe_at > now) and self._has_refused(since):
            answered, block = True, replace(block, is_ending=False)
        if block.is_ending and block.until is not None and _may_be_over(block, now):
            probe_at = max(probe_at, block.until)  # in a moment it need not be asked whether it is
        opening = self._opening(block, now, tokens) if waits_until > -inf and not is_over else None
        if opening is not None and opening.holds(since, now):
            answered, probe_at = False, max(probe_at, opening.asked_at(now))
        standing = Standing.of(block, answered=answered, probe_at=probe_at, flying=flying, now=now)
        if not self._probes:  # while one is out, it depends on who asks
            self.standings.keep(standing, blocks, now, tokens)
        return standing

    def status(self, now: float) -> TargetStatus:
        return TargetStatus(
            key=self.key,
            account=self.account,
            in_flight=self.own.in_flight,
            limits=tuple(status for pool in self.pools for status in pool.statuses(now)),
            block=self.block(now, 1),
        )

    # --- counting

    def take(self, call: int, tokens: int, now: float, *, probe: bool) -> bool:
        """Book a reservation; return whether it is a probe, as a half-open target's call is."""
        for pool in self.pools if probe else ():
            pool.challenge(call, tokens, now)
        for pool in self.pools:
            probe = probe or pool.health.is_half_open(now)
        for pool in self.pools:
            pool.take(call, tokens)
            if probe:
                pool.health.start_probe(call)
        if probe:
            self._probes.add(call)
        return probe

    def open_tab(self, now: float, need: int) -> None:
        """Let the next calls be booked later, if they are many and there is plenty of room for them."""
        is_busy, self._asked_at = now - self._asked_at < OFTEN, now
        if not is_busy:
            return
        calls, tokens = PLENTY * CALLS, PLENTY * CALLS * need
        if all(gate.has_plenty(now, calls, tokens) for gate in self._all_gates()):
            self.tab.open(now, need)

    def post(self) -> None:
        """Book what was noted in all that this target is counted in."""
        for pool in self.pools:
            if pool.tab is not None:
                pool.tab.post()

    def read(
        self,
        call: int,
        readings: Iterable[Reading],
        started: float,
        now: float,
        *,
        served: bool = True,
    ) -> None:
        for pool in self.pools:
            pool.read(call, readings, started, now, served=served)

    def learn(self, report: Report, tokens: int, estimate: int, started: float, now: float) -> None:
        """Learn from how a call ended what the limits are; not yet booked, it is in flight.

        `judge` is to follow, by which others notice that something has changed.
        """
        self._explained = False
        if report.ended is Ended.REFUSED and report.bench is Bench.RATE:
            least = self.calibration.least(estimate)
            outcome = Outcome(started, now, tokens, served=False, delay=report.delay, least=least)
            self._explained = self._explain(report.readings, outcome)
            self.own.note(outcome)

    def _explain(self, readings: Sequence[Reading], outcome: Outcome) -> bool:
        """Find the limit that refused a call and teach it; False if none is to blame."""
        named = self._named(readings)
        count = named or self._blamed(outcome)
        if count is not None and self.own.refuse(count, outcome):
            return True
        if named is not None:
            return named.begin_anew(outcome)
        if count is not None and not count.is_near(outcome):
            return False
        if count is not None:
            count.silence()  # it is another limit
        return self.own.suspect(outcome)

    def _named(self, readings: Sequence[Reading]) -> Tally | None:
        """Return the count of the limit that a refusal names."""
        for pool in self.pools if readings else ():
            if (count := pool.named(readings)) is not None:
                return count
        return None

    def _blamed(self, outcome: Outcome) -> Tally | None:
        """Return the limit that a refusal is about which names none.

        Of those that are used up by our own count it is the one that stays so longest, else the one
        that is used up most. One that is used up only if refused calls are counted is not blamed for
        what another one explains.
        """
        counts = [count for pool in self.pools for count in pool.counts]
        foreseen = [count for count in counts if count.foresees(outcome)]
        if len(foreseen) > 1:
            plain = [count for count in foreseen if count.foresees(outcome, forgiving=True)]
            foreseen = plain or foreseen
        if foreseen:
            return max(foreseen, key=lambda count: count.opens(outcome.sent, outcome.need))
        return max(counts, key=lambda count: count.used(outcome.sent) / count.amount, default=None)

    def age(self, call: int, started: float, now: float, *, ended: Ended = Ended.SUCCESS) -> None:
        for pool in self.pools:
            pool.age(call, started, now, ended=ended)

    def spend(
        self,
        call: int,
        tokens: int,
        started: float,
        now: float,
        *,
        ended: Ended = Ended.SUCCESS,
        request: bool = False,
    ) -> None:
        """Book what a call came to, and its request unless it has begun to age."""
        for pool in self.pools:
            if request:
                pool.age(call, started, now, ended=ended)
            pool.spend(call, tokens, started, now, ended=ended)
        self._end_probe(call)

    def give_back(self, call: int, *, request: bool) -> None:
        for pool in self.pools:
            pool.give_back(call, request=request)
        self._end_probe(call)

    # --- health

    def judge(self, call: int, mark: int, report: Report, started: float, now: float) -> None:
        """Learn from how a call ended."""
        self._change()
        if report.ended is Ended.SUCCESS:
            self._recover(call, now)
        elif report.ended is not Ended.NEUTRAL:
            self._refuse(call, mark, report, started, now)

    def tell(self, mark: int, seconds: float, scope: Scope, words: str, now: float) -> None:
        """Learn of a cooldown that did not come with a call."""
        self._change()
        cooldown = self._pool(scope).cooldown(Bench.RATE)
        cooldown.set(now, call=mark, mark=mark, delay=seconds, words=words)

    def _recover(self, call: int, now: float) -> None:
        for pool in self.pools[1:]:
            pool.health.recover(call)
        if self.own.health.recover(call):
            self._slow_start.succeed(now)

    def _refuse(self, call: int, mark: int, report: Report, started: float, now: float) -> None:
        scope = report.scope if report.bench is None else RULES[report.bench].scope or report.scope
        until = inf if report.delay is None else now + report.delay
        pool = self._pool(scope)
        for each in (self.own,) if pool is self.own else (self.own, pool):
            each.health.refuse(started, now, mark, until)
            if report.bench is Bench.RATE:
                each.health.insist(now)
        if report.bench is Bench.RATE:
            self._slow_start.restart()
        if report.bench is not None and (report.delay is not None or not self._explained):
            pool.cooldown(report.bench).set(
                now,
                call=call,
                mark=mark,
                delay=report.delay,
                guess=report.guess,
                blur=blur(report.delay, now - started),
                words=report.words,
            )

    # --- memory

    def export(self, now: float) -> dict[str, Any]:
        """Return what is known of this target alone, in plain values; see `Pool.export`."""
        admits, calibration = self._slow_start.admits, self.calibration.export()
        return {**self.own.export(now), "admits": admits, "calibration": calibration}

    def restore(self, state: Mapping[str, Any], then: float, now: float) -> None:
        """Learn what was exported at `then`."""
        self._change()
        self.own.restore(state, then, now)
        self._slow_start.restore(state["admits"])
        self.calibration.restore(state["calibration"])

    # --- inner

    def _book(self, page: Page) -> None:
        """Book what was noted of calls that were served."""
        for pool in self.pools:
            pool.book(page)
        ended = [call for call, *_ in page.ended]
        for call in ended if self._probes else ():
            self._end_probe(call)
        if ended:
            self._recover(max(ended), page.ended[-1][-1])

    def _pool(self, scope: Scope) -> Pool:
        for pool in self.pools:
            if pool.scope is scope:
                return pool
        return self.own

    def _all_gates(self) -> Iterator[Gate]:
        yield from self._gates
        for pool in self.pools:
            yield from pool.gates

    def _probe_at(self, now: float) -> float:
        """Return when a soft block may be probed past; inf while a probe is out."""
        if self._probes or any(pool.health.is_probed for pool in self.pools):
            return inf
        wary = [pool.health for pool in self.pools if pool.health.is_wary]
        return max([now, *(each.refused_at + max(_PROBE_EVERY, each.pause) for each in wary)])

    def _end_probe(self, call: int) -> None:
        if call in self._probes:
            self._probes.remove(call)
            for pool in self.pools:
                pool.end_probe(call)


def _may_be_over(block: Block, now: float) -> bool:
    return block.may_end is not None and block.may_end <= now
