"""The environment: STEPWELL_ overrides, and providers found by their customary key variables.

`STEPWELL_QUEUE__MAX_WAIT=5s` sets `queue.max_wait`; names below the top are matched to existing
ones without regard to case, and `_` stands for any sign that a variable's name cannot hold. A
value that begins with `[` or `{` is JSON, `null` is null, anything else is text.

A STEPWELL_ name is an override if it contains `__` or is the name of a top-level setting. All
others are left alone: STEPWELL_CONFIG (the file) and STEPWELL_API_KEY (for `${STEPWELL_API_KEY}`)
are reserved, and Kubernetes sets STEPWELL_PORT and the like for every service called stepwell.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from stepwell.providers.catalogue import Preset, chain_models, preset_of, presets
from stepwell.settings.problems import Problems
from stepwell.settings.tree import Value, joined, tree_of

PREFIX: Final = "STEPWELL_"
DELIMITER: Final = "__"
CONFIG: Final = "STEPWELL_CONFIG"
API_KEY: Final = "STEPWELL_API_KEY"

MOST_KEYS: Final = 9
"""Numbered variables that are looked for; more keys are written in a file."""


def overridden(
    base: Value, environ: Mapping[str, str], names: Collection[str], problems: Problems
) -> Value:
    """Lay the environment's overrides over `base`.

    Args:
        base: What they override; a new tree is returned.
        environ: The environment.
        names: The top-level settings.
        problems: Takes the mistakes.
    """
    for variable in sorted(environ):  # sorted: STEPWELL_QUEUE before STEPWELL_QUEUE__MAX_WAIT
        segments = _segments(variable, names)
        if segments:
            tree = _override(base, variable, segments, environ[variable], problems)
            base = base if tree is None else tree.over(base)
    return base


def _segments(variable: str, names: Collection[str]) -> list[str]:
    """Return the path that a variable's name spells; empty if it is no override."""
    if not variable.upper().startswith(PREFIX):
        return []
    segments = variable[len(PREFIX) :].lower().split(DELIMITER)
    return segments if len(segments) > 1 or segments[0] in names else []


def _override(
    base: Value, variable: str, segments: list[str], text: str, problems: Problems
) -> Value | None:
    """Return a tree that holds this one override, or None after a complaint."""
    names: list[str] = []
    here: Value | None = base
    for segment in segments:
        if here is not None and not isinstance(here.data, dict | None):
            text = "this is no mapping; override it as a whole, with JSON"
            problems.add(Value(None, here.path, variable), text)
            return None
        names.append(_existing(segment, here))
        here = None if here is None else here.get(names[-1])
    try:
        data = _parsed(text)
    except (ValueError, RecursionError):
        problems.add(Value(None, ".".join(names), variable), "this is not valid JSON")
        return None
    return _nested(names, data, variable)


def _existing(segment: str, here: Value | None) -> str:
    """Return the name in `here` that a segment means: itself, or the one that is spelt like it."""
    names = [] if here is None else [name for name, _ in here.items()]
    if segment in names:
        return segment
    return next((name for name in names if _spelt(name) == _spelt(segment)), segment)


def _spelt(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _parsed(text: str) -> Any:
    stripped = text.strip()
    if stripped[:1] in {"[", "{"}:
        return json.loads(stripped)
    return None if stripped == "null" else text


def _nested(names: list[str], data: Any, variable: str) -> Value:
    path = ""
    for name in names:
        path = joined(path, name)
    tree = tree_of(data, path=path, source=variable, private=True)
    for value in tree.walk():
        value.variables = (variable,)
    for depth in range(len(names) - 1, -1, -1):
        above = ".".join(names[:depth])
        tree = Value({names[depth]: tree}, above, variable)
    return tree


def with_customary_values(tree: Value, environ: Mapping[str, str]) -> Value:
    """Give each provider with a preset what it lacks of keys and of `vars`."""
    providers = tree.get("providers")
    for _, provider in providers.items() if providers else ():
        name = provider.get("preset")
        preset = preset_of(name.data if name and isinstance(name.data, str) else None)
        if isinstance(provider.data, dict):
            _give(provider, "api_keys", _preset_keys(provider, preset, environ))
            _give(provider, "vars", _vars(provider, preset, environ))
    return tree


def _give(provider: Value, name: str, value: Value | None) -> None:
    """Add a value that is not written; a mapping gets what it lacks."""
    if value is None:
        return
    written = provider.get(name)
    if written is not None and isinstance(written.data, dict):
        value = written.over(value)
    elif written is not None and written.data is not None:
        return
    provider.data = provider.data | {name: value}


def _preset_keys(owner: Value, preset: Preset, environ: Mapping[str, str]) -> Value | None:
    """Return the keys that are set, else the one that means nobody."""
    found = _keys(owner, preset.env, environ)
    if found is None and preset.anonymous_key is not None:
        path = joined(owner.path, "api_keys")
        key = Value(preset.anonymous_key, f"{path}[0]", owner.source, owner.line)
        found = Value([key], path, owner.source, owner.line)
    return found


def _keys(owner: Value, variables: Collection[str], environ: Mapping[str, str]) -> Value | None:
    """Return a list of the keys that are set, written where their owner is."""
    names = key_variables(variables, environ)
    if not names:
        return None
    path = joined(owner.path, "api_keys")
    keys = [
        Value(environ[name], f"{path}[{index}]", owner.source, owner.line, True, (name,))
        for index, name in enumerate(names)
    ]
    return Value(keys, path, owner.source, owner.line)


def key_variables(variables: Collection[str], environ: Mapping[str, str]) -> list[str]:
    """Return the first variable that is set, and with it `NAME_2`, `NAME_3` ... for more keys.

    A key that two of them hold comes once.
    """
    filled = {name: value.strip() for name, value in environ.items() if value.strip()}
    first = next((name for name in variables if name in filled), None)
    if first is None:
        return []
    names = [first, *(f"{first}_{number}" for number in range(2, MOST_KEYS + 1))]
    by_key = {filled[name]: name for name in reversed(names) if name in filled}
    return [name for name in names if name in by_key.values()]


def _vars(owner: Value, preset: Preset, environ: Mapping[str, str]) -> Value | None:
    path = joined(owner.path, "vars")
    found = {
        name: Value(
            environ[variable], joined(path, name), owner.source, owner.line, True, (variable,)
        )
        for name, variable in preset.vars.items()
        if environ.get(variable)
    }
    return Value(found, path, owner.source, owner.line) if found else None


def discoverable() -> dict[str, Preset]:
    """Return the presets that a key variable alone puts into a chain.

    They have a free model to begin with; and their variable is not one that other programs use, so
    that who set it meant them.
    """
    return {
        name: preset
        for name, preset in presets().items()
        if preset.env and preset.models and not preset.ambient and _is_free(preset)
    }


def _is_free(preset: Preset) -> bool:
    return all(map(preset.is_free, preset.models))


def discovered(environ: Mapping[str, str]) -> Value:
    """Return settings for the providers whose customary key variables are set.

    One chain, `default`, asks free models of each. Providers without a free tier are not in it:
    what costs money has to be written down.
    """
    root = Value({})
    found = [n for n, preset in discoverable().items() if key_variables(preset.env, environ)]
    if found:
        steps = [f"{provider}/{model}" for provider, model in chain_models(tuple(found))]
        providers = {name: {"preset": name} for name in found}
        root = tree_of({"providers": providers, "chains": {"default": steps}})
    client = _keys(Value({}), (API_KEY,), environ)
    if client is not None:
        root.data["api_keys"] = client
    return root
