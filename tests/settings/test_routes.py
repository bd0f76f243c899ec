"""From settings to chains, steps, targets and accounts."""

from collections.abc import Mapping
from typing import Any

import pytest

from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.routing.chain import Step
from stepwell.secrets import Secret
from stepwell.settings import ClientKey, Settings

PER_MODEL = Limit(Metric.REQUESTS, 10, 60.0)
PER_ACCOUNT = Limit(Metric.REQUESTS, 100, 60.0, Scope.ACCOUNT)


def _settings(chains: Mapping[str, Any], **more: Any) -> Settings:
    providers = {
        "two": {
            "base_url": "http://two/v1",
            "api_keys": ["sk-one", "", "sk-other"],
            "limits": [
                "10 requests/minute",
                {"metric": "requests", "limit": 100, "window": "60s", "scope": "account"},
            ],
            "concurrency": 4,
            "timeout": "9s",
            "context": 8000,
            "capabilities": ["tools"],
        },
        "local": {"base_url": "http://127.0.0.1:1/v1", "prefill": True, "stream_usage": False},
    }
    return Settings(providers=providers, chains=chains, **more)


def _steps(settings: Settings, chain: str = "default") -> tuple[Step, ...]:
    return settings.routes().chains[chain].steps


def test_each_key_is_an_account_and_a_target() -> None:
    """Empty keys do not count; further accounts are numbered from 2."""
    settings = _settings({"default": ["two/m"]})
    (step,) = _steps(settings)
    assert [target.key for target in step.targets] == ["two/m", "two#2/m"]
    accounts = settings.accounts()
    assert list(accounts) == ["two", "two#2", "local"]
    assert [a.key.reveal() for a in accounts.values() if a.key] == ["sk-one", "sk-other"]


def test_a_provider_without_keys_is_one_account_without_a_key() -> None:
    """Local servers need none."""
    settings = _settings({"default": ["local/m"]})
    assert [target.account for target in _steps(settings)[0].targets] == ["local"]
    assert settings.accounts()["local"].key is None


def test_a_model_may_hold_slashes_and_colons() -> None:
    """Only the first slash separates."""
    (step,) = _steps(_settings({"default": ["two/meta/llama-3:free"]}))
    assert (step.provider, step.model) == ("two", "meta/llama-3:free")


def test_a_step_takes_from_its_provider_what_it_does_not_say() -> None:
    """The provider's values hold, and `timeouts` where the provider says nothing either."""
    two, local = _steps(_settings({"default": ["two/m", "local/m"]}, timeouts={"attempt": 33}))
    assert (two.timeout, two.context, two.capabilities) == (9.0, 8000, frozenset({"tools"}))
    assert (local.timeout, local.context, local.capabilities) == (33.0, None, None)
    assert (two.prefill, two.usage, local.prefill, local.usage) == (False, True, True, False)
    assert two.targets[0].limits == (PER_MODEL, PER_ACCOUNT)
    assert two.targets[0].concurrency == 4


def test_what_a_step_says_beats_its_provider() -> None:
    """Limits per model are replaced; those of the account are the account's, and stay."""
    said = {
        "provider": "two",
        "model": "m",
        "timeout": "1s",
        "cost": "paid",
        "params": {"temperature": 0},
        "limits": ["5 requests/s"],
        "concurrency": 1,
        "context": 1000,
        "capabilities": ["vision"],
        "prefill": True,
    }
    (step,) = _steps(_settings({"default": [said]}))
    assert (step.timeout, step.paid, step.params) == (1.0, True, {"temperature": 0})
    assert (step.context, step.capabilities, step.prefill) == (1000, frozenset({"vision"}), True)
    assert step.targets[0].limits == (Limit(Metric.REQUESTS, 5, 1.0), PER_ACCOUNT)
    assert step.targets[0].concurrency == 1


