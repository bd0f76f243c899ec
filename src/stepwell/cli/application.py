"""The commands put together, and what holds for all of them."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Final, NoReturn

import typer

from stepwell import __version__
from stepwell.cli.console import FAILED

# In the order of the help. Each stands in a module of its name, which is loaded for that command
# alone: the demo's simulated providers would cost a server several megabytes.
COMMANDS: Final = ("serve", "check", "init", "catalog", "replay", "status", "explain", "demo")


UNWRITABLE: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF})
"""What a write to a pipe, a file or a terminal may fail with."""


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
    with _output_that_may_fail():
        application(named if known else COMMANDS)(prog_name="stepwell")
    raise SystemExit(0)


@contextmanager
def _output_that_may_fail() -> Iterator[None]:
    """Say in one line that standard output takes no more; say nothing where nobody reads it."""
    # Python has none where it was closed before the start.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - or it fails again at the exit
        if error.errno != errno.EPIPE:
            print(f"stepwell: standard output: {str(error.strerror).lower()}", file=sys.stderr)
        raise SystemExit(FAILED) from None
