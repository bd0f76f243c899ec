"""One tiny real request to every target, through the gateway's own way out.

What it shows is what the gateway would see: the same address, headers, dialect and verdict.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec

from stepwell.chat import ChatRequest
from stepwell.cli.console import seconds_text
from stepwell.gateway import Gateway
from stepwell.quota.reading import Hint, Other, Reading
from stepwell.routing.chain import Step, Target
from stepwell.routing.verdict import Outcome
from stepwell.upstream.client import Reply

AT_ONCE: Final = 8
"""Calls in flight. Of one account never more than one: free tiers that allow a single call in flight
exist, and a check must not be what a provider refuses."""

QUESTION: Final = msgspec.json.encode(
    {
        "model": "default",
        "messages": [{"role": "user", "content": "Say ok."}],
        # Enough for a word. A model that thinks first ends with `length`, which is an answer too.
        "max_tokens": 16,
    }
)

SOUND: Final = frozenset({Outcome.ANSWER, Outcome.EMPTY})


@dataclass(frozen=True, slots=True)
class Known:
    """What an outcome proves; None is not known.

    Attributes:
        reachable: Something at that address speaks HTTP.
        model: The model is there, and this key may use it.
    """

    reachable: bool
    model: bool | None


PROVES: Final[Mapping[Outcome, Known]] = MappingProxyType(
    {
        Outcome.ANSWER: Known(reachable=True, model=True),
        Outcome.EMPTY: Known(reachable=True, model=True),
        Outcome.TOO_LARGE: Known(reachable=True, model=True),
        Outcome.MODEL_GONE: Known(reachable=True, model=False),
        Outcome.UNREACHABLE: Known(reachable=False, model=None),
    }
)
_ELSE: Final = Known(reachable=True, model=None)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one target said.

    Attributes:
        target: `account/model`.
        ok: It answered.
        reachable: See Known.
        model: See Known.
        outcome: The verdict's word.
        status: The HTTP status; None if none came.
        latency_ms: Milliseconds until the answer was whole.
        limits: The counters it told, in words.
        reason: Why it did not answer, redacted; empty if it did.
    """

    target: str
    ok: bool
    reachable: bool
    model: bool | None
    outcome: str
    status: int | None
    latency_ms: float
    limits: tuple[str, ...]
    reason: str


async def call_all(gateway: Gateway, done: Callable[[], object]) -> list[Finding]:
    """Call every target of every chain once; return findings in the order of the settings.

    Args:
        gateway: Closed afterwards.
        done: Called after each.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def one(step: Step, target: Target) -> Finding:
        async with turns[target.account], slots:
            finding = await _call(gateway, step, target)
        done()
        return finding

    async with gateway, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(step, target)) for step, target in targets(gateway)]
    return [task.result() for task in tasks]


def targets(gateway: Gateway) -> list[tuple[Step, Target]]:
    """Return each target once, with the first step that has it."""
    found: dict[str, tuple[Step, Target]] = {}
    for chain in gateway.routes.chains.values():
        for step in chain.steps:
            for target in step.targets:
                found.setdefault(target.key, (step, target))
    return list(found.values())


async def _call(gateway: Gateway, step: Step, target: Target) -> Finding:
    told: list[Hint] = []
    started = gateway.clock.monotonic()
    reply = await gateway.call(ChatRequest(QUESTION), step, target, told.append)
    seconds = gateway.clock.monotonic() - started
    outcome = reply.verdict.outcome
    known = PROVES.get(outcome, _ELSE)
    ok = outcome in SOUND
    return Finding(
        target=target.key,
        ok=ok,
        reachable=known.reachable,
        model=known.model,
        outcome=outcome,
        status=reply.status,
        latency_ms=round(1000 * seconds, 1),
        limits=_limits([*told, reply.verdict.hint]),
        reason="" if ok else gateway.redactor(_reason(reply)),
    )


def _reason(reply: Reply) -> str:
    """Return `rate limited (429), for 4.2s: Too many requests`, as far as there is so much."""
    hint = reply.verdict.hint
    what = reply.verdict.outcome.replace("_", " ")
    status = f" ({reply.status})" if reply.status else ""
    delay = f", for {hint.delay:.1f}s" if hint.delay else ""
    words = hint.words or reply.detail
    return f"{what}{status}{delay}{f': {words}' if words else ''}"


def _limits(hints: Sequence[Hint]) -> tuple[str, ...]:
    lines = [
        *(_counter_text(each.metric, each) for hint in hints for each in hint.readings),
        *(_counter_text(each.name, each) for hint in hints for each in hint.others),
    ]
    return tuple(dict.fromkeys(lines))


def _counter_text(what: str, told: Reading | Other) -> str:
    """Return `5 of 6 requests/6s left, whole in 2.1s`, as far as it was told."""
    window = f"/{seconds_text(told.window)}" if told.window else ""
    amounts: Sequence[str] = [str(n) for n in (told.remaining, told.limit) if n is not None]
    left = "" if told.remaining is None else " left"
    back = "" if told.reset is None else f", whole in {told.reset:.1f}s"
    return f"{' of '.join(amounts)} {what}{window}{left}{back}".strip()
