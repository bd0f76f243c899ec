"""When nothing can serve: what the 503 says, the second pass, the circuit breaker."""

import asyncio
from typing import Any

import pytest

from stepwell.observe import Event, Finished
from stepwell.routing.trail import Attempt
from stepwell.testing import Failure, FakeClock, Fleet

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])


@STREAM
async def test_a_dry_chain_is_a_503_that_says_when(stream: bool, fleet: Fleet, serve: Any) -> None:
    """JSON also for streams, OpenAI's envelope, and the soonest told reset to the millisecond."""
    a, b = fleet.add("a", dialect="groq"), fleet.add("b", dialect="groq")
    a.fail(Failure.rate_limit(60))
    b.fail(Failure.rate_limit(7.66))
    response = await serve().ask(stream=stream)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert response.headers["retry-after"] == "8"
    assert response.headers["retry-after-ms"] == "7660"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "all_providers_exhausted")
    assert error["stepwell"]["retry_after"] == 7.66
    assert [len(p.calls) for p in (a, b)] == [1, 1]


async def test_a_503_tells_every_targets_reason(fleet: Fleet, serve: Any) -> None:
    """Each target of the chain: why, told or guessed, and until when."""
    fleet.add("a").fail(Failure.rate_limit(60))
    fleet.add("b").fail(Failure.unauthorized())
    story = (await serve().ask()).json()["error"]["stepwell"]
    blocked = [
        (block["target"], block["reason"], block["told"], block["retry_after"], block["until"])
        for block in story["blocked"]
    ]
    assert blocked == [
        ("a/sim-model", "cooldown", True, 60.0, "2026-10-02T12:01:00.000+00:00"),
        ("b/sim-model", "out_of_service", False, 3600.0, "2026-10-02T13:00:00.000+00:00"),
    ]
    assert [(a["target"], a["outcome"], a["status"]) for a in story["attempts"]] == [
        ("a/sim-model", "rate_limited", 429),
        ("b/sim-model", "key_refused", 401),
    ]


