"""Requests that wait for quota instead of failing: order, fairness, evidence, and who leaves."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from stepwell.testing import Failure, FakeClock, Fleet, Reply, SimProvider, open_stream

PATH = "/v1/chat/completions"
WAITING = {"queue": {"max_wait": "60s"}}
START = 1000.0


async def ask(
    site: Any, name: str = "", *, wait: str | None = None, key: str = "", **fields: Any
) -> httpx.Response:
    """Send a request whose message is its name, so that providers' records tell it from others."""
    headers = {"authorization": f"Bearer {key or site.key}"}
    if wait is not None:
        headers["x-stepwell-max-wait"] = wait
    body = {"messages": [{"role": "user", "content": name}], **fields}
    response: httpx.Response = await site.client.post(PATH, json=body, headers=headers)
    return response


def start(site: Any, names: Sequence[str], **fields: Any) -> "list[asyncio.Task[httpx.Response]]":
    """Begin requests in this order."""
    return [asyncio.create_task(ask(site, name, **fields)) for name in names]


def names(provider: SimProvider, outcome: str = "served") -> list[str]:
    """Return the requests that a provider saw, in order."""
    calls = [call for call in provider.calls if call.outcome == outcome]
    return [call.body["messages"][0]["content"] for call in calls]


def times(provider: SimProvider) -> list[float]:
    return [round(call.time - START, 3) for call in provider.calls]


@pytest.fixture
def cool(clock: FakeClock, fleet: Fleet, serve: Any) -> Callable[..., Any]:
    """Return a function that makes a site whose first providers have told how long they are dry."""

    async def cool(*seconds: float, **settings: Any) -> Any:
        for provider, delay in zip(fleet, seconds, strict=False):
            provider.fail(Failure.rate_limit(delay, amount=100_000))
        site = serve(**{**WAITING, **settings})
        await clock.run(ask(site, wait="0"))
        for provider in fleet:
            provider.calls.clear()
        return site

    return cool


# --- waiting


