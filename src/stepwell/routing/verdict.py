"""What came back, and what follows: the verdict table.

A reply is first named (`Outcome`), by what its body says it is about where it says so, else by its
status. The name then decides everything else, in `TABLE`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from stepwell.quota.ledger import Bench, Ended, Report
from stepwell.quota.limit import Scope
from stepwell.quota.reading import About, Hint


class Outcome(StrEnum):
    """What one attempt came to."""

    ANSWER = "answer"  # 2xx, sound; also an empty completion that was cut or filtered
    RATE_LIMITED = "rate_limited"
    NO_CREDIT = "no_credit"
    KEY_REFUSED = "key_refused"
    MODEL_GONE = "model_gone"
    UNREACHABLE = "unreachable"  # connect error, reset, no byte or no token in time
    FAULT = "fault"  # the provider's own trouble
    TOO_LARGE = "too_large"
    REFUSED = "refused"  # the request itself is found wrong
    EMPTY = "empty"  # sound, but nothing in it
    BROKEN = "broken"  # a stream that ended before its finish, after content
    ABANDONED = "abandoned"  # by us: the client left, or there was no time left


class Then(StrEnum):
    """What the waterfall does next."""

    ANSWER = "answer"
    NEXT = "next"
    OTHER_PROVIDER = "other_provider"  # one other provider is asked for a second opinion
    OTHER_TARGET = "other_target"  # one other target is asked
    STOP = "stop"  # nothing: the answer has begun, or nobody waits for it


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table.

    Attributes:
        then: What the waterfall does next.
        ended: What the call says of the target's quota and health.
        bench: Why the target is left alone; None for no cooldown.
        accident: It may go better in a second pass.
    """

    then: Then
    ended: Ended
    bench: Bench | None = None
    accident: bool = False


TABLE: Mapping[Outcome, Rule] = MappingProxyType(
    {
        Outcome.ANSWER: Rule(Then.ANSWER, Ended.SUCCESS),
        Outcome.RATE_LIMITED: Rule(Then.NEXT, Ended.REFUSED, Bench.RATE),
        Outcome.NO_CREDIT: Rule(Then.NEXT, Ended.REFUSED, Bench.CREDIT),
        Outcome.KEY_REFUSED: Rule(Then.NEXT, Ended.REFUSED, Bench.KEY),
        Outcome.MODEL_GONE: Rule(Then.NEXT, Ended.REFUSED, Bench.MODEL),
        Outcome.UNREACHABLE: Rule(Then.NEXT, Ended.FAILED, Bench.FAULT, accident=True),
        Outcome.FAULT: Rule(Then.NEXT, Ended.FAILED, Bench.FAULT, accident=True),
        Outcome.TOO_LARGE: Rule(Then.NEXT, Ended.NEUTRAL),
        Outcome.REFUSED: Rule(Then.OTHER_PROVIDER, Ended.NEUTRAL),
        Outcome.EMPTY: Rule(Then.OTHER_TARGET, Ended.NEUTRAL),
        Outcome.BROKEN: Rule(Then.STOP, Ended.FAILED, Bench.FAULT),
        Outcome.ABANDONED: Rule(Then.STOP, Ended.NEUTRAL),
    }
)

_BY_ABOUT = {
    About.CONCURRENCY: Outcome.RATE_LIMITED,  # of a slot instead of a window; the hint says how long
    About.CREDIT: Outcome.NO_CREDIT,
    About.KEY: Outcome.KEY_REFUSED,
    About.MODEL: Outcome.MODEL_GONE,
    About.TOO_LARGE: Outcome.TOO_LARGE,
    About.CAPACITY: Outcome.FAULT,
    About.REQUEST: Outcome.REFUSED,  # also a 403: a prompt that was flagged says nothing of the key
}

_BY_STATUS = {
    401: Outcome.KEY_REFUSED,
    402: Outcome.NO_CREDIT,
    403: Outcome.KEY_REFUSED,
    404: Outcome.MODEL_GONE,
    408: Outcome.UNREACHABLE,
    409: Outcome.FAULT,  # a conflict is the provider's state, not the request's text
    410: Outcome.MODEL_GONE,
    413: Outcome.TOO_LARGE,
    425: Outcome.FAULT,
    429: Outcome.RATE_LIMITED,
    498: Outcome.FAULT,  # Groq: no flex capacity
}


def outcome_of(status: int, about: About | None) -> Outcome:
    """Name a refusal.

    Args:
        status: The HTTP status, or the one that an error inside a 200 stands for.
        about: What the body says it is about; None where it says nothing.
    """
    if not 400 <= status < 500:
        return Outcome.FAULT  # 5xx, and redirects, which are not followed
    if about is About.RATE:  # under 400 and 401 too: a dialect says so only by a whole code
        return Outcome.RATE_LIMITED
    if about in _BY_ABOUT:
        return _BY_ABOUT[about]
    return _BY_STATUS.get(status, Outcome.REFUSED)


_NOTHING = Hint()
_ACCOUNTS = (Bench.CREDIT, Bench.KEY)
"""Why a whole account is left alone, whatever a refusal says."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome with what the provider said about it, and what follows (`rule`)."""

    outcome: Outcome
    hint: Hint = _NOTHING
    rule: Rule = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", TABLE[self.outcome])

    def report(self, tokens: int | None, words: str = "", *, was_sent: bool = True) -> Report:
        """Return what the ledger is told.

        Args:
            tokens: Tokens used as the provider counted; None if it did not say.
            words: The provider's words, redacted.
            was_sent: The provider may have seen the request.
        """
        rule, hint = self.rule, self.hint
        if hint is _NOTHING and rule.bench is None and was_sent:
            return Report(rule.ended, tokens, words=words)
        bench, scope = rule.bench, hint.scope
        if hint.paid:
            # No credit for paid models leaves the account's free ones usable: each paid target finds
            # out by itself that it is out.
            bench = Bench.MODEL if bench is Bench.CREDIT else bench
            scope = Scope.MODEL
        elif bench in _ACCOUNTS:
            scope = Scope.ACCOUNT
        return Report(
            ended=rule.ended,
            tokens=tokens,
            bench=bench,
            delay=hint.delay if bench is not None else None,
            guess=hint.guess if bench is not None else None,
            scope=scope,
            words=words,
            readings=hint.readings,
            was_sent=was_sent,
        )
