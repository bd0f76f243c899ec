"""What is said and what is known of the conversations that a provider takes."""

from collections.abc import Callable
from typing import Any

import pytest

from stepwell.errors import SettingsError
from stepwell.providers.history import RULES
from stepwell.routing.history import (
    EXTRAS,
    THOUGHTS,
    UNTOUCHED,
    WORD_CHARACTERS,
    HistoryRules,
    at_most,
)
from stepwell.settings import Settings

CHAIN = "chains: {default: [a/m, b/m]}\n"


def rules_of(settings: Settings) -> HistoryRules:
    """Return those of the first step."""
    return settings.routes().chains["default"].steps[0].history


def provider(said: str) -> str:
    """Return a file whose provider `a` says this, beside another one."""
    address = "base_url: 'http://127.0.0.1:9000/v1', api_keys: []"
    return f"{CHAIN}providers:\n  b: {{{address}}}\n  a: {{{address}, {said}}}\n"


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        pytest.param("dialect: auto", HistoryRules(), id="nothing known"),
        pytest.param("preset: mistral", RULES["mistral"], id="preset"),
        pytest.param("dialect: groq", RULES["groq"], id="dialect"),
        pytest.param("history: {tool_ids: 20}", HistoryRules(at_most(20)), id="length"),
        pytest.param(
            "history: {tool_ids: anthropic, fields: [reasoning]}",
            HistoryRules(WORD_CHARACTERS, fields=frozenset({"reasoning"})),
            id="names",
        ),
        pytest.param(
            "preset: openai, history: {cache_control: true}",
            HistoryRules(at_most(40), cache_control=True),
            id="over a preset",
        ),
        pytest.param(
            "history: {tool_ids: any, cache_control: true, fields: any}", UNTOUCHED, id="all"
        ),
    ],
)
def test_what_is_said_wins_over_what_is_known(
    said: str, rules: HistoryRules, load: Callable[..., Settings]
) -> None:
    """Setting by setting; where nothing is known, what everybody takes."""
    assert rules_of(load(provider(said))) == rules


def test_a_provider_is_known_by_the_name_it_is_given() -> None:
    """Whoever calls a provider `mistral` means Mistral."""
    address = {"base_url": "http://127.0.0.1:9000/v1"}
    chains = {"default": ["mistral/m"]}
    settings = Settings(providers={"mistral": address, "b": address}, chains=chains)
    assert rules_of(settings) == RULES["mistral"]


def test_to_the_only_provider_nothing_is_foreign() -> None:
    """Of which nothing is known: it gets back what it has sent."""
    address = {"base_url": "http://127.0.0.1:9000/v1"}
    settings = Settings(providers={"a": address}, chains={"default": ["a/m"]})
    assert rules_of(settings) == UNTOUCHED


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "history: {tool_ids: 8}",
            "tool_ids: this must be the most characters, 9 or more, or any, mistral, anthropic",
        ),
        (
            "history: {tool_ids: openai}",
            "tool_ids: this must be the most characters, 9 or more, or any, mistral, anthropic",
        ),
        (
            "history: {fields: [reasonign]}",
            "fields[0]: 'reasonign' is never left out; did you mean 'reasoning'?",
        ),
        ("history: {fields: reasoning}", "fields: this must be a list"),
        ("history: {tool_id: 40}", "tool_id: unknown setting; did you mean 'tool_ids'?"),
    ],
)
def test_a_mistake_is_told(said: str, line: str, load: Callable[..., Any]) -> None:
    """With its place and what would be right."""
    with pytest.raises(SettingsError) as caught:
        load(provider(said))
    assert f"providers.a.history.{line}" in str(caught.value)


def test_every_known_provider_takes_only_known_fields() -> None:
    """A misspelt one would be dropped without a word."""
    taken = frozenset[str]().union(*(rules.fields for rules in RULES.values()))
    assert taken <= EXTRAS | THOUGHTS
