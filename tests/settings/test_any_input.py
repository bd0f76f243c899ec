"""Whatever is in the settings, they are read or refused with lines; nothing else comes out."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell.errors import SettingsError
from stepwell.settings import Settings
from stepwell.settings.environment import overridden
from stepwell.settings.model import Shape
from stepwell.settings.problems import Problems
from stepwell.settings.tree import tree_of

RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["p/m", "default", "5s", "10 requests/6s", "http://p", "any", "sk-canary"]),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def _good() -> dict[str, Any]:
    return {
        "api_keys": ["sk-client", {"name": "ci", "key": "sk-ci-canary", "chains": ["default"]}],
        "providers": {
            "p": {
                "base_url": "http://p/v1",
                "api_keys": ["sk-canary"],
                "limits": ["10 requests/6s", {"metric": "tokens", "limit": 5, "window": "60s"}],
                "headers": {"x-title": "mine"},
            }
        },
        "chains": {
            "default": ["p/m", {"provider": "p", "model": "n"}, {"chain": "o"}],
            "o": ["p/n"],
        },
        "queue": {"max_wait": "0s"},
        "database": {"url": "sqlite:///x.db"},
    }


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below: list[Any] = []
    if isinstance(data, dict):
        below = list(data)
    elif isinstance(data, list):
        below = list(range(len(data)))
    return [path, *(p for key in below for p in _places(data[key], (*path, key)))]


def _replaced(data: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    data[path[0]] = _replaced(data[path[0]], path[1:], junk)
    return data


def _problems_of(data: Any) -> list[str]:
    try:
        Settings.from_dict(data)
    except SettingsError as error:
        return error.problems
    return []


@given(place=st.sampled_from(_places(_good())), junk=JUNK)
@RELAXED
def test_junk_in_any_place_is_read_or_refused(place: tuple[Any, ...], junk: Any) -> None:
    """Only a SettingsError with at least one line may come out, and it shows no key."""
    problems = _problems_of(_replaced(_good(), place, junk))
    assert "" not in problems
    assert not [line for line in problems if "sk-ci-canary" in line]


@given(text=st.one_of(st.text(max_size=200), JUNK.map(json.dumps), st.binary(max_size=60)))
@RELAXED
def test_any_file_is_read_or_refused(tmp_path: Path, text: str | bytes) -> None:
    """No YAML error, and no error of ours, leaves as it is."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    (tmp_path / "any.yaml").write_bytes(raw)
    with pytest.raises(SettingsError):
        Settings.load("any.yaml")


@given(name=st.text("ABPI_KEYSQU", max_size=24), value=st.text(max_size=12))
@RELAXED
def test_any_variable_is_taken_or_refused(name: str, value: str) -> None:
    """An override never fails in another way than by a problem."""
    problems = Problems()
    tree = overridden(
        tree_of(_good()), {f"STEPWELL_{name}": value}, list(Shape.model_fields), problems
    )
    with contextlib.suppress(SettingsError):
        Settings.from_dict(tree.plain())


@pytest.mark.parametrize("data", [[], "text", None, 5])
def test_settings_that_are_no_mapping_are_refused(data: Any) -> None:
    """There is nothing in them to look at."""
    with pytest.raises(SettingsError, match="this must be a mapping"):
        Settings.from_dict(data)
