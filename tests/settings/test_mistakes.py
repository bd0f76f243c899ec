"""Every kind of wrong setting, with the exact line it is answered with."""

import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from stepwell.errors import SettingsError
from stepwell.settings import Settings

Load = Callable[..., Settings]

GOOD: dict[str, Any] = {
    "providers": {
        "groq": {"base_url": "https://groq.test/v1", "api_keys": ["sk-groq"]},
        "alpha": {"base_url": "http://127.0.0.1:9000/v1", "api_keys": ["sk-alpha"]},
    },
    "chains": {"default": ["groq/llama"]},
}

# Stands at the end of each file below.
TWO = """\
providers:
  groq: {base_url: "https://groq.test/v1", api_keys: [sk-groq]}
  alpha: {base_url: "http://127.0.0.1:9000/v1", api_keys: [sk-alpha]}
"""

# The beginning of a file, and every line that it is answered with.
FILES = {
    "unknown top-level setting": (
        "chain: {default: [groq/m]}\nchains: {default: [groq/m]}\n",
        ["1: chain: unknown setting; did you mean 'chains'?"],
    ),
    "unknown setting below": (
        "chains: {default: [groq/m]}\nqueue:\n  max_wiat: 5s\n",
        ["3: queue.max_wiat: unknown setting; did you mean 'max_wait'?"],
    ),
    "unknown setting of a step": (
        "chains:\n  default:\n    - {provider: groq, modell: m, model: m}\n",
        ["3: chains.default[0].modell: unknown setting; did you mean 'model'?"],
    ),
    "unknown setting of a chain": (
        "chains:\n  default: {steps: [groq/m], fre_only: true}\n",
        ["2: chains.default.fre_only: unknown setting; did you mean 'free_only'?"],
    ),
    "unknown provider": (
        "chains:\n  default:\n    - groq/m\n    - grok/m\n",
        ["4: chains.default[1]: unknown provider 'grok'; did you mean 'groq'?"],
    ),
    "unknown provider in a mapping": (
        "chains:\n  default:\n    - provider: alhpa\n      model: m\n",
        ["3: chains.default[0].provider: unknown provider 'alhpa'; did you mean 'alpha'?"],
    ),
    "provider like none": (
        "chains: {default: [zzz/m]}\n",
        ["1: chains.default[0]: unknown provider 'zzz'; known: groq, alpha"],
    ),
    "step without a slash": (
        "chains: {default: [groq]}\n",
        [
            (
                "1: chains.default[0]: 'groq' is no step; "
                "a step is written provider/model, or {chain: name} for another chain's steps"
            )
        ],
    ),
    "step without a model": (
        "chains: {default: [{provider: groq}]}\n",
        ["1: chains.default[0]: 'model' is missing"],
    ),
    "step that is a number": (
        "chains: {default: [7]}\n",
        ["1: chains.default[0]: this must be 'provider/model' or a mapping"],
    ),
    "model with a blank": (
        "chains: {default: ['groq/a b']}\n",
        ["1: chains.default[0]: this is not a model's name: it must be ASCII without white space"],
    ),
    "chain that is a text": (
        "chains: {default: groq/m}\n",
        ["1: chains.default: this must be a list of steps, or a mapping with 'steps'"],
    ),
    "chain without steps": (
        "chains: {default: [groq/m], other: []}\n",
        ["1: chains.other: this chain has no steps"],
    ),
    "no chains": (
        "chains: {}\n",
        [
            (
                "1: chains: there are none; "
                "write at least one, such as default: [groq/llama-3.3-70b-versatile]"
            )
        ],
    ),
    "chain of itself": (
        "chains:\n  a: [groq/m, {chain: a}]\n",
        ["2: chains.a[1]: this chain contains itself: a -> a"],
    ),
    "circle": (
        "chains:\n  a: [groq/m, {chain: b}]\n  b:\n    - {chain: c}\n  c: [{chain: a}]\n",
        ["2: chains.a[1]: this chain contains itself: a -> b -> c -> a"],
    ),
    "circle behind an entrance": (
        "chains:\n  a: [{chain: b}]\n  b: [groq/m, {chain: c}]\n  c: [{chain: b}]\n",
        ["3: chains.b[1]: this chain contains itself: b -> c -> b"],
    ),
    "unknown chain included": (
        "chains:\n  default: [groq/m, {chain: fsat}]\n  fast: [groq/m]\n",
        ["2: chains.default[1].chain: unknown chain 'fsat'; did you mean 'fast'?"],
    ),
    "inclusion that says more": (
        "chains:\n  default: [{chain: fast, timeout: 5s}]\n  fast: [groq/m]\n",
        ["2: chains.default[0].chain: 'chain' stands alone; 'timeout' belongs into that chain"],
    ),
    "unknown default chain": (
        "default_chain: fsat\nchains: {fast: [groq/m]}\n",
        ["1: default_chain: unknown chain 'fsat'; did you mean 'fast'?"],
    ),
    "bad duration": (
        "chains: {default: [groq/m]}\nqueue: {max_wait: soon}\n",
        ["2: queue.max_wait: 'soon' is not a duration; write it like 90s, 1m30s or 250ms"],
    ),
    "bad unit": (
        "chains: {default: [groq/m]}\nqueue: {max_wait: 5 secnds}\n",
        [
            (
                "2: queue.max_wait: '5 secnds' is not a duration; "
                "write it like 90s, 1m30s or 250ms; did you mean 'seconds'?"
            )
        ],
    ),
    "timeout of nothing": (
        "chains: {default: [groq/m]}\ntimeouts: {connect: 0s}\n",
        ["2: timeouts.connect: this must be more than 0"],
    ),
    "list for a duration": (
        "chains: {default: [groq/m]}\ntimeouts: {connect: [5s]}\n",
        ["2: timeouts.connect: this is not a duration; write it like 5s, 250ms or 1m30s"],
    ),
    "bad limit": (
        "chains: {default: [{provider: groq, model: m, limits: [10 requsts/6s]}]}\n",
        [
            (
                "1: chains.default[0].limits[0]: limit '10 requsts/6s': 'requsts' is no metric; "
                'it counts requests or tokens; write it like "30 requests/minute"; '
                "did you mean 'requests'?"
            )
        ],
    ),
    "limit that is a number": (
        "chains: {default: [{provider: groq, model: m, limits: [10]}]}\n",
        [
            (
                "1: chains.default[0].limits[0]: this is not a limit; write it like "
                "'30 requests/minute' or {metric: requests, limit: 30, window: 60s}"
            )
        ],
    ),
    "limit of an unknown zone": (
        (
            "chains: {default: [{provider: groq, model: m, "
            "limits: [1 requests/day from 00:00 america/Los_Angles]}]}\n"
        ),
        [
            (
                "1: chains.default[0].limits[0]: limit '1 requests/day from 00:00 "
                "america/Los_Angles': 'america/Los_Angles' is not a known time zone; write it like "
                '"1000 requests/day from 00:00 America/Los_Angeles"; '
                "did you mean 'America/Los_Angeles'?"
            )
        ],
    ),
    "limit of an unknown reset": (
        (
            "chains: {default: [{provider: groq, model: m, "
            "limits: [{metric: requests, limit: 1, window: day, reset: noon}]}]}\n"
        ),
        [
            (
                "1: chains.default[0].limits[0]: limit {'metric': 'requests', 'limit': 1, "
                "'window': 'day', 'reset': 'noon'}: 'noon' is not a time of day with its zone; "
                'write it like "1000 requests/day from 00:00 America/Los_Angeles"'
            )
        ],
    ),
    "limit of a minute with a reset": (
        (
            "chains: {default: [{provider: groq, model: m, "
            "limits: [1 requests/minute from 00:00 Europe/Berlin]}]}\n"
        ),
        [
            (
                "1: chains.default[0].limits[0]: limit '1 requests/minute from 00:00 "
                "Europe/Berlin': only a day or a month begins at a time of day; write it like "
                '"1000 requests/day from 00:00 America/Los_Angeles"'
            )
        ],
    ),
    "limit of a zone in small letters": (
        (
            "chains: {default: [{provider: groq, model: m, "
            "limits: [{metric: requests, limit: 1, window: day, reset: 00:00 utc}]}]}\n"
        ),
        [
            (
                "1: chains.default[0].limits[0]: limit {'metric': 'requests', 'limit': 1, "
                "'window': 'day', 'reset': '00:00 utc'}: 'utc' is not a known time zone; "
                'write it like "1000 requests/day from 00:00 America/Los_Angeles"; '
                "did you mean 'UTC'?"
            )
        ],
    ),
    "limit of a misspelt month": (
        "chains: {default: [{provider: groq, model: m, limits: [1 requests/mnoth]}]}\n",
        [
            (
                "1: chains.default[0].limits[0]: limit '1 requests/mnoth': 'mnoth' is not a "
                "duration; write it like 90s, 1m30s or 250ms; write it like "
                "\"30 requests/minute\"; did you mean 'months'?"
            )
        ],
    ),
    "no list of limits": (
        "chains: {default: [{provider: groq, model: m, limits: 10 requests/6s}]}\n",
        ["1: chains.default[0].limits: this must be a list"],
    ),
    "wrong word": (
        "chains: {default: [groq/m]}\nstreams: {on_break: resum}\n",
        ["2: streams.on_break: 'resum' is none of resume, error; did you mean 'resume'?"],
    ),
    "wrong capability": (
        "chains: {default: [{provider: groq, model: m, capabilities: [visoin]}]}\n",
        [
            (
                "1: chains.default[0].capabilities[0]: 'visoin' is none of vision, tools, json; "
                "did you mean 'vision'?"
            )
        ],
    ),
    "text for a number": (
        "chains: {default: [groq/m]}\nqueue: {max_size: many}\n",
        ["2: queue.max_size: this must be a whole number"],
    ),
    "fraction for a count": (
        "chains: {default: [{provider: groq, model: m, concurrency: 1.5}]}\n",
        ["1: chains.default[0].concurrency: this must be a whole number"],
    ),
    "no concurrency": (
        "chains: {default: [{provider: groq, model: m, concurrency: 0}]}\n",
        ["1: chains.default[0].concurrency: this must be at least 1"],
    ),
    "text for true": (
        "chains: {default: {steps: [groq/m], free_only: perhaps}}\n",
        ["1: chains.default.free_only: this must be true or false"],
    ),
    "text for a section": (
        "chains: {default: [groq/m]}\nqueue: 5s\n",
        ["2: queue: this must be a mapping"],
    ),
    "bad size": (
        "chains: {default: [groq/m]}\nlimits: {max_body: huge}\n",
        ["2: limits.max_body: this is not a size; write it like 32MB or 512KB"],
    ),
    "unknown store": (
        "chains: {default: [groq/m]}\nstate: {url: 'mysql://host'}\n",
        [
            (
                "2: state.url: the address must begin with memory://, redis://, rediss://, "
                "valkey://, "
                "valkeys://, unix://, as in redis://host:6379/0"
            )
        ],
    ),
    "paid step in a free chain": (
        (
            "chains:\n  default:\n    free_only: true\n    steps:\n      - groq/m\n"
            "      - {provider: alpha, model: m, cost: paid}\n"
        ),
        ["6: chains.default.steps[1]: this step costs money, but the chain 'default' is free_only"],
    ),
    "paid step through an inclusion": (
        (
            "chains:\n  default: {free_only: true, steps: [groq/m, {chain: more}]}\n"
            "  more: [{provider: alpha, model: m, cost: paid}]\n"
        ),
        ["3: chains.more[0]: this step costs money, but the chain 'default' is free_only"],
    ),
    "two limits for one model": (
        (
            "chains:\n  default: [{provider: groq, model: m, limits: [5 requests/s]}]\n"
            "  other: [{provider: groq, model: m, limits: [6 requests/s]}]\n"
        ),
        [
            (
                "3: chains.other[0].limits: differs from the same step's in chains.default[0]; "
                "write it once"
            )
        ],
    ),
    "two concurrencies for one model": (
        (
            "chains:\n  default:\n    - {provider: groq, model: m, concurrency: 1}\n"
            "    - {provider: groq, model: m, concurrency: 2}\n"
        ),
        [
            (
                "4: chains.default[1].concurrency: differs from the same step's in "
                "chains.default[0]; "
                "write it once"
            )
        ],
    ),
    "key for an unknown chain": (
        "chains: {fast: [groq/m]}\napi_keys:\n  - {name: ci, key: sk-client, chains: [fsat]}\n",
        ["3: api_keys[0].chains[0]: unknown chain 'fsat'; did you mean 'fast'?"],
    ),
    "key for no chain": (
        "chains: {fast: [groq/m]}\napi_keys: [{key: sk-client, chains: []}]\n",
        ["2: api_keys[0].chains: this key may use no chain; leave 'chains' out to allow all"],
    ),
    "key without a key": (
        "chains: {fast: [groq/m]}\napi_keys: [{name: ci}]\n",
        ["2: api_keys[0]: 'key' is missing"],
    ),
    "key whose variable is missing": (
        "chains: {fast: [groq/m]}\napi_keys: [{name: ci, key: '${CI_KEY}'}]\n",
        [
            (
                "2: api_keys[0].key: the variable CI_KEY is not set; "
                "set it, or write ${CI_KEY:-default}"
            )
        ],
    ),
    "steps of chains that include wrong ones": (
        (
            "chains:\n  default: {free_only: true, steps: [{chain: none}, {chain: both}]}\n"
            "  both: [grok/m]\n"
        ),
        [
            "2: chains.default.steps[0].chain: unknown chain 'none'; known: default, both",
            "3: chains.both[0]: unknown provider 'grok'; did you mean 'groq'?",
        ],
    ),
    "limit of another form": (
        "chains: {default: [{provider: groq, model: m, limits: [{limit: 5}]}]}\n",
        [
            (
                "1: chains.default[0].limits[0]: limit {'limit': 5}: 'metric' is missing; "
                'write it like "30 requests/minute"'
            )
        ],
    ),
    "true for a duration": (
        "chains: {default: [groq/m]}\nqueue: {max_wait: true}\n",
        ["2: queue.max_wait: this is not a duration; write it like 5s, 250ms or 1m30s"],
    ),
    "two keys of one name": (
        (
            "chains: {fast: [groq/m]}\n"
            "api_keys:\n  - {name: ci, key: sk-client-1}\n  - {name: ci, key: sk-client-2}\n"
        ),
        [
            "3: api_keys[0].name: this name is given to more than one key",
            "4: api_keys[1].name: this name is given to more than one key",
        ],
    ),
    "one key twice": (
        "chains: {fast: [groq/m]}\napi_keys: [sk-client, sk-client]\n",
        ["2: api_keys: the same key is given twice"],
    ),
    "number as a key": (
        "chains: {fast: [groq/m]}\napi_keys: [12345678]\n",
        ["2: api_keys[0]: this must be a key, or a mapping with 'key'"],
    ),
    "key with a blank": (
        "chains: {fast: [groq/m]}\napi_keys: ['sk-client and more']\n",
        [
            (
                "2: api_keys[0]: the key contains white space, control characters or signs outside "
                "ASCII, which cannot be sent in a header; copy it again"
            )
        ],
    ),
    "named key with a blank": (
        "chains: {fast: [groq/m]}\napi_keys: [{name: ci, key: 'sk client'}]\n",
        [
            (
                "2: api_keys[0].key: the key contains white space, control characters or signs "
                "outside ASCII, which cannot be sent in a header; copy it again"
            )
        ],
    ),
    "key with a nameless name": (
        "chains: {fast: [groq/m]}\napi_keys: [{name: ' ', key: sk-client}]\n",
        ["2: api_keys[0].name: this is not a name: it is empty or contains control characters"],
    ),
    "only empty keys": (
        "chains: {fast: [groq/m]}\napi_keys: ['${STEPWELL_API_KEY:-}']\n",
        [
            (
                "2: api_keys: every key is empty (STEPWELL_API_KEY); "
                "set the variable, or write api_keys: [] for none"
            )
        ],
    ),
}


