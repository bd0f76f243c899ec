"""The catalogue: the data hold together, and say of a model what they mean."""

import re
import subprocess
import sys
from urllib.parse import urlsplit

import msgspec
import pytest

from stepwell.providers.catalogue import (
    UNKNOWN,
    FreeLimit,
    Preset,
    chain_models,
    preset_of,
    presets,
)
from stepwell.providers.dialects import NAMES
from stepwell.quota.calendar import Calendar
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.settings.fields import placeholders

EVERY = pytest.mark.parametrize("name", presets())
DATE = re.compile(r"20\d\d(-20\d\d|-\d\d(-\d\d)?)?")


ROWS = [(name, row) for name, preset in presets().items() for row in preset.limits]


def test_it_holds_the_known_providers() -> None:
    """Those of which an address is known, local servers included."""
    assert len(presets()) == 54
    assert {"groq", "cerebras", "gemini", "openrouter", "mistral", "openai"} < presets().keys()
    assert {"ollama-local", "llamacpp", "vllm", "lmstudio"} < presets().keys()


@EVERY
def test_an_address_is_one(name: str) -> None:
    """Encrypted, unless it is this machine; each of its gaps has a variable that fills it."""
    preset = presets()[name]
    for address in (preset.base_url, *preset.alternatives):
        parts = urlsplit(address)
        assert parts.scheme == ("http" if preset.local else "https")
        assert (parts.hostname == "localhost") is preset.local
        assert not address.endswith("/")
    assert placeholders(preset.base_url) == list(preset.vars)


@EVERY
def test_a_dialect_exists(name: str) -> None:
    """Settings take it as it stands."""
    assert presets()[name].dialect in NAMES


@EVERY
def test_a_key_can_be_found_where_one_is_needed(name: str) -> None:
    """Who has neither a variable nor answers without a key could not be used."""
    preset = presets()[name]
    assert preset.env or preset.keyless
    assert preset.keyless or preset.anonymous_key is None
    assert all(re.fullmatch(r"[A-Z0-9_]+", variable) for variable in preset.env)


def test_no_variable_belongs_to_two() -> None:
    """A key must go to its own provider and nowhere else."""
    variables = [variable for preset in presets().values() for variable in preset.env]
    assert len(variables) == len(set(variables))


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_limit_has_a_date_and_says_something(name: str, row: FreeLimit) -> None:
    """A number without its age could not be doubted."""
    assert DATE.fullmatch(row.as_of), name
    assert str(row) or row.note
    assert row.models


@EVERY
def test_a_day_begins_in_a_zone_that_exists(name: str) -> None:
    """As a wall clock's time and a name of the zone data base."""
    if (reset := presets()[name].day_reset) is not None:
        assert str(Calendar.parse("day", reset)) == reset


@EVERY
def test_the_models_to_begin_with_are_free(name: str) -> None:
    """Nobody is billed for a chain that they did not write."""
    preset = presets()[name]
    assert all(preset.is_free(model, keyed=not preset.keyless) for model in preset.models)


@EVERY
def test_what_routing_reads_is_never_dropped_or_renamed(name: str) -> None:
    """And a field is either left out or renamed."""
    preset = presets()[name]
    dropped = preset.dropped_for("*").union(*(facts.drop for facts in preset.known))
    named = {*preset.rename, *preset.rename.values()}
    assert not (dropped | named) & {"model", "messages", "stream", "tools", "stream_options"}
    assert not dropped & named


@pytest.mark.parametrize(
    ("provider", "model", "numbers"),
    [
        ("groq", "openai/gpt-oss-20b", {(30, 60), (1000, 86400), (8000, 60), (200000, 86400)}),
        ("groq", "a-model-of-tomorrow", set()),
        ("gemini", "gemini-flash-lite-latest", {(500, 86400), (250000, 60)}),
        ("gemini", "gemini-flash-latest", {(20, 86400)}),
        ("cerebras", "gemma-4-31b", {(5, 60), (150, 3600), (2400, 86400)}),
        ("openrouter", "openai/gpt-4o", set()),
    ],
)
def test_the_first_row_that_fits_gives_the_limits(
    provider: str, model: str, numbers: set[tuple[int, float]]
) -> None:
    """Special rows stand before the general one."""
    limits = presets()[provider].limits_of(model)
    assert {(limit.amount, limit.window) for limit in limits} == numbers


def test_a_model_has_limits_of_its_own_and_those_of_its_account() -> None:
    """A row for all models together does not hide the one for each."""
    assert presets()["modelscope"].limits_of("Qwen/Qwen3.5-27B") == (
        Limit(Metric.REQUESTS, 2000, 86400.0, Scope.ACCOUNT),
        Limit(Metric.REQUESTS, 200, 86400.0, Scope.MODEL),
    )


@pytest.mark.parametrize(
    ("provider", "model", "calendars"),
    [
        ("gemini", "gemini-flash-lite-latest", {"rpd": "00:00 America/Los_Angeles", "tpm": None}),
        ("openrouter", "openrouter/free", {"rpm": None, "rpd": "00:00 UTC"}),
        ("groq", "openai/gpt-oss-20b", {"rpm": None, "rpd": None, "tpm": None, "tpd": None}),
    ],
)
def test_a_day_is_the_calendars_where_it_is_known_when_it_begins(
    provider: str, model: str, calendars: dict[str, str | None]
) -> None:
    """Elsewhere it rolls, or nobody knows, and any 24 hours count; and so do minutes."""
    limits = presets()[provider].limits_of(model)
    expected = [reset and Calendar.parse("day", reset) for reset in calendars.values()]
    assert [limit.calendar for limit in limits] == expected


