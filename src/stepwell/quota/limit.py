"""Limit: so many requests or tokens in a window, of a model or of a whole account."""

from dataclasses import dataclass
from enum import StrEnum


class Metric(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"


class Scope(StrEnum):
    """What shares a quota, from narrow to wide."""

    MODEL = "model"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` of `metric` in any `window` seconds.

    Attributes:
        metric: What is counted.
        amount: How many; at least 1.
        window: Length in seconds.
        scope: Whether each model has its own count, or all models of the account share one.
    """

    metric: Metric
    amount: int
    window: float
    scope: Scope = Scope.MODEL
