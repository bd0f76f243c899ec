"""The router to compare with: it sees every provider's count, has no delays and misses nothing."""

from collections import deque
from collections.abc import Iterable, Sequence

from stepwell.testing import SimProvider
from stepwell.testing.limits import Limiter

from .traffic import Request


def most_served(
    requests: Sequence[Request], fleet: Iterable[SimProvider], *, began: float, patience: float
) -> int:
    """Return how many of the requests can be served at all.

    Args:
        requests: In order of time.
        fleet: Its limits count, its own counts do not.
        began: The fleet's creation, on its clock; requests come so many seconds after it.
        patience: Seconds that a request may wait.
    """
    limiters = [Limiter(provider.limits, began) for provider in fleet]
    arrivals, waiting = deque(requests), deque[Request]()
    served = 0
    now = 0.0
    while arrivals or waiting:
        while arrivals and arrivals[0].at <= now:
            waiting.append(arrivals.popleft())
        served += _serve(waiting, limiters, began + now)
        while waiting and waiting[0].at + patience <= now:
            waiting.popleft()
        now = _next_moment(arrivals, waiting, limiters, began, now)
    return served


def _serve(waiting: deque[Request], limiters: Sequence[Limiter], moment: float) -> int:
    served = 0
    while waiting:
        cost = waiting[0].cost
        free = next((one for one in limiters if one.refusal("", "", cost, moment) is None), None)
        if free is None:
            break
        free.take("", "", cost, moment)
        waiting.popleft()
        served += 1
    return served


def _next_moment(
    arrivals: deque[Request],
    waiting: deque[Request],
    limiters: Sequence[Limiter],
    began: float,
    now: float,
) -> float:
    moments = [arrivals[0].at] if arrivals else []
    if waiting:
        refusals = (one.refusal("", "", waiting[0].cost, began + now) for one in limiters)
        moments += [now + (each.wait or 0.0) for each in refusals if each is not None]
    return max(now + 1e-6, min(moments, default=now))
