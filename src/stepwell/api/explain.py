"""POST /v1/chat/completions?explain=true: what would become of a request, without a call."""

from typing import Any
from urllib.parse import parse_qs

from starlette.types import Scope, Send

from stepwell.api.envelope import block_fields, encode, envelope, moment
from stepwell.clock import Clock
from stepwell.dispatch import Call
from stepwell.errors import BadRequest
from stepwell.gateway import Gateway
from stepwell.routing.explanation import Explanation, StepPart, TargetPart

_YES = frozenset({"", "1", "true"})
_NO = frozenset({"0", "false"})


def wants_explanation(scope: Scope) -> bool:
    """Whether a request only asks what would become of it.

    Raises:
        BadRequest: The parameter says something else: a question must not cost quota.
    """
    if b"explain" not in scope["query_string"] and b"%" not in scope["query_string"]:
        return False
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    said = {value.lower() for value in query.get("explain", ())}
    if not said <= _YES | _NO:
        raise BadRequest("The query parameter 'explain' must be true or false.", param="explain")
    return bool(said & _YES)


async def answer_with_explanation(gateway: Gateway, call: Call, send: Send) -> None:
    explanation = await gateway.dispatcher.explain(call)
    fields = explanation_fields(explanation, call, gateway.clock)
    body = gateway.redactor(encode(fields))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def explanation_fields(explanation: Explanation, call: Call, clock: Clock) -> dict[str, Any]:
    """Return what would become of a call, as JSON has it."""
    request, taken = call.request, explanation.taken
    reset, reset_at = moment(explanation.until, clock)
    refusal = explanation.refusal
    return {
        "object": "stepwell.explanation",
        "model": request.model,
        "route": call.route,
        "decision": explanation.decision,
        "target": None if taken is None else taken.target.key,
        "reset": reset,
        "reset_at": reset_at,
        "free_only": call.free_only,
        "needs": sorted(request.capabilities),
        "estimate": {
            "prompt_tokens": request.prompt_tokens,
            "answer_tokens": request.tokens - request.prompt_tokens,
            "tokens": request.tokens,
        },
        "steps": [_step(step, clock) for step in explanation.steps],
        "error": None if refusal is None else envelope(refusal, clock)["error"],
    }


def _step(part: StepPart, clock: Clock) -> dict[str, Any]:
    return {
        "step": part.step.name,
        "decision": part.part,
        "reason": part.reason or None,
        "paid": part.step.paid,
        "targets": [_target(target, clock) for target in part.targets],
    }


def _target(part: TargetPart, clock: Clock) -> dict[str, Any]:
    return {
        "target": part.target.key,
        "decision": part.part,
        "cooldown": None if part.block is None else block_fields(part.block, clock),
    }
