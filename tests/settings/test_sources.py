"""Where settings come from, and which source beats which."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import SettingsError
from stepwell.quota.limit import Limit, Metric
from stepwell.settings import QueueSettings, Settings
from stepwell.settings.environment import discoverable

Load = Callable[..., Settings]

EXAMPLE = """\
api_keys: ["${STEPWELL_API_KEY}"]
providers:
  groq:
    preset: groq
    api_keys: ["${GROQ_API_KEY}", "${GROQ_API_KEY_2:-}"]
  alpha:
    base_url: http://127.0.0.1:9000/v1
    api_keys: ["sk-alpha"]
    dialect: groq
    limits: ["10 requests/6s", "6000 tokens/60s",
             {metric: requests, limit: 20, window: 60s, scope: account}]
    concurrency: 2
    timeout: 20s
    headers: {x-title: mine}
chains:
  default:
    - groq/llama-3.3-70b-versatile
    - {provider: alpha, model: sim-model, timeout: 20s, cost: paid, params: {temperature: 0.2}}
default_chain: default
queue: {max_wait: 0s, allow_wait: 60s, max_size: 1000}
streams: {on_break: resume, first_token_timeout: 20s, idle_timeout: 30s, ping: 15s}
timeouts: {connect: 5s, attempt: 60s, total: 120s}
state: {url: "memory://"}
database: {url: "sqlite:///stepwell.db"}
"""

GOOD: dict[str, Any] = {
    "providers": {"My-Groq": {"base_url": "https://groq.test/v1", "api_keys": ["sk-groq"]}},
    "chains": {"default": ["My-Groq/llama"]},
}
SMALL = """\
providers: {My-Groq: {base_url: "https://groq.test/v1", api_keys: [sk-groq]}}
chains: {default: [My-Groq/llama]}
queue: {max_wait: 1s, max_size: 11}
"""


def test_the_designs_example_is_read(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the documentation shows means what it says."""
    monkeypatch.setenv("STEPWELL_API_KEY", "sk-client")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-one")
    settings = load(EXAMPLE)
    groq, alpha = settings.providers["groq"], settings.providers["alpha"]
    assert [key.key.reveal() for key in settings.api_keys] == ["sk-client"]
    assert [key.reveal() for key in groq.api_keys] == ["gsk-one"]
    assert (groq.base_url, groq.dialect) == ("https://api.groq.com/openai/v1", "groq")
    assert (len(alpha.limits or ()), alpha.concurrency, alpha.timeout) == (3, 2, 20.0)
    assert settings.chains["default"].steps[1].params == {"temperature": 0.2}
    assert settings.database.url is not None