async def test_a_dry_chain_is_not_asked_again_before_its_time(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """The 503 comes at once, counts down, and ends at the very moment that was told."""
    a = fleet.add("a")
    a.fail(Failure.rate_limit(60))
    site = serve()
    await site.ask()
    clock.shift(58.5)
    response = await site.ask()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert response.headers["retry-after-ms"] == "1500"
    assert response.headers["x-stepwell-attempts"] == "0"
    assert len(a.calls) == 1
    clock.shift(1.5)
    assert (await site.ask()).status_code == 200


@pytest.mark.parametrize("delay", [1.001, 2, 59.25, 3600, 86_399])
async def test_told_delays_are_never_prettified(delay: float, fleet: Fleet, serve: Any) -> None:
    """Neither rounded to something nice nor capped: SDKs wait exactly so long."""
    fleet.add("a", dialect="groq").fail(Failure.rate_limit(delay, amount=100_000))
    response = await serve().ask()
    assert response.headers["retry-after-ms"] == str(round(delay * 1000))


async def test_an_accident_makes_the_told_hour_no_reason_to_wait(fleet: Fleet, serve: Any) -> None:
    """A provider that only had an accident may be back in seconds, so the client is told to retry."""
    fleet.add("a").fail(Failure.connect_error(), times=2)
    fleet.add("b").fail(Failure.rate_limit(3600))
    assert (await serve().ask()).headers["retry-after"] == "5"


async def test_a_target_that_is_too_small_does_not_shorten_the_wait(
    fleet: Fleet, serve: Any
) -> None:
    """What refuses the request for its size will not take it in five seconds either."""
    fleet.add("a").fail(Failure.too_large())
    fleet.add("b").fail(Failure.rate_limit(60))
    response = await serve().ask()
    assert (response.status_code, response.headers["retry-after"]) == (503, "60")


async def test_accidents_get_one_second_pass_with_jitter(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Only those that failed by accident are asked again, once, after 0.1 to 0.5 seconds."""
    a, b, c = fleet.add("a"), fleet.add("b"), fleet.add("c")
    a.fail(Failure.reset())
    b.fail(Failure.rate_limit(60))
    c.fail(Failure.status(502), times=None)
    response = await serve().ask()
    assert response.headers["x-stepwell-trail"] == (
        "a/sim-model:unreachable, b/sim-model:rate_limited(429), c/sim-model:fault(502), "
        "a/sim-model:answer"
    )
    assert [len(p.calls) for p in (a, b, c)] == [2, 1, 1]
    assert 0.1 <= a.calls[1].time - a.calls[0].time <= 0.5


async def test_requests_that_failed_together_come_back_apart(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """The pause before the second pass differs from request to request."""
    a = fleet.add("a")
    a.fail(Failure.reset(), times=None)
    site = serve()
    pauses = set()
    for _ in range(3):
        a.calls.clear()
        await site.ask()
        pauses.add(a.calls[1].time - a.calls[0].time if len(a.calls) == 2 else None)
        clock.shift(3600)
    assert len(pauses) > 1


async def test_there_is_no_third_pass(fleet: Fleet, serve: Any) -> None:
    """Whoever fails twice in one request is not asked a third time by it."""
    a, b = fleet.add("a"), fleet.add("b")
    a.fail(Failure.status(500), times=None)
    b.fail(Failure.connect_error(), times=None)
    response = await serve().ask()
    assert response.status_code == 503
    assert [len(p.calls) for p in (a, b)] == [2, 2]


async def test_the_deadline_ends_the_search(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """`timeouts.total` bounds all attempts together; the call under way then is dropped."""
    a, b, c = fleet.add("a"), fleet.add("b"), fleet.add("c")
    for provider in (a, b, c):
        provider.fail(Failure.hang(), times=None)
    site = serve(timeouts={"attempt": "60s", "total": "90s"})
    began = clock.monotonic()
    response = await site.ask()
    assert response.status_code == 503
    assert clock.monotonic() - began == 90
    assert [[call.outcome for call in p.calls] for p in (a, b, c)] == [["aborted"], ["aborted"], []]
    assert b.calls[0].ended == clock.monotonic()
    assert await site.in_flight() == 0


async def test_at_the_deadline_what_is_held_is_delivered(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A refusal in hand is told, though the second opinion never came."""
    fleet.add("a").fail(Failure.bad_request("Bad temperature."))
    fleet.add("b").fail(Failure.hang())
    response = await serve(timeouts={"total": "30s"}).ask()
    assert (response.status_code, response.json()["error"]["message"]) == (400, "Bad temperature.")


async def test_three_faults_open_the_breaker_and_one_success_closes_it(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """After three in a row nobody asks for 5 s; then one request tries it, and all come back."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(Failure.status(500), times=3)
    site = serve()
    for _ in range(3):
        assert (await site.ask()).headers["x-stepwell-attempts"] == "2"
    assert (await site.ask()).headers["x-stepwell-attempts"] == "1"
    clock.shift(4.999)
    assert (await site.ask()).headers["x-stepwell-target"] == "b/sim-model"
    clock.shift(0.001)
    assert (await site.ask()).headers["x-stepwell-target"] == "a/sim-model"
    assert (await site.ask()).headers["x-stepwell-target"] == "a/sim-model"
    assert len(a.calls) == 5


async def test_a_success_between_faults_starts_the_count_anew(fleet: Fleet, serve: Any) -> None:
    """Two faults, a success and two faults are no three in a row."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(Failure.reset(), times=2)
    a.fail(Failure.reset(), times=2, after=3)
    site = serve()
    targets = [(await site.ask()).headers["x-stepwell-target"][0] for _ in range(6)]
    assert targets == ["b", "b", "a", "b", "b", "a"]


async def test_a_half_open_provider_gets_one_probe_and_a_failure_doubles(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """While the probe is out the others go elsewhere; after its failure it is 10 s."""
    a = fleet.add("a")
    fleet.add("b")
    a.fail(Failure.status(500), times=3)
    site = serve()
    for _ in range(3):
        await site.ask()
    clock.shift(5)
    a.fail(Failure.slow(1), Failure.cut(0))
    async with site.open(stream=True) as probe:
        await clock.advance(0.5)
        assert len(a.calls) == 4
        assert (await site.ask()).headers["x-stepwell-trail"] == "b/sim-model:answer"
        assert b"answering" in await clock.run(probe.body())
    clock.shift(9.9)
    assert (await site.ask()).headers["x-stepwell-target"] == "b/sim-model"
    clock.shift(0.2)
    assert (await site.ask()).headers["x-stepwell-target"] == "a/sim-model"


async def test_a_revoked_key_is_asked_again_after_an_hour_and_then_after_two(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Out of service is never probed before its end, and doubles while it repeats."""
    a = fleet.add("a")
    a.fail(Failure.unauthorized(), times=None)
    site = serve()
    asked = []
    for _ in range(8):
        response = await site.ask()
        assert response.status_code == 503
        asked.append(len(a.calls))
        clock.shift(1800)
    assert asked == [1, 1, 2, 2, 2, 2, 3, 3]


async def test_everybody_waits_for_one_probe_of_a_guess(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A refused probe answers for all who wait: no request adds a refused call of its own."""
    a = fleet.add("a", dialect="silent", latency=0.2)
    a.fail(Failure.rate_limit(), times=None)
    site = serve()
    await site.ask()
    clock.shift(1)
    responses = await clock.run(asyncio.gather(*(site.post() for _ in range(10))))
    assert {response.status_code for response in responses} == {503}
    assert len(a.calls) == 2


async def test_observers_see_every_attempt(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """One frozen record each: who, what, how long, what was told, and the provider's words."""
    fleet.add("a", dialect="retry-after", latency=0.25).fail(Failure.rate_limit(17))
    fleet.add("b", latency=0.5)
    seen: list[Event] = []
    now = clock.time()
    await serve(observers=[seen.append]).ask()
    said = "Too many requests."
    refused, answered, finished = seen
    assert refused == Attempt(
        "a/sim-model", "a", "rate_limited", 429, 0.25, 17.0, said, began=now, tokens=0
    )
    assert answered == Attempt("b/sim-model", "b", "answer", 200, 0.5, began=now + 0.25, tokens=11)
    assert isinstance(finished, Finished)
    assert finished.attempts == (refused, answered)
