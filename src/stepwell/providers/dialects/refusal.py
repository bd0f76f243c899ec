"""The shared reading of a response: what every dialect does around the counters of its headers.

The body is classified before any header is believed. Then comes the delay:

1. the end of a day or longer, where the words tell which calendar it follows: beside it a stated
   delay of seconds is wrong;
2. the delay that a header states, a field of the body, a sentence;
3. the reset of the counter that is empty, the latest of several;
4. the end of a shorter window that follows the clock;
5. none, but a guess where the kind of refusal is known to last so long.
"""

from datetime import tzinfo
from typing import NamedTuple

from stepwell.providers.dialects.bodies import BodyError, Node, error_in
from stepwell.providers.dialects.customs import UNKNOWN, Customs
from stepwell.providers.dialects.durations import DAY, clamp, number, reset_in
from stepwell.providers.dialects.headers import Counters
from stepwell.providers.dialects.prose import (
    Tripped,
    largest_request,
    stated_moment,
    stated_wait,
    tripped,
)
from stepwell.providers.dialects.reply import Reply
from stepwell.providers.dialects.retry_after import stated_delay
from stepwell.providers.dialects.sayings import SILENCE, Saying, saying_in
from stepwell.providers.dialects.spent import COUNTED, empty_for, spent_counter, with_spent
from stepwell.providers.dialects.subject import about_of, embedded_status
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import About, Hint, Reading

NOTHING = Hint()
"""The hint of a success that says nothing: most responses."""

_LONGEST_WORDS = 200
_NO_ERROR = BodyError()
# Nothing about the provider is wrong: another request may come at once.
_NO_DELAY = frozenset({About.TOO_LARGE, About.REQUEST})
# What passes by itself; None is a server's fault.
_PASSING = frozenset({About.RATE, About.CONCURRENCY, About.CAPACITY, None})
# What passes only when somebody acts, and the shortest delay that is meant so, in seconds.
_LASTING = frozenset({About.CREDIT, About.KEY, About.MODEL})
_SHORTEST_BENCH = 300.0
_WIDE = frozenset({About.CREDIT, About.KEY})  # a key's trouble is that of all its models
_DELAY_FIELDS = (
    ("retry_after_ms", 1e-3),
    ("retry_after", 1.0),
    ("retry_after_seconds", 1.0),
    ("retryAfter", 1.0),
)

# How long what nobody dates is known to last, in seconds: a lack of capacity passes in seconds, a
# call of our own sooner; a machine of ours recovers as fast. Of a day whose end is unknown, ten
# minutes are the most that a guess may keep free tokens unused.
_CAPACITY_LASTS = 5.0
_CONCURRENCY_LASTS = 1.0
_LOCAL_LASTS = 2.0
_LONGEST_GUESS = 600.0


def read(reply: Reply, node: Node | None, counted: Counters, customs: Customs = UNKNOWN) -> Hint:
    """Everything the shared rules read out of a response.

    Args:
        reply: The response.
        node: The mapping that holds the body's error; None if it has none.
        counted: The counters in its headers.
        customs: What only the provider's name tells.
    """
    if reply.status >= 400 or reply.body is not None:
        status = failing_status(reply)
        if status is not None:
            return _of_refusal(reply, node, status, counted, customs)
    readings, others, over = counted
    if not readings and not others and not over:
        return NOTHING
    delay = empty_for(readings)
    return Hint(readings, delay, None, Scope.MODEL, False, None, "", None, over, others)


def failing_status(reply: Reply) -> int | None:
    """The status that a response really has if it is a failure, else None."""
    if reply.status >= 400:
        return reply.status
    return None if reply.body is None else embedded_status(reply.body)


class _Heard(NamedTuple):
    """What a refusal says.

    Attributes:
        error: Its words and codes.
        about: What they are about.
        named: The counter that they name.
        saying: What they imply beyond that.
        told: The delay that is stated anywhere, whether it counts or not.
    """

    error: BodyError
    about: About | None
    named: Tripped | None
    saying: Saying
    told: float | None


def _of_refusal(
    reply: Reply, node: Node | None, status: int, counted: Counters, customs: Customs
) -> Hint:
    heard = _listen(reply, node, status, counted, customs)
    error, about, named, saying, told = heard
    end = None if saying.ends is None else clamp(saying.ends(reply.now))
    spent = spent_counter(about, named, saying, error, customs)
    readings, others, _ = with_spent(counted, spent, told, None if saying.assumed else end)
    delay = _delay(heard, end, readings)
    return Hint(
        readings,
        delay,
        _guess(about, saying, spent, customs) if delay is None else None,
        _scope(heard, readings, customs),
        saying.paid,
        about,
        " ".join(error.message[:1_000].split())[:_LONGEST_WORDS].rstrip(),
        _size(about, error, named),
        False,
        others,
        error.message,
    )


def _listen(
    reply: Reply, node: Node | None, status: int, counted: Counters, customs: Customs
) -> _Heard:
    error = _error(reply, node)
    named = tripped(error.message, error.type)
    saying = saying_in(error)
    told = None if customs.local else _told_delay(reply, node, error, saying.zone)
    about = _about(status, error, named, customs)
    if about is About.RATE and told is None and named is None and _none_allowed(counted.readings):
        about = About.MODEL
    if about not in COUNTED and about is not About.CAPACITY:
        saying = SILENCE
    return _Heard(error, about, named, saying, told)


