"""The floor: the gateway's own engine between two ASGI messages; it decodes nothing.

The path's first part is the provider's port, as for `bare.py`.
"""

from functools import cache
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from stepwell.upstream.seam import Answer, Line
from stepwell.upstream.transport import HttpTransport

transport = HttpTransport()
HEADERS = [
    ("content-type", "application/json"),
    ("accept", "*/*"),
    ("authorization", "Bearer sk-upstream-key"),
]
CONNECT = 10.0


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    answer = await _line(scope["path"]).open([await _body(receive)], CONNECT)
    try:
        await send(_start(answer))
        while part := await answer.read():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        await answer.aclose()


@cache
def _line(target: str) -> Line:
    """Return the way to a path, prepared once, as the gateway does."""
    _, port, path = target.split("/", 2)
    return transport.prepare(httpx.URL(f"http://127.0.0.1:{port}/{path}"), HEADERS)


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _start(answer: Answer) -> dict[str, Any]:
    kept = (b"content-type", b"content-length")
    headers = [(name, value) for name, value in answer.headers if name.lower() in kept]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}