async def test_fifty_requests_wait_for_the_first_reset(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """Steps back at 7 s and 40 s: none fails, each goes once, in order, cancelled ones never."""
    a, b = fleet.add("a", dialect="retry-after"), fleet.add("b", dialect="retry-after")
    site = await cool(7, 40)
    tasks = start(site, [str(number) for number in range(50)])
    await clock.advance(3)
    for task in tasks[10:50:10]:
        task.cancel()
    left = [str(number) for number in range(50) if number not in (10, 20, 30, 40)]
    await clock.run(asyncio.wait(tasks))
    responses = [task.result() for task in tasks if not task.cancelled()]
    assert [response.status_code for response in responses] == [200] * 46
    assert names(a) == left
    assert (times(a), b.calls) == ([7.0] * 46, [])
    assert responses[0].headers["x-stepwell-waited-ms"] == "7000"
    assert await site.in_flight() == 0


async def test_whoever_is_served_at_once_did_not_wait(fleet: Fleet, serve: Any) -> None:
    """There is no header about a wait that was not."""
    fleet.add("a")
    response = await serve(**WAITING).ask()
    assert "x-stepwell-waited-ms" not in response.headers


async def test_a_pointless_wait_is_a_503_at_once(clock: FakeClock, fleet: Fleet, cool: Any) -> None:
    """With every reset known and too late the client is told the exact time and loses none."""
    fleet.add("a", dialect="retry-after")
    site = await cool(40)
    response = await clock.run(ask(site, wait="39.9"))
    assert clock.monotonic() == START
    assert (response.status_code, response.headers["retry-after-ms"]) == (503, "40000")
    assert response.json()["error"]["code"] == "all_providers_exhausted"
    assert (await clock.run(ask(site, wait="40"))).status_code == 200


async def test_a_wait_that_becomes_pointless_ends(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """The provider refuses again and tells a later time: those who cannot wait so long go."""
    a = fleet.add("a", dialect="retry-after")
    site = await cool(7)
    a.fail(Failure.rate_limit(30))
    tasks = [asyncio.create_task(ask(site, wait=wait)) for wait in ("60", "20", "60")]
    await clock.advance(8)
    assert tasks[1].done()
    assert tasks[1].result().headers["retry-after"] == "30"
    await clock.run(asyncio.wait(tasks))
    assert [task.result().status_code for task in tasks] == [200, 503, 200]
    assert times(a) == [7.0, 37.0, 37.0]


async def test_patience_ends_at_its_time(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """While only an event can tell, a request waits as long as it may, and then gets its 503."""
    a = fleet.add("a", concurrency=1, latency=50)
    site = serve(**WAITING)
    first = asyncio.create_task(ask(site))
    await clock.advance(1)
    response = await clock.run(ask(site, wait="5s"))
    assert clock.monotonic() == START + 6
    assert (response.status_code, response.headers["x-stepwell-waited-ms"]) == (503, "5000")
    assert len(a.calls) == 1
    assert (await clock.run(first)).status_code == 200


async def test_the_end_of_a_call_lets_the_next_one_go(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A slot of concurrency that comes free wakes one, with no timer in between."""
    a = fleet.add("a", concurrency=1, latency=5)
    site = serve(**WAITING)
    tasks = start(site, ["1", "2", "3"])
    await clock.run(asyncio.wait(tasks))
    assert (names(a), times(a)) == (["1", "2", "3"], [0.0, 5.0, 10.0])


async def test_the_total_bounds_the_queue_as_well(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """A reset beyond `timeouts.total` is too late, however long the client would wait."""
    fleet.add("a", dialect="retry-after")
    site = await cool(40, timeouts={"total": "30s"})
    response = await clock.run(ask(site))
    assert (response.status_code, response.headers["retry-after"]) == (503, "40")
    assert clock.monotonic() == START


async def test_the_total_cuts_a_wait_short(clock: FakeClock, fleet: Fleet, serve: Any) -> None:
    """Also one of which nobody could tell how long it would be."""
    fleet.add("a", concurrency=1, latency=50)
    site = serve(queue={"max_wait": "60s"}, timeouts={"total": "20s"})
    tasks = start(site, ["1", "2"])
    await clock.advance(20)
    assert [task.result().status_code for task in tasks] == [503, 503]
    assert await site.in_flight() == 0


async def test_counted_room_is_waited_for_without_a_probe(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Three windows' worth of requests at once: all served, and the provider refuses none."""
    a = fleet.add("a", dialect="silent", limits=["10 requests/6s"], latency=0.1)
    site = serve(**WAITING)
    responses = await clock.run(asyncio.gather(*start(site, [str(n) for n in range(30)])))
    assert [response.status_code for response in responses] == [200] * 30
    assert names(a) == [str(number) for number in range(30)]
    assert a.refused == 0


async def test_a_wait_for_counts_alone_is_no_reason_to_fail(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Who cannot wait for counted room falls under the rule of evidence: it probes, at once."""
    a = fleet.add("a", dialect="silent")
    site = serve(providers={"a": {"limits": ["1 request/60s"]}}, **WAITING)
    await clock.run(ask(site))
    response = await clock.run(ask(site, wait="10"))
    assert (response.status_code, clock.monotonic()) == (200, START)
    assert len(a.calls) == 2


@pytest.mark.parametrize(("wait", "status"), [(None, 200), ("0", 503)])
async def test_who_may_be_held_does_not_fail_beside_an_edge(
    wait: str | None, status: int, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """It comes while the refused call is in flight; whoever asks for no wait is not kept."""
    a = fleet.add(
        "a",
        dialect="silent",
        limits=["2 requests/60s"],
        window="fixed",
        offset=30,
        latency=0.2,
    )
    site = serve()
    for moment in (0, 1, 2, 40, 41):
        await clock.advance(START + moment - clock.monotonic())
        await clock.run(ask(site, wait="0"))
    await clock.advance(START + 89.9 - clock.monotonic())
    response = await clock.run(ask(site, wait=wait))
    assert response.status_code == status
    assert a.room() is (clock.monotonic() > START + 90)
    assert [call.outcome for call in a.calls][2:] == ["refused", "served", "served", "refused"] + (
        ["served"] if status == 200 else []
    )


async def test_who_is_refused_after_the_wait_is_the_first_again(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """It goes back to its place, and waits on as long as it may in all."""
    a = fleet.add("a", dialect="retry-after")
    site = await cool(7)
    a.fail(Failure.rate_limit(10))
    tasks = start(site, ["1", "2", "3"])
    responses = await clock.run(asyncio.gather(*tasks))
    assert [response.status_code for response in responses] == [200] * 3
    assert names(a) == ["1", "2", "3"]
    assert responses[0].headers["x-stepwell-waited-ms"] == "17000"
    assert responses[0].headers["x-stepwell-attempts"] == "2"


async def test_an_accident_after_the_wait_is_tried_again(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """A provider that is down for some seconds fails nobody who can wait so long."""
    a = fleet.add("a", dialect="retry-after")
    site = await cool(7)
    a.fail(Failure.status(500), times=4)
    response = await clock.run(ask(site))
    assert response.status_code == 200
    assert times(a)[0] == 7.0
    assert all(
        later - earlier >= 0.1 for earlier, later in zip(times(a), times(a)[1:], strict=False)
    )


async def test_a_refusal_without_a_delay_is_not_hammered(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """A told delay of nothing cools nobody down, so the pauses grow instead."""
    a = fleet.add("a", dialect="retry-after")
    a.fail(Failure.rate_limit(0), times=None)
    site = serve(**WAITING)
    response = await clock.run(ask(site, wait="30"))
    assert response.status_code == 503
    assert len(a.calls) < 60


# --- the header


@pytest.mark.parametrize("wait", ["7", "7.0", "7s", "7000ms", "0.2m", "99999999999", " 1h "])
async def test_the_header_asks_for_a_wait(
    wait: str, clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """Seconds, or a duration as in the settings; what is beyond `allow_wait` is cut to it."""
    fleet.add("a", dialect="retry-after")
    site = await cool(7, queue={})
    assert (await clock.run(ask(site, wait=wait))).status_code == 200
    assert clock.monotonic() == START + 7


@pytest.mark.parametrize("wait", ["0", "6.9", "6900ms", "0s"])
async def test_the_header_goes_before_the_default(
    wait: str, clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """Zero is no waiting at all, whatever `max_wait` says."""
    fleet.add("a", dialect="retry-after")
    site = await cool(7)
    assert (await clock.run(ask(site, wait=wait))).status_code == 503
    assert clock.monotonic() == START


async def test_allow_wait_bounds_what_the_header_may_ask_for(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """A reset at 7 s is too late for a client that asks for a minute and may have five seconds."""
    fleet.add("a", dialect="retry-after")
    site = await cool(7, queue={"allow_wait": "5s"})
    assert (await clock.run(ask(site, wait="60"))).status_code == 503


@pytest.mark.parametrize("wait", ["", "soon", "-1", "nan", "inf", "1e3", "5 parsecs", "٣", "1,5"])
async def test_a_header_that_is_no_duration_is_a_400(wait: str, fleet: Fleet, serve: Any) -> None:
    """The client is told what to write, and no provider is asked."""
    a = fleet.add("a")
    site = serve()
    headers = [(b"x-stepwell-max-wait", wait.encode())]
    body = {"messages": [{"role": "user", "content": "hi"}]}
    response = await site.clock.run(site.client.post(PATH, json=body, headers=headers))
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], "x-stepwell-max-wait" in error["message"]) == ("invalid_request", True)
    assert a.calls == []


# --- order


async def test_two_clients_take_turns(clock: FakeClock, fleet: Fleet, cool: Any) -> None:
    """One that sent six before the other sent three does not keep it waiting."""
    a = fleet.add("a", dialect="retry-after")
    site = await cool(7, api_keys=["sk-one", "sk-two"])
    tasks = start(site, ["1", "2", "3", "4", "5", "6"], key="sk-one")
    tasks += start(site, ["x", "y", "z"], key="sk-two")
    await clock.run(asyncio.wait(tasks))
    assert names(a) == ["1", "x", "2", "y", "3", "z", "4", "5", "6"]


async def test_a_newcomer_does_not_pass_those_who_wait(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """Not even in the very moment in which there is room again."""
    a = fleet.add("a", dialect="retry-after")
    site = await cool(7)
    tasks = start(site, ["1", "2"])
    await clock.advance(6)
    clock.shift(1)  # the reset is due, but nobody has seen it yet
    tasks += start(site, ["3"], wait="0")
    await clock.run(asyncio.wait(tasks))
    assert names(a) == ["1", "2", "3"]


async def test_those_who_compete_for_nothing_do_not_wait_for_each_other(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """A line at one provider is none at another, nor for whoever may use both."""
    fleet.add("a", dialect="retry-after")
    b = fleet.add("b")
    chains = {
        "default": ["a/sim-model"],
        "b": ["b/sim-model"],
        "both": ["a/sim-model", "b/sim-model"],
    }
    site = await cool(7, chains=chains)
    waiting = asyncio.create_task(ask(site, "1"))
    await clock.advance(1)
    assert (await clock.run(ask(site, "2", model="b"))).status_code == 200
    assert (await clock.run(ask(site, "3", model="both"))).status_code == 200
    assert clock.monotonic() == START + 1
    assert names(b) == ["2", "3"]
    assert (await clock.run(waiting)).status_code == 200


LARGE: dict[str, Any] = {"max_tokens": 800}
SMALL: dict[str, Any] = {"max_tokens": 50}


@pytest.fixture
def tight(clock: FakeClock, fleet: Fleet, serve: Any) -> Callable[[], Any]:
    """Return a function that makes a site with 1000 tokens a minute, 850 of them spent at 0 s.

    A call that ends at 5 s gives back what it reserved.
    """

    async def tight() -> Any:
        def reply(call: Any) -> Reply:
            return Reply("word " * (840 if call.number == 1 else 1))

        fleet.add("a", dialect="silent", reply=reply)
        site = serve(providers={"a": {"limits": ["1000 tokens/60s"]}}, **WAITING)
        await clock.run(ask(site, "spent", max_tokens=800))
        fleet["a"].fail(Failure.slow(5))
        asyncio.get_running_loop().create_task(ask(site, "slow", max_tokens=100))
        await clock.advance(1)
        return site

    return tight


async def test_what_does_not_fit_is_passed_by_what_fits(
    clock: FakeClock, fleet: Fleet, tight: Any
) -> None:
    """Room for a small request appears: it goes, though a large one came first, and stays first."""
    site = await tight()
    tasks = start(site, ["large"], **LARGE) + start(site, ["small"], **SMALL)
    await clock.advance(9)
    assert [task.done() for task in tasks] == [False, True]
    newcomer = start(site, ["newcomer"], **SMALL)
    await clock.advance(10)
    assert not newcomer[0].done()
    await clock.run(asyncio.wait(tasks + newcomer))
    assert names(fleet["a"]) == ["spent", "slow", "small", "large", "newcomer"]


async def test_who_cannot_wait_is_not_kept_from_what_fits(
    clock: FakeClock, fleet: Fleet, tight: Any
) -> None:
    """Better to pass a large request than to fail while there is room."""
    site = await tight()
    tasks = start(site, ["large"], **LARGE)
    await clock.advance(9)
    assert (await clock.run(ask(site, "now", wait="0", **SMALL))).status_code == 200
    assert clock.monotonic() == START + 10
    await clock.run(asyncio.wait(tasks))


@pytest.mark.parametrize("dialect", ["retry-after", "groq", "gemini"])
@pytest.mark.parametrize("window", ["fixed", "sliding", "first-call", "bucket"])
async def test_a_wrong_guess_lets_no_window_pass(
    clock: FakeClock, fleet: Fleet, serve: Any, dialect: Any, window: Any
) -> None:
    """One refusal looks like a limit of tokens into which no request fits: the told delays go on."""
    a = fleet.add("a", limits=["1 requests/6s"], dialect=dialect, window=window)
    site = serve(limits=False, queue={"max_wait": "20s"})
    await clock.run(ask(site))
    await clock.advance(0.05)
    tasks = start(site, ["first", "second", "third"])
    await clock.run(asyncio.wait(tasks))
    assert [task.result().status_code for task in tasks] == [200] * 3
    assert names(a)[1:] == ["first", "second", "third"]
    served = [call.time - START for call in a.calls if call.outcome == "served"]
    assert served[2] == pytest.approx(12, abs=0.1)


# --- many


async def test_two_thousand_wait_for_one_recovery(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """Each is sent off once, in order, and the provider refuses none."""
    a = fleet.add("a", dialect="retry-after", limits=["3000 requests/60s"])
    site = await cool(7, queue={"max_wait": "60s", "max_size": 2000})
    numbers = [str(number) for number in range(2000)]
    responses = await clock.run(asyncio.gather(*start(site, numbers)))
    assert {response.status_code for response in responses} == {200}
    assert names(a) == numbers
    assert times(a) == [7.0] * 2000


async def test_a_line_takes_what_each_window_has(clock: FakeClock, fleet: Fleet, cool: Any) -> None:
    """As many go as there is room for, again and again, and no call is refused."""
    a = fleet.add("a", dialect="openai", limits=["50 requests/6s"], window="fixed", latency=0.1)
    site = await cool(7)
    numbers = [str(number) for number in range(200)]
    responses = await clock.run(asyncio.gather(*start(site, numbers)))
    assert {response.status_code for response in responses} == {200}
    assert (names(a), a.refused) == (numbers, 0)


async def test_a_full_queue_takes_no_more(clock: FakeClock, fleet: Fleet, cool: Any) -> None:
    """Its own code, and all that the other 503 tells; there is place again when somebody leaves."""
    fleet.add("a", dialect="retry-after")
    site = await cool(40, queue={"max_wait": "60s", "max_size": 2})
    tasks = start(site, ["1", "2"])
    await clock.advance(1)
    response = await clock.run(ask(site, "3"))
    assert (response.status_code, response.headers["retry-after"]) == (503, "39")
    error = response.json()["error"]
    assert (error["code"], len(error["stepwell"]["blocked"])) == ("queue_full", 1)
    assert clock.monotonic() == START + 1
    tasks[0].cancel()
    tasks += start(site, ["4"])
    await clock.run(asyncio.wait(tasks))
    assert [task.result().status_code for task in tasks[1:]] == [200, 200]


async def test_a_full_queue_keeps_nobody_from_room(
    clock: FakeClock, fleet: Fleet, cool: Any
) -> None:
    """It is full for waiting: what can be served elsewhere in the chain is."""
    fleet.add("a", dialect="retry-after")
    fleet.add("b", dialect="retry-after")
    chains = {"default": ["a/sim-model"], "both": ["a/sim-model", "b/sim-model"]}
    site = await cool(40, chains=chains, queue={"max_wait": "60s", "max_size": 1})
    task = start(site, ["1"])
    await clock.advance(1)
    assert (await clock.run(ask(site, "2", model="both"))).status_code == 200
    await clock.run(asyncio.wait(task))


# --- who leaves


async def test_who_hangs_up_leaves_the_queue(clock: FakeClock, fleet: Fleet, cool: Any) -> None:
    """Nothing is sent for it, and the next one goes in its place."""
    a = fleet.add("a", dialect="retry-after")
    site = await cool(7)
    async with site.open(stream=True) as stream:
        tasks = start(site, ["2"])
        await clock.advance(3)
        await stream.disconnect()
    await clock.run(asyncio.wait(tasks))
    assert names(a) == ["2"]
    assert await site.in_flight() == 0


async def test_drain_answers_those_who_wait(clock: FakeClock, fleet: Fleet, cool: Any) -> None:
    """Who is served within the grace is; the others are told to try again, elsewhere."""
    a = fleet.add("a", dialect="retry-after")
    b = fleet.add("b", dialect="retry-after")
    chains = {"default": ["a/sim-model"], "b": ["b/sim-model"]}
    site = await cool(7, chains=chains)
    b.fail(Failure.rate_limit(40))
    await clock.run(ask(site, model="b", wait="0"))
    tasks = start(site, ["1"]) + start(site, ["2"], model="b")
    await clock.advance(1)
    await clock.run(site.gateway.drain(10))
    responses = [await clock.run(task) for task in tasks]
    assert [response.status_code for response in responses] == [200, 503]
    assert responses[1].json()["error"]["code"] == "shutting_down"
    assert (names(a), names(b)) == (["1"], [])


# --- streams


async def test_a_waiting_stream_tells_its_place(clock: FakeClock, fleet: Fleet, cool: Any) -> None:
    """Comments say for whom it waits, how many are before it and how long it may take."""
    fleet.add("a", dialect="retry-after")
    fleet.add("b", dialect="retry-after")
    site = await cool(27, 40)
    tasks = start(site, ["1", "2"])
    await clock.advance(0)
    async with site.open(stream=True) as stream:
        await clock.advance(15)
        assert await stream.chunk() == b": waiting 15s for a/sim-model, 3rd in line, about 12s\n\n"
        body = await clock.run(stream.body())
        assert body.startswith(
            b": x-stepwell-target: a/sim-model\n"
            b": x-stepwell-attempts: 1\n"
            b": x-stepwell-trail: a/sim-model:answer\n"
            b": x-stepwell-waited-ms: 27000\n\n"
            b"data: "
        )
    await clock.run(asyncio.wait(tasks))


async def test_a_stream_that_waits_for_an_event_tells_its_place(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Without a time where nobody knows one."""
    fleet.add("a", concurrency=1, latency=20)
    site = serve(**WAITING)
    task = start(site, ["1"])
    await clock.advance(0)
    async with site.open(stream=True) as stream:
        await clock.advance(15)
        assert await stream.chunk() == b": waiting 15s for quota, 1st in line\n\n"
    await clock.run(asyncio.wait(task))


async def test_a_stream_that_waits_in_vain_ends_in_band(
    clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """Once comments have opened it, the 503 is an event."""
    fleet.add("a", concurrency=1, latency=55)
    site = serve(**WAITING)
    task = start(site, ["1"])
    await clock.advance(0)
    headers = {"authorization": f"Bearer {site.key}", "x-stepwell-max-wait": "20"}
    body = {"messages": [{"role": "user", "content": "2"}], "stream": True}
    async with open_stream(site.app, "POST", PATH, headers=headers, json=body) as stream:
        text = (await clock.run(stream.body())).decode()
    assert clock.monotonic() == START + 20
    error = json.loads(text.rpartition("data: ")[2])["error"]
    assert error["code"] == "all_providers_exhausted"
    await clock.run(asyncio.wait(task))
