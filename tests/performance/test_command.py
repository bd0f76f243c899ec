"""benchmarks/run.py as a command: what it says before it measures anything."""

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


def run(*options: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUN), *options],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": path},
    )


def test_a_missing_tool_is_named_with_the_line_that_installs_it(tmp_path: Path) -> None:
    """And the code is that of a wrong usage, not of a missed bar."""
    done = run("--no-peers", path=str(tmp_path))
    assert done.returncode == 2
    assert "wrk is not installed: apt-get install wrk" in done.stderr.splitlines()
    assert done.stdout == ""


def test_a_group_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """With the names of those that do."""
    done = run("--only", "speed", path=str(tmp_path))
    assert done.returncode == 2
    assert "first-token" in done.stderr


def test_help_shows_examples(tmp_path: Path) -> None:
    """It needs no tool."""
    done = run("--help", path=str(tmp_path))
    assert done.returncode == 0
    assert "benchmarks/run.py --quick" in done.stdout
