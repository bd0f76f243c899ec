"""The requests of an hour, drawn by dice that always fall alike for the same seed."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from stepwell.testing import SimProvider

from .cases import Scenario


@dataclass(frozen=True, slots=True)
class Request:
    """One of the hour: when it comes, and how long its question and its answer are, in tokens."""

    at: float
    question: int
    answer: int

    @property
    def cost(self) -> int:
        return 3 + self.question + self.answer  # three for the message: see testing/reply.py

    @property
    def body(self) -> bytes:
        text = "word" * self.question  # four characters a token, as the fleet counts
        messages = [{"role": "user", "content": text}]
        fields = {"messages": messages, "max_tokens": 1024, "user": str(self.answer)}
        return msgspec.json.encode(fields)


def traffic(
    scenario: Scenario,
    fleet: Iterable[SimProvider],
    *,
    seed: int,
    windows: float,
    length: float,
) -> list[Request]:
    """Return the hour's requests in order: at random moments, some at once."""
    dice = random.Random(seed)
    rate = scenario.load * sum(_rate(provider, scenario.cost) for provider in fleet)
    moments, at = [], dice.expovariate(rate)
    while at < windows * length:
        moments.append(at)
        at += dice.expovariate(rate)
    if scenario.bursts:
        for begin in range(0, int(windows), 5):
            moments += [(begin + 0.5) * length] * scenario.bursts
    return [_request(at, scenario.cost, dice) for at in sorted(moments)]


def _rate(provider: SimProvider, cost: int) -> float:
    """Return the requests a second that a provider's limits allow."""
    return min(
        limit.amount / (1 if limit.metric == "requests" else max(1, cost)) / limit.window
        for limit in provider.limits
    )


def _request(at: float, cost: int, dice: random.Random) -> Request:
    if not cost:
        return Request(at, 5, 10)
    return Request(at, round(cost * dice.uniform(0.2, 0.8)), round(cost * dice.uniform(0.2, 0.8)))
