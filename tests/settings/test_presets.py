"""What a preset brings into the settings, and what beats it."""

import json
from typing import Any

import pytest

from stepwell.chat import ChatRequest
from stepwell.errors import SettingsError
from stepwell.providers.catalogue import presets
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.routing.chain import AS_IT_IS, Step
from stepwell.settings import Settings

MESSAGES = [{"role": "user", "content": "Hello"}]


def settings(provider: dict[str, Any], *steps: Any) -> Settings:
    return Settings(providers={"p": provider}, chains={"c": list(steps)})


def step_of(provider: dict[str, Any], step: Any) -> Step:
    return settings({"api_keys": ["sk-one"], **provider}, step).routes().chains["c"].steps[0]


def sent(step: Step, **fields: Any) -> dict[str, Any]:
    """Return the body that reaches the provider."""
    request = ChatRequest(json.dumps({"messages": MESSAGES, **fields}).encode())
    body: dict[str, Any] = json.loads(request.body_for(step))
    return {name: body[name] for name in body if name not in ("messages", "model")}


def test_each_model_has_the_limits_that_the_preset_knows() -> None:
    """The first row that names it; of a model it does not name nothing is known."""
    made = settings(
        {"preset": "groq", "api_keys": ["sk"]}, "p/openai/gpt-oss-120b", "p/groq/compound", "p/new"
    )
    targets = [step.targets[0] for step in made.routes().chains["c"].steps]
    amounts = [[limit.amount for limit in target.limits] for target in targets]
    assert amounts == [[30, 1000, 8000, 200000], [30, 250, 70000], []]


def test_limits_of_the_account_come_with_the_models_that_share_them() -> None:
    """OpenRouter's free models have one quota."""
    step = step_of({"preset": "openrouter"}, "p/qwen/qwen3-coder:free")
    assert {limit.scope for limit in step.targets[0].limits} == {Scope.FREE}
    paid = step_of({"preset": "openrouter"}, "p/qwen/qwen3-coder")
    assert paid.targets[0].limits == ()


def test_a_presets_day_begins_when_the_providers_does() -> None:
    """Google's at midnight in California; what the settings say instead is what they say."""
    model = "p/gemini-flash-latest"
    (known,) = step_of({"preset": "gemini"}, model).targets[0].limits
    assert known == Limit.parse("20 requests/day from 00:00 America/Los_Angeles")
    (said,) = step_of({"preset": "gemini", "limits": ["9 requests/day"]}, model).targets[0].limits
    assert said.calendar is None


@pytest.mark.parametrize("written", [["7 requests/minute"], []])
def test_limits_of_the_provider_replace_what_the_preset_knows(written: list[str]) -> None:
    """A user corrects a number without a release."""
    step = step_of({"preset": "groq", "limits": written}, "p/openai/gpt-oss-120b")
    assert list(step.targets[0].limits) == [Limit.parse(text) for text in written]


def test_limits_of_a_step_replace_them_for_its_model() -> None:
    """Those of the account stay: they are not the model's."""
    said = {"provider": "p", "model": "m", "limits": ["7 requests/minute"]}
    step = step_of({"preset": "modelscope"}, said)
    assert step.targets[0].limits == (
        Limit(Metric.REQUESTS, 7, 60.0),
        Limit(Metric.REQUESTS, 2000, 86400.0, Scope.ACCOUNT),
    )


def test_context_and_capabilities_are_known_by_model() -> None:
    """And what the settings say wins."""
    known = step_of({"preset": "groq"}, "p/openai/gpt-oss-120b")
    assert (known.context, known.capabilities) == (131072, frozenset({"tools", "json"}))
    said = step_of(
        {"preset": "groq", "context": 9, "capabilities": ["vision"]}, "p/openai/gpt-oss-120b"
    )
    assert (said.context, said.capabilities) == (9, frozenset({"vision"}))


def test_calls_at_once_are_the_presets_unless_said() -> None:
    """As sure as the catalogue is of them."""
    assert step_of({"preset": "github"}, "p/openai/gpt-4.1").targets[0].concurrency == 2
    said = step_of({"preset": "github", "concurrency": 9}, "p/openai/gpt-4.1")
    assert said.targets[0].concurrency == 9


