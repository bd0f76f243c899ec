"""A hint in the words of the collected samples, for tools, and for tests that compare the two.

A hint is written for the ledger. The samples (`tests/providers/samples.json`) speak of outcomes and
cooldowns instead:

    outcome   ok, ok_warn, rate_limited, quota_exhausted, concurrency, overloaded, too_large, credit,
              not_allowed, error
    cooldown  stated (the samples' `derived` and `until-reset` are this too: which of them it was
              makes no difference to the ledger), default-short, default-minute, default-day, month,
              never-retry, none
    scope     model, account, account-free, account-paid, request, none; an address, a key, an
              organization and a project are accounts to us, a deployment is a model
"""

from typing import NamedTuple

from stepwell.providers.dialects.bodies import node_of
from stepwell.providers.dialects.customs import UNKNOWN
from stepwell.providers.dialects.durations import DAY, HOUR, MONTH
from stepwell.providers.dialects.headers import counters
from stepwell.providers.dialects.reply import Reply
from stepwell.quota.cooldown import RULES
from stepwell.quota.limit import Scope
from stepwell.quota.reading import About, Hint, Other, Reading
from stepwell.routing.verdict import Outcome, Verdict, outcome_of

_OUTCOMES = {
    About.CONCURRENCY: "concurrency",
    About.CREDIT: "credit",
    About.MODEL: "not_allowed",
    About.KEY: "not_allowed",
    About.TOO_LARGE: "too_large",
    About.CAPACITY: "overloaded",
}
_OUT_OF_SERVICE = frozenset({About.CREDIT, About.MODEL, About.KEY})
_SCOPES = {Scope.MODEL: "model", Scope.FREE: "account-free", Scope.ACCOUNT: "account"}
_SHORT = 10.0  # seconds; the samples' short defaults lie below, their minutes above


class Summary(NamedTuple):
    """What a hint comes to; `seconds` is None where nothing is benched or nobody says how long."""

    outcome: str
    cooldown: str
    seconds: float | None
    scope: str


def summarize(hint: Hint, status: int) -> Summary:
    """What a hint comes to.

    Args:
        hint: What a dialect read.
        status: The response's status; for an error inside a 200 that of `embedded_status`.
    """
    if status < 400:
        return _of_success(hint)
    verdict = Verdict(outcome_of(status, hint.about), hint)
    cooldown, seconds = _cooldown(hint, verdict)
    return Summary(_outcome(hint, verdict), cooldown, seconds, _scope(hint))


def wait_of(counter: Reading | Other, hint: Hint, reply: Reply) -> float | None:
    """The `reset_s` of a counter: what its header says, or where only a sentence names it, the wait.

    The two differ for a bucket that refills: the sentence tells the wait, and its numbers tell the
    reset that the ledger needs, until it is whole.
    """
    if isinstance(counter, Other) or not counter.refills:
        return counter.reset
    in_headers = {
        reading.reset for reading in counters(reply, UNKNOWN, node_of(reply.body)).readings
    }
    return counter.reset if counter.reset in in_headers else hint.delay


def _of_success(hint: Hint) -> Summary:
    outcome = "ok_warn" if hint.over_limit else "ok"
    if hint.delay is None:
        return Summary(outcome, "none", None, "none")
    return Summary(outcome, "stated", hint.delay, "model")  # a counter that this answer emptied


def _outcome(hint: Hint, verdict: Verdict) -> str:
    if verdict.outcome is Outcome.RATE_LIMITED and hint.about is not About.CONCURRENCY:
        return "quota_exhausted" if _is_exhausted(hint) else "rate_limited"
    return _OUTCOMES.get(hint.about, "error") if hint.about else "error"


def _is_exhausted(hint: Hint) -> bool:
    """Whether it comes back as a whole, and not within the hour; a bucket refills all the time."""
    if any(reading.refills for reading in hint.readings):
        return False
    return (hint.delay or 0.0) > HOUR or _longest_window(hint) > HOUR


def _longest_window(hint: Hint) -> float:
    """The longest window of a counter that is empty."""
    every: tuple[Reading | Other, ...] = (*hint.readings, *hint.others)
    windows = (counter.window or 0.0 for counter in every if counter.remaining == 0)
    return max(windows, default=0.0)


def _cooldown(hint: Hint, verdict: Verdict) -> tuple[str, float | None]:
    bench = verdict.rule.bench
    if bench is None:
        return "none", None
    window = _longest_window(hint)
    if window >= MONTH:
        return "month", hint.delay
    if hint.about in _OUT_OF_SERVICE:
        return "never-retry", hint.delay
    if hint.delay is not None:
        return "stated", hint.delay
    seconds = RULES[bench].first if hint.guess is None else hint.guess
    if window >= DAY:
        return "default-day", seconds
    return "default-short" if seconds <= _SHORT else "default-minute", seconds


def _scope(hint: Hint) -> str:
    if hint.about in {About.TOO_LARGE, About.REQUEST}:
        return "request"
    return "account-paid" if hint.paid else _SCOPES[hint.scope]
