"""`stepwell explain`: what would become of a request now, without a call of any provider."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from rich.table import Table

from stepwell.api.auth import Anonymous
from stepwell.app import create_app
from stepwell.cli.console import (
    FAILED,
    WRONG_SETTINGS,
    console,
    fail,
    load_settings,
    print_json,
    printable,
    settings_mistakes_told,
    table,
)
from stepwell.cli.remote import DEFAULT_URL, KeyOption, NoAnswer, UrlOption, ask, connect
from stepwell.cli.status import cooldown_text, time_text
from stepwell.settings import DatabaseSettings, Settings

PATH: Final = "/v1/chat/completions?explain=true"

_BYTES_PER_TOKEN: Final = 4
"""As the gateway's own estimate has it; see `stepwell.quota.estimate`."""

MOST_TOKENS: Final = 5_000_000
"""More than any context; a request of that size still fits into `limits.max_body`."""

WOULD: Final[Mapping[str, str]] = {
    "call": "It would be sent to {target}.",
    "probe": "It would be tried at {target}: what stands in the way there is no proof.",
    "wait": "It would wait.",
    "fail": "Nobody could serve it now.",
    "reject": "Nobody could ever serve it.",
}


def explain(  # noqa: PLR0917 - one for each option
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The request's JSON; - is standard input."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Instead of what the request names.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_TOKENS, help="Instead of a file: tokens of the prompt, about."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="Explain by these settings, with quota untouched.",
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say which steps a request would take or skip now, and why. No provider is called.

    It asks a gateway that runs; with --config it goes by settings alone, which know nothing of what
    was used.

    \b
    Examples:
      stepwell explain --model fast --tokens 30000
      stepwell explain request.json --json | jq .decision
      stepwell explain --config stepwell.yaml request.json

    \b
    Exit codes: 0 explained, 1 no gateway answers, or it refuses, 2 wrong settings or usage.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    if file is not None and tokens is not None:
        raise typer.BadParameter("give a file or --tokens, not both")
    body = _body(file, model, tokens or 1)
    try:
        with settings_mistakes_told():
            settings = None if config is None else load_settings(config)
            document = asyncio.run(_explanation(settings, url, key, body))
    except NoAnswer as error:
        fail(f"stepwell: {error}", FAILED)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _body(file: Path | None, model: str | None, tokens: int) -> bytes:
    if file is None:
        content = "." * (tokens * _BYTES_PER_TOKEN)
        request: Any = {"messages": [{"role": "user", "content": content}]}
    else:
        request = _read(file)
    if model is not None:
        request["model"] = model
    return json.dumps(request, ensure_ascii=False).encode(errors="replace")


def _read(file: Path) -> Any:
    try:
        request = json.loads(sys.stdin.read() if str(file) == "-" else file.read_bytes())
    except OSError as error:
        fail(f"stepwell: {file}: {(error.strerror or str(error)).lower()}", WRONG_SETTINGS)
    except (ValueError, RecursionError) as error:
        fail(f"stepwell: {file}: not valid JSON: {error}", WRONG_SETTINGS)
    if not isinstance(request, dict):
        fail(f"stepwell: {file}: a request is a JSON object", WRONG_SETTINGS)
    return request


async def _explanation(
    settings: Settings | None, url: str, key: str, body: bytes
) -> Mapping[str, Any]:
    async with connect(url, key) if settings is None else _inside(settings) as client:
        return await ask(client, "POST", PATH, body=body)


def _inside(settings: Settings) -> httpx.AsyncClient:
    """Return a client of a gateway in this process, which asks the same code and writes nothing."""
    blank = settings.model_copy(update={"database": DatabaseSettings()})
    app = create_app(blank, authenticate=Anonymous())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://settings")


def _print(document: Mapping[str, Any]) -> None:
    screen = console()
    estimate = document["estimate"]
    needs = f"; it needs {', '.join(document['needs'])}" if document["needs"] else ""
    free = "; it must cost nothing" if document["free_only"] else ""
    screen.print(
        f"By way of {printable(document['route'])}: about {estimate['prompt_tokens']} tokens of "
        f"prompt, {estimate['answer_tokens']} of answer{needs}{free}.",
        soft_wrap=True,
    )
    screen.print(_steps(document))
    screen.print(WOULD[document["decision"]].format(target=document["target"]), soft_wrap=True)
    if document["error"] is not None:
        screen.print(printable(document["error"]["message"]), soft_wrap=True)
    if document["reset"] is not None:
        reset = time_text(document["reset"])
        screen.print(f"The soonest reset is in {reset}, at {document['reset_at']}.")


def _steps(document: Mapping[str, Any]) -> Table:
    rows = table("step", "target", "would be", "why")
    for step in document["steps"]:
        name = f"{step['step']} (paid)" if step["paid"] else step["step"]
        if not step["targets"]:
            rows.add_row(name, "", step["decision"], step["reason"])
        for target in step["targets"]:
            why = "" if target["cooldown"] is None else cooldown_text(target["cooldown"])
            rows.add_row(name, target["target"], target["decision"], printable(why))
            name = ""
    return rows