def test_a_model_that_is_not_known_to_be_free_is_paid() -> None:
    """A chain that is free_only refuses it when the settings are read."""
    assert not step_of({"preset": "openrouter"}, "p/openrouter/free").paid
    assert step_of({"preset": "openrouter"}, "p/openai/gpt-4o").paid
    with pytest.raises(SettingsError, match="costs money"):
        Settings(
            providers={"p": {"preset": "gemini", "api_keys": ["sk"]}},
            chains={"c": {"steps": ["p/gemini-2.5-pro"], "free_only": True}},
        )


def test_what_a_provider_refuses_is_left_out_on_the_way() -> None:
    """Mistral answers 422 to fields it does not know, and calls two others differently."""
    step = step_of({"preset": "mistral"}, "p/mistral-small-latest")
    body = sent(step, logprobs=True, seed=4, max_completion_tokens=50, temperature=1)
    assert body == {"random_seed": 4, "max_tokens": 50, "temperature": 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_completion_tokens": 6}),
        ({"max_tokens": 5, "max_completion_tokens": None}, {"max_completion_tokens": 5}),
        ({"max_tokens": None, "max_completion_tokens": 6}, {"max_completion_tokens": 6}),
        ({}, {}),
    ],
)
def test_two_names_of_one_field_become_one(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    """OpenAI's newer models refuse the older name."""
    assert sent(step_of({"preset": "openai"}, "p/o3"), **fields) == expected


def test_a_steps_own_parameters_are_sent_as_they_are() -> None:
    """Who wrote them meant this provider."""
    said = {"provider": "p", "model": "m", "params": {"logprobs": True, "max_tokens": 3}}
    step = step_of({"preset": "mistral"}, said)
    assert sent(step, max_completion_tokens=50) == {"logprobs": True, "max_tokens": 3}


def test_settings_beat_what_the_preset_changes() -> None:
    """The step's word before the provider's before the preset's; lists replace each other."""
    provider = {"preset": "mistral", "drop_params": ["user"], "rename_params": {}}
    assert sent(step_of(provider, "p/m"), user="u", seed=4, logprobs=True) == {
        "seed": 4,
        "logprobs": True,
    }
    said = {"provider": "p", "model": "m", "drop_params": [], "rename_params": {"user": "who"}}
    assert sent(step_of(provider, said), user="u") == {"who": "u"}


def test_usage_is_asked_for_where_it_may_be() -> None:
    """The step's word before the provider's before the preset's."""
    asked = {"include_usage": True}
    streamed = sent(step_of({"preset": "groq"}, "p/m"), stream=True)
    assert streamed == {"stream": True, "stream_options": asked}
    silent = step_of({"preset": "mistral"}, "p/m")
    assert sent(silent, stream=True, stream_options=asked) == {"stream": True}
    assert step_of({"preset": "mistral", "stream_usage": True}, "p/m").usage
    said = {"provider": "p", "model": "m", "stream_usage": False}
    assert not step_of({"preset": "groq"}, said).usage


def test_a_model_may_refuse_more_than_its_provider() -> None:
    """The preset's special rows count."""
    newer = step_of({"preset": "gemini"}, "p/gemini-3.6-flash")
    assert sent(newer, temperature=1, top_p=1, logprobs=True, n=1) == {"n": 1}


def test_without_a_preset_nothing_is_changed() -> None:
    """Parameters of tomorrow travel untouched."""
    step = step_of({"base_url": "http://p/v1"}, "p/m")
    assert step.adaptation == AS_IT_IS
    assert sent(step, logprobs=True, new_field=1) == {"logprobs": True, "new_field": 1}


@pytest.mark.parametrize("name", ["model", "messages", "stream", ""])
def test_what_routing_needs_cannot_be_dropped_or_renamed(name: str) -> None:
    """A request without its messages would be nobody's wish."""
    for wrong in ({"drop_params": [name]}, {"rename_params": {"user": name}}):
        with pytest.raises(SettingsError, match="must name a body field other than"):
            step_of({"base_url": "http://p/v1", **wrong}, "p/m")


@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_what_routing_needs_cannot_be_set_either(name: str) -> None:
    """With another model a step would not be the one that its name, cost and limits are about."""
    step = {"provider": "p", "model": "m", "params": {name: "other"}}
    with pytest.raises(SettingsError, match="must name a body field other than"):
        step_of({"base_url": "http://p/v1"}, step)


def test_a_preset_brings_its_auth() -> None:
    """Azure takes keys in a header of its own."""
    azure = {"preset": "azure", "api_keys": ["sk"], "vars": {"resource": "mine"}}
    made = settings(azure, "p/m").providers["p"]
    assert (made.base_url, made.auth) == ("https://mine.openai.azure.com/openai/v1", "api-key")


def test_an_address_takes_its_value_from_the_customary_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is written beats it."""
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "abc123")
    provider = {"preset": "cloudflare", "api_keys": ["sk"]}
    assert "/accounts/abc123/" in settings(provider, "p/m").providers["p"].base_url
    written = provider | {"vars": {"account_id": "other"}}
    assert "/accounts/other/" in settings(written, "p/m").providers["p"].base_url


CLOUDFLARE = "write vars: {account_id: ...}, set CLOUDFLARE_ACCOUNT_ID, or write base_url"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({}, f"providers.p: the address needs 'account_id'; {CLOUDFLARE}"),
        (
            {"vars": {"account_id": "a/../b"}},
            "providers.p.vars.account_id: this must be a word of letters, digits, '.', '_' and '-'",
        ),
        (
            {"vars": {"account": "abc"}, "base_url": "https://mine/v1"},
            "providers.p.vars.account: unknown name; did you mean 'account_id'?",
        ),
    ],
)
def test_a_value_that_an_address_lacks_is_asked_for(more: dict[str, Any], problem: str) -> None:
    """Each mistake once, with the setting and the variable that mend it."""
    with pytest.raises(SettingsError) as caught:
        settings({"preset": "cloudflare", "api_keys": ["sk"], **more}, "p/m")
    assert caught.value.problems == [problem]


def test_an_address_may_be_written_whole() -> None:
    """Then nothing is missing."""
    provider = {"preset": "cloudflare", "api_keys": ["sk"], "base_url": "https://mine/v1"}
    assert settings(provider, "p/m").providers["p"].base_url == "https://mine/v1"


def test_a_local_server_needs_no_key() -> None:
    """Only its preset's name, and the model that runs there."""
    made = settings({"preset": "ollama-local"}, "p/mine")
    assert (made.providers["p"].api_keys, made.accounts()["p"].key) == ((), None)
    assert not made.routes().chains["c"].steps[0].paid


def test_who_wants_a_word_in_a_keys_place_gets_it() -> None:
    """It is nobody's secret, so it is not struck out of texts; a real key is."""
    made = settings({"preset": "opencode-zen"}, "p/big-pickle-free")
    assert [key.reveal() for key in made.providers["p"].api_keys] == ["public"]
    assert made.secrets() == []
    assert settings({"preset": "opencode-zen", "api_keys": ["sk-real"]}, "p/m").secrets()


def test_numbered_variables_hold_further_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an account of its own; one that comes twice counts once."""
    for name, key in {"": "one", "_2": "two", "_3": "one", "_5": "five", "_10": "ten"}.items():
        monkeypatch.setenv(f"GROQ_API_KEY{name}", key)
    found = settings({"preset": "groq"}, "p/m").providers["p"].api_keys
    assert [key.reveal() for key in found] == ["one", "two", "five"]
    assert list(Settings.from_environment().accounts()) == ["groq", "groq#2", "groq#3"]


def test_a_variable_of_other_programs_makes_no_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """GITHUB_TOKEN is set on many machines by people who did not think of us."""
    monkeypatch.setenv("GITHUB_TOKEN", "ghp-canary")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "cf-canary")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "abc")
    with pytest.raises(SettingsError, match="no provider is configured"):
        Settings.from_environment()


@pytest.mark.parametrize("name", presets())
def test_every_preset_makes_settings(name: str) -> None:
    """With a key and a value for its address nothing is left to say."""
    known = presets()[name]
    provider = {"preset": name, "api_keys": ["sk-one"], "vars": dict.fromkeys(known.vars, "mine")}
    step = settings(provider, "p/m").routes().chains["c"].steps[0]
    assert step.targets[0].key == "p/m"
