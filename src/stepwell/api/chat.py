"""POST /v1/chat/completions."""

from collections.abc import Mapping
from functools import lru_cache
from math import inf

from starlette.types import Message, Receive, Scope, Send

from stepwell.api import patience
from stepwell.api.auth import HEADERS, PRINCIPAL, SEND, Principal
from stepwell.api.body import read_json_body
from stepwell.api.connection import Connection, connection_of
from stepwell.api.envelope import Headers, encode, envelope, trail_headers
from stepwell.api.explain import answer_with_explanation, wants_explanation
from stepwell.api.free_only import HEADER as FREE_ONLY
from stepwell.api.free_only import wants_free_only
from stepwell.api.patience import max_wait_of
from stepwell.api.presence import Listener, Presence
from stepwell.api.sse import EventStream
from stepwell.chat import ChatRequest
from stepwell.dispatch import Answer, Call
from stepwell.errors import StepwellError
from stepwell.gateway import Gateway
from stepwell.routing.chain import Step
from stepwell.routing.trail import Attempt, Trail


class ChatCompletions:
    """An ASGI application for one route: nothing stands between it and the server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        # Read once: an attribute of a settings model is found by a search of its own.
        limits, queue = gateway.settings.limits, gateway.settings.queue
        self._max_body, self._max_depth = limits.max_body, limits.max_depth
        self._max_wait, self._allow_wait = queue.max_wait, queue.allow_wait
        self._ping = gateway.settings.streams.ping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        headers: Mapping[bytes, bytes] = scope[HEADERS]
        body = await read_json_body(
            headers, receive, max_body=self._max_body, max_depth=self._max_depth
        )
        call = self._call(scope, headers, ChatRequest(body))
        del body  # a large one is held by the request alone
        if scope["query_string"] and wants_explanation(scope):
            await answer_with_explanation(gateway, call, send)
            return
        connection = connection_of(scope[SEND]) or Listener(receive)
        presence = Presence(connection)
        gateway.enter(presence)
        try:
            if call.request.stream:
                await self._stream(call, presence, connection, send, scope[SEND])
            else:
                with presence, call:
                    answer = await gateway.dispatcher.descend(call)
                    presence.stop()
                    await send(_start_of(call, answer))
                    await scope[SEND]({"type": "http.response.body", "body": answer.reply.body})
        finally:
            gateway.leave(presence)
        if presence.is_gone:
            gateway.logger.debug("client went away: %s", call.trail.header())

    def _call(self, scope: Scope, headers: Mapping[bytes, bytes], request: ChatRequest) -> Call:
        """Return what a request asks for by its model, its headers, and who sends it."""
        gateway = self._gateway
        principal: Principal = scope[PRINCIPAL]
        route = gateway.routes.resolve(
            request.model, allowed=principal.chains, pin_any=principal.pins
        )
        max_wait, free_only = self._max_wait, route.free_only
        arrived = held_from = gateway.clock.monotonic()
        if patience.HEADER in headers:
            max_wait = max_wait_of(
                headers[patience.HEADER], default=max_wait, allowed=self._allow_wait
            )
            held_from = arrived if max_wait else -inf
        if FREE_ONLY in headers:
            free_only = wants_free_only(scope["headers"]) or free_only
        return Call(
            request,
            route.steps,
            arrived,
            client=principal.name,
            route=route.name,
            max_wait=max_wait,
            free_only=free_only,
            held_from=held_from,
            finish=gateway.dispatcher.finish,
        )

    async def _stream(
        self, call: Call, presence: Presence, connection: Connection, start: Send, send: Send
    ) -> None:
        gateway = self._gateway
        with EventStream(
            start,
            send,
            connection,
            clock=gateway.clock,
            ping=self._ping,
            doing=lambda: gateway.dispatcher.doing(call),
        ) as events:
            try:
                with presence, call:
                    answer = await gateway.dispatcher.descend(call)
                    try:
                        headers = answer_headers(answer.move.step, call.trail)
                        await events.open(headers)
                        if events.was_early:
                            await events.write(_story_of(headers))
                        last = await answer.pour(events)
                        if answer.stream.relay.broken:
                            last = await gateway.dispatcher.go_on(call, answer, events)
                        presence.stop()
                        await events.close(last)
                        await answer.drain()
                    finally:
                        await answer.aclose()
            except Exception as error:  # the edge: once events flow, only an event can tell it
                if not events.is_open:
                    raise  # a real status and JSON body
                await events.close(self._event_of(self._tellable(error)))

    def _tellable(self, error: Exception) -> StepwellError:
        """Return what the client may know of an error; the log is told the rest."""
        if isinstance(error, StepwellError):
            return error
        self._gateway.logger.error("a stream failed", exc_info=error)
        return StepwellError("The gateway failed; its log says more.")

    def _event_of(self, error: StepwellError) -> bytes:
        body = encode(envelope(error, self._gateway.clock))
        return b"data: " + self._gateway.redactor(body) + b"\n\n"


def _start_of(call: Call, answer: Answer) -> Message:
    """Return the start of a whole answer."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer.reply.body)),
        *answer_headers(answer.move.step, call.trail),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def answer_headers(step: Step, trail: Trail) -> Headers:
    """Return the headers that say who answers, and how it came to that."""
    if len(trail.attempts) == 1 and not trail.waited:
        first = trail.attempts[0]
        return _headers_at_once(step, first.outcome, first.status)
    return [*_step_headers(step), *trail_headers(trail)]


@lru_cache(maxsize=1024)
def _headers_at_once(step: Step, outcome: str, status: int | None) -> Headers:
    """Return those of an answer that came at once, which are the same each time."""
    trail = Trail([Attempt(step.name, "", outcome, status, 0.0)])
    return [*_step_headers(step), *trail_headers(trail)]


def _step_headers(step: Step) -> Headers:
    target = (b"x-stepwell-target", step.name.encode("ascii", "replace"))
    return [target, (b"x-stepwell-paid", b"1")] if step.paid else [target]


def _story_of(headers: Headers) -> bytes:
    """Return as a comment what the headers could not say any more."""
    return b"".join([b": %b: %b\n" % header for header in headers]) + b"\n"
