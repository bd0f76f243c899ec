"""Suspicion: finding a limit of which nobody told, in what was served and refused.

A refusal that no known limit explains shows that there is another one. Which, of what metric and
window? Each that is common is tried: by it the refused call was the first too many, and the
outcomes before are held against that, the newest first, until one does not fit. The limit that
explains the most is believed; among equals the commonest. If that is a mistake, the next refusal
that it does not explain begins anew, and knows more.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from stepwell.quota.count import Count, after, suspects
from stepwell.quota.law import Law, Outcome
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import Usage

# Of the free tiers that are known most count by the minute and by the day; frameworks and proxies
# count by seconds and hours as well.
_WINDOWS: Final = (60.0, 1.0, 2.0, 5.0, 6.0, 10.0, 15.0, 20.0, 30.0, 300.0, 600.0, 3600.0, 86400.0)
# As many calls as are counted one by one elsewhere.
_REMEMBERED: Final = 1000
# So many of them are held against each suspect.
_COMPARED: Final = 48


class Log:
    """What calls came to, as far as that may show a limit."""

    __slots__ = ("_outcomes",)

    def __init__(self) -> None:
        self._outcomes: dict[Metric, deque[Outcome]] = {
            metric: deque(maxlen=_REMEMBERED) for metric in Metric
        }

    def __repr__(self) -> str:
        return f"<Log of {len(self._outcomes[Metric.REQUESTS])} outcomes>"

    def add(self, metric: Metric, outcome: Outcome) -> None:
        self._outcomes[metric].append(outcome)

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
                usage = self.usage(metric, window, outcome.sent, traffic(metric))
                laws, explained = self._explained(usage, outcome)
                if explained > most:
                    limit = Limit(metric, max(1, laws[0].least), window, scope)
                    best, most = Count(limit, usage, source="learned", laws=laws), explained
        return best

    def usage(self, metric: Metric, window: float, now: float, traffic: Traffic) -> Usage:
        """Return what was counted of a metric in the last window, as far as it is remembered."""
        usage = Usage(metric, window, traffic)
        for past in self._outcomes[metric]:
            if past.served and past.answered > now - 2 * window:
                usage.add(usage.need(past.need), past.sent, past.answered)
        return usage

    def _explained(self, usage: Usage, outcome: Outcome) -> tuple[Sequence[Law], int]:
        """Return the laws of a window that explain a refusal, and how many outcomes they do.

        What is older than the window does not speak against it.
        """
        laws: Sequence[Law] = suspects(usage, outcome)
        if not laws:
            return (), 0
        for explained, past in enumerate(self._newest(usage, outcome.sent - usage.window), 1):
            left = after(laws, past)
            if not left:
                return laws, explained
            laws = left
        return laws, _COMPARED + 1

    def _newest(self, usage: Usage, since: float) -> Iterator[Outcome]:
        for past in islice(reversed(self._outcomes[usage.metric]), _COMPARED):
            if past.sent < since:
                return
            yield past
