"""docs/providers.md says of every provider what the catalogue has, and nothing else."""

from collections.abc import Iterator
from typing import Any

from stepwell.providers.catalogue import Preset, presets
from stepwell.settings.environment import discoverable

Row = tuple[str, ...]


def providers() -> Iterator[Row]:
    alone = discoverable()
    for name, preset in presets().items():
        keys = spans(preset.env) or "none"
        without = "without a key" if any(row.anonymous for row in preset.limits) else "none"
        free = "all" if "*" in preset.free else spans(preset.free) or without
        file = "no" if name in alone else "yes"
        yield f"`{name}`", preset.name, f"<{preset.base_url}>", preset.sure, keys, free, file


def limits() -> Iterator[Row]:
    for name, preset in presets().items():
        for limit in preset.limits:
            whose = " without a key" if limit.anonymous else ""
            numbers = str(limit) or "no numbers"
            source = f"{limit.evidence}, {limit.sure}"
            yield f"`{name}`", spans(limit.models) + whose, numbers, limit.as_of, source, limit.note


def parameters() -> Iterator[Row]:
    for name, preset in presets().items():
        yield from parameters_of(f"`{name}`", preset)


def parameters_of(name: str, preset: Preset) -> Iterator[Row]:
    """Yield a row for a provider that wants something otherwise, and for each such model."""
    renamed = spans(f"{ours}: {theirs}" for ours, theirs in preset.rename.items())
    usage = "" if preset.stream_usage else "not asked for"
    if preset.drop or renamed or usage:
        yield name, "all", spans(preset.drop), renamed, usage
    for facts in preset.known:
        if facts.drop:
            yield name, spans(facts.models), spans(facts.drop), "", ""


def spans(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in words)


def test_the_tables_are_the_catalogue(page: Any) -> None:
    """Row by row, so that who corrects a number corrects the page."""
    tables = page("docs/providers.md").tables()
    assert tables == {
        "Providers": list(providers()),
        "Free limits": list(limits()),
        "Parameters": list(parameters()),
    }


def test_every_day_that_begins_at_a_known_time_is_told(page: Any) -> None:
    """All others are any 24 hours."""
    text = " ".join(page("docs/providers.md").text.split())
    told = {f"`{name}` ({preset.day_reset})" for name, preset in presets().items()}
    assert {each for each in told if each in text} == {
        f"`{name}` ({preset.day_reset})" for name, preset in presets().items() if preset.day_reset
    }


def test_every_address_that_wants_a_value_is_explained(page: Any) -> None:
    """With the setting and the variable that give it."""
    text = page("docs/providers.md").text
    for preset in presets().values():
        for name, variable in preset.vars.items():
            assert f"`{{{name}}}`" in text
            assert f"`{variable}`" in text
