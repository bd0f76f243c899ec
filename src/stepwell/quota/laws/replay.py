"""Replay: whether windows that begin with a call explain what was, from the oldest outcome on.

Each window depends on the calls before it, so that law has to hear them in their order, and to know
of each what was counted and in flight when it came.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from stepwell.quota.laws.first_call import ANY, FirstCall
from stepwell.quota.laws.law import Outcome
from stepwell.quota.laws.patience import Patience
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import Usage


def replayed(
    usage: Usage, outcome: Outcome, past: Sequence[Outcome], most: float, patience: Patience
) -> FirstCall | None:
    """Return the law as a refusal and all outcomes before it leave it; None if they refute it.

    Args:
        usage: What the law will count by.
        outcome: The refusal, by which the limit has no more room than for those beside it.
        past: The outcomes before it, the newest first.
        most: More than that surely do not fit.
        patience: When it is lost, nothing is known.
    """
    outcomes = (*reversed(past), outcome)
    law = _replayed(usage, 1, most, outcomes, patience)
    if law is None:
        return None
    need = usage.need(outcome.need)
    least = max(law.least, int(law.most) - usage.rivals(need) - need + 1)
    return _replayed(usage, least, law.most, outcomes, patience)


def _replayed(
    usage: Usage, least: int, most: float, outcomes: Sequence[Outcome], patience: Patience
) -> FirstCall | None:
    traffic = Traffic()
    counted = Usage(usage.metric, usage.window, traffic, kept=inf)
    counted.forgives = True
    law = FirstCall(counted, least, most, ANY)
    takeoffs = deque(sorted((each.sent, call) for call, each in enumerate(outcomes)))
    for call, each in enumerate(outcomes):
        while takeoffs and takeoffs[0][0] <= each.answered:
            _, other = takeoffs.popleft()
            traffic.start(other, counted.need(outcomes[other].need))
        if each.served:  # it is booked when it is learned from; a refused one is still in flight
            traffic.cancel(call)
        left = law.after(each) if patience.replay() else None
        if left is None:
            return None
        law = left
        if each.served:
            counted.add(counted.need(each.need), each.sent, each.answered)
        else:
            traffic.cancel(call)
    return replace(law, usage=usage)
