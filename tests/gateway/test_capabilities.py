"""Steps that cannot serve a request are passed over without a call and without a cooldown."""

from typing import Any

import pytest

from stepwell.testing import Failure, Fleet

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.test/cat.png"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
LONG = [{"role": "user", "content": "word " * 4000}]

NEEDS: dict[str, dict[str, Any]] = {
    "vision": {"messages": [{"role": "user", "content": [IMAGE]}]},
    "tools": {"tools": [TOOL]},
    "json": {"response_format": SCHEMA},
}
NEEDY = pytest.mark.parametrize("need", NEEDS)


def without(need: str) -> list[str]:
    return [name for name in NEEDS if name != need]


@STREAM
@NEEDY
async def test_a_step_that_lacks_a_capability_is_not_called(
    need: str, stream: bool, fleet: Fleet, serve: Any
) -> None:
    """The next one serves; nothing is held against the first, which serves the next request."""
    a, b = fleet.add("a"), fleet.add("b")
    site = serve(providers={"a": {"capabilities": without(need)}})
    response = await site.ask(stream=stream, **NEEDS[need])
    assert (response.status_code, response.headers["x-stepwell-target"]) == (200, "b/sim-model")
    assert (len(a.calls), len(b.calls)) == (0, 1)
    assert all(status.block is None for status in await site.gateway.ledger.snapshot())
    assert (await site.ask(stream=stream)).headers["x-stepwell-target"] == "a/sim-model"


@STREAM
async def test_a_context_that_is_too_small_is_not_called(
    stream: bool, fleet: Fleet, serve: Any
) -> None:
    """As its settings say; the request goes to the first that is large enough."""
    a, b = fleet.add("a"), fleet.add("b")
    site = serve(providers={"a": {"context": 1000}, "b": {"context": 32000}})
    response = await site.ask(messages=LONG, stream=stream)
    assert response.headers["x-stepwell-target"] == "b/sim-model"
    assert (len(a.calls), len(b.calls)) == (0, 1)


async def test_a_context_that_may_be_too_small_comes_last(fleet: Fleet, serve: Any) -> None:
    """An estimate is a guess: it orders the choice, and refuses nobody."""
    a, b = fleet.add("a"), fleet.add("b")
    site = serve(providers={"a": {"context": 4500}})
    assert (await site.ask(messages=LONG)).headers["x-stepwell-target"] == "b/sim-model"
    b.fail(Failure.rate_limit(60), times=None)
    alone = serve(chains={"default": ["a/sim-model"]}, providers={"a": {"context": 4500}})
    assert (await alone.ask(messages=LONG)).status_code == 200
    assert (len(a.calls), len(b.calls)) == (1, 1)


@STREAM
@NEEDY
async def test_a_capability_that_no_step_has_is_a_400(
    need: str, stream: bool, fleet: Fleet, serve: Any
) -> None:
    """In JSON also for a stream, with OpenAI's code and the parameter's name; nobody is called."""
    a = fleet.add("a")
    response = await serve(providers={"a": {"capabilities": without(need)}}).ask(
        stream=stream, **NEEDS[need]
    )
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == next(iter(NEEDS[need]))
    assert a.calls == []


async def test_a_request_that_is_too_large_for_all_is_a_400(fleet: Fleet, serve: Any) -> None:
    """It names the largest context, and nobody is called."""
    a, b = fleet.add("a"), fleet.add("b")
    site = serve(providers={"a": {"context": 2000}, "b": {"context": 1000}})
    response = await site.ask(messages=LONG)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert "2000 tokens (a/sim-model)" in error["message"]
    assert a.calls == b.calls == []


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "response_format": {"type": "text"}},
        {"tools": None, "functions": None, "response_format": None},
        {"response_format": {"type": 7}},
        {"messages": [{"role": "user", "content": 'the field "image_url": is a URL'}]},
    ],
    ids=["empty", "null", "odd", "prose"],
)
async def test_what_asks_for_nothing_needs_nothing(
    fields: dict[str, Any], fleet: Fleet, serve: Any
) -> None:
    """Empty fields, a format that is plain text, and prose about pictures."""
    a = fleet.add("a")
    response = await serve(providers={"a": {"capabilities": []}}).ask(**fields)
    assert response.status_code == 200
    assert len(a.calls) == 1


async def test_a_503_tells_the_soonest_reset_of_those_that_can_serve(
    fleet: Fleet, serve: Any
) -> None:
    """A small step that is free in a second is no hope for a request that it cannot take."""
    fleet.add("a").fail(Failure.rate_limit(1))
    fleet.add("b").fail(Failure.rate_limit(50), times=None)
    site = serve(providers={"a": {"context": 1000}})
    await site.ask()
    response = await site.ask(messages=LONG)
    assert response.status_code == 503
    assert [b["target"] for b in response.json()["error"]["stepwell"]["blocked"]] == ["b/sim-model"]
    assert int(response.headers["retry-after"]) > 40
