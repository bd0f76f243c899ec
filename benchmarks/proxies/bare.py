"""The proxy that one writes first: Starlette before, httpx behind, nothing between.

The path's first part is the provider's port: /8001/v1/chat/completions.
"""

from collections.abc import AsyncIterator

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

client = httpx.AsyncClient(
    limits=httpx.Limits(max_connections=2000, max_keepalive_connections=2000), timeout=60
)


async def chat(request: Request) -> StreamingResponse:
    port, path = request.path_params["port"], request.path_params["rest"]
    headers = {"content-type": "application/json", "authorization": "Bearer sk-upstream-key"}
    sent = client.build_request(
        "POST", f"http://127.0.0.1:{port}/{path}", content=await request.body(), headers=headers
    )
    answer = await client.send(sent, stream=True)

    async def body() -> AsyncIterator[bytes]:
        try:
            async for part in answer.aiter_raw():
                yield part
        finally:
            await answer.aclose()

    return StreamingResponse(
        body(), answer.status_code, {"content-type": answer.headers["content-type"]}
    )


app = Starlette(routes=[Route("/{port:int}/{rest:path}", chat, methods=["POST"])])
