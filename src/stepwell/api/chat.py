"""POST /v1/chat/completions."""

from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from stepwell.api.auth import principal_of
from stepwell.api.body import read_json_body
from stepwell.api.envelope import Headers, encode, envelope, trail_headers
from stepwell.api.presence import Presence
from stepwell.api.sse import EventStream
from stepwell.chat import ChatRequest
from stepwell.dispatch import Answer, Call
from stepwell.errors import StepwellError
from stepwell.gateway import Gateway


class ChatCompletions:
    """An ASGI application for one route: nothing stands between it and the server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        limits = gateway.settings.limits
        body = await read_json_body(
            scope, receive, max_body=limits.max_body, max_depth=limits.max_depth
        )
        request = ChatRequest(body)
        principal = principal_of(scope)
        route = gateway.routes.resolve(
            request.model, allowed=principal.chains, pin_any=principal.pins
        )
        call = Call(request, route.steps, gateway.clock.monotonic())
        presence = Presence(receive)
        with gateway.admit(presence.interrupt):
            if request.stream:
                await self._stream(call, presence, send)
            else:
                await self._whole(call, presence, send)
        if presence.is_gone:
            gateway.logger.debug("client went away: %s", call.trail.header())

    async def _whole(self, call: Call, presence: Presence, send: Send) -> None:
        async with presence:
            answer = await self._gateway.dispatcher.descend(call)
            async with answer:
                presence.stop()
                body = answer.body
                headers = [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(body)),
                    *answer_headers(answer),
                ]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, call: Call, presence: Presence, send: Send) -> None:
        gateway = self._gateway
        async with EventStream(
            send, clock=gateway.clock, ping=gateway.settings.streams.ping, doing=lambda: call.doing
        ) as events:
            try:
                async with presence:
                    await self._relay(call, presence, events)
            except Exception as error:
                if not events.is_open:
                    raise  # a real status and JSON body
                await events.write(self._event_of(self._tellable(error)))
                await events.close()

    async def _relay(self, call: Call, presence: Presence, events: EventStream) -> None:
        answer = await self._gateway.dispatcher.descend(call)
        async with answer, aclosing(answer.pieces()) as pieces:
            await events.open(answer_headers(answer))
            if events.was_early:
                await events.write(_story_of(answer))
            async for piece in pieces:
                await events.write(piece)
            presence.stop()
            await events.close()
            await answer.drain()

    def _tellable(self, error: Exception) -> StepwellError:
        """Return what the client may know of an error; the log is told the rest."""
        if isinstance(error, StepwellError):
            return error
        self._gateway.logger.error("a stream failed", exc_info=error)
        return StepwellError("The gateway failed; its log says more.")

    def _event_of(self, error: StepwellError) -> bytes:
        body = encode(envelope(error, self._gateway.clock))
        return b"data: " + self._gateway.redactor(body) + b"\n\n"


def answer_headers(answer: Answer) -> Headers:
    target = answer.step.name.encode("ascii", "replace")
    return [(b"x-stepwell-target", target), *trail_headers(answer.trail)]


def _story_of(answer: Answer) -> bytes:
    """Return as a comment what the headers could not say any more."""
    trail = answer.trail
    return (
        f": x-stepwell-target: {answer.step.name}\n"
        f": x-stepwell-attempts: {len(trail.attempts)}\n"
        f": x-stepwell-trail: {trail.header()}\n\n"
    ).encode("ascii", "replace")
