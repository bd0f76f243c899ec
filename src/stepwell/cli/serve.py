"""`stepwell serve`: the gateway as a server of its own."""

import logging
import socket
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from stepwell import __version__
from stepwell.api.auth import Anonymous
from stepwell.app import create_app
from stepwell.cli.console import (
    WRONG_SETTINGS,
    ConfigOption,
    curl_line,
    duration,
    fail,
    load_settings,
    settings_mistakes_told,
)
from stepwell.cli.server import GatewayServer, bound_to, open_port
from stepwell.gateway import Gateway
from stepwell.secrets import Redactor, Secret
from stepwell.settings import DatabaseSettings, Settings

HOST: Final = "127.0.0.1"
PORT: Final = 8429
DATABASE: Final = "sqlite:///stepwell.db"

MOST_NAMES: Final = 12
"""Names of models in the start message; GET /v1/models has them all."""


class LogLevel(StrEnum):
    """What is logged to stderr; `debug` shows every attempt."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    config: ConfigOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but loopback needs api_keys.")
    ] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = PORT,
    grace: Annotated[
        float,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long open requests may go on after SIGTERM or Ctrl-C.",
        ),
    ] = "30s",  # type: ignore[assignment] # the parser reads the default too
    log_level: Annotated[LogLevel, typer.Option(help="Goes to stderr.")] = LogLevel.INFO,
) -> None:
    """Serve the gateway at /v1.

    SIGTERM and Ctrl-C stop it: no new requests, those under way may end within --grace, streams that
    are still open then end with an error event. A second signal ends them at once.

    \b
    Examples:
      GROQ_API_KEY=... stepwell serve
      stepwell serve --config stepwell.yaml
      stepwell serve --host 0.0.0.0 --port 80 --grace 5s

    \b
    Exit codes: 0 stopped, 1 the address is not free, 2 wrong settings.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    with settings_mistakes_told():
        settings = _with_database(load_settings(config))
        app = create_app(settings, authenticate=None if settings.api_keys else Anonymous())
    _set_up_logging(log_level, settings)
    listener = _listener(host, port, settings)
    address = _address(host, listener)
    gateway: Gateway = app.state.gateway
    server = GatewayServer(app, gateway, grace=grace, announce=lambda: _announce(address, gateway))
    server.run(sockets=[listener])


def _with_database(settings: Settings) -> Settings:
    """Return settings with a database: a server that is started again should know what was spent."""
    if "url" in settings.database.model_fields_set:  # said, if only that there is none
        return settings
    return settings.model_copy(update={"database": DatabaseSettings(url=Secret(DATABASE))})


def _listener(host: str, port: int, settings: Settings) -> socket.socket:
    """Open the port, unless that would let strangers in.

    What was bound is looked at, not what was asked for: `--host` may be a name.
    """
    listener = open_port(host, port)
    if not settings.api_keys and not bound_to(listener).is_loopback:
        listener.close()
        fail(
            f"stepwell: {host} can be reached by others, and no key is configured: "
            "set api_keys (or STEPWELL_API_KEY), or stay on --host 127.0.0.1",
            WRONG_SETTINGS,
        )
    return listener


def _set_up_logging(level: LogLevel, settings: Settings) -> None:
    """Log to stderr, without secrets; here and nowhere else, because a library must not."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # On the handler, so that also what other libraries log passes it.
    handler.addFilter(Redactor(settings.secrets()).filter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level is not LogLevel.DEBUG:
        logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its start and stop; we have ours


def _address(host: str, listener: socket.socket) -> str:
    """Return a URL by which this machine reaches the server."""
    name = HOST if bound_to(listener).is_unspecified else host
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"


def _announce(address: str, gateway: Gateway) -> None:
    print("\n".join(_welcome(address, gateway)), flush=True)


def _welcome(address: str, gateway: Gateway) -> Iterator[str]:
    settings, routes = gateway.settings, gateway.routes
    keys = len(settings.api_keys)
    yield f"stepwell {__version__} on {address}"
    for chain in routes.chains.values():
        mark = " (default)" if chain.name == routes.default else ""
        yield f"chain {chain.name}{mark}: {' > '.join(step.name for step in chain.steps)}"
    yield f"model may be: {_names(gateway)}"
    yield f"client keys: {keys}" if keys else "client keys: none, so anyone on this machine may ask"
    yield "limits shared: this process only"
    yield f"limits remembered: {_database(settings)}"
    yield f"try: {curl_line(address, model=routes.default, keys=bool(keys))}"


def _database(settings: Settings) -> str:
    """Return where limits outlive the process, without user and password."""
    if settings.database.url is None:
        return "no, because database.url is null"
    address = urlsplit(settings.database.url.reveal())
    if address.scheme == "sqlite":
        return f"in the file {address.path.removeprefix('/')}"
    return f"in {address.path.removeprefix('/')} at {address.hostname}"


def _names(gateway: Gateway) -> str:
    routes = gateway.routes
    names = [model.id for model in routes.models()]
    shown = ", ".join(names[:MOST_NAMES])
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    rejects = gateway.settings.unknown_model == "reject"
    other = "" if rejects else f"; any other name goes down {routes.default}"
    return f"{shown}{more}{other}"
