"""GET /v1/models and /v1/models/{id}: from memory, whatever state the providers are in."""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stepwell.api.auth import PRINCIPAL
from stepwell.api.envelope import encode
from stepwell.errors import UnknownModel
from stepwell.gateway import Gateway
from stepwell.routing.chain import Listed

# OpenAI's `created` is the day a model was made. Ours must only never change: 2025-01-01T00:00:00Z.
CREATED = 1735689600


class Models:
    """Both routes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, request: Request) -> Response:
        models = [_model(model) for model in self._visible(request)]
        return Response(encode({"object": "list", "data": models}), media_type="application/json")

    async def get(self, request: Request) -> Response:
        wanted = request.path_params["model"]
        for model in self._visible(request):
            if model.id == wanted:
                return Response(encode(_model(model)), media_type="application/json")
        raise UnknownModel(f"There is no model {wanted!r}; GET /v1/models lists them.")

    def _visible(self, request: Request) -> Iterable[Listed]:
        return self._gateway.routes.models(allowed=request.scope[PRINCIPAL].chains)


def _model(model: Listed) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "created": CREATED,
        "owned_by": model.owner,
    }
    if model.context is not None:
        body["context_length"] = model.context
    if model.capabilities:
        body["capabilities"] = sorted(model.capabilities)
    return body
