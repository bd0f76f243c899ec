"""GET /health: public, cheap, and silent about keys, providers and reasons."""

from starlette.requests import Request
from starlette.responses import Response

from stepwell.api.envelope import encode
from stepwell.gateway import Gateway


class Health:
    """200 with `ok`, or `degraded` when a component is not in order."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def get(self, request: Request) -> Response:
        components = await self._gateway.health()
        status = "ok" if set(components.values()) <= {"ok"} else "degraded"
        body = {"status": status, "components": components}
        return Response(encode(body), media_type="application/json")
