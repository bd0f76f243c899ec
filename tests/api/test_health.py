"""GET /health: for load balancers, which have no key and ask every second."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from stepwell import Gateway, Settings, create_app
from stepwell.testing import FakeClock, Fleet

KEY = "sk-client-1"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    fleet = Fleet(clock)
    fleet.add("alpha", limits=["1 requests/60s"], dialect="groq")
    return fleet


@pytest.fixture
def gateway(fleet: Fleet) -> Gateway:
    settings = Settings.from_dict(fleet.settings(api_keys=[KEY]))
    return Gateway(settings, transport=fleet.transport(), clock=fleet.clock)


@pytest.fixture
def app(gateway: Gateway) -> Starlette:
    return create_app(gateway=gateway)


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway"
    ) as client:
        yield client


async def exhaust(client: httpx.AsyncClient, clock: FakeClock) -> None:
    """Use up the only request a minute, and one more, so that the provider says so."""
    body = {"messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {KEY}"}
    for _ in range(2):
        await clock.run(client.post("/v1/chat/completions", json=body, headers=headers))


async def test_health_is_ok_without_a_key(client: httpx.AsyncClient, fleet: Fleet) -> None:
    """A status and its components, and no provider is asked."""
    response = await client.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "ok"
    assert set(body["components"].values()) == {"ok"}
    assert not fleet.calls


async def test_health_is_degraded_while_a_chain_is_dry_and_recovers_by_itself(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    """It stays a 200: the process is sound, and a restart would not bring quota back."""
    await exhaust(client, clock)
    dry = await client.get("/health")
    assert dry.status_code == 200
    assert dry.json()["status"] == "degraded"
    clock.shift(61)
    assert (await client.get("/health")).json()["status"] == "ok"


async def test_health_is_degraded_while_draining(
    client: httpx.AsyncClient, gateway: Gateway
) -> None:
    """A load balancer sends nothing more to a process that is about to stop."""
    await gateway.drain(0)
    assert (await client.get("/health")).json()["status"] == "degraded"


async def test_health_tells_nothing_of_the_settings(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    """No provider, model, chain, key, reason or number, in order or not."""
    fine = (await client.get("/health")).text
    await exhaust(client, clock)
    dry = (await client.get("/health")).text
    for text in (fine, dry):
        assert not any(word in text for word in ("alpha", "sim-model", "default", "sk-", "rate"))
        assert not any(char.isdigit() for char in text)


async def test_asking_changes_nothing(
    client: httpx.AsyncClient, clock: FakeClock, fleet: Fleet
) -> None:
    """A thousand questions take no quota, and leave the answer as it is."""
    first = (await client.get("/health")).text
    for _ in range(1000):
        last = (await client.get("/health")).text
    assert last == first
    body = {"messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {KEY}"}
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    assert len(fleet.calls) == 1
