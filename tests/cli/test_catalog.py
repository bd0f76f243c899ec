"""`stepwell catalog`: what is known of providers, on a screen and for scripts."""

import json
import subprocess
from collections.abc import Callable

import pytest

from stepwell.cli.catalog import cost_of
from stepwell.providers.catalogue import presets

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_all_providers_are_listed(run: Run) -> None:
    """In the catalogue's order, with the limits of the model to begin with, and their age."""
    shown = run("catalog")
    assert shown.returncode == 0
    first = [line.split()[0] for line in shown.stdout.splitlines() if line[1:2].strip()]
    assert [word for word in first if word in presets()] == list(presets())
    assert "2026-06" in shown.stdout
    assert "0000000000" not in shown.stdout


def test_one_provider_is_shown_with_all_that_is_known(run: Run) -> None:
    """Address, key, limits with date and certainty, what is changed on the way, and remarks."""
    shown = run("catalog", "mistral").stdout
    for words in (
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        "seed as random_seed",
        "not asked for in streams",
        "2026-07-26",
        "secondary",
        "medium",
        "Refuses fields it does not know",
    ):
        assert words in shown


def test_a_day_and_the_facts_of_models_are_shown(run: Run) -> None:
    """Where they are known."""
    shown = run("catalog", "gemini").stdout
    assert "00:00 America/Los_Angeles" in shown
    assert "gemma-*: can vision" in shown
    assert "not free" in shown


def test_scripts_get_the_data_as_they_are(run: Run) -> None:
    """One document; of all providers a list."""
    one = json.loads(run("catalog", "groq", "--json").stdout)
    every = json.loads(run("catalog", "--json").stdout)["providers"]
    assert one["id"] == "groq"
    assert one["limits"][0]["rpm"] == 30
    assert [each["id"] for each in every] == list(presets())
    assert every[1] == one


def test_a_name_that_is_not_known_is_told_with_a_near_one(run: Run) -> None:
    """On stderr, with the code for wrong usage."""
    answer = run("catalog", "grok")
    assert answer.returncode == 2
    assert answer.stderr == "stepwell: unknown provider 'grok'; did you mean 'groq'?\n"


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("groq", "free"),
        ("openrouter", "free: *:free, openrouter/free"),
        ("ovh", "free without a key"),
        ("vllm", "free"),
        ("openai", "paid"),
    ],
)
def test_costs_are_told_in_a_word(name: str, cost: str) -> None:
    """Patterns, where only some of the models are free."""
    assert cost_of(presets()[name]) == cost
