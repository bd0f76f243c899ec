from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from stepwell import create_app
from stepwell.testing import FakeClock, Fleet

KEY = "sk-client-1"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    fleet = Fleet(clock)
    fleet.add("alpha")
    return fleet


MakeApp = Callable[..., Starlette]
Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def make_app() -> MakeApp:
    """Make a gateway over a fleet without sockets; further settings and parts by name."""

    def make_app(
        fleet: Fleet, *, settings: dict[str, Any] | None = None, **parts: Any
    ) -> Starlette:
        return create_app(
            {**fleet.settings(api_keys=[KEY]), **(settings or {})},
            **{"transport": fleet.transport(), "clock": fleet.clock, **parts},
        )

    return make_app


@pytest.fixture
def connect() -> Connect:
    """Make a client of an application, with the gateway's key; what the application raises is raised."""

    def connect(app: ASGIApp, *, root_path: str = "", **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, root_path=root_path),
            base_url="http://host",
            headers={"authorization": f"Bearer {KEY}", **headers},
        )

    return connect
