"""The command as a whole: its help, its version, and what it says without its extra."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import stepwell

COMMAND = [sys.executable, "-m", "stepwell"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Makes an import of this module fail as if it were not installed.
WITHOUT = "import sys; sys.modules[{!r}] = None; from stepwell.cli import main; main()"


@pytest.mark.parametrize("module", ["typer", "rich", "uvicorn", "httptools"])
def test_without_the_extra_one_line_says_what_to_install(module: str) -> None:
    """No traceback: the pip line that mends it, and exit code 2."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module)], capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert module in result.stderr
    assert "pip install 'stepwell[standalone]'" in result.stderr


def test_a_missing_module_of_ours_is_not_blamed_on_the_extra() -> None:
    """Whoever breaks the package sees the real error."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT.format("stepwell.gateway")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "ModuleNotFoundError" in result.stderr
    assert "pip install" not in result.stderr


def test_importing_the_command_line_loads_nothing_of_the_extra() -> None:
    """A host that imports all of stepwell's modules needs no typer."""
    code = (
        "import sys, stepwell.cli; print(sorted({'typer', 'rich', 'uvicorn'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout == "[]\n"


def test_the_version_is_the_packages(run: Run) -> None:
    """`--version` prints it and exits."""
    result = run("--version")

    assert (result.returncode, result.stdout) == (0, f"stepwell {stepwell.__version__}\n")


@pytest.mark.parametrize("command", ["serve", "check", "demo"])
def test_each_command_explains_itself_with_examples_and_exit_codes(run: Run, command: str) -> None:
    """Examples stand on lines of their own, as one would type them."""
    result = run(command, "--help")

    assert result.returncode == 0
    assert "Exit codes: 0" in result.stdout
    assert any(line.strip().startswith(f"stepwell {command}") for line in result.stdout.split("\n"))
    assert "\x1b" not in result.stdout


def test_completion_scripts_are_not_offered(run: Run) -> None:
    """A server's command line changes nobody's shell."""
    assert "completion" not in run("--help").stdout


def test_a_wrong_option_is_told_with_exit_code_2(run: Run) -> None:
    """Usage mistakes have the exit code of settings mistakes."""
    result = run("serve", "--grace", "soon")

    assert result.returncode == 2
    assert "'soon' is not a duration" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
@pytest.mark.parametrize("arguments", [["catalog"], ["catalog", "--json"], ["--version"]])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_cannot_be_written_is_told_in_a_line(
    environment: dict[str, str], arguments: list[str], buffered: str
) -> None:
    """A disk that is full is no reason for a traceback, at once or at the end."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*COMMAND, *arguments],
            env=environment | {"PYTHONUNBUFFERED": buffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert result.returncode == 1
    assert result.stderr == "stepwell: standard output: no space left on device\n"


@pytest.mark.parametrize("closed", ["|", ">&-"])
def test_output_that_nobody_reads_is_no_news(environment: dict[str, str], closed: str) -> None:
    """`stepwell catalog | head -1` says nothing on stderr, nor where there is no output at all."""
    end = "| :" if closed == "|" else closed
    result = subprocess.run(
        ["sh", "-c", f'"$0" -m stepwell catalog --json {end}', sys.executable],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.stdout, result.stderr) == ("", "")
