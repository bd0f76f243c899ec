"""GET /v1/models: what may stand in `model`."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from stepwell import create_app
from stepwell.testing import Failure, FakeClock, Fleet

KEY = "sk-client-1"
CI_KEY = "sk-client-ci"

# Model names as providers have them: slashes, colons, dots, an at-sign, a date.
MODELS = (
    "sim-model",
    "meta-llama/llama-3.3-70b-instruct:free",
    "@cf/meta/llama-3.1-8b-instruct",
    "accounts/fireworks/models/qwen2p5-72b",
)


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(FakeClock())
    fleet.add("alpha", models=MODELS)
    fleet.add("beta", models=["sim-model"])
    return fleet


@pytest.fixture
def settings(fleet: Fleet) -> dict[str, Any]:
    made = fleet.settings(
        api_keys=[KEY, {"name": "ci", "key": CI_KEY, "chains": ["fast"]}],
        chains={
            "default": [f"alpha/{model}" for model in MODELS],
            "fast": [{"provider": "beta", "model": "sim-model", "context": 8192}],
            "team/fast:v1": ["alpha/sim-model", {"chain": "fast"}],
        },
        unknown_model="reject",
    )
    made["providers"]["alpha"]["capabilities"] = ["tools", "vision"]
    return made


@pytest.fixture
async def client(fleet: Fleet, settings: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings, transport=fleet.transport(), clock=fleet.clock)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://gateway/v1",
        headers={"authorization": f"Bearer {KEY}"},
    ) as client:
        yield client


async def listed(client: httpx.AsyncClient, **headers: str) -> list[dict[str, Any]]:
    response = await client.get("/models", headers=headers)
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"object", "data"}
    assert body["object"] == "list"
    models: list[dict[str, Any]] = body["data"]
    return models


async def test_chains_come_first_then_their_steps(client: httpx.AsyncClient) -> None:
    """The default chain leads; each name stands there once."""
    assert [model["id"] for model in await listed(client)] == [
        "default",
        "fast",
        "team/fast:v1",
        *(f"alpha/{model}" for model in MODELS),
        "beta/sim-model",
    ]


async def test_an_entry_is_openai_s_model_object(client: httpx.AsyncClient) -> None:
    """Chains are ours, steps their provider's; nobody's address, key or state is in it."""
    models = {model["id"]: model for model in await listed(client)}
    assert {"id", "object", "created", "owned_by"} <= set(models["default"])
    assert {model["object"] for model in models.values()} == {"model"}
    assert models["default"]["owned_by"] == "stepwell"
    assert models["beta/sim-model"]["owned_by"] == "beta"
    assert "fleet.test" not in str(models)
    assert "sk-" not in str(models)


async def test_context_and_capabilities_are_told_where_they_are_known(
    client: httpx.AsyncClient,
) -> None:
    """What is not known is not there, rather than null or guessed; a chain has the best of its own."""
    models = {model["id"]: model for model in await listed(client)}
    assert models["beta/sim-model"]["context_length"] == 8192
    assert models["team/fast:v1"]["context_length"] == 8192
    assert "context_length" not in models["alpha/sim-model"]
    assert models["alpha/sim-model"]["capabilities"] == ["tools", "vision"]
    assert models["default"]["capabilities"] == ["tools", "vision"]
    assert "capabilities" not in models["beta/sim-model"]


async def test_created_never_changes(fleet: Fleet, client: httpx.AsyncClient) -> None:
    """A client may keep the list; time passing makes no model new."""
    before = await listed(client)
    assert isinstance(fleet.clock, FakeClock)
    fleet.clock.shift(86_400)
    assert await listed(client) == before


async def test_every_listed_model_can_be_called(fleet: Fleet, client: httpx.AsyncClient) -> None:
    """A list whose names give a 404 would be a lie: unknown names are rejected here."""
    for model in await listed(client):
        request = {"model": model["id"], "messages": [{"role": "user", "content": "hi"}]}
        response = await client.post("/chat/completions", json=request)
        assert response.status_code == 200, response.text
        if model["owned_by"] != "stepwell":
            assert response.headers["x-stepwell-target"] == model["id"]


@pytest.mark.parametrize("safe", ["/:@", ""])
async def test_every_listed_model_can_be_retrieved(client: httpx.AsyncClient, safe: str) -> None:
    """By its id as it is, and with slashes and colons quoted, as SDKs send them."""
    for model in await listed(client):
        response = await client.get(f"/models/{quote(model['id'], safe=safe)}")
        assert response.status_code == 200
        assert response.json() == model


@pytest.mark.parametrize("name", ["none", "alpha", "alpha/none", "sim-model", "default/", "a%20b"])
async def test_what_is_not_listed_is_a_404(client: httpx.AsyncClient, name: str) -> None:
    """In OpenAI's envelope, with its code."""
    response = await client.get(f"/models/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_a_restricted_key_sees_its_own_chains(client: httpx.AsyncClient) -> None:
    """What it may not call it may not see, in the list or by name."""
    key = {"authorization": f"Bearer {CI_KEY}"}
    assert [model["id"] for model in await listed(client, **key)] == ["fast", "beta/sim-model"]
    assert (await client.get("/models/fast", headers=key)).status_code == 200
    assert (await client.get("/models/default", headers=key)).status_code == 404
    assert (await client.get("/models/alpha/sim-model", headers=key)).status_code == 404


async def test_the_list_asks_no_provider(fleet: Fleet, client: httpx.AsyncClient) -> None:
    """It is answered from memory, and does not shrink while providers are out of order."""
    before = await listed(client)
    for provider in fleet:
        provider.fail(Failure.unauthorized(), times=None)
    body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
    assert isinstance(fleet.clock, FakeClock)
    refused = await fleet.clock.run(client.post("/chat/completions", json=body))
    assert refused.status_code == 503
    asked = len(fleet.calls)
    assert await listed(client) == before
    assert len(fleet.calls) == asked
