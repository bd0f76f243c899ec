"""docs/quota.md shows what the gateway really says."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from stepwell import create_app
from stepwell.providers.catalogue import choosing_fields
from stepwell.routing.explanation import Decision, Part
from stepwell.testing import Failure, FakeClock, Fleet

REQUEST = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]}

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def ask() -> Ask:
    """Return a function that asks a gateway whose first target was refused."""
    clock = FakeClock()
    fleet = Fleet(clock)
    fleet.add("a", limits=["30 requests/60s"]).fail(Failure.rate_limit(17.25))
    fleet.add("b")
    app = create_app(fleet.settings(), transport=fleet.transport(), clock=clock)

    async def ask(method: str, path: str) -> Any:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://gateway",
            headers={"authorization": "Bearer sk-test"},
        ) as client:
            body = REQUEST if method == "POST" else None
            return (await clock.run(client.request(method, path, json=body))).json()

    await ask("POST", "/v1/chat/completions")
    return ask


@pytest.mark.parametrize(
    ("number", "heading"), [(0, "GET /v1/quota"), (1, "POST /v1/chat/completions?explain=true")]
)
async def test_the_examples_have_the_shape_of_real_answers(
    number: int, heading: str, ask: Ask, page: Any
) -> None:
    """Every name of an example, and no other, under the request that its heading names."""
    text = page("docs/quota.md")
    assert f"`{heading}`" in text.text
    shown = json.loads(text.blocks("json")[number])
    assert shape(shown) == shape(await ask(*heading.split()))


def shape(value: Any) -> Any:
    """Return names without values; of a list its first element's."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) else None


def test_every_word_of_an_explanation_is_there(page: Any) -> None:
    """What may become of a request, and of a step."""
    words = set(page("docs/quota.md").words())
    assert {*Decision, *Part} <= words


def test_the_fields_that_choose_are_the_catalogues(page: Any) -> None:
    """Those that the page names as examples."""
    (named,) = re.findall(r"OpenRouter's ([^)]*) and the like", page("docs/quota.md").text)
    assert set(re.findall(r"`(\w+)`", named)) <= choosing_fields()