@pytest.mark.parametrize(("text", "lines"), FILES.values(), ids=FILES)
def test_a_mistake_is_told_with_line_path_and_remedy(
    load: Load, text: str, lines: list[str]
) -> None:
    """Each mistake is one line, and it is not accompanied by consequences of itself."""
    with pytest.raises(SettingsError) as caught:
        load(text + TWO)
    assert caught.value.problems == [f"stepwell.yaml:{line}" for line in lines]


# The body of a provider `p`, and what it is answered with.
PROVIDERS = {
    "neither address nor preset": (
        "{api_keys: [sk-alpha]}",
        "2: providers.p: 'base_url' is missing, or a 'preset' that knows it",
    ),
    "unknown preset": (
        "{preset: grok}",
        "2: providers.p.preset: unknown preset 'grok'; did you mean 'groq'?",
    ),
    "unknown dialect": (
        "{base_url: 'http://p/v1', dialect: opnai}",
        "2: providers.p.dialect: unknown dialect 'opnai'; did you mean 'openai'?",
    ),
    "other scheme": (
        "{base_url: 'ftp://p/v1'}",
        "2: providers.p.base_url: the address must begin with http:// or https:// and name a host",
    ),
    "no host": (
        "{base_url: 'https:///v1'}",
        "2: providers.p.base_url: the address must begin with http:// or https:// and name a host",
    ),
    "bad port": (
        "{base_url: 'https://p:http/v1'}",
        "2: providers.p.base_url: this is not an address; write it like https://host/v1",
    ),
    "password in the address": (
        "{base_url: 'https://me:hunter22@p/v1'}",
        "2: providers.p.base_url: the address holds a user or password; give the key in api_keys",
    ),
    "key in the address": (
        "{base_url: 'https://p/v1?key=hunter22'}",
        "2: providers.p.base_url: the address has a '?' or '#' part; give parameters in 'query'",
    ),
    "endpoint as the address": (
        "{base_url: 'https://p/v1/chat/completions'}",
        (
            "2: providers.p.base_url: "
            "the address must be the base, such as https://host/v1, without the endpoint"
        ),
    ),
    "blank in the address": (
        "{base_url: 'https://p/v1 x'}",
        "2: providers.p.base_url: the address contains white space or control characters",
    ),
    "preset without a key": (
        "{preset: groq}",
        (
            "2: providers.p: "
            "there is no key; set GROQ_API_KEY, or write api_keys ([] if it needs none)"
        ),
    ),
    "only empty keys": (
        "{preset: groq, api_keys: ['${GROQ_API_KEY:-}', '${GROQ_API_KEY_2:-}']}",
        (
            "2: providers.p.api_keys: every key is empty (GROQ_API_KEY, GROQ_API_KEY_2); "
            "set one of these variables, or write api_keys: [] if it needs no key"
        ),
    ),
    "an empty key": (
        "{base_url: 'http://p/v1', api_keys: ['']}",
        (
            "2: providers.p.api_keys: every key is empty; "
            "fill one in, or write api_keys: [] if it needs no key"
        ),
    ),
    "one key twice": (
        "{base_url: 'http://p/v1', api_keys: [sk-alpha, sk-alpha]}",
        "2: providers.p.api_keys: the same key is given twice",
    ),
    "key that is no list": (
        "{base_url: 'http://p/v1', api_keys: sk-alpha}",
        "2: providers.p.api_keys: this must be a list",
    ),
    "key with another alphabet": (
        "{base_url: 'http://p/v1', api_keys: [sk-älpha]}",
        (
            "2: providers.p.api_keys[0]: the key contains white space, control characters or signs "
            "outside ASCII, which cannot be sent in a header; copy it again"
        ),
    ),
    "header with a line end": (
        '{base_url: "http://p/v1", headers: {x-a: "1\\nx-b: 2"}}',
        "2: providers.p.headers.x-a: the value contains control characters or signs outside ASCII",
    ),
    "header of ours": (
        "{base_url: 'http://p/v1', headers: {Host: a}}",
        "2: providers.p.headers.Host: stepwell sets this header itself",
    ),
    "no name of a header": (
        "{base_url: 'http://p/v1', headers: {'x a': b}}",
        "2: providers.p.headers.x a: this is not the name of a header",
    ),
    "number in a header": (
        "{base_url: 'http://p/v1', headers: {x-a: 1}}",
        "2: providers.p.headers.x-a: this must be text; put it in quotes",
    ),
    "auth that is no header": (
        "{base_url: 'http://p/v1', auth: 'x key'}",
        "2: providers.p.auth: auth is 'bearer' or the name of a header, such as x-api-key",
    ),
    "proxy of another kind": (
        "{base_url: 'http://p/v1', proxy: 'me:hunter22@host'}",
        (
            "2: providers.p.proxy: the address must begin with http://, https://, "
            "as in http://user:password@host:3128"
        ),
    ),
    "no such file": (
        "{base_url: 'http://p/v1', ca_file: nowhere.pem}",
        "2: providers.p.ca_file: there is no file 'nowhere.pem'",
    ),
    "nothing": ("", "2: providers.p: this must be a mapping"),
}


