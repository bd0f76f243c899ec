"""GET /v1/quota: what is left, told and guessed kept apart, and whether each chain could serve."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from stepwell import Gateway, create_app
from stepwell.quota.ledger import Reservation
from stepwell.testing import Failure, FakeClock, Fleet

KEYS = ["sk-all", {"name": "ci", "key": "sk-ci", "chains": ["small"], "pins": "any"}]
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    fleet = Fleet(clock)
    fleet.add("a", limits=["2 requests/60s"], models=["m", "n"], keys=["sk-a-1", "sk-a-2"])
    fleet.add("b", limits=["5 requests/60s"], models=["m"], dialect="groq")
    return fleet


class Client:
    """Asks, and lets time pass until the answer is there."""

    def __init__(self, client: httpx.AsyncClient, gateway: Gateway, clock: FakeClock) -> None:
        self.client = client
        self.clock = clock
        self.gateway = gateway

    async def quota(self, key: str = "sk-all") -> Any:
        headers = {"authorization": f"Bearer {key}"}
        response = await self.client.get("/v1/quota", headers=headers)
        assert response.status_code == 200
        return response.json()

    async def target(self, name: str) -> Any:
        (found,) = [t for t in (await self.quota())["targets"] if t["target"] == name]
        return found

    async def chain(self, name: str = "default") -> Any:
        (found,) = [chain for chain in (await self.quota())["chains"] if chain["name"] == name]
        return found

    async def ask(self, model: str = "default", key: str = "sk-all") -> httpx.Response:
        return await self.clock.run(
            self.client.post(
                "/v1/chat/completions",
                json={"model": model, "messages": MESSAGES},
                headers={"authorization": f"Bearer {key}"},
            )
        )


@pytest.fixture
async def client(fleet: Fleet, clock: FakeClock) -> AsyncIterator[Client]:
    settings = fleet.settings(
        api_keys=KEYS,
        chains={
            "default": ["a/m", "b/m"],
            "small": {"steps": [{"provider": "a", "model": "n"}], "free_only": True},
            "dear": [{"provider": "a", "model": "m", "cost": "paid"}],
        },
    )
    app = create_app(settings, transport=fleet.transport(), clock=clock)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as inner:
        yield Client(inner, app.state.gateway, clock)


async def test_targets_that_nobody_has_asked_for_are_there(client: Client) -> None:
    """One for each step and key, with its configured limits untouched; looking asks nobody."""
    body = await client.quota()
    assert body["object"] == "stepwell.quota"
    assert body["time"] == "2026-10-02T12:00:00.000+00:00"
    assert [target["target"] for target in body["targets"]] == [
        "a/m",
        "a#2/m",
        "b/m",
        "a/n",
        "a#2/n",
    ]
    assert body["targets"][1] == {
        "target": "a#2/m",
        "account": "a#2",
        "model": "m",
        "ready": True,
        "in_flight": 0,
        "cooldown": None,
        "limits": [
            {
                "metric": "requests",
                "window": 60.0,
                "limit": 2,
                "used": 0,
                "remaining": 2,
                "reset": None,
                "reset_at": None,
                "scope": "model",
                "source": "configured",
                "calendar": None,
            }
        ],
    }
    assert await client.quota() == body


async def test_what_was_used_is_told_with_its_reset(client: Client, clock: FakeClock) -> None:
    """Seconds from now, and an instant."""
    await client.ask("a/m")
    clock.shift(20)
    limit = (await client.target("a/m"))["limits"][0]
    assert (limit["used"], limit["remaining"]) == (1, 1)
    assert (limit["reset"], limit["reset_at"]) == (40.0, "2026-10-02T12:01:00.000+00:00")


async def test_a_limit_that_is_configured_and_told_is_one_line(
    client: Client, clock: FakeClock
) -> None:
    """The provider's word of what is left goes first, until its reset; then our count is back."""
    await client.ask("a/m")
    (limit,) = (await client.target("a/m"))["limits"]
    assert (limit["source"], limit["used"], limit["remaining"]) == ("told", 1, 1)
    assert (limit["window"], limit["limit"], limit["reset"]) == (60.0, 2, 60.0)
    clock.shift(61)
    (limit,) = (await client.target("a/m"))["limits"]
    assert (limit["source"], limit["used"], limit["remaining"]) == ("configured", 0, 2)


