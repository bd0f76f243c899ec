"""`stepwell serve` as a process of its own, on real sockets."""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import httpx
import pytest

from stepwell.testing import Failure, Fleet, SimProvider

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[Any], str]


class Command(Protocol):
    seen: str

    async def line(self, *, holding: str) -> str: ...
    async def address(self) -> str: ...
    def signal(self, number: signal.Signals) -> None: ...
    async def exit_code(self) -> int: ...
    async def complaints(self) -> str: ...


Start = Callable[..., AbstractAsyncContextManager[Command]]

QUESTION = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}
SETTINGS = {
    "providers": {"alpha": {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["sk-alpha-secret"]}},
    "chains": {"default": ["alpha/model-1", "alpha/model-2"], "fast": ["alpha/model-2"]},
}


@pytest.fixture
async def alpha() -> AsyncIterator[SimProvider]:
    """A provider on a real socket."""
    fleet = Fleet()
    provider = fleet.add("alpha", dialect="groq")
    async with fleet.serve():
        yield provider


def settings_for(provider: SimProvider, **more: Any) -> dict[str, Any]:
    return {
        "providers": {"alpha": {"base_url": provider.base_url, "api_keys": list(provider.keys)}},
        "chains": {"default": ["alpha/sim-model"]},
        **more,
    }


async def until_closed(address: str) -> None:
    """Return once nobody listens there."""
    port = int(address.rpartition(":")[2])
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()
        await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what another process does
            await asyncio.sleep(0.01)


async def test_it_serves_until_sigterm(start: Start, write: Write, alpha: SimProvider) -> None:
    """A request goes through to the provider; SIGTERM ends the process in good order."""
    config = write(settings_for(alpha))
    async with start("serve", "--config", config, "--port", "0") as serve:
        async with httpx.AsyncClient(base_url=await serve.address()) as client:
            health = await client.get("/health")
            answer = await client.post("/v1/chat/completions", json=QUESTION)
        serve.signal(signal.SIGTERM)
        code = await serve.exit_code()
        complaints = await serve.complaints()

    assert health.json()["status"] == "ok"
    assert answer.headers["x-stepwell-target"] == "alpha/sim-model"
    assert answer.json()["choices"][0]["message"]["content"].startswith("This is alpha")
    assert (code, complaints) == (0, "")


async def test_a_stream_may_end_within_the_grace(
    start: Start, write: Write, alpha: SimProvider
) -> None:
    """After SIGTERM nobody is let in, and what is under way comes to its own end."""
    alpha.hold()
    alpha.let(3)
    async with (
        start("serve", "--config", write(settings_for(alpha)), "--port", "0") as serve,
        httpx.AsyncClient(base_url=(address := await serve.address()), timeout=None) as client,
        client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer,
    ):
        serve.signal(signal.SIGTERM)
        await until_closed(address)
        alpha.release()
        text = (await answer.aread()).decode()
        code = await serve.exit_code()

    assert text.endswith("data: [DONE]\n\n")
    assert '"error"' not in text
    assert code == 0


