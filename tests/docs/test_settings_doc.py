"""docs/settings.md names every setting with its true default, and nothing else."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from stepwell import Settings
from stepwell.providers.dialects import NAMES
from stepwell.settings.model import DIALECT_ALIASES, Shape

Model = type[BaseModel]


def parts(model: Model = Shape, place: str = "") -> Iterator[tuple[str, Model]]:
    """Yield every model of settings with its place, which is its heading on the page."""
    yield place, model
    for name, field in model.model_fields.items():
        for sign, child in children(field.annotation):
            yield from parts(child, path(place, name) + sign)


def path(place: str, name: str) -> str:
    """Return a setting's name as prose has it: `timeouts.total`."""
    return f"{place}.{name}" if place else name


def children(annotation: Any, sign: str = "") -> Iterator[tuple[str, Model]]:
    """Yield the models inside a type: `[]` stands for a list's, `.NAME` for a mapping's."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield sign, annotation
    signs = {tuple: "[]", dict: ".NAME"}
    for inner in get_args(annotation):
        yield from children(inner, signs.get(get_origin(annotation), sign))


PARTS = dict(parts())
# A section such as `timeouts` has a heading of its own in place of a row.
FIELDS = [
    (place, name)
    for place, model in PARTS.items()
    for name in model.model_fields
    if path(place, name) not in PARTS
]


@pytest.fixture
def documented(page: Any) -> dict[tuple[str, str], tuple[str, str]]:
    """Default and meaning of each setting on the page, by place and name."""
    return {
        (title.replace("Top level", ""), name): (default, meaning)
        for title, rows in page("docs/settings.md").tables().items()
        for names, default, meaning in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def test_every_setting_is_there_and_no_other(documented: dict[tuple[str, str], Any]) -> None:
    """Sections and names are those of the code."""
    assert sorted(documented) == sorted(FIELDS)


@pytest.mark.parametrize(("place", "name"), FIELDS)
def test_the_default_is_true(documented: Any, place: str, name: str) -> None:
    """A code span is read as a file's value would be; words stand where the code has none."""
    field = PARTS[place].model_fields[name]
    cell = documented[place, name][0]
    default = field.get_default(call_default_factory=True)
    if is_value(field, default):
        assert written(cell, field) == default
    else:
        assert cell
        assert not re.fullmatch(r"`[^`]+`", cell) or cell.strip("`") in paths()


def is_value(field: FieldInfo, default: Any) -> bool:
    return not field.is_required() and default is not None and default not in ((), {}, "")


def written(cell: str, field: FieldInfo) -> Any:
    """Return what a file that holds the cell's code span would mean."""
    span = re.fullmatch(r"`([^`]+)`", cell)
    assert span is not None, f"{cell!r} is not a value"
    kind: Any = TypeAdapter(field.rebuild_annotation())
    try:
        return kind.validate_strings(span[1])
    except ValidationError:
        return kind.validate_python(span[1])


def paths() -> set[str]:
    return {path(place, name) for place, name in FIELDS}


def test_settings_in_the_text_exist(page: Any) -> None:
    """Whoever writes `timeouts.total` in any page means something that exists."""
    for name in ("README.md", "CHANGELOG.md", "docs/settings.md", "docs/errors.md"):
        spans = [word for word in page(name).words() if re.fullmatch(r"[a-z_]+\.[a-z_]+", word)]
        assert {span for span in spans if span.partition(".")[0] in PARTS} <= paths()


@pytest.mark.parametrize(("place", "name"), FIELDS)
def test_every_choice_is_named(documented: Any, place: str, name: str) -> None:
    """Where only certain words are allowed, the row has them all."""
    field = PARTS[place].model_fields[name]
    row = " ".join(documented[place, name])
    assert [word for word in words(field.annotation) if f"`{word}`" not in row] == []


def words(annotation: Any) -> Iterator[str]:
    """Yield the strings that a type consists of."""
    for inner in get_args(annotation):
        if isinstance(inner, str):
            yield inner
        else:
            yield from words(inner)


def test_the_dialects_exist(documented: Any) -> None:
    """Those that the page names."""
    default, meaning = documented["providers.NAME", "dialect"]
    named = re.findall(r"`([\w-]+)`", default + meaning)
    assert named
    assert set(named) <= {*NAMES, *DIALECT_ALIASES}


@pytest.mark.parametrize("name", ["README.md", "docs/settings.md"])
def test_the_overrides_are_taken(
    page: Any, keys: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Each `STEPWELL_...__...=` of the page changes what its block of settings says."""
    file = tmp_path / "stepwell.yaml"
    file.write_text(page(name).blocks("yaml")[0])
    before = Settings.load(file)
    overrides = [word for word in page(name).words() if re.match(r"STEPWELL_\w+__\w+=", word)]
    assert overrides
    for override in overrides:
        variable, _, value = shlex.split(override)[0].partition("=")
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            assert Settings.load(file) != before
