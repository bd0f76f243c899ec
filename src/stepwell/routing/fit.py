"""Which steps can serve a request at all, by what is known of them before anyone is asked.

A step that cannot is left out: no call, no cooldown. What is not known of a step speaks for it. A
context that is only probably too small leaves a step out while another is left, as the sizes that
targets have refused do (see `size`): estimates are rough, and a guess may not fail a request.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from math import inf
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from stepwell.errors import BadRequest
from stepwell.routing.chain import Step

# Our estimate counts bytes. Where every letter takes several of them, or is escaped, it comes to half
# as much again as a provider counts; what exceeds even that does not fit.
SURELY: Final = 1.5

CLIENTS_TOOLS: Final = frozenset({"function", "custom"})
"""Types of tools that the client runs. All others run at the provider."""


class Needs(msgspec.Struct, frozen=True):
    """What a request asks of a step.

    Attributes:
        prompt_tokens: Estimated.
        answer_tokens: The longest answer that it asks for; 0 if it names none.
        capabilities: Of `vision`, `tools`, `json`.
        free: It may cost nothing.
    """

    prompt_tokens: int
    answer_tokens: int = 0
    capabilities: frozenset[str] = frozenset()
    free: bool = False


# The parameter that is at fault where a capability is missing, and what to say of it.
_UNSUPPORTED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "vision": ("messages", "Images in 'messages' are"),
        "tools": ("tools", "'tools' is"),
        "json": ("response_format", "'response_format' is"),
    }
)


def lacking(step: Step, needs: Needs) -> str:
    """Return why a step can never serve, in a word; nothing if it may.

    `cost` (it costs money), a capability's name, or `context` (it is too small).
    """
    if needs.free and step.paid:
        return "cost"
    if step.capabilities is not None and not needs.capabilities <= step.capabilities:
        return min(needs.capabilities - step.capabilities)
    if step.context is not None and needs.prompt_tokens > SURELY * step.context:
        return "context"
    return ""


class Takes(NamedTuple):
    """What each of some steps surely takes.

    Attributes:
        capabilities: That all have; None if nothing is known of any.
        context: Tokens; inf if no step's is known.
        is_free: None costs money.
    """

    capabilities: frozenset[str] | None
    context: float
    is_free: bool


@lru_cache(maxsize=256)
def all_take(steps: tuple[Step, ...]) -> Takes:
    """Return what each of these steps takes, so that most requests need no look at each."""
    known = [step.capabilities for step in steps if step.capabilities is not None]
    return Takes(
        frozenset.intersection(*known) if known else None,
        min((step.context for step in steps if step.context is not None), default=inf),
        not any(step.paid for step in steps),
    )


def fit(steps: Sequence[Step], needs: Needs) -> Sequence[Step]:
    """Return the steps that may serve, in order; only those that probably do, if there are any.

    Raises:
        BadRequest: None may: `no_free_step`, `unsupported_parameter` or `context_length_exceeded`.
    """
    prompt, answer, capabilities = needs.prompt_tokens, needs.answer_tokens, needs.capabilities
    takes = all_take(tuple(steps))
    if (
        prompt + answer <= takes.context
        and (takes.capabilities is None or capabilities <= takes.capabilities)
        and (takes.is_free or not needs.free)
    ):
        return steps
    fitting = [step for step in steps if not lacking(step, needs)]
    if not fitting:
        raise _refusal(steps, needs)
    # Many providers refuse a prompt that leaves too little of the context for `max_tokens`.
    roomy = [step for step in fitting if step.context is None or prompt + answer <= step.context]
    return roomy or fitting


def refuse_choosing(fields: Iterable[str], choosing: Container[str]) -> None:
    """Refuse a request that may cost nothing and has a field by which it might.

    Args:
        fields: Names of the body's fields, without those that are null or empty.
        choosing: Fields by which some provider takes another model or a paid service. Which provider
            an address belongs to is not always known, so that all of them count for each.

    Raises:
        BadRequest: With the code `unsupported_parameter`.
    """
    for name in fields:
        if name in choosing:
            raise BadRequest(
                f"Unsupported parameter: {name!r} lets a provider choose another model or a paid "
                "service, and this request is free only.",
                code="unsupported_parameter",
                param=name,
            )


def refuse_hosted(types: Iterable[str]) -> None:
    """Refuse a request that may cost nothing and has a tool that runs at the provider.

    Args:
        types: Of such tools.

    Raises:
        BadRequest: With the code `unsupported_parameter`.
    """
    for name in types:
        raise BadRequest(
            f"Unsupported parameter: a tool of type {name!r} runs at the provider and may be a paid "
            "service, and this request is free only.",
            code="unsupported_parameter",
            param="tools",
        )


def _refusal(steps: Sequence[Step], needs: Needs) -> BadRequest:
    """Say what is missing: money first, since nothing else would help; then what no step can do."""
    reasons = {step: lacking(step, needs) for step in steps}
    affordable = [step for step in steps if reasons[step] != "cost"]
    if not affordable:
        return BadRequest(
            "Every step that could serve this request costs money, and it is free only.",
            code="no_free_step",
        )
    capable = [step for step in affordable if reasons[step] == "context"]
    return _too_large(capable, needs) if capable else _incapable(affordable, needs)


def _too_large(steps: Iterable[Step], needs: Needs) -> BadRequest:
    """Return the error in the words of OpenAI's own, for which clients look."""
    largest = max(steps, key=_context)
    return BadRequest(
        f"The maximum context length here is {largest.context} tokens ({largest.name}). However, "
        f"your messages resulted in about {needs.prompt_tokens} tokens. Please reduce the length of "
        "the messages.",
        code="context_length_exceeded",
        param="messages",
    )


def _incapable(steps: Sequence[Step], needs: Needs) -> BadRequest:
    """Name what no step offers; where each is offered by some, but never together, all of them."""
    offered = frozenset[str]().union(*(step.capabilities or () for step in steps))
    wanted = sorted(needs.capabilities)
    missing = next((name for name in wanted if name not in offered), None)
    param, subject = _UNSUPPORTED[missing or wanted[0]]
    together = "" if missing else f" together with {', '.join(wanted[1:])}"
    names = ", ".join(step.name for step in steps)
    return BadRequest(
        f"Unsupported parameter: {subject} not supported{together} by any step ({names}).",
        code="unsupported_parameter",
        param=param,
    )


def _context(step: Step) -> int:
    return step.context or 0
