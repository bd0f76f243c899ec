"""What providers say in passing, from their headers to where it counts or shows."""

from collections.abc import Callable, Sequence
from typing import Any

from stepwell.testing import Answer, FakeClock, Fleet, Gauge, Refusal

Site = Any


class Speaks:
    """A dialect that says the same with every answer; refusals have a body, too."""

    def __init__(self, *headers: tuple[str, str], body: Any = None) -> None:
        self.lines = headers
        self.body = body

    def headers(self, _gauges: Sequence[Gauge], /) -> tuple[tuple[str, str], ...]:
        return self.lines

    def refuse(self, _refusal: Refusal, _gauges: Sequence[Gauge], _now: float, /) -> Answer:
        return Answer(429, self.body, self.lines)


async def rows(site: Site, model: str) -> list[dict[str, Any]]:
    quota = (await site.client.get("/v1/quota")).json()
    (target,) = (each for each in quota["targets"] if each["target"] == model)
    return list(target["limits"])


async def test_who_was_served_beyond_a_soft_limit_is_asked_last(
    serve: Callable[..., Site], fleet: Fleet, clock: FakeClock
) -> None:
    """For a minute; nobody is refused by it, and where there is nobody else it serves."""
    fleet.add("alpha", dialect=Speaks(("x-ratelimit-over-limit", "yes")))
    fleet.add("beta", limits=["1 requests/60s"])
    site = serve()
    names = [(await site.ask()).headers["x-stepwell-target"][:5] for _ in range(3)]
    assert names == ["alpha", "beta/", "alpha"]
    plan = await site.client.post(
        "/v1/chat/completions?explain=true", json={"messages": [{"role": "user", "content": "hi"}]}
    )
    assert plan.json()["target"] == "alpha/sim-model"
    clock.shift(60)
    assert (await site.ask()).headers["x-stepwell-target"] == "alpha/sim-model"


async def test_an_explanation_knows_who_is_asked_last(
    serve: Callable[..., Site], fleet: Fleet
) -> None:
    """It would go to the next step, although the first is ready."""
    fleet.add("alpha", dialect=Speaks(("x-ratelimit-over-limit", "yes")))
    fleet.add("beta")
    site = serve()
    await site.ask()
    plan = await site.client.post(
        "/v1/chat/completions?explain=true", json={"messages": [{"role": "user", "content": "hi"}]}
    )
    assert plan.json()["target"] == "beta/sim-model"
    assert [step["decision"] for step in plan.json()["steps"]] == ["ready", "taken"]


async def test_counters_that_nobody_counts_are_shown(
    serve: Callable[..., Site], fleet: Fleet
) -> None:
    """Those of an answer's head, for instance tokens of the prompt alone."""
    name = "anthropic-ratelimit-input-tokens"
    fleet.add("alpha", dialect=Speaks((f"{name}-limit", "900"), (f"{name}-remaining", "300")))
    site = serve()
    await site.ask()
    (row,) = await rows(site, "alpha/sim-model")
    assert (row["metric"], row["limit"], row["used"], row["remaining"], row["source"]) == (
        "input_tokens",
        900,
        600,
        300,
        "told",
    )


async def test_counters_of_a_refusal_are_shown(serve: Callable[..., Site], fleet: Fleet) -> None:
    """Cloudflare's day of neurons, of which only a sentence tells."""
    words = "you have used up your daily free allocation of 10,000 neurons"
    body = {"success": False, "errors": [{"code": 4006, "message": words}]}
    fleet.add("alpha", limits=["1 requests/day"], dialect=Speaks(body=body))
    site = serve(limits=False)
    for _ in range(2):
        await site.ask()
    (row,) = [row for row in await rows(site, "alpha/sim-model") if row["metric"] == "neurons"]
    assert (row["limit"], row["remaining"], row["source"]) == (10_000, 0, "told")
    assert row["reset"] > 0
