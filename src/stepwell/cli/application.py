"""The commands put together, and what holds for all of them."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Final, NoReturn

import typer

from stepwell import __version__

# In the order of the help. Each stands in a module of its name, which is loaded for that command
# alone: the demo's simulated providers would cost a server several megabytes.
COMMANDS: Final = ("serve", "check", "init", "catalog", "replay", "status", "explain", "demo")


def application(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """Put the named commands together."""
    # Typer's own extras stay out: its pretty tracebacks print local variables, and those hold keys;
    # its rich help draws boxes round a page that should survive a pipe; completion scripts are no
    # option of a server.
    made = typer.Typer(
        name="stepwell",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    made.callback()(stepwell)
    for name in commands:
        made.command()(getattr(import_module(f"stepwell.cli.{name}"), name))
    return made


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"stepwell {__version__}")
        raise typer.Exit


def stepwell(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """One OpenAI-compatible endpoint over many free tiers.

    A request goes down a chain of providers until one of them has tokens left.

    \b
    Try it:  stepwell demo
    Use it:  GROQ_API_KEY=... stepwell serve
    Set up:  stepwell init
    Check:   stepwell check --config stepwell.yaml --live
    Look:    stepwell status

    \b
    Exit codes: 0 done, 1 it did not work out, 2 wrong settings or usage.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are


def run() -> NoReturn:
    """Run the command that sys.argv names, and exit."""
    named = sys.argv[1:2]
    known = len(named) == 1 and named[0] in COMMANDS
    application(named if known else COMMANDS)(prog_name="stepwell")
    raise SystemExit(0)
