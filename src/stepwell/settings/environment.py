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

from stepwell.settings.presets import PRESETS
from stepwell.settings.problems import Problems
from stepwell.settings.tree import Value, joined, tree_of

PREFIX: Final = "STEPWELL_"
DELIMITER: Final = "__"
CONFIG: Final = "STEPWELL_CONFIG"
API_KEY: Final = "STEPWELL_API_KEY"


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


def with_preset_keys(tree: Value, environ: Mapping[str, str]) -> Value:
    """Give each provider with a preset and without keys the key of its customary variable."""
    providers = tree.get("providers")
    for _, provider in providers.items() if providers else ():
        preset = provider.get("preset")
        name = preset.data if preset else None
        if isinstance(name, str) and name in PRESETS and not _has_keys(provider):
            keys = _keys(provider, PRESETS[name].env, environ)
            if keys is not None:
                provider.data = provider.data | {"api_keys": keys}
    return tree


def _has_keys(provider: Value) -> bool:
    keys = provider.get("api_keys")
    return keys is not None and keys.data is not None


def _keys(owner: Value, variables: Collection[str], environ: Mapping[str, str]) -> Value | None:
    """Return a list of the first variable that is set, written where its owner is."""
    for name in variables:
        if environ.get(name):
            path = joined(owner.path, "api_keys")
            key = Value(environ[name], f"{path}[0]", owner.source, owner.line, True, (name,))
            return Value([key], path, owner.source, owner.line)
    return None


def discovered(environ: Mapping[str, str]) -> Value:
    """Return settings for the providers whose customary key variables are set.

    One chain, `default`, asks a free model of each. Providers without a free tier are not in it:
    what costs money has to be written down.
    """
    root = Value({})
    found = {
        name: keys
        for name, preset in PRESETS.items()
        if preset.model and (keys := _keys(Value({}, f"providers.{name}"), preset.env, environ))
    }
    if found:
        steps = [f"{name}/{PRESETS[name].model}" for name in found]
        root = tree_of(
            {"providers": {n: {"preset": n} for n in found}, "chains": {"default": steps}}
        )
        for name, keys in found.items():
            root.at(("providers", name)).data["api_keys"] = keys
    client = _keys(Value({}), (API_KEY,), environ)
    if client is not None:
        root.data["api_keys"] = client
    return root
