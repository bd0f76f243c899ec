"""What the commands share: where they print, how they complain, and a few words for the eye."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Never

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from stepwell.errors import SettingsError
from stepwell.quota.limit import Limit, parse_duration
from stepwell.settings import Settings

FAILED: Final = 1
WRONG_SETTINGS: Final = 2

PIPE_WIDTH: Final = 120
"""Columns of a table that goes to a file or a pipe, where nobody can say how wide it may be."""

SHARED: Final[Mapping[str, str]] = {
    "account": " of the account",
    "free": " of all :free models",
}
"""What is said of a limit by its scope, if other models share it."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Settings. Default: STEPWELL_CONFIG, ./stepwell.yaml, or key variables alone.",
    ),
]


def console(*, stderr: bool = False) -> Console:
    """Return a console that colours, moves and measures only in a real terminal.

    Whether it is one is decided here: rich also goes by variables such as FORCE_COLOR, by which a
    file would get control characters. NO_COLOR stays rich's to obey.
    """
    stream = sys.stderr if stderr else sys.stdout
    live = stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return Console(
        stderr=stderr,
        force_terminal=live,
        width=None if stream.isatty() else PIPE_WIDTH,
        markup=False,  # names such as `[x]` are names
        emoji=False,
        highlight=False,
    )


def table(*columns: str) -> Table:
    """Return a table with these heads and no lines but the one below them."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def fail(lines: str | Iterable[str], code: int) -> Never:
    """Say on stderr what is wrong and exit."""
    for line in [lines] if isinstance(lines, str) else lines:
        print(printable(line), file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def settings_mistakes_told() -> Iterator[None]:
    """Turn a SettingsError into its lines on stderr and exit code 2."""
    try:
        yield
    except SettingsError as error:
        fail(error.problems, WRONG_SETTINGS)


def load_settings(config: Path | None) -> Settings:
    """Read the file, or what is found without one.

    Raises:
        SettingsError: Something is wrong.
    """
    return Settings.discover() if config is None else Settings.load(config)


def printable(text: str) -> str:
    """Return the text without control characters: a provider's words must not drive a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def duration(text: str) -> float:
    """Read an option such as 30s, 1m30s or 5."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def limit_text(limit: Limit) -> str:
    """Return a limit as settings write it, and what shares it, if not a model's calls alone."""
    calendar = limit.calendar
    window = f"{calendar.unit} from {calendar}" if calendar else seconds_text(limit.window)
    return f"{limit.amount} {limit.metric}/{window}{SHARED.get(limit.scope, '')}"


def seconds_text(seconds: float) -> str:
    """Return a window in its largest whole unit: `6s`, `1m`, `1d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def curl_line(address: str, *, model: str, keys: bool) -> str:
    """Return a command that asks the gateway something; it names a key's variable, never a key."""
    key = ' -H "Authorization: Bearer $STEPWELL_API_KEY"' if keys else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return (
        f"curl -i {address}/v1/chat/completions{key}"
        f" -H 'Content-Type: application/json' -d '{body}'"
    )


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document for scripts."""
    print(json.dumps(document, indent=2))