@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_its_call(
    start: Start, write: Write, alpha: SimProvider, stream: bool, size: int
) -> None:
    """Whatever it asked for, and also if its request is so large that the server pauses to read on."""
    alpha.hold()
    message = {"role": "user", "content": "hi" + "x" * size}
    body = json.dumps({"messages": [message], "stream": stream}).encode()
    async with start("serve", "--config", write(settings_for(alpha)), "--port", "0") as serve:
        port = int((await serve.address()).rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json"
        writer.write(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await until(lambda: len(alpha.calls) == 1)
        writer.close()
        await until(lambda: alpha.calls[0].outcome == "aborted")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wait", [True, False])
async def test_a_client_that_leaves_is_no_news(
    start: Start, write: Write, alpha: SimProvider, stream: bool, wait: bool
) -> None:
    """Whenever it does: its call is cancelled, and nothing is logged."""
    alpha.fail(Failure.hang(), times=None)
    config = write(settings_for(alpha))
    async with start("serve", "--config", config, "--port", "0") as serve:
        address = await serve.address()
        port = int(address.rpartition(":")[2])
        body = json.dumps({**QUESTION, "stream": stream}).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json"
        writer.write(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        if wait:
            await until(lambda: len(alpha.calls) == 1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: not alpha.in_flight)
        serve.signal(signal.SIGTERM)
        assert await serve.exit_code() == 0
        assert await serve.complaints() == ""


@pytest.mark.parametrize(
    ("grace", "signals"),
    [("0.2s", [signal.SIGTERM]), ("1h", [signal.SIGTERM, signal.SIGTERM]), ("0", [signal.SIGINT])],
)
async def test_a_stream_beyond_the_grace_ends_with_an_error_event(
    start: Start, write: Write, alpha: SimProvider, grace: str, signals: list[signal.Signals]
) -> None:
    """The client learns that this was no end, after the grace or at the second signal."""
    alpha.hold()
    alpha.let(3)
    config = write(settings_for(alpha))
    async with (
        start("serve", "--config", config, "--port", "0", "--grace", grace) as serve,
        httpx.AsyncClient(base_url=(address := await serve.address()), timeout=None) as client,
        client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer,
    ):
        for number in signals:
            serve.signal(number)
            await until_closed(address)
        text = (await answer.aread()).decode()
        code = await serve.exit_code()

    last = text.strip().split("\n\n")[-1]
    assert last.startswith('data: {"error"')
    assert "shutting_down" in last
    assert '"finish_reason":"stop"' not in text
    assert code == 0


async def test_a_client_that_takes_nothing_does_not_hold_up_the_end(
    start: Start, write: Write, alpha: SimProvider
) -> None:
    """Its connection is cut when it has not taken the last words."""
    alpha.hold()
    alpha.let(3)
    config = write(settings_for(alpha))
    async with start("serve", "--config", config, "--port", "0", "--grace", "0") as serve:
        address = await serve.address()
        port = int(address.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        # A request that never becomes whole.
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        await writer.drain()
        serve.signal(signal.SIGTERM)
        code = await serve.exit_code()
        writer.close()

    assert code == 0


async def test_it_says_where_it_is_and_what_may_be_asked(start: Start, write: Write) -> None:
    """Address, chains, names of models, a curl line, and whose limits these are; never a key."""
    config = write({**SETTINGS, "api_keys": ["sk-client-secret"]})
    async with start("serve", "--config", config, "--port", "0") as serve:
        address = await serve.address()
        serve.signal(signal.SIGTERM)
        await serve.exit_code()
        said = serve.seen

    assert "chain default (default): alpha/model-1 > alpha/model-2\n" in said
    assert "chain fast: alpha/model-2\n" in said
    assert "model may be: default, fast, alpha/model-1, alpha/model-2; " in said
    assert "client keys: 1\n" in said
    assert "limits shared: this process only\n" in said
    assert f"curl -i {address}/v1/chat/completions" in said
    assert "$STEPWELL_API_KEY" in said
    assert "secret" not in said


async def test_keys_open_every_address(start: Start, write: Write) -> None:
    """With keys it may listen where others can reach it, and the curl line still works here."""
    config = write({**SETTINGS, "api_keys": ["sk-client-secret"]})
    async with (
        start("serve", "--config", config, "--host", "0.0.0.0", "--port", "0") as serve,
        httpx.AsyncClient(base_url=await serve.address()) as client,
    ):
        stranger = await client.get("/v1/models")
        key = {"authorization": "Bearer sk-client-secret"}
        friend = await client.get("/v1/models", headers=key)

    assert (stranger.status_code, friend.status_code) == (401, 200)


async def test_no_key_reaches_the_log(start: Start, write: Write, alpha: SimProvider) -> None:
    """At the most talkative level a refused key shows as a reason, not as a key."""
    settings = settings_for(alpha)
    settings["providers"]["alpha"]["api_keys"] = ["sk-wrong-canary"]
    async with start(
        "serve", "--config", write(settings), "--port", "0", "--log-level", "debug"
    ) as serve:
        async with httpx.AsyncClient(base_url=await serve.address()) as client:
            answer = await client.post("/v1/chat/completions", json=QUESTION)
        serve.signal(signal.SIGTERM)
        code = await serve.exit_code()
        log = await serve.complaints()

    assert (answer.status_code, code) == (503, 0)
    assert "key_refused" in log
    assert "canary" not in log + answer.text


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_without_keys_only_loopback_is_served(run: Run, write: Write, host: str) -> None:
    """An open gateway in a network would be everybody's."""
    result = run("serve", "--config", write(SETTINGS), "--host", host, "--port", "0")

    assert result.returncode == 2
    assert "no key is configured: set api_keys" in result.stderr
    assert result.stdout == ""


def test_wrong_settings_are_told_all_at_once(run: Run, write: Write) -> None:
    """File, line and mistake, exit code 2, no traceback."""
    config = write("providers:\n  alpha: {base_url: ftp://x}\nchains: {default: [beta/m]}\n")
    result = run("serve", "--config", config)

    assert result.returncode == 2
    assert [line[:16] for line in result.stderr.splitlines()] == [
        "settings.yaml:2:",
        "settings.yaml:3:",
    ]


def test_without_any_settings_it_says_what_to_set(run: Run) -> None:
    """An empty folder and no key variables: the way out is named."""
    result = run("serve")

    assert result.returncode == 2
    assert "stepwell.yaml" in result.stderr
    assert "GROQ_API_KEY" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use_is_told(run: Run, write: Write) -> None:
    """Exit code 1: the settings are right, the world is not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--config", write(SETTINGS), "--port", port)

    assert result.returncode == 1
    assert "the port is in use" in result.stderr
    assert result.stderr.count("\n") == 1
