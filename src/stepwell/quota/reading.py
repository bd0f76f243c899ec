"""What one response said about quota.

Every answer makes some of these, and tuples are the cheapest of all that cannot be changed.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from stepwell.quota.limit import Metric, Scope

# A told time beyond two days is a mistake, or a date read wrongly: no window that is counted in
# seconds is longer than a day, and a provider's day may end up to a day later than ours.
MAX_TOLD: Final = 2 * 86400.0


def believable(seconds: float) -> float:
    """Return a told number of seconds inside [0, MAX_TOLD]; what is no number counts as nothing."""
    return min(max(0.0, seconds), MAX_TOLD)


class Reading(NamedTuple):
    """One counter of a provider, as a response told it.

    Attributes:
        metric: What is counted.
        window: The window's length in seconds, None where the response does not say.
        limit: How many fit into the window; None if not told.
        remaining: How many are left, never negative; None if not told.
        reset: Seconds from the response until `limit` is whole again; None if not told.
        scope: Model (of this account), the account's free models, or the whole account.
        refills: The counter is a bucket that refills evenly, so that one unit is back after
            `reset / (limit - remaining)` seconds; otherwise nothing comes back before `reset`.
    """

    metric: Metric
    window: float | None = None
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    scope: Scope = Scope.MODEL
    refills: bool = False


class Other(NamedTuple):
    """A counter of what the ledger does not count; for people.

    Attributes:
        name: What is counted: `input_tokens`, `output_tokens`, `concurrency`, `credits`, ...
        window: The window's length in seconds, 0 for calls at once, None if not told.
        limit: How many fit; None if not told.
        remaining: How many are left, never negative; None if not told.
        reset: Seconds from the response until `limit` is whole again; None if not told.
        scope: As a reading's.
    """

    name: str
    window: float | None = None
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    scope: Scope = Scope.MODEL


class About(StrEnum):
    """What a refusal is about, as its body says; the verdict table names what follows."""

    RATE = "rate"  # requests or tokens in a window
    CONCURRENCY = "concurrency"  # too many calls at once
    CREDIT = "credit"  # money, billing, plan
    KEY = "key"  # the key is wrong, revoked, or lacks a permission
    MODEL = "model"  # no such model, or none for this key
    TOO_LARGE = "too_large"  # this request never fits here
    CAPACITY = "capacity"  # the provider is overloaded, whoever asks
    REQUEST = "request"  # the request's content or parameters


class Hint(NamedTuple):
    """All that a dialect reads out of one response.

    Attributes:
        readings: Counters, in no order.
        delay: Told seconds until the provider may be asked again; None if not told, never negative.
            With a success: until a counter that it found empty has room again.
        guess: Where no delay is told: seconds for which a refusal of this kind is known to last. A
            guess, and as soft as the ledger's own.
        scope: The narrowest scope of the refusal that the response proves.
        paid: It is about those of an account's models that cost money, and no others.
        about: What the body says the refusal is about; None where only the status speaks.
        words: The provider's own message, at most 200 characters, not yet redacted.
        message: The same as it came: half a secret is not found any more, so whoever cuts it redacts
            it before.
        size: The largest request in tokens that this target takes, where a refusal tells it.
        over_limit: It was served beyond a soft limit: another target would be the better choice.
        others: Counters of what the ledger does not count, in no order.
    """

    readings: tuple[Reading, ...] = ()
    delay: float | None = None
    guess: float | None = None
    scope: Scope = Scope.MODEL
    paid: bool = False
    about: About | None = None
    words: str = ""
    size: int | None = None
    over_limit: bool = False
    others: tuple[Other, ...] = ()
    message: str = ""
