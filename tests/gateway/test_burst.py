"""A burst on many small providers: every token that is there is found, and no other is asked for."""

import asyncio
from typing import Any

import pytest

from stepwell.testing import FakeClock, Fleet

PROVIDERS, EACH = 8, 10

DIALECTS = ["openai", "groq", "gemini", "retry-after", "retry-after-date", "silent"]
WINDOWS = ["fixed", "first-call", "sliding", "bucket"]
DIALECT = pytest.mark.parametrize("dialect", DIALECTS)


def add_providers(fleet: Fleet, **manners: Any) -> None:
    for number in range(PROVIDERS):
        fleet.add(f"p{number}", limits=[f"{EACH} requests/60s"], latency=0.5, **manners)


async def burst(site: Any, size: int, **fields: Any) -> list[int]:
    """Send so many requests at once and return their statuses."""
    posts = (site.post(**fields) for _ in range(size))
    responses = await site.clock.run(asyncio.gather(*posts))
    return [response.status_code for response in responses]


# Every dialect with every window, and a stream for each: the ledger sees both alike.
EVERY = pytest.mark.parametrize(
    ("dialect", "window", "stream"),
    [(dialect, window, False) for dialect in DIALECTS for window in WINDOWS]
    + [(dialect, "fixed", True) for dialect in DIALECTS],
)


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize("window", WINDOWS)
async def test_a_burst_on_known_limits_meets_no_refusal(
    window: Any, stream: bool, fleet: Fleet, serve: Any
) -> None:
    """64 requests at once on 8 providers of 10 a minute: 64 answers and not one 429."""
    add_providers(fleet, window=window)
    site = serve()
    assert await burst(site, 64, stream=stream) == [200] * 64
    assert sum(provider.served for provider in fleet) == 64
    assert sum(provider.refused for provider in fleet) == 0
    assert await site.in_flight() == 0


@EVERY
async def test_a_burst_on_unknown_limits_is_answered_whole(
    dialect: Any, window: Any, stream: bool, fleet: Fleet, serve: Any
) -> None:
    """The rule of evidence: without limits, headers or queue, nobody fails while tokens are left."""
    add_providers(fleet, dialect=dialect, window=window)
    site = serve(limits=False)
    assert await burst(site, 64, stream=stream) == [200] * 64
    assert sum(provider.served for provider in fleet) == 64
    assert await site.in_flight() == 0


@DIALECT
async def test_what_is_beyond_the_limits_is_refused_and_soon(
    dialect: Any, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """100 requests on 80 tokens: 80 answers, and 20 times 503 within seconds."""
    add_providers(fleet, dialect=dialect)
    began = clock.monotonic()
    statuses = await burst(serve(limits=False), 100)
    assert (statuses.count(200), statuses.count(503)) == (80, 20)
    assert clock.monotonic() - began < 10


@DIALECT
async def test_a_second_burst_in_the_next_window_is_answered_too(
    dialect: Any, clock: FakeClock, fleet: Fleet, serve: Any
) -> None:
    """What was learned in one window does not stand in the way in the next one."""
    add_providers(fleet, dialect=dialect)
    site = serve(limits=False)
    await burst(site, 100)
    clock.shift(61)
    assert await burst(site, 80) == [200] * 80


async def test_many_keys_of_one_provider_are_as_good_as_many_providers(
    fleet: Fleet, serve: Any
) -> None:
    """Quota belongs to an account: eight keys of ten requests answer eighty."""
    fleet.add(
        "p",
        limits=[f"{EACH} requests/60s"],
        keys=[f"sk-key-{n}" for n in range(PROVIDERS)],
        latency=0.5,
    )
    assert await burst(serve(), 80) == [200] * 80
    assert fleet["p"].refused == 0


async def test_concurrency_of_a_provider_is_kept(fleet: Fleet, serve: Any) -> None:
    """Calls in flight beyond a provider's bound go to the next one, never to a refusal."""
    a = fleet.add("a", concurrency=2, latency=1.0)
    b = fleet.add("b", latency=1.0, limits=["100 requests/60s"])
    assert await burst(serve(), 10) == [200] * 10
    assert (a.served, a.refused, b.served) == (2, 0, 8)