def _error(reply: Reply, node: Node | None) -> BodyError:
    """The body's error; headers say what it leaves out."""
    error = error_in(node, reply.body) or _NO_ERROR
    if error.message and error.type:
        return error
    message = error.message or reply.headers.get("x-error-message", "")  # Hugging Face
    kind = error.type or reply.headers.get("x-ratelimit-type", "")  # GitHub, Azure
    return error._replace(message=message, type=kind)


# --- what it is about


def _about(status: int, error: BodyError, named: Tripped | None, customs: Customs) -> About | None:
    """What the words say, and for a rate what the numbers among them say beyond that."""
    about = about_of(status, error, customs.statuses)
    if about is not About.RATE or named is None:
        return about
    if named.limit == 0:
        return About.MODEL  # none allowed at all: the plan is without this model
    return About.TOO_LARGE if named.never_fits else about


def _none_allowed(readings: tuple[Reading, ...]) -> bool:
    """Whether every counter's limit is 0: the plan is without this model (seen at Mistral).

    Some gateways fill unknown counters with zeros, so this is believed of all counters together,
    and only where neither a delay nor a limit is told beside them.
    """
    return bool(readings) and all(reading.limit == 0 for reading in readings)


def _size(about: About | None, error: BodyError, named: Tripped | None) -> int | None:
    if about is not About.TOO_LARGE:
        return None
    if named is not None and named.never_fits:
        return named.limit if named.metric is Metric.TOKENS else None
    return largest_request(error.message)


def _scope(heard: _Heard, readings: tuple[Reading, ...], customs: Customs) -> Scope:
    """The narrowest that is proved: by the words, by the counters that are empty, or by custom."""
    if heard.about in _WIDE:
        return Scope.ACCOUNT
    if heard.about not in COUNTED:
        return Scope.MODEL
    said = (heard.named.scope if heard.named else None) or heard.saying.scope
    if said is not None:
        return said
    empty = {reading.scope for reading in readings if reading.remaining == 0}
    return empty.pop() if len(empty) == 1 else customs.scope


# --- for how long


def _delay(heard: _Heard, end: float | None, readings: tuple[Reading, ...]) -> float | None:
    """See the module's text for the order; `end` is that of the window that the words imply."""
    told = _believed(heard.told, heard.about, readings)
    if heard.about not in COUNTED:
        return told
    window = heard.saying.window
    if end is not None and window is not None and window >= DAY:
        exact = [r.reset for r in readings if r.remaining == 0 and r.window == window]
        return end if not exact or exact[0] is None else exact[0]
    if told is not None:
        return told
    empty = empty_for(readings) if heard.about is About.RATE else None
    return end if empty is None else empty


def _guess(
    about: About | None, saying: Saying, spent: Tripped | None, customs: Customs
) -> float | None:
    if customs.local:
        return _LOCAL_LASTS if about in _PASSING else None
    if about is About.CAPACITY:
        return saying.guess or _CAPACITY_LASTS
    if about is About.CONCURRENCY:
        return saying.guess or _CONCURRENCY_LASTS
    if about is not About.RATE:
        return None
    long = spent is not None and (spent.window or 0.0) > _LONGEST_GUESS
    return saying.guess or customs.guess or (_LONGEST_GUESS if long else None)


def _believed(
    told: float | None, about: About | None, readings: tuple[Reading, ...]
) -> float | None:
    """The told delay, where it says when to come back.

    A zero does not beside a counter that is empty (Azure), nor where a call of ours has to end first
    (GitHub); nor do the seconds that a front end adds to every 429 where money or a plan is missing.
    """
    if about in _NO_DELAY or (about in _LASTING and told is not None and told < _SHORTEST_BENCH):
        return None
    empty = about is About.RATE and any(reading.remaining == 0 for reading in readings)
    return None if told == 0 and (empty or about is About.CONCURRENCY) else told


def _told_delay(reply: Reply, node: Node | None, error: BodyError, zone: tzinfo) -> float | None:
    delay = stated_delay(reply.headers, reply.now)
    if delay is None:
        delay = _field_delay(reply, node)
    said = stated_wait(error.message)
    if said is None:
        said = stated_moment(error.message, zone, reply.now)
    if delay is None or said is None:
        return said if delay is None else delay
    # Retry-After has whole seconds, rounded up; the sentence beside it says the same exactly, and a
    # target must not stay unused for the difference.
    return said if said <= delay < said + 1.0 else delay


def _field_delay(reply: Reply, node: Node | None) -> float | None:
    for place in (node, reply.body):
        delay = _delay_in(place, reply.now) if isinstance(place, dict) else None
        if delay is not None:
            return delay
    return None


def _delay_in(fields: Node, now: float) -> float | None:
    for name, unit in _DELAY_FIELDS:
        value = fields.get(name)
        if value is None:
            continue
        amount = number(value)
        if amount is not None:
            return clamp(amount * unit)
        if isinstance(value, str) and (delay := reset_in(value, now)) is not None:
            return delay
    return None
