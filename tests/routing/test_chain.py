"""From a model's name to steps."""

import pytest

from stepwell.errors import UnknownModel
from stepwell.routing.chain import (
    MAX_MODEL_LENGTH,
    MAX_PINNED,
    Chain,
    Listed,
    Routes,
    Step,
    Target,
)


def _step(name: str, *, context: int | None = None, capabilities: tuple[str, ...] = ()) -> Step:
    provider, _, model = name.partition("/")
    target = Target(provider, provider, model)
    return Step(
        provider, model, (target,), 60.0, context=context, capabilities=frozenset(capabilities)
    )


class Maker:
    """Makes steps on demand, and keeps a record."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, provider: str, model: str) -> Step:
        self.made.append(f"{provider}/{model}")
        return _step(f"{provider}/{model}")


CHAINS = {
    "other": ["groq/llama", "mistral/small"],
    "main": ["openrouter/meta/llama:free", "groq/llama", "groq/qwen"],
    "paid": ["openai/gpt", "openrouter/llama"],
}


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def routes(maker: Maker) -> Routes:
    return _routes(maker)


def _routes(maker: Maker, *, reject_unknown: bool = False) -> Routes:
    chains = {name: Chain(name, tuple(map(_step, steps))) for name, steps in CHAINS.items()}
    return Routes(
        chains,
        default="main",
        reject_unknown=reject_unknown,
        pinnable=maker,
        providers=["groq", "openrouter", "mistral", "openai"],
    )


def _found(
    routes: Routes, model: str | None, *allowed: str, pin_any: bool = False
) -> tuple[str, list[str]]:
    route = routes.resolve(model, allowed=frozenset(allowed) or None, pin_any=pin_any)
    return route.name, [step.name for step in route.steps]


@pytest.mark.parametrize(
    ("model", "name", "steps"),
    [
        ("other", "other", CHAINS["other"]),
        ("main", "main", CHAINS["main"]),
        (None, "main", CHAINS["main"]),
        ("", "main", CHAINS["main"]),
        ("groq/qwen", "groq/qwen", ["groq/qwen"]),
        (
            "openrouter/meta/llama:free",
            "openrouter/meta/llama:free",
            ["openrouter/meta/llama:free"],
        ),
        ("meta/llama:free", "meta/llama:free", ["openrouter/meta/llama:free"]),
        ("llama", "llama", ["groq/llama", "openrouter/llama"]),
        ("small", "small", ["mistral/small"]),
        ("groq/unheard", "main", CHAINS["main"]),
        ("gpt-4o-mini", "main", CHAINS["main"]),
        ("Main", "main", CHAINS["main"]),
    ],
)
def test_a_name_is_a_chain_else_a_step_else_a_model_else_the_default(
    routes: Routes, model: str | None, name: str, steps: list[str]
) -> None:
    """The four cases in their order; a model's steps come in chain order, the default first."""
    assert _found(routes, model) == (name, steps)


def test_a_chain_beats_a_step_of_the_same_name() -> None:
    """Whoever names a chain like a step wants the chain."""
    chains = {"groq/llama": Chain("groq/llama", (_step("mistral/small"), _step("groq/llama")))}
    routes = Routes(chains, default="groq/llama")
    assert _found(routes, "groq/llama")[1] == ["mistral/small", "groq/llama"]


@pytest.mark.parametrize("model", ["gpt-4o-mini", "groq/unheard", "x" * 5000])
def test_unknown_names_may_be_rejected(maker: Maker, model: str) -> None:
    """With `unknown_model: reject` they are a short 404; no name is still the default."""
    routes = _routes(maker, reject_unknown=True)
    with pytest.raises(UnknownModel) as caught:
        routes.resolve(model)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert len(str(caught.value)) < 2 * MAX_MODEL_LENGTH
    assert _found(routes, None)[0] == "main"


@pytest.mark.parametrize(
    ("model", "name", "steps"),
    [
        ("other", "other", CHAINS["other"]),
        ("mistral/small", "mistral/small", ["mistral/small"]),
        ("llama", "llama", ["groq/llama"]),
        # Names of other chains and what only they hold are unknown to this key.
        ("paid", "other", CHAINS["other"]),
        ("main", "other", CHAINS["other"]),
        ("openai/gpt", "other", CHAINS["other"]),
        ("gpt", "other", CHAINS["other"]),
        ("groq/qwen", "other", CHAINS["other"]),
        (None, "other", CHAINS["other"]),
    ],
)
def test_a_restricted_key_finds_only_its_chains(
    routes: Routes, model: str | None, name: str, steps: list[str]
) -> None:
    """Its default is the first of its chains if the default chain is not among them."""
    assert _found(routes, model, "other") == (name, steps)


