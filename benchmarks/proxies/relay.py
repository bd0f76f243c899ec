"""The floor: the gateway's own engine between two ASGI messages; it decodes nothing.

The path's first part is the provider's port, as for `bare.py`.
"""

from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from stepwell.upstream.transport import AiohttpTransport

transport = AiohttpTransport()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"accept", b"*/*"),
    (b"authorization", b"Bearer sk-upstream-key"),
]
TIMEOUTS = {"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 10.0}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    _, port, path = scope["path"].split("/", 2)
    request = httpx.Request(
        "POST",
        f"http://127.0.0.1:{port}/{path}",
        headers=HEADERS,
        content=await _body(receive),
        extensions={"timeout": TIMEOUTS},
    )
    answer = await transport.handle_async_request(request)
    try:
        await send(_start(answer))
        async for part in answer.stream:  # type: ignore[union-attr] # an async one here
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        await answer.aclose()


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _start(answer: httpx.Response) -> dict[str, Any]:
    kept = (b"content-type", b"content-length")
    headers = [(name, value) for name, value in answer.headers.raw if name.lower() in kept]
    return {"type": "http.response.start", "status": answer.status_code, "headers": headers}
