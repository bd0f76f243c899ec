"""A request that must cost nothing: no paid step is ever called for it."""

from typing import Any

import pytest

from stepwell import Settings, SettingsError, StepwellError
from stepwell.chat import ChatRequest
from stepwell.dispatch import Call
from stepwell.providers.catalogue import choosing_fields
from stepwell.testing import Failure, Fleet

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])

FREE = "a/sim-model"
PAID = {"provider": "b", "model": "sim-model", "cost": "paid"}
MIXED = {"default": [FREE, PAID], "free": {"steps": [FREE], "free_only": True}}
BODY = b'{"messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture
def site(fleet: Fleet, serve: Any) -> Any:
    fleet.add("a")
    fleet.add("b", prefill=True)
    return serve(chains=MIXED)


def free_only(site: Any, value: str = "1") -> Any:
    site.client.headers["x-stepwell-free-only"] = value
    return site


@STREAM
async def test_a_paid_answer_says_so(stream: bool, site: Any, fleet: Fleet) -> None:
    """`x-stepwell-paid: 1`; a free one has no such header."""
    assert "x-stepwell-paid" not in (await site.ask(stream=stream)).headers
    fleet["a"].fail(Failure.status(503))
    response = await site.ask(stream=stream)
    assert response.headers["x-stepwell-target"] == "b/sim-model"
    assert response.headers["x-stepwell-paid"] == "1"


async def test_a_paid_stream_that_was_opened_early_says_so(fleet: Fleet, serve: Any) -> None:
    """In the comment that stands for the headers."""
    fleet.add("b", latency=18.0)
    response = await serve(chains={"default": [PAID]}).ask(stream=True)
    assert "x-stepwell-paid" not in response.headers
    assert ": x-stepwell-target: b/sim-model\n: x-stepwell-paid: 1\n" in response.text


async def test_a_paid_continuation_says_so(fleet: Fleet, serve: Any) -> None:
    """Its headers are gone, so that a comment does."""
    fleet.add("a").fail(Failure.cut(3))
    fleet.add("b", prefill=True)
    site = serve(chains=MIXED, providers={"b": {"prefill": True}})
    text = (await site.ask(stream=True)).text
    assert ": resumed by b/sim-model\n: x-stepwell-paid: 1\n\n" in text


@STREAM
async def test_the_header_keeps_a_request_from_paid_steps(
    stream: bool, site: Any, fleet: Fleet
) -> None:
    """With the free ones dry it fails, whatever money could buy."""
    fleet["a"].fail(Failure.rate_limit(60), times=None)
    response = await free_only(site).ask(stream=stream)
    assert response.status_code == 503
    assert fleet["b"].calls == []


async def test_a_stream_that_breaks_goes_on_for_free_or_not_at_all(
    fleet: Fleet, serve: Any
) -> None:
    """A continuation is a call as any other."""
    fleet.add("a").fail(Failure.cut(3))
    fleet.add("b", prefill=True)
    site = free_only(serve(chains=MIXED, providers={"b": {"prefill": True}}))
    assert '"code":"upstream_stream_truncated"' in (await site.ask(stream=True)).text
    assert fleet["b"].calls == []


async def test_a_chain_without_a_free_step_is_a_400(fleet: Fleet, serve: Any) -> None:
    """For a request that must cost nothing."""
    fleet.add("b")
    site = free_only(serve(chains={"default": [PAID]}))
    response = await site.ask()
    assert (response.status_code, response.json()["error"]["code"]) == (400, "no_free_step")
    assert fleet["b"].calls == []


@pytest.mark.parametrize(("value", "status"), [("true", 503), ("0", 200), ("yes", 400), ("", 400)])
async def test_the_header_is_1_or_0(value: str, status: int, site: Any, fleet: Fleet) -> None:
    """Anything else is refused: a wish that is not understood must not cost money."""
    fleet["a"].fail(Failure.rate_limit(60), times=None)
    assert (await free_only(site, value).ask()).status_code == status


async def test_the_header_lifts_no_rule_of_a_chain(site: Any) -> None:
    """`0` on a chain that is free only is as if it were not there."""
    response = await free_only(site, "0").ask(model="free", models=["x"])
    assert response.status_code == 400