def test_a_month_is_the_calendars() -> None:
    """It begins when the provider's days do, at UTC where that is not known."""
    cohere = presets()["cohere"]
    month = Calendar.parse("month", "00:00 UTC")
    assert cohere.limits_of("command-a-03-2025") == (
        Limit(Metric.REQUESTS, 20, 60.0, Scope.ACCOUNT),
        Limit(Metric.REQUESTS, 1000, month.window, Scope.ACCOUNT, month),
    )
    (row,) = cohere.limits
    *_, limit = row.limits("08:00 Asia/Shanghai")
    assert limit.calendar == Calendar.parse("month", "08:00 Asia/Shanghai")


def test_a_key_may_change_limits_and_cost() -> None:
    """OVHcloud answers strangers, a little and for nothing; a key is billed."""
    ovh = presets()["ovh"]
    assert [limit.amount for limit in ovh.limits_of("m", keyed=False)] == [2]
    assert [limit.amount for limit in ovh.limits_of("m")] == [400]
    assert (ovh.is_free("m", keyed=False), ovh.is_free("m")) == (True, False)


def test_what_is_hardly_sure_is_not_counted() -> None:
    """It is shown: a wrong low number would send traffic past a provider that has room."""
    zai = presets()["zai"]
    (row,) = zai.rows_of("glm-4.7-flash")
    assert (row.rpd, row.concurrency, row.sure) == (1000, 1, "low")
    assert zai.limits_of("glm-4.7-flash") == ()


def test_calls_at_once_are_bounded_only_where_that_is_sure() -> None:
    """Because that bound refuses, where a limit only orders."""
    assert presets()["github"].concurrency_of("openai/gpt-4.1") == 2
    assert presets()["ollama-cloud"].rows_of("m")[0].concurrency == 1
    assert presets()["ollama-cloud"].concurrency_of("m") is None


@pytest.mark.parametrize(
    ("provider", "model", "free"),
    [
        ("groq", "openai/gpt-oss-120b", True),
        ("gemini", "gemini-2.5-pro", False),
        ("gemini", "gemini-flash-latest", True),
        ("openrouter", "qwen/qwen3-coder:free", True),
        ("openrouter", "openai/gpt-4o", False),
        ("openrouter", "openrouter/auto", False),
        ("zai", "glm-4.7-flash", True),
        ("zai", "glm-5", False),
        ("openai", "gpt-5", False),
        ("anthropic", "claude", False),
        ("vllm", "mine", True),
    ],
)
def test_what_costs_nothing_is_known_by_model(provider: str, model: str, free: bool) -> None:
    """A provider may have both; a model outside the free tier is not free."""
    assert presets()[provider].is_free(model) is free


def test_facts_of_a_model_add_up() -> None:
    """Fields that all of a provider's models refuse, and those that this one does."""
    gemini = presets()["gemini"]
    assert gemini.context_of("gemini-3.6-flash") == 1048576
    assert {"logprobs", "temperature"} <= gemini.dropped_for("gemini-3.6-flash")
    assert "temperature" not in gemini.dropped_for("gemini-flash-latest")
    assert gemini.capabilities_of("gemma-3-27b-it") == frozenset({"vision"})
    assert gemini.capabilities_of("a-model-of-tomorrow") is None


def test_an_untold_chain_asks_each_provider_once_before_any_twice() -> None:
    """Two models of one provider fail together more often than two providers do."""
    assert chain_models(("groq", "gemini", "openai")) == [
        ("groq", "openai/gpt-oss-120b"),
        ("gemini", "gemini-flash-lite-latest"),
        ("groq", "openai/gpt-oss-20b"),
        ("gemini", "gemini-flash-latest"),
    ]
    assert chain_models(()) == []


def test_of_others_nothing_is_known() -> None:
    """So they cost nothing and have no limits."""
    assert preset_of(None) is UNKNOWN
    assert preset_of("nobody") is UNKNOWN
    assert UNKNOWN.is_free("m")
    assert UNKNOWN.limits_of("m") == ()


def test_numbers_are_told_in_words() -> None:
    """In the order from the shortest window to the longest, requests first."""
    row = FreeLimit(
        models=("*",),
        as_of="2026",
        evidence="code",
        sure="low",
        rpm=2,
        tpm=9,
        requests_month=7,
        concurrency=1,
        shared=True,
    )
    assert str(row) == "2/minute, 9 tokens/minute, 7/month, 1 at once, all models together"
    assert str(presets()["gemini"].rows_of("gemini-2.5-pro")[0]) == "not free"


def test_a_misspelt_field_is_a_mistake() -> None:
    """The data are checked as they are read."""
    with pytest.raises(msgspec.ValidationError, match="fre"):
        msgspec.toml.decode(
            'name = ""\nbase_url = ""\ndialect = ""\nscope = ""\nfre = []', type=Preset
        )


def test_nothing_is_read_before_it_is_needed() -> None:
    """A host whose settings name no preset does not pay for the catalogue."""
    code = (
        "from stepwell.providers.catalogue import presets\nfrom stepwell import Settings\n"
        "Settings(providers={'p': {'base_url': 'http://p/v1'}}, chains={'c': ['p/m']}).routes()\n"
        "assert presets.cache_info().misses == 0"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
