import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.settings import Settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's variables out, and resolve relative paths in an empty directory."""
    for name in list(os.environ):
        if name.upper().startswith("STEPWELL_") or name.endswith(("_API_KEY", "_ACCOUNT_ID")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    """Write a text to `stepwell.yaml` and load it under that name."""

    def load(text: str | bytes, **code: object) -> Settings:
        raw = text.encode() if isinstance(text, str) else text
        (tmp_path / "stepwell.yaml").write_bytes(raw)
        return Settings.load("stepwell.yaml", **code)

    return load
