"""Who is measured: stepwell, what bounds it, and its peers, each with the settings that suit it best.

All are asked the same and call the same providers; how each is told which one stands here.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .machine import GATEWAY_CORE
from .peers import LITELLM, PORTKEY
from .process import Process, free_port
from .providers import Providers

PATH: Final = "/v1/chat/completions"
KEY: Final = "sk-benchmark"
UPSTREAM_KEY: Final = "sk-upstream-key"
PROXIES: Final = Path(__file__).parents[1] / "proxies"

MODELS: Final = ("whole", "body", "stream-50-0", "stream-50-10", "stream-8-10", "stream-48-125")
"""Models by their names at the providers; `upstream.py` says what they do. Only the first is nginx's:
it answers before it has read a large body."""

MANY_LIMITS: Final = (
    "100000000 requests/minute",
    "100000000000 tokens/minute",
    "1000000000 requests/day",
)
"""Three limits for each target, none of which is ever reached."""

FIRST_STEPS: Final = 1000
"""Models that have a chain of their own, to be refused once each."""


@dataclass(frozen=True)
class Request:
    """What a client sends, but for the length of its body."""

    path: str
    headers: Mapping[str, str]
    body: str

    @property
    def head(self) -> str:
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{fields}"


def request(
    model: str,
    *,
    stream: bool = False,
    size: int = 0,
    path: str = PATH,
    headers: Mapping[str, str] | None = None,
) -> Request:
    """Return a small chat request with the headers of OpenAI's client, or one of `size` bytes."""
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Say something about stepwells, in sixty words."},
        ],
        "temperature": 0.7,
        "stream": stream,
    }
    text = json.dumps(body, separators=(",", ":"))
    if size:
        image = {"url": "data:image/png;base64," + "iVBORw0K" * (size // 8)}
        part = [{"type": "image_url", "image_url": image}]
        body["messages"] = [{"role": "user", "content": part}]
        text = json.dumps(body, separators=(",", ":"))
    common = {
        "host": "127.0.0.1",
        "accept": "application/json",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "user-agent": "AsyncOpenAI/Python 3.54.0",
        "x-stainless-lang": "python",
        "x-stainless-package-version": "3.54.0",
        "x-stainless-os": "Linux",
        "x-stainless-arch": "x64",
        "x-stainless-runtime": "CPython",
        "x-stainless-async": "async:asyncio",
        "x-stainless-retry-count": "0",
    }
    return Request(path, {**common, **(headers or {})}, text)


@dataclass(frozen=True)
class Contestant:
    """Somebody who runs.

    Attributes:
        port: Where it listens.
        process: What serves there.
        aim: Returns how a request for a model is addressed: a path and headers.
        slowness: How much longer it is kept busy, so that the requests which the clock cuts off do
            not count much against it.
    """

    name: str
    process: Process
    aim: Callable[[str], tuple[str, dict[str, str]]]
    slowness: float = 1.0

    @property
    def port(self) -> int:
        return self.process.port

    def request(self, model: str, *, stream: bool = False, size: int = 0) -> Request:
        path, headers = self.aim(model)
        return request(model, stream=stream, size=size, path=path, headers=headers)


def _plainly(_model: str) -> tuple[str, dict[str, str]]:
    return PATH, {}


# --- what bounds a gateway


def canned(providers: Providers, folder: Path) -> Contestant:
    """Uvicorn with an answer of its own: the scale for all times."""
    return Contestant("canned", _proxy("canned", folder), _plainly)


def bare(providers: Providers, folder: Path) -> Contestant:
    """Starlette and httpx, as one writes it first."""
    return Contestant("bare", _proxy("bare", folder), _by_port(providers))


def relay(providers: Providers, folder: Path) -> Contestant:
    """The gateway's own engine behind a bare ASGI callable."""
    return Contestant("relay", _proxy("relay", folder), _by_port(providers))


def _proxy(name: str, folder: Path) -> Process:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(PROXIES), f"{name}:app"]
    options = ["--port", str(port), "--no-access-log", "--lifespan", "off", "--backlog", "4096"]
    return Process([*command, *options], port=port, core=GATEWAY_CORE, folder=folder)


def _by_port(providers: Providers) -> Callable[[str], tuple[str, dict[str, str]]]:
    return lambda model: (f"/{providers.port(model)}{PATH}", {})


# --- stepwell


def stepwell(providers: Providers, folder: Path) -> Contestant:
    """`stepwell serve` as users run it: keys, limits, readings, and the ledger's database."""
    return serve(providers, folder, "stepwell", {})


def stepwell_without_database(providers: Providers, folder: Path) -> Contestant:
    return serve(providers, folder, "stepwell", {"database": {"url": None}})


def stepwell_with_first_steps(providers: Providers, folder: Path, kind: str) -> Contestant:
    """The same with many chains, `KIND-0` and so on, whose first steps have a model each."""
    names = [f"{kind}-{number}" for number in range(FIRST_STEPS)]
    chains = {name: [f"upstream/{name}", "nginx/whole"] for name in names}
    return serve(providers, folder, "stepwell", {"chains": chains})


def serve(providers: Providers, folder: Path, name: str, settings: Mapping[str, Any]) -> Contestant:
    port = free_port()
    config = folder / f"stepwell-{port}.yaml"
    config.write_text(json.dumps({**_settings(providers, folder / f"{port}.db"), **settings}))
    command = [sys.executable, "-m", "stepwell", "serve"]
    options = ["--config", str(config), "--port", str(port), "--grace", "1s"]
    process = Process([*command, *options], port=port, core=GATEWAY_CORE, folder=folder)
    return Contestant(name, process, _plainly)


def _settings(providers: Providers, database: Path) -> dict[str, Any]:
    def provider(process: Process) -> dict[str, Any]:
        return {
            "base_url": f"http://127.0.0.1:{process.port}/v1",
            "api_keys": [UPSTREAM_KEY],
            "dialect": "groq",
            "limits": MANY_LIMITS,
        }

    chains = {model: [f"upstream/{model}"] for model in MODELS if model != "whole"}
    return {
        "api_keys": [KEY],
        "providers": {"nginx": provider(providers.nginx), "upstream": provider(providers.upstream)},
        "chains": {
            "default": ["nginx/whole"],
            "whole": ["nginx/whole"],
            "dry": ["upstream/dry", "nginx/whole"],
            **chains,
        },
        "database": {"url": f"sqlite:///{database}"},
    }


# --- peers


def litellm(providers: Providers, folder: Path) -> Contestant:
    """LiteLLM's proxy: no database, no logging, no callbacks, uvloop and httptools."""
    port = free_port()
    models = [
        {
            "model_name": model,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": f"http://127.0.0.1:{providers.port(model)}/v1",
                "api_key": UPSTREAM_KEY,
            },
        }
        for model in MODELS
    ]
    config = folder / "litellm.yaml"
    settings = {"num_retries": 0, "telemetry": False, "turn_off_message_logging": True}
    general = {"master_key": KEY, "disable_spend_logs": True}
    config.write_text(
        json.dumps(
            {"model_list": models, "litellm_settings": settings, "general_settings": general}
        )
    )
    command = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    process = Process(
        [*command, "--num_workers", "1"],
        port=port,
        core=GATEWAY_CORE,
        folder=folder,
        environment={
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "PATH": f"{LITELLM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        },
    )
    return Contestant("litellm", process, _plainly, slowness=3.0)


def portkey(providers: Providers, folder: Path) -> Contestant:
    """Portkey's gateway, headless; the request's headers say where to."""
    port = free_port()
    process = Process(
        ["node", str(PORTKEY), f"--port={port}", "--headless"],
        port=port,
        core=GATEWAY_CORE,
        folder=folder,
        environment={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
    )

    def aim(model: str) -> tuple[str, dict[str, str]]:
        host = f"http://127.0.0.1:{providers.port(model)}/v1"
        return PATH, {"x-portkey-provider": "openai", "x-portkey-custom-host": host}

    return Contestant("portkey", process, aim)


Start = Callable[[Providers, Path], Contestant]

CONTESTANTS: Final[Mapping[str, Start]] = {
    "canned": canned,
    "stepwell": stepwell,
    "relay": relay,
    "bare": bare,
    "portkey": portkey,
    "litellm": litellm,
}
PEERS: Final = ("portkey", "litellm")
