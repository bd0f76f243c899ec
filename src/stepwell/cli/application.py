"""The commands put together, and what holds for all of them."""

from typing import Annotated, NoReturn

import typer

from stepwell import __version__
from stepwell.cli.catalog import catalog
from stepwell.cli.check import check
from stepwell.cli.demo import demo
from stepwell.cli.explain import explain
from stepwell.cli.init import init
from stepwell.cli.replay import replay
from stepwell.cli.serve import serve
from stepwell.cli.status import status

# Typer's own extras stay out: its pretty tracebacks print local variables, and those hold keys;
# its rich help draws boxes round a page that should survive a pipe; completion scripts are no
# option of a server.
application = typer.Typer(
    name="stepwell",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
application.command()(serve)
application.command()(check)
application.command()(init)
application.command()(catalog)
application.command()(replay)
application.command()(status)
application.command()(explain)
application.command()(demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"stepwell {__version__}")
        raise typer.Exit


@application.callback()
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
    application(prog_name="stepwell")
    raise SystemExit(0)
