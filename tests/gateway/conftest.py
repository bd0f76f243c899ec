"""The whole application on a fleet of simulated providers and a fake clock."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from stepwell import create_app
from stepwell.gateway import Gateway
from stepwell.observe import Observer
from stepwell.testing import FakeClock, Fleet, OpenStream, open_stream

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


class Site:
    """One gateway in front of the fleet, and a client that holds a key."""

    def __init__(self, app: Starlette, clock: FakeClock) -> None:
        self.app = app
        self.gateway: Gateway = app.state.gateway
        self.clock = clock
        self.key = self.gateway.settings.api_keys[0].key.reveal()
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://gateway.test",
            headers={"authorization": f"Bearer {self.key}"},
        )

    async def post(self, **fields: Any) -> httpx.Response:
        """Send a chat request; `model` and `messages` are there already. Moves no time."""
        return await self.client.post(PATH, json={"messages": MESSAGES, **fields})

    async def ask(self, **fields: Any) -> httpx.Response:
        """Send a chat request, and let time pass until the answer is whole."""
        return await self.clock.run(self.post(**fields))

    def open(
        self, *, ahead: int | None = None, **fields: Any
    ) -> AbstractAsyncContextManager[OpenStream]:
        """Send a chat request whose answer is read message by message."""
        return open_stream(
            self.app,
            "POST",
            PATH,
            headers={"authorization": f"Bearer {self.key}"},
            json={"messages": MESSAGES, **fields},
            ahead=ahead,
        )

    async def in_flight(self) -> int:
        """Return how many calls the ledger believes to be under way."""
        return sum(status.in_flight for status in await self.gateway.ledger.snapshot())


Serve = Callable[..., Site]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    return Fleet(clock)


@pytest.fixture
def serve(clock: FakeClock, fleet: Fleet) -> Serve:
    """Return a function that puts a gateway in front of the fleet as it is now.

    Its arguments are those of `Fleet.settings`; `providers` holds what to add to a provider's own.
    """

    def serve(
        *,
        providers: Mapping[str, Any] | None = None,
        observers: Iterable[Observer] = (),
        **settings: Any,
    ) -> Site:
        plain = fleet.settings(**settings)
        for name, more in (providers or {}).items():
            plain["providers"][name] |= more
        app = create_app(plain, transport=fleet.transport(), clock=clock, observers=observers)
        return Site(app, clock)

    return serve
