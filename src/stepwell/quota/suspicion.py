"""Suspicion: finding a limit of which nobody told, in what was served and refused.

A refusal that no known limit explains shows that there is another one. Which, of what metric and
window? Each that is common is tried: by it the refused call was the first too many, and the
outcomes before are held against that, the newest first, until one does not fit. The limit that
explains the most is believed; among equals the commonest. If that is a mistake, the next refusal
that it does not explain begins anew, and knows more. Refused calls are taken to be counted only if
that explains more, and only where delays are told: else a limit that is too large would be kept full by
what it was refused, and each refusal would fit.

Readings often tell a limit and not its window, so that a dialect can only presume one. Where they do
not fit it, the window that they do fit is found in the same way (`measure`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice, product
from math import inf
from operator import itemgetter
from typing import Final, TypeAlias

from stepwell.quota.count import Count
from stepwell.quota.laws import after, has_fixed, shown, suspects, unordered
from stepwell.quota.laws.first_call import ANY, FirstCall
from stepwell.quota.laws.law import MOMENT, Gauge, Kind, Law, Outcome
from stepwell.quota.laws.patience import Patience
from stepwell.quota.laws.replay import replayed
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.traffic import Served, Traffic
from stepwell.quota.usage import Usage

# Of the free tiers that are known most count by the minute and by the day; frameworks and proxies
# count by seconds and hours as well.
_WINDOWS: Final = (60.0, 1.0, 2.0, 5.0, 6.0, 10.0, 15.0, 20.0, 30.0, 300.0, 600.0, 3600.0, 86400.0)
# As many calls as are counted one by one elsewhere.
_REMEMBERED: Final = 1000
# So many of them are held against each suspect.
_COMPARED: Final = 200
# So often laws are asked in one search, and those that need all outcomes in their order, which are two
# replays of all. That takes some milliseconds.
_ASKED: Final = 200
_REPLAYED: Final = 2 * (_COMPARED + 1) + 1
# All laws but that one are asked so often about all outcomes.
_ALL: Final = 3 * _COMPARED + 1
# To suspect a window costs as much as one question for so many outcomes, as all are counted anew; and
# once more for a delay.
_COUNTED: Final = 16

# What may be counted, and whether refused calls are too.
_WAYS: Final = tuple((metric, False) for metric in Metric)
_WAYS_TOLD: Final = (*_WAYS, (Metric.REQUESTS, True))

# A call that was served, as it was noted, as they are many; or a refusal.
_Past: TypeAlias = Served | Outcome


class Log:
    """What calls came to, as far as that may show a limit."""

    __slots__ = ("_next", "_outcomes")

    def __init__(self) -> None:
        self._next = 0  # the window that is tried first
        self._outcomes: dict[Metric, deque[_Past]] = {
            metric: deque(maxlen=_REMEMBERED) for metric in Metric
        }

    def __repr__(self) -> str:
        return f"<Log of {len(self._outcomes[Metric.REQUESTS])} outcomes>"

    def add(self, metric: Metric, sent: float, answered: float, cost: int) -> None:
        """A call was served."""
        self._outcomes[metric].append((0, cost, sent, answered))

    def serve(self, metric: Metric, calls: Iterable[Served]) -> None:
        """Calls were served."""
        self._outcomes[metric].extend(calls)

    def refuse(self, outcome: Outcome) -> None:
        """A call was refused, by whichever limit."""
        for outcomes in self._outcomes.values():
            outcomes.append(outcome)

    def suspect(
        self, outcome: Outcome, scope: Scope, traffic: Callable[[Metric], Traffic]
    ) -> Count | None:
        """Return the limit that explains a refusal and the most of what was before it."""
        best, most = None, 0
        patience = Patience(_ASKED, _REPLAYED)
        # Who has served nobody is out of order rather than full of what it refused.
        has_served = any(each.served for each in self._past(Metric.REQUESTS))
        ways = _WAYS_TOLD if outcome.told is not None and has_served else _WAYS
        pasts = {metric: self._past(metric) for metric in Metric}
        usages = {metric: self._all(metric, traffic(metric)) for metric in Metric}
        windows = (*_WINDOWS[self._next :], *_WINDOWS[: self._next])
        self._next = 0
        for window, (metric, counts_refused) in product(windows, ways):
            past = pasts[metric]
            usage = _recalled(usages[metric], window, past, outcome)
            if counts_refused:
                _count_refused(usage, past)
            laws, explained = _guessed(usage, outcome, past, patience)
            if explained > most:
                limit = Limit(metric, max(1, laws[0].least), window, scope)
                best, most = Count(limit, usage, source="learned", laws=laws), explained
            if explained > len(past):
                break
            if patience.is_lost:
                self._next = (_WINDOWS.index(window) + 1) % len(_WINDOWS)
                break
        return best

    def reconsider(self, count: Count, outcome: Outcome) -> None:
        """Let a guess that has lost the fixed window be one that begins with its first call.

        What it foresees would never refute a sliding window, as that lets nobody ask sooner.
        """
        if any(law.kind is Kind.FIRST_CALL for law in count.belief.laws):
            return
        metric, window = count.limit.metric, count.limit.window
        past = self._past(metric)
        usage = _recalled(self._all(metric, count.usage.traffic), window, past, outcome)
        patience = Patience(_ASKED, _REPLAYED)
        laws = _begun(usage, outcome, past, _bounds(count.belief.laws)[1], patience)
        count.belief.suppose([replace(law, usage=count.usage) for law in laws])

    def _past(self, metric: Metric) -> list[Outcome]:
        """Return the last outcomes, the newest first."""
        return list(map(_outcome, islice(reversed(self._outcomes[metric]), _COMPARED)))

    def measure(
        self, limit: Limit, gauges: Sequence[Gauge], traffic: Callable[[Metric], Traffic]
    ) -> Count | None:
        """Return the limit with the window that readings of it show; None if none fits them all.

        Args:
            limit: Its amount is told; its window was only presumed.
            gauges: What was told of it, the oldest first.
            traffic: What is in flight.
        """
        since, now = gauges[0].sent, gauges[-1].answered
        for guess, window in product((unordered, _first_call), _WINDOWS):
            usage = self.usage(limit.metric, window, traffic(limit.metric), since, now)
            laws: Sequence[Law] = guess(usage, limit.amount, limit.amount)
            for gauge in gauges:
                laws = shown(laws, gauge)
            if laws:
                return Count(replace(limit, window=window), usage, source="told", laws=laws)
        return None

    def usage(
        self, metric: Metric, window: float, traffic: Traffic, since: float, now: float
    ) -> Usage:
        """Return what was counted of a metric, to be asked about any moment since then."""
        return self._all(metric, traffic).resized(window, since - window, now - since + window)

    def _all(self, metric: Metric, traffic: Traffic) -> Usage:
        """Return all that was counted of a metric."""
        usage = Usage(metric, 1.0, traffic, kept=inf)
        usage.serve([past for past in self._outcomes[metric] if not isinstance(past, Outcome)])
        return usage


def _recalled(usage: Usage, window: float, past: Sequence[Outcome], outcome: Outcome) -> Usage:
    """Return what was counted, to be asked about all of these outcomes."""
    since = past[-1].sent if past else outcome.sent
    recalled = usage.resized(window, since - window, outcome.sent - since + window)
    recalled.forgives = True  # else its own refusals would explain any guess for ever
    return recalled


def _count_refused(usage: Usage, past: Sequence[Outcome]) -> None:
    """Count past refusals too, each of them just after its own answer was reckoned."""
    usage.forgives, usage.counts_refused = False, True
    for each in reversed(past):
        if not each.served:
            usage.add(1, each.sent, each.answered + MOMENT)


def _first_call(usage: Usage, least: int, most: float) -> tuple[Law, ...]:
    """Return the law that explains nearly anything, so that it must not decide what is guessed."""
    return (FirstCall(usage, least, most, ANY),)


def _bounds(laws: Sequence[Law]) -> tuple[int, float]:
    return min(law.least for law in laws), max(law.most for law in laws)


def _outcome(past: _Past) -> Outcome:
    if isinstance(past, Outcome):
        return past
    _, cost, sent, answered = past
    return Outcome(sent, answered, cost, served=True)


def _guessed(
    usage: Usage, outcome: Outcome, past: Sequence[Outcome], patience: Patience
) -> tuple[Sequence[Law], int]:
    """Return the laws of a window that explain a refusal, and how much they explain.

    A window that begins with its first call explains nearly anything. Where delays are told it may be
    added at once, as each refusal tells more of it. Where none are, it has to explain all that is
    compared, and no fixed window of the same amount may do so as well.
    """
    patience.ask(1 + (1 if outcome.told is None else 2) * len(past) // _COUNTED)
    laws, explained = _explained(suspects(usage, outcome), past, patience)
    if not laws:
        return laws, explained
    if outcome.told is not None:
        return (*laws, *after(_first_call(usage, *_bounds(laws)), outcome)), explained
    most = _bounds(laws)[1]
    if explained <= len(past):
        fewer = _explained(suspects(usage, outcome, _fewest(usage, past)), past, patience)
        laws, explained = max((laws, explained), fewer, key=itemgetter(1))
    if explained > len(past) and has_fixed(laws):
        return laws, explained
    begun = _begun(usage, outcome, past, most, patience)
    return (begun, len(past) + 1) if begun else (laws, explained)


def _fewest(usage: Usage, past: Sequence[Outcome]) -> float:
    """Return the fewest that were served in a window before a refusal; inf if none is known.

    A window before a refusal may hold an edge, and then more than the limit.
    """
    refusals = [each for each in past if not each.served]
    return min([usage.served(r.sent - usage.window, r.answered) for r in refusals], default=inf)


def _begun(
    usage: Usage,
    outcome: Outcome,
    past: Sequence[Outcome],
    most: float,
    patience: Patience,
) -> Sequence[Law]:
    """Return a window that begins with a call if that explains everything; nothing else.

    By it the amount is known. If windows of other kinds have the same, and explain everything as well,
    they are returned beside it, or a fixed one in its place.
    """
    law = replayed(usage, outcome, past, most, patience)
    if law is None:
        return ()
    others = after(unordered(usage, law.least, law.most), outcome)
    laws, explained = _explained(others, past, Patience(_ALL, 0))
    if explained <= len(past):
        return (law,)
    return laws if has_fixed(laws) else (*laws, law)


def _explained(
    laws: Sequence[Law], past: Sequence[Outcome], patience: Patience
) -> tuple[Sequence[Law], int]:
    """Return what outcomes leave of laws, and how many of them fit, beginning with the first."""
    if not laws:
        return (), 0
    usage, least = laws[0].usage, _bounds(laws)[0]
    for explained, outcome in enumerate(past, 1):
        if outcome.served and _is_small(usage, outcome, least):
            continue
        left = after(laws, outcome) if patience.ask(len(laws)) else ()
        if not left:
            return laws, explained
        laws, least = left, _bounds(left)[0]
    return laws, len(past) + 1


def _is_small(usage: Usage, outcome: Outcome, least: int) -> bool:
    """Tell whether a call was served that leaves a window below its limit, and so tells nothing."""
    before = usage.surely(outcome.answered - usage.window, outcome.before)
    return before + usage.need(outcome.need) <= least
