"""Suspicion: finding a limit of which nobody told, in what was served and refused.

A refusal that no known limit explains shows that there is another one. Which, of what metric and
window? Each that is common is tried: by it the refused call was the first too many, and the
outcomes before are held against that, the newest first, until one does not fit. The limit that
explains the most is believed; among equals the commonest. If that is a mistake, the next refusal
that it does not explain begins anew, and knows more. Refused calls are not taken to be counted: a
limit that is too large would be kept full by what it was refused, and each refusal would fit.

Readings often tell a limit and not its window, so that a dialect can only presume one. Where they do
not fit it, the window that they do fit is found in the same way (`measure`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice, product
from typing import Final, TypeAlias

from stepwell.quota.count import Count
from stepwell.quota.laws import after, shown, suspects, unordered
from stepwell.quota.laws.first_call import ANY, FirstCall
from stepwell.quota.laws.law import Gauge, Law, Outcome
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.traffic import Served, Traffic
from stepwell.quota.usage import Usage

# Of the free tiers that are known most count by the minute and by the day; frameworks and proxies
# count by seconds and hours as well.
_WINDOWS: Final = (60.0, 1.0, 2.0, 5.0, 6.0, 10.0, 15.0, 20.0, 30.0, 300.0, 600.0, 3600.0, 86400.0)
# As many calls as are counted one by one elsewhere.
_REMEMBERED: Final = 1000
# So many of them are held against each suspect.
_COMPARED: Final = 48

# A call that was served, as it was noted, as they are many; or a refusal.
_Past: TypeAlias = Served | Outcome


class Log:
    """What calls came to, as far as that may show a limit."""

    __slots__ = ("_outcomes",)

    def __init__(self) -> None:
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
        for window in _WINDOWS:
            for metric in Metric:
                past = list(map(_outcome, islice(reversed(self._outcomes[metric]), _COMPARED)))
                since = past[-1].sent if past else outcome.sent
                usage = self.usage(metric, window, traffic(metric), since, outcome.sent)
                usage.forgives = True  # else its own refusals would explain any guess for ever
                laws, explained = _explained(suspects(usage, outcome), past)
                if explained > most:
                    limit = Limit(metric, max(1, laws[0].least), window, scope)
                    if outcome.told is not None:
                        laws = *laws, *after(_first_call(usage, *_bounds(laws)), outcome)
                    best, most = Count(limit, usage, source="learned", laws=laws), explained
        return best

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
        usage = Usage(metric, window, traffic, kept=now - since + window)
        for past in map(_outcome, self._outcomes[metric]):
            if past.served and past.answered > since - window:
                usage.add(usage.need(past.need), past.sent, past.answered)
        return usage


def _first_call(usage: Usage, least: int, most: float) -> tuple[Law, ...]:
    """Return the law that explains nearly anything, so that it must not decide what is guessed.

    Where no delay is told it would only make such guesses vaguer.
    """
    return (FirstCall(usage, least, most, ANY),)


def _bounds(laws: Sequence[Law]) -> tuple[int, float]:
    return min(law.least for law in laws), max(law.most for law in laws)


def _outcome(past: _Past) -> Outcome:
    if isinstance(past, Outcome):
        return past
    _, cost, sent, answered = past
    return Outcome(sent, answered, cost, served=True)


def _explained(laws: Sequence[Law], past: Sequence[Outcome]) -> tuple[Sequence[Law], int]:
    """Return what outcomes leave of laws, and how many of them fit, beginning with the first."""
    if not laws:
        return (), 0
    for explained, outcome in enumerate(past, 1):
        left = after(laws, outcome)
        if not left:
            return laws, explained
        laws = left
    return laws, len(past) + 1