def test_an_account_limit_at_one_step_holds_for_all_models_of_the_account() -> None:
    """The ledger must see it at each of the account's targets, or calls there would not count."""
    limit = {"metric": "tokens", "limit": 7, "window": "1s", "scope": "account"}
    said = {"provider": "local", "model": "a", "limits": [limit]}
    steps = _steps(_settings({"default": [said, "local/b"]}))
    expected = (Limit(Metric.TOKENS, 7, 1.0, Scope.ACCOUNT),)
    assert [step.targets[0].limits for step in steps] == [expected, expected]


def test_two_chains_share_the_targets_of_one_model() -> None:
    """Quota is counted once; limits written in one of the chains hold in both."""
    said = {"provider": "two", "model": "m", "limits": ["5 requests/s"], "timeout": "2s"}
    settings = _settings({"default": ["two/m"], "fast": [said]})
    routes = settings.routes()
    (slow,), (fast,) = routes.chains["default"].steps, routes.chains["fast"].steps
    assert slow.targets is fast.targets
    assert slow.targets[0].limits[0].amount == 5
    assert (slow.timeout, fast.timeout) == (9.0, 2.0)


def test_an_included_chain_comes_in_its_place_and_nothing_twice() -> None:
    """A step that comes a second time is asked where it comes first."""
    chains = {
        "default": ["two/a", {"chain": "more"}, "two/c", "two/a"],
        "more": ["two/b", {"chain": "last"}],
        "last": ["two/c", "local/d"],
    }
    names = [step.name for step in _steps(_settings(chains))]
    assert names == ["two/a", "two/b", "two/c", "local/d"]


def test_a_preset_without_a_free_tier_costs_money_unless_a_step_says_otherwise() -> None:
    """Nobody is billed by surprise for leaving a word out."""
    settings = Settings(
        providers={"o": {"preset": "openai", "api_keys": ["sk-paid"]}},
        chains={"c": ["o/a", {"provider": "o", "model": "b", "cost": "free"}]},
    )
    assert [step.paid for step in _steps(settings, "c")] == [True, False]


@pytest.mark.parametrize(
    ("chains", "named", "default"),
    [
        (["a", "default"], None, "default"),
        (["a", "b"], None, "a"),
        (["a", "b"], "b", "b"),
        (["a", "default"], "a", "a"),
    ],
)
def test_the_default_chain_is_the_named_one_else_default_else_the_first(
    chains: list[str], named: str | None, default: str
) -> None:
    """One chain needs no name for being the default."""
    settings = _settings({name: ["local/m"] for name in chains}, default_chain=named)
    assert settings.routes().resolve("").name == default


def test_a_pinned_step_is_built_like_any_other() -> None:
    """It has the provider's limits, and the same targets each time."""
    routes = _settings({"default": ["local/m"]}, pins="any").routes()
    first = routes.resolve("two/x/y", pin_any=True).steps[0]
    again = routes.resolve("two/x/y", pin_any=True).steps[0]
    assert first is again
    assert (first.model, first.timeout) == ("x/y", 9.0)
    assert first.targets[0].limits == (PER_MODEL, PER_ACCOUNT)


@pytest.mark.parametrize(
    ("general", "key", "any_"),
    [
        ("chain", {}, False),
        ("any", {}, True),
        ("any", {"pins": "chain"}, False),
        ("chain", {"pins": "any"}, True),
        ("any", {"chains": ["default"]}, False),
        ("chain", {"chains": ["default"], "pins": "any"}, True),
    ],
)
def test_a_restricted_key_pins_only_by_its_own_right(
    general: str, key: dict[str, Any], any_: bool
) -> None:
    """The general setting does not open to a key what its chains keep from it."""
    settings = _settings(
        {"default": ["local/m"]}, pins=general, api_keys=[{"key": "sk-client", **key}]
    )
    assert settings.pins_any(settings.api_keys[0]) is any_


def test_clients_keys_have_names() -> None:
    """By position where none is given, so that records can tell them apart."""
    keys = ["sk-first", {"name": "ci", "key": "sk-second"}, "", ClientKey(key=Secret("sk-fourth"))]
    settings = _settings({"default": ["local/m"]}, api_keys=keys)
    assert [key.name for key in settings.api_keys] == ["key-1", "ci", "key-4"]