@pytest.mark.parametrize(("body", "line"), PROVIDERS.values(), ids=PROVIDERS)
def test_a_wrong_provider_is_told_alone(load: Load, body: str, line: str) -> None:
    """A provider that is wrong does not make its steps wrong too."""
    with pytest.raises(SettingsError) as caught:
        load(f"providers:\n  p: {body}\nchains: {{default: [p/m]}}\n")
    assert caught.value.problems == [f"stepwell.yaml:{line}"]


@pytest.mark.parametrize("name", ["a/b", "a#2", "", "-a", "ä"])
def test_a_providers_name_cannot_hold_what_its_targets_are_spelt_with(name: str) -> None:
    """A slash ends a provider's name in `provider/model`; `#` numbers its accounts."""
    with pytest.raises(SettingsError) as caught:
        Settings(providers={name: {"base_url": "http://p/v1"}}, chains={"c": [f"{name}/m"]})
    rule = f"providers.{name}: a provider's name has only letters, digits, '.', '_' and '-'"
    assert rule in caught.value.problems


def test_a_chains_name_is_visible() -> None:
    """Clients send it as `model`."""
    with pytest.raises(SettingsError) as caught:
        Settings(providers={"p": {"base_url": "http://p/v1"}}, chains={" ": ["p/m"]})
    assert caught.value.problems == [
        "chains. : a chain's name must not be empty or have control characters"
    ]