def test_the_examples_values_are_the_defaults(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the documentation shows as defaults holds without a file."""
    monkeypatch.setenv("STEPWELL_API_KEY", "sk-client")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-one")
    shown, bare = load(EXAMPLE), Settings(**GOOD)
    for name in ("queue", "streams", "timeouts", "state", "unknown_model", "pins", "limits"):
        assert getattr(shown, name) == getattr(bare, name)
    assert bare.database.url is None
    assert (bare.limits.max_body, bare.limits.max_depth) == (32 * 1024 * 1024, 64)


def test_code_beats_variables_beat_the_file_beats_defaults(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mappings merge, name by name, so each of four sources can give one value."""
    monkeypatch.setenv("STEPWELL_QUEUE__MAX_WAIT", "2s")
    monkeypatch.setenv("STEPWELL_QUEUE__ALLOW_WAIT", "2s")
    settings = load(SMALL, queue={"max_wait": "3s"})
    assert settings.queue == QueueSettings(max_wait=3, allow_wait=2, max_size=11)
    assert settings.timeouts.connect == 5.0


def test_variables_override_code_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings made in code listen to the environment where code is silent."""
    monkeypatch.setenv("STEPWELL_PINS", "any")
    assert Settings(**GOOD).pins == "any"
    assert Settings(**GOOD, pins="chain").pins == "chain"


@pytest.mark.parametrize(
    "name", ["STEPWELL_PROVIDERS__MY_GROQ__API_KEYS", "stepwell_providers__my_groq__api_keys"]
)
def test_names_in_variables_are_matched_to_existing_ones(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A variable's name has no case and no dash; the provider's name may have both."""
    monkeypatch.setenv(name, '["sk-one", "sk-two"]')
    provider = load(SMALL).providers["My-Groq"]
    assert [key.reveal() for key in provider.api_keys] == ["sk-one", "sk-two"]


def test_variables_may_add_what_the_file_lacks(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON gives whole mappings and lists."""
    monkeypatch.setenv("STEPWELL_PROVIDERS__NEW", '{"base_url": "http://new/v1"}')
    monkeypatch.setenv("STEPWELL_PROVIDERS__NEW__CONCURRENCY", "3")
    monkeypatch.setenv("STEPWELL_CHAINS__FAST", '["new/m"]')
    monkeypatch.setenv("STEPWELL_DATABASE__URL", "null")
    settings = load(SMALL + "database: {url: 'sqlite:///x.db'}\n")
    assert settings.providers["new"].concurrency == 3
    assert list(settings.chains) == ["default", "fast"]
    assert settings.database.url is None


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "STEPWELL_QUEUE__MAX_WAIT",
            "soon",
            (
                "STEPWELL_QUEUE__MAX_WAIT: queue.max_wait: "
                "this is not a duration; write it like 5s, 250ms or 1m30s"
            ),
        ),
        (
            "STEPWELL_QUEU__MAX_WAIT",
            "5s",
            "STEPWELL_QUEU__MAX_WAIT: queu: unknown setting; did you mean 'queue'?",
        ),
        (
            "STEPWELL_CHAINS__DEFAULT__FREE_ONLY",
            "true",
            (
                "STEPWELL_CHAINS__DEFAULT__FREE_ONLY: chains.default: "
                "this is no mapping; override it as a whole, with JSON"
            ),
        ),
        (
            "STEPWELL_API_KEYS",
            '["sk-one"',
            "STEPWELL_API_KEYS: api_keys: this is not valid JSON",
        ),
        (
            "STEPWELL_PINS",
            "canary",
            "STEPWELL_PINS: pins: this value is none of chain, any",
        ),
        ("STEPWELL_API_KEYS", "sk-one", "STEPWELL_API_KEYS: api_keys: this must be a list"),
        (
            "STEPWELL_CHAINS__DEFAULT",
            '["canary/m"]',
            "STEPWELL_CHAINS__DEFAULT: chains.default[0]: unknown provider; known: My-Groq",
        ),
    ],
)
def test_a_wrong_override_is_told_by_its_variable(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    """The variable is named, what it holds is not."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(SMALL)
    assert caught.value.problems == [line]


@pytest.mark.parametrize(
    "name",
    [
        "STEPWELL_CONFIG",
        "STEPWELL_API_KEY",
        "STEPWELL_PORT",
        "STEPWELL_SERVICE_HOST",
        "STEPWELL_PORT_8000_TCP_ADDR",
    ],
)
def test_other_stepwell_variables_are_left_alone(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Reserved names, and those that Kubernetes sets for a service, are no overrides."""
    monkeypatch.setenv(name, "something")
    assert load(SMALL) == load(SMALL)


def test_a_preset_takes_its_customary_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider known by name needs nothing but the variable that everyone uses for it."""
    monkeypatch.setenv("GOOGLE_API_KEY", "AIza-canary")
    settings = Settings(providers={"g": {"preset": "gemini"}}, chains={"c": ["g/m"]})
    assert [key.reveal() for key in settings.providers["g"].api_keys] == ["AIza-canary"]


def test_what_is_written_beats_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset only fills in."""
    monkeypatch.setenv("GROQ_API_KEY", "gsk-canary")
    provider = {
        "preset": "groq",
        "base_url": "http://mirror/v1/",
        "api_keys": [],
        "dialect": "openai",
    }
    made = Settings(providers={"g": provider}, chains={"c": ["g/m"]}).providers["g"]
    assert (made.base_url, made.api_keys, made.dialect) == ("http://mirror/v1", (), "openai")


def test_the_environment_alone_makes_a_chain_of_free_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two key variables and a client key are enough; a provider that costs money is not used."""
    monkeypatch.setenv("GROQ_API_KEY", "gsk-canary")
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-canary")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-paid")
    monkeypatch.setenv("STEPWELL_API_KEY", "sk-client")
    settings = Settings.from_environment()
    names = [step.name for step in settings.routes().resolve(None).steps]
    assert names == [
        "cerebras/gpt-oss-120b",
        "groq/openai/gpt-oss-120b",
        "groq/openai/gpt-oss-20b",
    ]
    assert [key.key.reveal() for key in settings.api_keys] == ["sk-client"]


def test_an_empty_environment_says_which_variables_would_do() -> None:
    """The error names the remedy."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment()
    (line,) = caught.value.problems
    start, _, variables = line.partition("set one of ")
    assert start == "no provider is configured; write stepwell.yaml, or "
    assert variables.split(", ") == [preset.env[0] for preset in discoverable().values()]


def test_settings_are_discovered_by_variable_then_file_then_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STEPWELL_CONFIG beats ./stepwell.yaml, which beats key variables."""
    monkeypatch.setenv("GROQ_API_KEY", "gsk-canary")
    assert list(Settings.discover().providers) == ["groq"]
    (tmp_path / "stepwell.yaml").write_text(SMALL)
    assert list(Settings.discover().providers) == ["My-Groq"]
    (tmp_path / "other.yaml").write_text(SMALL.replace("My-Groq", "other"))
    monkeypatch.setenv("STEPWELL_CONFIG", "other.yaml")
    assert list(Settings.discover().providers) == ["other"]
    assert Settings.discover(pins="any").pins == "any"


def test_code_may_hand_in_parts() -> None:
    """A part that is made already is taken as it is."""
    assert Settings(**GOOD, queue=QueueSettings(max_wait=5)).queue.max_wait == 5.0


def test_settings_do_not_change() -> None:
    """What was checked stays as it was checked."""
    settings = Settings(**GOOD)
    with pytest.raises(ValueError, match="frozen"):
        settings.pins = "any"


@pytest.mark.parametrize(
    ("written", "size"),
    [(1024, 1024), ("1024", 1024), ("512KB", 1 << 19), ("1 MiB", 1 << 20), ("2gb", 1 << 31)],
)
def test_sizes_are_powers_of_1024(written: object, size: int) -> None:
    """KB and KiB mean the same."""
    assert Settings(**GOOD, limits={"max_body": written}).limits.max_body == size


def test_a_key_may_travel_in_a_header_of_its_own(tmp_path: Path) -> None:
    """Names of headers have no case; a file of certificates must exist."""
    (tmp_path / "ca.pem").touch()
    provider = {"base_url": "http://p/v1", "auth": "X-Api-Key", "ca_file": "ca.pem"}
    made = Settings(providers={"p": provider}, chains={"c": ["p/m"]}).providers["p"]
    assert (made.auth, made.ca_file) == ("x-api-key", "ca.pem")


def test_code_may_hand_in_limits() -> None:
    """A Limit is taken as it is."""
    limit = Limit(Metric.TOKENS, 5, 1.0)
    provider = {"base_url": "http://p/v1", "limits": [limit]}
    made = Settings(providers={"p": provider}, chains={"c": ["p/m"]})
    assert made.providers["p"].limits == (limit,)


def test_dialects_and_their_aliases_are_accepted() -> None:
    """`retry-after` is how the issue calls what the generic dialect reads."""
    for written, meant in {"auto": "auto", "gemini": "gemini", "retry-after": "generic"}.items():
        provider = {"base_url": "http://p/v1", "dialect": written}
        made = Settings(providers={"p": provider}, chains={"c": ["p/m"]})
        assert made.providers["p"].dialect == meant


def test_importing_stepwell_does_not_import_pydantic() -> None:
    """A host that only names stepwell pays nothing for it."""
    code = (
        "import sys, stepwell, stepwell.secrets, stepwell.routing.chain as _; "
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