@pytest.mark.parametrize("field", sorted(choosing_fields()))
@pytest.mark.parametrize("model", ["free", "default"])
async def test_a_field_that_chooses_is_refused_on_a_free_only_chain(
    field: str, model: str, site: Any, fleet: Fleet
) -> None:
    """All of the catalogue's, by name; elsewhere they travel on, and so do empty ones."""
    fields = {field: [{"id": "web"}]}
    response = await site.ask(model=model, **fields)
    if model == "default":
        assert response.status_code == 200
        return
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == field
    assert fleet["a"].calls == []
    assert (await site.ask(model=model, **{field: None})).status_code == 200


async def test_the_catalogue_lists_openrouters_fields() -> None:
    """By which a request is sent to other models and services than its own."""
    assert {"models", "route", "plugins"} <= choosing_fields()


async def test_a_step_is_as_free_as_the_chains_that_lead_to_it(fleet: Fleet, serve: Any) -> None:
    """A key that only has free chains cannot get round them by naming the step or its model."""
    fleet.add("a")
    keys = [{"name": "all", "key": "sk-all"}, {"name": "f", "key": "sk-f", "chains": ["free"]}]
    fleet.add("b")
    site = serve(chains=MIXED, api_keys=keys)
    for model in (FREE, "sim-model", "anything"):
        for key, status in (("sk-all", 200), ("sk-f", 400)):
            site.client.headers["authorization"] = f"Bearer {key}"
            assert (await site.ask(model=model, models=["other"])).status_code == status


async def test_the_last_door_is_shut_whatever_led_to_it(
    site: Any, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a paid step ever be chosen, nothing is sent, and nothing stays reserved."""
    monkeypatch.setattr("stepwell.dispatch.call.fit", lambda steps, needs: list(steps))
    steps = site.gateway.routes.chains["default"].steps[1:]
    call = Call(ChatRequest(BODY), steps, site.clock.monotonic(), free_only=True)
    with pytest.raises(StepwellError, match="costs money"):
        await site.gateway.dispatcher.descend(call)
    assert fleet["b"].calls == []
    assert await site.in_flight() == 0


def test_parameters_that_choose_are_a_mistake_in_a_free_chain(fleet: Fleet) -> None:
    """Found when the settings are read, like a paid step."""
    fleet.add("a")
    step = {"provider": "a", "model": "sim-model", "params": {"plugins": [{"id": "web"}]}}
    Settings.from_dict(fleet.settings(chains={"default": [step]}))
    with pytest.raises(SettingsError, match=r"params\.plugins.*free_only"):
        Settings.from_dict(fleet.settings(chains={"free": {"steps": [step], "free_only": True}}))


@pytest.mark.parametrize("kind", ["web_search", "openrouter:web_search", "code_interpreter", 7])
async def test_a_tool_that_runs_at_the_provider_is_refused_on_a_free_only_chain(
    kind: Any, site: Any, fleet: Fleet
) -> None:
    """It may be a paid service; elsewhere it travels on."""
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": kind}]
    response = await site.ask(model="free", tools=tools)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == "tools"
    assert fleet["a"].calls == []
    assert (await site.ask(tools=tools)).status_code == 200


@pytest.mark.parametrize("tool", [{"type": "function"}, {"type": "custom"}, {"type": None}, {}])
async def test_a_tool_that_the_client_runs_costs_nothing(tool: Any, site: Any) -> None:
    """Functions, whether they say their type or not."""
    tools = [{**tool, "function": {"name": "f"}}]
    assert (await site.ask(model="free", tools=tools)).status_code == 200


def test_a_tool_of_a_provider_is_a_mistake_in_a_free_chain(fleet: Fleet) -> None:
    """As the fields that choose."""
    fleet.add("a")
    step = {"provider": "a", "model": "sim-model", "params": {"tools": [{"type": "web_search"}]}}
    with pytest.raises(SettingsError, match=r"params\.tools.*free_only"):
        Settings.from_dict(fleet.settings(chains={"free": {"steps": [step], "free_only": True}}))
