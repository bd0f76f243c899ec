"""What the commands share."""

import io
import sys

import pytest

from stepwell.cli.console import console, curl_line, limit_text, printable, seconds_text
from stepwell.quota.limit import Limit


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def red_word(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    console().print("word", style="red")
    return stream.getvalue()


def test_colour_shows_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it helps."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert red_word(monkeypatch, Terminal()) == "\x1b[31mword\x1b[0m\n"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets NO_COLOR sees none, in a terminal too."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")

    assert "31" not in red_word(monkeypatch, Terminal())


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_can_do_nothing_is_a_file(
    monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    """Its TERM says so."""
    monkeypatch.setenv("TERM", term)

    assert red_word(monkeypatch, Terminal()) == "word\n"


def test_a_file_gets_no_control_characters_whatever_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """FORCE_COLOR of a build server must not spoil a log."""
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert red_word(monkeypatch, io.StringIO()) == "word\n"


def test_square_brackets_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may be called anything."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)

    console().print("[bold]model[/bold] :smile:")

    assert stream.getvalue() == "[bold]model[/bold] :smile:\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(6, "6s"), (0.5, "0.5s"), (60, "1m"), (90, "90s"), (7200, "2h"), (86400, "1d")],
)
def test_windows_are_written_in_their_largest_whole_unit(seconds: float, text: str) -> None:
    """So that they read as they were meant."""
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    "text", ["30 requests/1m", "6000 tokens/6s", "5 requests/day from 00:00 UTC"]
)
def test_a_limit_is_written_as_it_may_be_read(text: str) -> None:
    """What check shows can be copied into the settings."""
    assert limit_text(Limit.parse(text)) == text


def test_what_drives_a_terminal_is_taken_out() -> None:
    """Escape sequences, bells and line ends; letters of every script stay."""
    assert printable("a\x1b[2Jb\x07c\nd é 水") == "a [2Jb c d é 水"


def test_the_curl_line_names_the_keys_variable() -> None:
    """It can be pasted, shown, and sent to a colleague."""
    line = curl_line("http://127.0.0.1:8429", model="default", keys=True)

    assert line.startswith("curl -i http://127.0.0.1:8429/v1/chat/completions -H ")
    assert '"Authorization: Bearer $STEPWELL_API_KEY"' in line
    assert "Authorization" not in curl_line("http://127.0.0.1:8429", model="default", keys=False)