def test_nothing_at_all_is_two_mistakes() -> None:
    """Settings need providers and chains."""
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert caught.value.problems == [
        (
            "chains: there are none; "
            "write at least one, such as default: [groq/llama-3.3-70b-versatile]"
        ),
        "providers: there are none; write at least one, such as groq: {preset: groq}",
    ]


def test_all_mistakes_are_told_at_once_in_the_files_order(load: Load) -> None:
    """Syntax, values, names and rules between settings come in one answer, each once."""
    text = textwrap.dedent(
        """\
        pins: anny
        providers:
          a: {base_url: "${MISSING}", dialect: grog}
          b: {base_url: "http://b/v1", api_keys: ["k k"]}
        chains:
          default: [a/m, c/m, {chain: default}, {provider: b}]
          free: {free_only: true, steps: [{provider: b, model: m, cost: paid}]}
          free: []
        queue: {max_wait: x, max_size: y}
        """
    )
    with pytest.raises(SettingsError) as caught:
        load(text)
    told = [line.split(": ")[:2] for line in caught.value.problems]
    assert told == [
        ["stepwell.yaml:1", "pins"],
        ["stepwell.yaml:3", "providers.a.base_url"],
        ["stepwell.yaml:3", "providers.a.dialect"],
        ["stepwell.yaml:4", "providers.b.api_keys[0]"],
        ["stepwell.yaml:6", "chains.default[1]"],
        ["stepwell.yaml:6", "chains.default[2]"],
        ["stepwell.yaml:6", "chains.default[3]"],
        ["stepwell.yaml:7", "chains.free.steps[0]"],
        ["stepwell.yaml:8", "chains"],
        ["stepwell.yaml:9", "queue.max_size"],
        ["stepwell.yaml:9", "queue.max_wait"],
    ]


def test_mistakes_in_code_are_told_by_path() -> None:
    """Code has no lines; the path says enough."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_dict({**GOOD, "queue": {"max_wait": "soon"}})
    assert caught.value.problems == [
        "queue.max_wait: 'soon' is not a duration; write it like 90s, 1m30s or 250ms"
    ]


@pytest.mark.parametrize("field", ["timeout", "dialect", "preset"])
def test_a_value_from_the_environment_is_not_repeated(
    load: Load, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """A variable may hold something else than was thought, such as a key."""
    monkeypatch.setenv("HIDDEN", "canary-value")
    with pytest.raises(SettingsError) as caught:
        load(
            f"""
            providers: {{p: {{base_url: "http://p/v1", {field}: "${{HIDDEN}}"}}}}
            chains: {{default: [p/m]}}
            """
        )
    assert len(caught.value.problems) == 1
    assert "canary" not in str(caught.value)
