"""POST /v1/chat/completions?explain=true: what would become of a request, without a call."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from stepwell import Gateway, create_app
from stepwell.testing import Failure, FakeClock, Fleet

MESSAGES = [{"role": "user", "content": "hi"}]
LONG = [{"role": "user", "content": "word " * 4000}]
PATH = "/v1/chat/completions"
C = {"model": "c/sim-model"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    fleet = Fleet(clock)
    fleet.add("a", limits=["1 requests/60s"], dialect="retry-after")
    fleet.add("b", keys=["sk-b-1", "sk-b-2"])
    fleet.add("c")
    fleet.add("d", dialect="silent")
    return fleet


class Client:
    """Asks for answers, and for explanations."""

    def __init__(self, inner: httpx.AsyncClient, gateway: Gateway, clock: FakeClock) -> None:
        self.inner = inner
        self.gateway = gateway
        self._clock = clock

    async def post(self, query: str = "", **fields: Any) -> httpx.Response:
        headers = fields.pop("headers", {})
        posting = self.inner.post(
            PATH + query, json={"messages": MESSAGES, **fields}, headers=headers
        )
        return await self._clock.run(posting)

    async def explain(self, **fields: Any) -> Any:
        response = await self.post("?explain=true", **fields)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        return response.json()


@pytest.fixture
async def client(fleet: Fleet, clock: FakeClock) -> AsyncIterator[Client]:
    settings = fleet.settings(
        chains={
            "default": ["a/sim-model", "b/sim-model", {"provider": "c", "model": "sim-model"}],
            "silent": ["d/sim-model"],
            "small": [{"provider": "c", "model": "sim-model", "context": 1000}],
        }
    )
    settings["providers"]["c"] |= {"capabilities": ["tools"]}
    app = create_app(settings, transport=fleet.transport(), clock=clock)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://gateway",
        headers={"authorization": "Bearer sk-test"},
    ) as inner:
        yield Client(inner, app.state.gateway, clock)


def decisions(explanation: Any) -> list[tuple[str, str | None]]:
    return [(step["decision"], step["reason"]) for step in explanation["steps"]]


async def test_the_first_step_with_room_would_be_called(client: Client) -> None:
    """The others would be next; the estimate is the one that would be reserved."""
    explanation = await client.explain(max_tokens=50)
    assert (explanation["decision"], explanation["target"]) == ("call", "a/sim-model")
    assert decisions(explanation) == [("taken", None), ("ready", None), ("ready", None)]
    estimate = explanation["estimate"]
    assert estimate["answer_tokens"] == 50
    assert estimate["tokens"] == estimate["prompt_tokens"] + 50
    assert explanation["route"] == "default"
    assert explanation["reset"] is None


async def test_a_question_calls_nobody_and_changes_nothing(client: Client, fleet: Fleet) -> None:
    """However often it is put; what it said comes true."""
    first = await client.explain()
    assert await client.explain(stream=True) | {"estimate": 0} == first | {"estimate": 0}
    assert fleet.calls == []
    assert await client.gateway.ledger.snapshot() == ()
    assert (await client.post()).headers["x-stepwell-target"] == first["target"]


async def test_a_skipped_step_says_why_and_until_when(client: Client, fleet: Fleet) -> None:
    """By the same words as a 503; the soonest reset stands above all."""
    fleet["a"].fail(Failure.rate_limit(30))
    await client.post()
    explanation = await client.explain()
    assert (explanation["decision"], explanation["target"]) == ("call", "b/sim-model")
    assert decisions(explanation)[0] == ("skipped", "cooldown")
    cooldown = explanation["steps"][0]["targets"][0]["cooldown"]
    assert (cooldown["told"], cooldown["retry_after"]) == (True, 30.0)
    assert (explanation["reset"], explanation["reset_at"]) == (
        30.0,
        "2026-10-02T12:00:30.000+00:00",
    )
    assert [t["decision"] for t in explanation["steps"][1]["targets"]] == ["taken", "ready"]


async def test_a_probe_is_told_apart_from_a_call(client: Client) -> None:
    """Our own count is used up, which is no proof."""
    await client.post(model="a/sim-model")
    explanation = await client.explain(model="a/sim-model")
    assert (explanation["decision"], explanation["target"]) == ("probe", "a/sim-model")
    assert explanation["steps"][0]["targets"][0]["cooldown"]["reason"] == "count"


async def test_where_nobody_can_serve_it_says_when(client: Client, fleet: Fleet) -> None:
    """Or that it would wait, if the request may."""
    fleet["c"].fail(Failure.rate_limit(20))
    await client.post(model="c/sim-model")
    explanation = await client.explain(model="c/sim-model")
    assert (explanation["decision"], explanation["target"]) == ("fail", None)
    assert explanation["reset"] == 20.0
    patient = await client.explain(model="c/sim-model", headers={"x-stepwell-max-wait": "30"})
    assert patient["decision"] == "wait"


async def test_what_a_step_lacks_is_named(client: Client, fleet: Fleet) -> None:
    """Without a look at its quota."""
    explanation = await client.explain(response_format={"type": "json_object"})
    assert explanation["needs"] == ["json"]
    assert decisions(explanation)[2] == ("skipped", "json")
    assert explanation["steps"][2]["targets"] == []


async def test_a_size_that_was_refused_is_named(client: Client, fleet: Fleet) -> None:
    """The step is passed over while another is left."""
    fleet["a"].fail(Failure.too_large())
    await client.post(messages=LONG)
    assert decisions(await client.explain(messages=LONG))[0] == ("skipped", "size")


async def test_a_request_that_nobody_can_ever_serve_has_its_error(client: Client) -> None:
    """The very error that it would get, beside what each step lacks."""
    explanation = await client.explain(model="small", messages=LONG)
    real = (await client.post(model="small", messages=LONG)).json()
    assert explanation["decision"] == "reject"
    assert decisions(explanation) == [("skipped", "context")]
    assert explanation["error"] == real["error"]
    assert explanation["error"]["code"] == "context_length_exceeded"


async def test_a_wish_of_the_headers_counts(client: Client) -> None:
    """As for the request itself."""
    explanation = await client.explain(models=["x"], headers={"x-stepwell-free-only": "1"})
    assert (explanation["free_only"], explanation["decision"]) == (True, "reject")
    assert explanation["error"]["param"] == "models"


@pytest.mark.parametrize(
    ("query", "explained"), [("?explain", True), ("?explain=1", True), ("?explain=false", False)]
)
async def test_the_parameter_is_true_or_false(query: str, explained: bool, client: Client) -> None:
    """An answer is an answer, a question a question."""
    body = (await client.post(query)).json()
    assert (body["object"] == "stepwell.explanation") is explained


async def test_a_parameter_that_is_not_understood_is_a_400(client: Client, fleet: Fleet) -> None:
    """What was meant as a question must not cost quota."""
    assert (await client.post("?explain=maybe")).status_code == 400
    assert fleet.calls == []


async def test_a_wrong_request_is_told_so(client: Client) -> None:
    """By its own error: there is nothing to explain."""
    response = await client.post("?explain=true", messages=7)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")


async def test_a_wait_that_would_be_too_short_is_none(client: Client, fleet: Fleet) -> None:
    """It would fail at once, as the request itself does."""
    fleet["c"].fail(Failure.rate_limit(20))
    await client.post(model="c/sim-model")
    asked: Any = {**C, "headers": {"x-stepwell-max-wait": "10"}}
    assert (await client.explain(**asked))["decision"] == "fail"
    assert (await client.post(**asked)).status_code == 503


async def test_evidence_on_its_way_is_worth_a_wait(
    client: Client, fleet: Fleet, clock: FakeClock
) -> None:
    """Somebody tries it out, so the request would hear what becomes of that, without a queue too."""
    fleet["d"].fail(Failure.rate_limit(None))
    await client.post(model="silent", headers={"x-stepwell-max-wait": "0"})
    fleet["d"].hold()
    await clock.advance(5)
    trying = asyncio.create_task(
        client.inner.post(PATH, json={"messages": MESSAGES, "model": "silent"})
    )
    await clock.advance(0)

    assert (await client.explain(model="silent"))["decision"] == "wait"

    fleet["d"].let(100)
    assert (await clock.run(trying)).status_code == 200
