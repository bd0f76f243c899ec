"""How to test an application of one's own that talks through a gateway; run it with pytest.

No socket, no key, no waiting: the providers are simulated, and so is time.
"""

import httpx
import pytest

import stepwell
from stepwell.testing import Failure, FakeClock, Fleet


async def summarize(client: httpx.AsyncClient, text: str) -> str:
    """Stands for the application: it asks the gateway for a summary."""
    answer = await client.post(
        "/v1/chat/completions",
        json={"model": "default", "messages": [{"role": "user", "content": f"Sum up: {text}"}]},
    )
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_summary_survives_a_dry_and_a_failing_provider() -> None:
    """The application never notices that two of its three providers cannot serve."""
    clock = FakeClock()
    fleet = Fleet(clock)
    dry = fleet.add("dry", limits=["1 requests/60s"], reply="From the dry one.")
    failing = fleet.add("failing")
    failing.fail(Failure.status(503))
    fleet.add("healthy", reply="From the healthy one.")

    app = stepwell.create_app(
        fleet.settings(),
        transport=fleet.transport(),
        clock=clock,
        authenticate=stepwell.Anonymous(),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert await clock.run(summarize(client, "one")) == "From the dry one."
        assert await clock.run(summarize(client, "two")) == "From the healthy one."

    assert (dry.served, dry.refused, failing.failed) == (1, 0, 1)
