from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from stepwell.testing import FakeClock, Fleet, SimProvider


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    return Fleet(clock)


@pytest.fixture
def ask(clock: FakeClock, fleet: Fleet) -> Callable[..., Awaitable[httpx.Response]]:
    """Ask a provider of the fleet without a socket; the clock jumps until the answer is whole."""

    async def ask(
        provider: SimProvider, *, key: str | None = None, **fields: Any
    ) -> httpx.Response:
        request = httpx.Request(
            "POST",
            f"{provider.base_url}/chat/completions",
            headers={"authorization": f"Bearer {provider.keys[0] if key is None else key}"},
            json={"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], **fields},
        )
        async with httpx.AsyncClient(transport=fleet.transport(), timeout=None) as client:
            return await clock.run(client.send(request))

    return ask