async def test_a_cooldown_says_why_until_when_and_in_whose_words(
    client: Client, fleet: Fleet
) -> None:
    """Told, with the provider's words, from which keys are taken out."""
    words = "Slow down, sk-a-1 and sk-a-2!"
    fleet["b"].fail(Failure.status(429, retry_after=30, message=words))
    await client.ask("b/m")
    target = await client.target("b/m")
    assert target["ready"] is False
    cooldown = target["cooldown"]
    assert (cooldown["reason"], cooldown["told"]) == ("cooldown", True)
    assert (cooldown["retry_after"], cooldown["until"]) == (30.0, "2026-10-02T12:00:30.000+00:00")
    assert "Slow down" in cooldown["words"]
    assert "sk-" not in cooldown["words"]


async def test_a_guess_is_no_told_cooldown(client: Client, fleet: Fleet) -> None:
    """Both are seen, and which is which."""
    fleet["a"].fail(Failure.unauthorized())
    await client.ask("a/m")
    cooldown = (await client.target("a/m"))["cooldown"]
    assert (cooldown["reason"], cooldown["told"]) == ("out_of_service", False)


async def test_calls_in_flight_are_counted(client: Client) -> None:
    """Also against the limit, which does not age while they are under way."""
    target = client.gateway.routes.chains["default"].steps[1].targets[0]
    held = await client.gateway.ledger.reserve([target], 10, arrived=client.clock.monotonic())
    shown = await client.target("b/m")
    assert (shown["in_flight"], shown["limits"][0]["used"]) == (1, 1)
    assert isinstance(held, Reservation)
    client.gateway.ledger.release(held)
    assert (await client.target("b/m"))["in_flight"] == 0


async def test_a_chain_is_ready_while_a_target_is(client: Client, fleet: Fleet) -> None:
    """It says which would be called, else when one can."""
    assert (await client.chain())["target"] == "a/m"
    for name, seconds in (("a", 40), ("a", 40), ("b", 25)):
        fleet[name].fail(Failure.rate_limit(seconds))
    await client.ask()
    chain = await client.chain()
    assert (chain["ready"], chain["target"]) == (False, None)
    assert (chain["retry_after"], chain["until"]) == (25.0, "2026-10-02T12:00:25.000+00:00")
    client.clock.shift(25)
    chain = await client.chain()
    assert (chain["ready"], chain["target"], chain["retry_after"]) == (True, "b/m", None)


async def test_a_chain_lists_its_steps_and_rules(client: Client) -> None:
    """Which one is the default, what costs money, and the targets of each step."""
    chains = (await client.quota())["chains"]
    assert [(chain["name"], chain["default"], chain["free_only"]) for chain in chains] == [
        ("default", True, False),
        ("small", False, True),
        ("dear", False, False),
    ]
    assert chains[2]["steps"] == [{"step": "a/m", "paid": True, "targets": ["a/m", "a#2/m"]}]


async def test_a_caller_sees_only_its_own_chains(client: Client) -> None:
    """And the targets in them, whatever else is used."""
    await client.ask()
    body = await client.quota("sk-ci")
    assert [chain["name"] for chain in body["chains"]] == ["small"]
    assert [target["target"] for target in body["targets"]] == ["a/n", "a#2/n"]


async def test_what_was_pinned_is_shown_to_who_may_use_everything(client: Client) -> None:
    """Though it stands in no chain."""
    await client.ask("b/elsewhere", key="sk-ci")
    assert (await client.target("b/elsewhere"))["account"] == "b"
    assert "b/elsewhere" not in [t["target"] for t in (await client.quota("sk-ci"))["targets"]]


async def test_strangers_see_nothing(client: Client) -> None:
    """It is no public route."""
    response = await client.client.get("/v1/quota")
    assert response.status_code == 401


async def test_no_secret_is_shown(client: Client, fleet: Fleet) -> None:
    """Whatever providers repeat."""
    for provider in fleet:
        provider.fail(Failure.unauthorized())
    await client.ask()
    assert "sk-" not in str(await client.quota())
