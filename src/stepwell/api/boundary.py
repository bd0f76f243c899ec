"""The outermost edge: request ids, and every error in OpenAI's envelope."""

import random
import re
from collections.abc import Awaitable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.api.auth import HEADERS, SEND
from stepwell.api.body import ClientDisconnected
from stepwell.api.envelope import encode, envelope, error_headers, status_of
from stepwell.errors import BadRequest, StepwellError
from stepwell.gateway import Gateway

MAX_REQUEST_ID = 128
_REQUEST_ID = re.compile(rb"[!-~]{1,%d}" % MAX_REQUEST_ID)
# Of an unknown path that is named in an error.
MAX_SHOWN_PATH = 200


class Boundary:
    """Answers every error inside the mount by itself, so that none reaches the host's handlers.

    The text of an unexpected exception goes to the log, redacted, never to the client.
    """

    def __init__(self, app: ASGIApp, *, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope[HEADERS] = dict(scope["headers"])
        scope[SEND] = send
        request_id = _request_id(headers.get(b"x-request-id"))
        has_begun = False

        def send_with_id(message: Message) -> Awaitable[None]:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            return send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnected:
            return
        except Exception as error:  # noqa: BLE001 - the outermost edge
            refusal = self._tellable(error, request_id)
            if not has_begun:  # else there is no second answer; the server cuts the connection
                await self._answer(refusal, send_with_id)
        finally:
            # What it belongs to holds the scope: together they would wait for the garbage collector.
            del scope[SEND]

    def _tellable(self, error: Exception, request_id: bytes) -> StepwellError:
        """Return what the client may know of an error; the log is told the rest."""
        if isinstance(error, StepwellError):
            return error
        if isinstance(error, HTTPException):  # of authenticate=; the router's do not come here
            return BadRequest(error.detail, code="http_error", status=error.status_code)
        self._gateway.logger.error("request %s failed", request_id.decode(), exc_info=error)
        return StepwellError("The gateway failed; its log says more.")

    async def _answer(self, error: StepwellError, send: Send) -> None:
        body = self._gateway.redactor(encode(envelope(error, self._gateway.clock)))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *error_headers(error),
        ]
        await send({"type": "http.response.start", "status": status_of(error), "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def http_exception(request: Request, error: Exception) -> Response:
    """Turn the router's 404 and 405 into ours."""
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    # Not request.url: that also reads the Host header, which may be nonsense.
    path = ascii(request.scope["path"][:MAX_SHOWN_PATH])
    message = f"{error.detail}: there is no {request.method} {path} here."
    shown = BadRequest(
        message, code=codes.get(error.status_code, "http_error"), status=error.status_code
    )
    body = encode(
        {"error": {"message": str(shown), "type": shown.type, "param": None, "code": shown.code}}
    )
    return Response(body, error.status_code, error.headers, "application/json")


def _request_id(given: bytes | None) -> bytes:
    """Return the caller's own id if it is fit to be repeated, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return b"%032x" % random.getrandbits(128)
