"""Behind real servers: each started from its own command line, with a host that mounts the gateway."""

import asyncio
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from stepwell.testing import Fleet, SimProvider

KEY = "sk-client-1"
CHAT = "/llm/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}

HOST = """
from fastapi import FastAPI
import stepwell

llm = stepwell.create_app("settings.json")
app = FastAPI(lifespan=stepwell.lifespan(llm))
app.mount("/llm", llm)
"""

# Each server's command line, and the line by which it says that it is up.
SERVERS = {
    "uvicorn": (["host:app", "--port", "{port}"], "Uvicorn running on"),
    "hypercorn": (["host:app", "--bind", "127.0.0.1:{port}"], "Running on"),
    "granian": (["--interface", "asgi", "--port", "{port}", "host:app"], "Started worker"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def alpha() -> AsyncIterator[SimProvider]:
    fleet = Fleet()
    alpha = fleet.add("alpha", reply="one two three four")
    async with fleet.serve():
        yield alpha


@pytest.fixture
async def client(
    server: str, alpha: SimProvider, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    async with running(server, alpha, tmp_path) as (url, _):
        yield connect_to(url)


def connect_to(url: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=None)


@asynccontextmanager
async def running(
    server: str, alpha: SimProvider, folder: Path
) -> AsyncIterator[tuple[str, Process]]:
    """Start the server in `folder`; yields its address when it is up."""
    (folder / "host.py").write_text(HOST)
    (folder / "settings.json").write_bytes(msgspec.json.encode(settings_of(alpha)))
    port = free_port()
    arguments, up = SERVERS[server]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", server),
        *(argument.format(port=port) for argument in arguments),
        cwd=folder,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        await say_so(process, up)
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            process.terminate()
        said = (await process.communicate())[0].decode()
        assert "Traceback" not in said, said


def settings_of(alpha: SimProvider) -> dict[str, object]:
    provider = {"base_url": alpha.base_url, "api_keys": ["sk-alpha"]}
    return {
        "api_keys": [KEY],
        "providers": {"alpha": provider},
        "chains": {"default": ["alpha/sim-model"]},
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def say_so(process: Process, words: str) -> None:
    """Read what the server says until it is up."""
    assert process.stdout is not None
    heard = []
    async for line in process.stdout:
        heard.append(line.decode())
        if re.search(words, heard[-1]):
            return
    raise AssertionError("".join(heard))


async def ended(provider: SimProvider) -> None:
    """Wait until the provider's calls are over; the loop must turn for it."""
    while provider.in_flight:  # noqa: ASYNC110 - a record, not an event
        await asyncio.sleep(0.001)


async def begun(provider: SimProvider) -> None:
    """Wait until a call has come to the provider."""
    while not provider.in_flight:  # noqa: ASYNC110 - a record, not an event
        await asyncio.sleep(0.001)


async def test_a_stream_arrives_token_by_token(
    client: httpx.AsyncClient, alpha: SimProvider
) -> None:
    """In lockstep: each event is read before the provider may send the next."""
    alpha.hold()
    async with client:
        # Headers come with the first meaningful delta: the role, which is none, and one word.
        alpha.let(2)
        async with client.stream("POST", CHAT, json=STREAM) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert response.headers["x-stepwell-target"] == "alpha/sim-model"
            lines = (line async for line in response.aiter_lines() if line)
            assert '"role":"assistant"' in await anext(lines)
            for sent, word in enumerate(("one", " two", " three", " four"), start=2):
                assert f'"content":"{word}"' in await anext(lines)
                assert alpha.calls[0].sent == sent
                alpha.let()
            assert '"finish_reason":"stop"' in await anext(lines)
            alpha.release()
            assert [line async for line in lines] == ["data: [DONE]"]
        await ended(alpha)
        # The connection lives on, and the next answers are whole.
        assert (await client.post(CHAT, json=BODY)).json()["id"]
        assert (await client.post(CHAT, json=STREAM)).text.endswith("data: [DONE]\n\n")
    assert alpha.served == 3


async def test_a_hang_up_reaches_the_provider_before_its_next_event(
    client: httpx.AsyncClient, alpha: SimProvider
) -> None:
    """In a stream, before its first word, and in a whole answer: the upstream call is dropped."""
    alpha.hold()
    async with client:
        alpha.let(2)
        async with client.stream("POST", CHAT, json=STREAM) as response:
            await anext(response.aiter_raw())
        await ended(alpha)
        assert (alpha.calls[0].outcome, alpha.calls[0].sent) == ("aborted", 2)
        for body in (STREAM, BODY):
            request = asyncio.create_task(client.post(CHAT, json=body))
            await begun(alpha)
            request.cancel()
            await asyncio.wait([request])
            await ended(alpha)
            assert (alpha.calls[-1].outcome, alpha.calls[-1].sent) == ("aborted", 0)
        alpha.release()
        assert (await client.post(CHAT, json=BODY)).status_code == 200
        assert (await client.get("/llm/health")).json()["status"] == "ok"


async def test_odd_requests_are_answered_in_our_envelope(client: httpx.AsyncClient) -> None:
    """Paths and headers as a real server hands them on: none is a 500, none gets past the key."""
    async with client:
        for path in ("/llm//v1/models", "/llm/v1%2fmodels", "/llm/%2fhealth", "/llm/v1/models/"):
            refused = await client.get(path, headers={"authorization": ""})
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        odd = [(b"authorization", b"Bearer \xff\xfe")]
        assert (await client.get("/llm/v1/models", headers=odd)).status_code == 401
        for method, path, status in [("GET", "/llm/v1/no", 404), ("PUT", CHAT, 405)]:
            assert (await client.request(method, path)).json()["error"]["type"]
            assert (await client.request(method, path)).status_code == status
        bad = await client.post(CHAT, content=chunks(b"{", 3))  # chunked, without a length
        assert bad.status_code == 400


async def chunks(piece: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece


async def test_a_server_that_stops_ends_cleanly(
    server: str, alpha: SimProvider, tmp_path: Path
) -> None:
    """The composed lifespan closes the connections; no traceback, no warning of something left open."""
    async with running(server, alpha, tmp_path) as (url, process):
        async with connect_to(url) as client:
            assert (await client.post(CHAT, json=BODY)).status_code == 200
        process.send_signal(signal.SIGTERM)
        said = (await process.communicate())[0].decode()
    assert "Traceback" not in said
    assert "Unclosed" not in said
    assert "never awaited" not in said
