"""The official SDK twice: straight at a provider, and through stepwell at a twin of that provider.

Twins get the same calls in the same order on a clock that stands at one day, so whatever the SDK
makes of their answers must be equal in every field, ids and times included.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from openai import AsyncOpenAI, OpenAI
from starlette.types import ASGIApp

from stepwell import create_app
from stepwell.clock import SystemClock
from stepwell.testing import Call, Fleet, Reply, SimProvider, ToolCall

KEY = "sk-client-1"


class OneDay(SystemClock):
    """Goes on, but its calendar shows one moment."""

    def time(self) -> float:
        return 1_790_942_400.0


@contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    """Run `app` in uvicorn, in a thread with a loop of its own; yields its address.

    The socket listens before the server starts, so that there is nothing to wait for.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def speak(call: Call) -> Reply:
    """Say what the last message asks for, as the request alone decides it."""
    match call.body["messages"][-1]["content"]:
        case "reason":
            return Reply("Four.", reasoning="Two and two make four.")
        case "refuse":
            return Reply(refusal="I will not.")
        case "filter":
            return Reply("", finish_reason="content_filter")
        case "unicode":
            return Reply('na\u00efve \u2603 \U0001f9ca \u202etxet\u202c \\n "quoted" </script>')
        case "weather":
            return Reply(
                tool_calls=(
                    ToolCall("weather", '{"city": "K\u00f6ln", "days": 3}', "call_a"),
                    ToolCall("weather", '{"city": "Pune"}', "call_b"),
                )
            )
        case "json":
            return Reply('{"name": "stepwell", "steps": 3}')
        case _:
            return Reply(f"Answer {call.number} to {len(call.body['messages'])} messages.")


def _fleet() -> tuple[Fleet, SimProvider]:
    fleet = Fleet(OneDay())
    return fleet, fleet.add("alpha", reply=speak)


@dataclass(frozen=True)
class Way:
    """One way to a provider: clients of both kinds, and the model's name there."""

    provider: SimProvider
    base_url: str
    key: str
    model: str

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(base_url=self.base_url, api_key=self.key, **options)

    def async_client(self, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.base_url, api_key=self.key, **options)


@dataclass(frozen=True)
class Ways:
    direct: Way
    stepwell: Way

    def __iter__(self) -> Iterator[Way]:
        return iter((self.direct, self.stepwell))


@pytest.fixture
async def ways() -> AsyncIterator[Ways]:
    direct, through = _fleet(), _fleet()
    async with direct[0].serve(), through[0].serve():
        with serve(create_app(through[0].settings(api_keys=[KEY]))) as url:
            yield Ways(
                Way(direct[1], direct[1].base_url, "sk-alpha", "sim-model"),
                Way(through[1], f"{url}/v1", KEY, "default"),
            )


Ask = Callable[[Way, dict[str, Any]], Any]


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask for a completion by either client; returns it, or all chunks, as plain data."""
    return _ask_async if request.param == "async" else _ask_sync


async def _ask_async(way: Way, request: dict[str, Any]) -> list[dict[str, Any]]:
    async with way.async_client() as client:
        answer = await client.chat.completions.create(model=way.model, **request)
        if not request.get("stream"):
            return [answer.model_dump()]
        return [chunk.model_dump() async for chunk in answer]


async def _ask_sync(way: Way, request: dict[str, Any]) -> list[dict[str, Any]]:
    def run() -> list[dict[str, Any]]:
        with way.client() as client:
            answer = client.chat.completions.create(model=way.model, **request)
            if not request.get("stream"):
                return [answer.model_dump()]
            return [chunk.model_dump() for chunk in answer]

    return await asyncio.to_thread(run)
