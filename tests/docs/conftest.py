"""The documentation, read by a program."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

Row = tuple[str, ...]


class Page:
    """One Markdown file of the project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()

    def blocks(self, language: str) -> list[str]:
        """Return the fenced blocks of a language, in order."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)

    def words(self) -> list[str]:
        """Return every code span."""
        return re.findall(r"`([^`\n]+)`", self.prose)

    def links(self) -> list[str]:
        """Return the targets of links to other files."""
        found = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [link for link in found if "://" not in link and not link.startswith("#")]

    def tables(self) -> dict[str, list[Row]]:
        """Return by heading the cells of its tables, without their heads."""
        parts = re.split(r"^## (.+)$", self.prose, flags=re.MULTILINE)
        return {
            title.replace("`", ""): rows
            for title, text in zip(parts[1::2], parts[2::2], strict=True)
            if (rows := _rows(text))
        }


def _rows(text: str) -> list[Row]:
    tables = re.findall(r"^\|.*\n\|[-| ]+\|\n((?:\|.*\n?)+)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


@pytest.fixture
def page() -> Callable[[str], Page]:
    """Return a function that opens a page by its path in the project."""
    return lambda name: Page(ROOT / name)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set every variable that the documentation's settings name."""
    variables = {
        "STEPWELL_API_KEY": "sk-change-me",
        "CI_KEY": "sk-ci",
        "GROQ_API_KEY": "sk-groq",
        "GEMINI_API_KEY": "sk-gemini",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
