"""The command line: `stepwell serve`, `stepwell check`, `stepwell status` and the others.

It needs the extra `standalone`; the library does not. So nothing of that extra is imported before
`main` runs, and where it is missing `main` says in one line how to get it.
"""

import sys
from typing import Final, NoReturn

EXTRA: Final = frozenset({"typer", "rich", "uvicorn", "httptools"})
"""Top-level modules that the extra brings and the commands cannot do without (uvloop they can)."""

REMEDY: Final = "pip install 'stepwell[standalone]'"


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 it did not work out, 2 wrong settings or usage."""
    try:
        from stepwell.cli.application import run  # noqa: PLC0415 # the extra may be missing

        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        print(f"stepwell: the command line needs {missing}: {REMEDY}", file=sys.stderr)
        sys.exit(2)
