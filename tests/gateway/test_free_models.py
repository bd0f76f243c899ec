"""What an account's `:free` models share: found out once, and no paid model's business."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from stepwell import Gateway, Settings, create_app
from stepwell.testing import FakeClock, Fleet, SimProvider

Site = Any
MODELS = ["a:free", "b:free", "c:free", "paid"]
NAME = "router"


@pytest.fixture
def router(fleet: Fleet) -> SimProvider:
    """A provider like OpenRouter: two requests a minute for all free models, none for the rest."""
    return fleet.add(
        NAME,
        limits=["2 requests/60s"],
        window="fixed",
        limit_scope="free",
        models=MODELS,
        dialect="openrouter",
    )


def served_by(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    return answer.headers["x-stepwell-target"].removeprefix(f"{NAME}/")


@pytest.mark.parametrize("limits", [True, False])
async def test_one_refusal_speaks_for_all_free_models(
    serve: Callable[..., Site], router: SimProvider, clock: FakeClock, limits: bool
) -> None:
    """The second free model is not asked what the first has told; the paid one serves until then."""
    site = serve(limits=limits)
    assert [served_by(await site.ask()) for _ in range(4)] == ["a:free"] * 2 + ["paid"] * 2
    assert router.refused <= 1
    clock.shift(router.wait(model="a:free"))
    assert served_by(await site.ask()) == "a:free"


async def test_paid_calls_use_up_nothing_of_the_free_models(
    serve: Callable[..., Site], router: SimProvider
) -> None:
    """A configured limit of scope free is counted for free models alone."""
    site = serve()
    for _ in range(3):
        await site.ask(model=f"{NAME}/paid")
    assert served_by(await site.ask()) == "a:free"
    assert router.refused == 0


async def test_quota_shows_what_free_models_share(
    serve: Callable[..., Site], router: SimProvider
) -> None:
    """Each of them shows the same line, of scope free; the paid one shows none."""
    site = serve()
    await site.ask()
    quota = (await site.client.get("/v1/quota")).json()
    rows = {target["model"]: target["limits"] for target in quota["targets"]}
    assert rows.pop("paid") == []
    for limits in rows.values():
        (limit,) = limits
        assert (limit["scope"], limit["limit"], limit["used"]) == ("free", 2, 1)


async def test_what_nobody_has_asked_for_yet_is_dry_as_well(
    serve: Callable[..., Site], router: SimProvider
) -> None:
    """Quota, health and the 503's trail speak of a free model by what another one was told."""
    site = serve(limits=False, chains={"default": [f"{NAME}/a:free", f"{NAME}/b:free"]})
    answers = [await site.ask() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    quota = (await site.client.get("/v1/quota")).json()
    assert [target["ready"] for target in quota["targets"]] == [False, False]
    assert quota["chains"][0]["ready"] is False
    assert (await site.gateway.health())["chains"] == "dry"
    blocked = answers[2].json()["error"]["stepwell"]["blocked"]
    assert [(block["reason"], block["told"]) for block in blocked] == [("cooldown", True)] * 2


async def test_it_is_known_after_a_restart(
    fleet: Fleet, router: SimProvider, clock: FakeClock, tmp_path: Any
) -> None:
    """The next process asks no other free model either."""
    settings = fleet.settings(limits=False, database={"url": f"sqlite:///{tmp_path}/stepwell.db"})
    trails = []
    for _ in range(2):
        async with Gateway(
            Settings.from_dict(settings), transport=fleet.transport(), clock=clock
        ) as gateway:
            transport = httpx.ASGITransport(create_app(gateway=gateway))
            async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
                client.headers["authorization"] = "Bearer sk-test"
                for _ in range(3):
                    question = {"messages": [{"role": "user", "content": "hi"}]}
                    answer = await client.post("/v1/chat/completions", json=question)
                    trails.append(answer.headers["x-stepwell-trail"])
    assert trails[2].startswith(f"{NAME}/a:free:rate_limited")
    assert trails[3:] == [f"{NAME}/paid:answer"] * 3
    assert router.refused == 1