def test_a_restricted_key_cannot_tell_a_forbidden_name_from_an_unknown_one(maker: Maker) -> None:
    """The rejection reads alike, so chains of others cannot be found by trying."""
    routes = _routes(maker, reject_unknown=True)
    texts = []
    for name in ("paid", "none"):
        with pytest.raises(UnknownModel) as caught:
            routes.resolve(name, allowed=frozenset({"other"}))
        texts.append(str(caught.value).replace(name, "?"))
    assert texts[0] == texts[1]


def test_a_restricted_keys_default_follows_the_settings_order(routes: Routes) -> None:
    """Of several chains the default chain comes first, else the one written first."""
    assert _found(routes, None, "paid", "main")[0] == "main"
    assert _found(routes, None, "paid", "other")[0] == "other"


def test_a_key_for_chains_that_do_not_exist_finds_nothing(routes: Routes) -> None:
    """There is no way to fall back to."""
    with pytest.raises(UnknownModel):
        routes.resolve(None, allowed=frozenset({"gone"}))


def test_any_model_of_a_provider_may_be_pinned_where_that_is_allowed(
    routes: Routes, maker: Maker
) -> None:
    """The step is made once; a step that stands in a chain is taken from there."""
    assert _found(routes, "groq/x/y:z", pin_any=True) == ("groq/x/y:z", ["groq/x/y:z"])
    assert _found(routes, "groq/x/y:z", pin_any=True) == ("groq/x/y:z", ["groq/x/y:z"])
    assert _found(routes, "groq/llama", pin_any=True) == ("groq/llama", ["groq/llama"])
    assert maker.made == ["groq/x/y:z"]


@pytest.mark.parametrize(
    "name",
    ["groq/", "groq", "unknown/x", "/x", "groq/a b", "groq/a\nb", "groq/ä", "groq/" + "x" * 200],
)
def test_what_cannot_be_a_model_is_not_pinned(routes: Routes, maker: Maker, name: str) -> None:
    """A client's invention does not become a header's value or a target."""
    assert _found(routes, name, pin_any=True)[0] == "main"
    assert maker.made == []


def test_pinned_steps_are_bounded(routes: Routes, maker: Maker) -> None:
    """A client that invents names for ever does not fill the memory."""
    for number in range(MAX_PINNED + 1):
        routes.resolve(f"groq/m{number}", pin_any=True)
    routes.resolve(f"groq/m{MAX_PINNED}", pin_any=True)
    assert len(maker.made) == MAX_PINNED + 1
    routes.resolve("groq/m0", pin_any=True)
    assert maker.made[-1] == "groq/m0"


def test_the_longest_providers_name_wins(maker: Maker) -> None:
    """A provider may be called like the beginning of another one."""
    chain = Chain("main", (_step("a/m"),))
    routes = Routes({"main": chain}, default="main", pinnable=maker, providers=["a", "a/b"])
    routes.resolve("a/b/c", pin_any=True)
    routes.resolve("a/c", pin_any=True)
    assert maker.made == ["a/b/c", "a/c"]
    assert routes.resolve("a/b/c", pin_any=True).steps[0].name == "a/b/c"


def test_models_lists_chains_then_steps_each_once(routes: Routes) -> None:
    """The default chain and its steps come first."""
    assert [listed.id for listed in routes.models()] == [
        *("main", "other", "paid"),
        *("openrouter/meta/llama:free", "groq/llama", "groq/qwen"),
        *("mistral/small", "openai/gpt", "openrouter/llama"),
    ]


def test_models_lists_only_what_a_key_may_use(routes: Routes) -> None:
    """A restricted key does not see the other chains."""
    listed = routes.models(allowed=frozenset({"other"}))
    assert [each.id for each in listed] == ["other", "groq/llama", "mistral/small"]


def test_models_tells_context_and_capabilities_where_they_are_known() -> None:
    """A chain offers the most that one of its steps offers."""
    steps = (
        _step("a/m", context=8000, capabilities=("tools",)),
        _step("b/m", context=32000, capabilities=("vision",)),
        _step("c/m"),
    )
    routes = Routes({"main": Chain("main", steps)}, default="main")
    assert routes.models()[:2] == [
        Listed("main", "stepwell", 32000, frozenset({"tools", "vision"})),
        Listed("a/m", "a", 8000, frozenset({"tools"})),
    ]
    assert routes.models()[3] == Listed("c/m", "c", None, frozenset())


def test_routes_describe_themselves(routes: Routes) -> None:
    """The repr tells size and default."""
    assert repr(routes) == "Routes(3 chains, default 'main')"
