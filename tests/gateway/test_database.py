"""The gateway and its database: who has one, what stands in it, and what is said without it."""

import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepwell import Gateway, Settings, SettingsError, create_app
from stepwell.ledgers import MemoryLedger
from stepwell.testing import FakeClock, Fleet

KEY = "sk-client-1"
PATH = "/v1/chat/completions"


@pytest.fixture
def fleet() -> Fleet:
    """Providers on the machine's own clock, because a database has no other."""
    fleet = Fleet()
    fleet.add("alpha", limits=["1 requests/1h"], dialect="groq", keys=["sk-alpha-canary"])
    fleet.add("beta", keys=["sk-beta-canary"])
    return fleet


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'stepwell.db'}"


def settings_of(fleet: Fleet, url: str | None, **more: Any) -> Settings:
    plain = fleet.settings(limits=False, api_keys=[KEY])
    return Settings.from_dict({**plain, "database": {"url": url}, **more})


def gateway_of(fleet: Fleet, url: str | None, **more: Any) -> Gateway:
    return Gateway(settings_of(fleet, url, **more), transport=fleet.transport())


def files_in(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


async def ask(gateway: Gateway) -> httpx.Response:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(gateway=gateway)),
        base_url="http://gateway",
        headers={"authorization": f"Bearer {KEY}"},
    ) as client:
        return await client.post(PATH, json={"messages": [{"role": "user", "content": "hi"}]})


async def test_a_gateway_knows_what_the_last_one_learned(fleet: Fleet, url: str) -> None:
    """Without a lifespan: the first request brings back what closing wrote down."""
    async with gateway_of(fleet, url) as first:
        trails = [(await ask(first)).headers["x-stepwell-trail"] for _ in range(2)]
    async with gateway_of(fleet, url) as second:
        again = (await ask(second)).headers["x-stepwell-trail"]

    assert trails[0] == "alpha/sim-model:answer"
    assert trails[1].endswith("beta/sim-model:answer")
    assert again == "beta/sim-model:answer"


async def test_health_shows_the_past_before_the_first_request(fleet: Fleet, url: str) -> None:
    """A chain that was dry is dry after a restart, and not only once somebody has asked."""
    chain = {"chains": {"default": ["alpha/sim-model"]}}
    async with gateway_of(fleet, url, **chain) as first:
        for _ in range(2):
            await ask(first)
    async with gateway_of(fleet, url, **chain) as second:
        assert await second.health() == {"gateway": "ok", "chains": "dry", "database": "ok"}


async def test_no_key_stands_in_the_file(fleet: Fleet, url: str, tmp_path: Path) -> None:
    """Neither keys nor plain digests of them: two databases do not agree on who is who."""
    accounts = []
    for address in (url, url.replace("stepwell.db", "other.db")):
        async with gateway_of(fleet, address) as gateway:
            for _ in range(2):
                await ask(gateway)
        with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as connection:
            rows = connection.execute("SELECT DISTINCT account FROM stepwell_quota").fetchall()
        accounts.append({account for (account,) in rows})

    assert len(accounts[0]) == len(accounts[1]) == 2
    assert accounts[0].isdisjoint(accounts[1])
    assert all(b"canary" not in content for content in files_in(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"api_keys": ["sk-new"]},
        {"headers": {"x-api-key": "sk-new"}},
        {"base_url": "http://elsewhere.test/v1"},
    ],
    ids=["another key", "another key in a header", "another address"],
)
def test_a_digest_is_of_provider_address_and_key(
    fleet: Fleet, url: str, change: Mapping[str, Any]
) -> None:
    """Whatever of them changes, the account is another one."""
    plain = fleet.settings(limits=False, api_keys=[KEY])
    before = Gateway(Settings.from_dict(plain))._identify(b"salt")
    plain["providers"]["alpha"] |= change
    after = Gateway(Settings.from_dict(plain))._identify(b"salt")

    assert before["alpha"] != after["alpha"]
    assert before["beta"] == after["beta"]


async def test_without_a_database_nobody_speaks_of_one(fleet: Fleet) -> None:
    """It is no component, and nothing of SQLAlchemy is needed."""
    async with gateway_of(fleet, None) as gateway:
        assert "database" not in await gateway.health()


async def test_a_hosts_ledger_keeps_its_own_books(fleet: Fleet, url: str, tmp_path: Path) -> None:
    """What the host hands in may remember by itself; we would only get in its way."""

    class Ledger:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    inner = MemoryLedger(FakeClock())
    ledger: Any = Ledger()
    async with Gateway(settings_of(fleet, url), transport=fleet.transport(), ledger=ledger) as one:
        await ask(one)
        assert "database" not in await one.health()
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "module", "remedy"),
    [
        (
            "sqlite:///x.db",
            "aiosqlite",
            "aiosqlite is not installed: pip install 'stepwell[standalone]'",
        ),
        (
            "postgresql://u:p@h/d",
            "asyncpg",
            "asyncpg is not installed: pip install 'stepwell[postgres]'",
        ),
    ],
)
def test_a_missing_driver_is_told_with_its_remedy(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, url: str, module: str, remedy: str
) -> None:
    """When the application is made, not when the first record is to be written."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError) as caught:
        gateway_of(fleet, url)
    assert caught.value.problems == [f"database.url: {remedy}"]


def test_a_database_that_cannot_last_is_a_mistake_in_the_settings(fleet: Fleet) -> None:
    """As any other, it is told when the application is made."""
    with pytest.raises(SettingsError, match=r"database\.url: it names no file; write it like"):
        gateway_of(fleet, "sqlite:///:memory:")
