"""`kill -9` and start again: what was spent stays spent. Real processes, sockets and files."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from stepwell.testing import Fleet, SimProvider

Write = Callable[[Any], str]


class Command(Protocol):
    seen: str

    async def line(self, *, holding: str) -> str: ...
    async def address(self) -> str: ...
    def signal(self, number: signal.Signals) -> None: ...
    async def exit_code(self) -> int: ...


Start = Callable[..., AbstractAsyncContextManager[Command]]

QUESTION = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}


class Site:
    """Two providers on real sockets, and a gateway that is started and killed in front of them."""

    def __init__(self, fleet: Fleet, start: Start, write: Write, folder: Path) -> None:
        self.fleet = fleet
        self.start = start
        self.write = write
        self.database = folder / "stepwell.db"
        self.alpha: SimProvider = fleet["alpha"]
        self.more: dict[str, Any] = {}

    @asynccontextmanager
    async def life(self, **alpha: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Run the gateway, and end it by `kill -9` with the block."""
        settings = self.fleet.settings(limits=False)
        del settings["api_keys"]
        settings["providers"]["alpha"] |= alpha
        config = self.write({**settings, **self.more})
        async with (
            self.start("serve", "--config", config, "--port", "0") as serve,
            httpx.AsyncClient(base_url=await serve.address()) as client,
        ):
            yield client
            serve.signal(signal.SIGKILL)
            assert await serve.exit_code() == -signal.SIGKILL

    async def written(self, words: str) -> None:
        """Return once the file holds these words: within a second, as far as stepwell goes."""
        while words not in self.read():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)

    def read(self) -> str:
        with closing(sqlite3.connect(self.database)) as connection:
            return "".join(
                state for (state,) in connection.execute("SELECT state FROM stepwell_quota")
            )


async def ask(client: httpx.AsyncClient) -> str:
    """Ask for an answer, and return who gave it."""
    answer = await client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200
    return answer.headers["x-stepwell-target"].partition("/")[0]


@pytest.fixture
async def site(
    start: Start, write: Write, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Site]:
    """Alpha allows two requests a day, beta any number."""
    fleet = Fleet()
    fleet.add("alpha", limits=["2 requests/1d"], dialect=getattr(request, "param", "groq"))
    fleet.add("beta")
    async with fleet.serve():
        yield Site(fleet, start, write, tmp_path)


def calls(provider: SimProvider) -> int:
    return provider.served + provider.refused


async def test_a_spent_day_is_remembered_through_kill_9(site: Site) -> None:
    """The provider said that its day is spent: after the restart it is not called once."""
    async with site.life() as client:
        assert [await ask(client) for _ in range(3)] == ["alpha", "alpha", "beta"]
        await site.written('"remaining":0')
    before = calls(site.alpha)
    async with site.life() as client:
        assert [await ask(client) for _ in range(5)] == ["beta"] * 5

    assert calls(site.alpha) == before


@pytest.mark.parametrize("site", ["silent"], indirect=True)
async def test_a_day_counted_by_ourselves_is_remembered(site: Site) -> None:
    """The provider says nothing, the settings do, and our count outlives us."""
    alpha = {"limits": ["2 requests/day"]}
    async with site.life(**alpha) as client:
        assert [await ask(client) for _ in range(3)] == ["alpha", "alpha", "beta"]
        await site.written(",1],[")  # two entries of one request
    async with site.life(**alpha) as client:
        assert [await ask(client) for _ in range(5)] == ["beta"] * 5

    assert calls(site.alpha) == 2


@pytest.mark.slow
async def test_a_dead_key_is_remembered_and_a_new_one_tried(site: Site) -> None:
    """A key that was refused stays benched until somebody replaces it; it is nowhere in the file."""
    async with site.life(api_keys=["sk-dead-canary"]) as client:
        assert [await ask(client) for _ in range(2)] == ["beta"] * 2
        await site.written('"bench":"key"')
    before = calls(site.alpha)
    async with site.life(api_keys=["sk-dead-canary"]) as client:
        assert await ask(client) == "beta"
    assert calls(site.alpha) == before
    async with site.life(api_keys=list(site.alpha.keys)) as client:
        assert await ask(client) == "alpha"

    for file in site.database.parent.glob("stepwell.db*"):
        assert b"canary" not in file.read_bytes()


async def test_null_means_no_memory(site: Site) -> None:
    """`database.url: null` writes nothing, and the start message says so."""
    site.more = {"database": {"url": None}}
    async with site.life() as client:
        assert await ask(client) == "alpha"

    assert not site.database.exists()


async def test_health_tells_of_a_database_that_is_gone(site: Site) -> None:
    """Requests are answered as ever, and `/health` says what is wrong without saying where."""
    site.more = {"database": {"url": "sqlite:///no/such/folder/stepwell.db"}}
    async with site.life() as client:
        assert await ask(client) == "alpha"
        health = await client.get("/health")

    assert health.json() == {
        "status": "degraded",
        "components": {"gateway": "ok", "chains": "ok", "database": "degraded"},
    }
