"""What must hold between settings: names that exist, chains that end, keys that are there.

Runs on what is left after wrong values were taken out, so one mistake does not hide another; and
looks at what was written before that, so it does not cause a second one either.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stepwell.providers.catalogue import choosing_fields
from stepwell.routing.fit import CLIENTS_TOOLS
from stepwell.secrets import Secret
from stepwell.settings.fields import placeholders
from stepwell.settings.model import ProviderSettings, Shape, StepSettings
from stepwell.settings.problems import Problems, did_you_mean, is_showable
from stepwell.settings.routes import default_chain, is_paid, steps_of
from stepwell.settings.tree import Value, joined

_PROVIDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""No slash, which ends it in `provider/model`; no `#`, which numbers its accounts."""


def check(shape: Shape, left: Value, written: Value, problems: Problems) -> None:
    """Add a problem for each rule that is broken.

    Args:
        shape: The settings whose single values are right.
        left: The tree it was made from.
        written: The tree with the wrong values.
        problems: Takes what is found.
    """
    checks = _Checks(shape, left, written, problems)
    checks.something_is_there()
    checks.names()
    checks.providers()
    checks.client_keys()
    checks.steps()
    checks.inclusions()
    checks.free_chains()
    checks.same_limits()
    checks.default_chain()


@dataclass(frozen=True, slots=True)
class _Line:
    """A step of a chain, and the value it was read from."""

    step: StepSettings
    value: Value


class _Checks:
    """The rules, one a method."""

    def __init__(self, shape: Shape, left: Value, written: Value, problems: Problems) -> None:
        self._shape = shape
        self._left = left
        self._problems = problems
        self._written = {value.path: value for value in written.walk()}
        self._providers = _names(written, "providers")
        self._chains = _names(written, "chains")
        self._lines = list(self._all_lines())

    def _all_lines(self) -> Iterator[_Line]:
        for name, chain in self._shape.chains.items():
            for index, step in enumerate(chain.steps):
                yield _Line(step, self._left.at(("chains", name, "steps", index)))

    def something_is_there(self) -> None:
        examples = {
            "providers": "groq: {preset: groq}",
            "chains": "default: [groq/llama-3.3-70b-versatile]",
        }
        for name, example in examples.items():
            value = self._written.get(name, Value({}, name, self._left.source))
            if value.data is None or value.data == {}:
                self._problems.add(value, f"there are none; write at least one, such as {example}")

    def names(self) -> None:
        for name in self._providers:
            if not _PROVIDER_NAME.fullmatch(name):
                rule = "a provider's name has only letters, digits, '.', '_' and '-'"
                self._problems.add(self._written[f"providers.{name}"], rule)
        for name in self._chains:
            if not name.strip() or not name.isprintable():
                rule = "a chain's name must not be empty or have control characters"
                self._problems.add(self._written[f"chains.{name}"], rule)

    def providers(self) -> None:
        for name, provider in self._shape.providers.items():
            value = self._left.at(("providers", name))
            below = {other for other in ("preset", "base_url") if self._was_written(value, other)}
            if not below:
                self._problems.add(value, "'base_url' is missing, or a 'preset' that knows it")
            self._address_vars(value, provider)
            self._provider_keys(value, provider)

    def _address_vars(self, value: Value, provider: ProviderSettings) -> None:
        """Ask for what a preset's address lacks, and refuse what it has no place for."""
        names = placeholders(provider.known.base_url)
        for name in provider.vars:
            if name not in names:
                place = value.at(("vars", name))
                self._problems.add(place, f"unknown name{did_you_mean(name, names)}")
        if provider.base_url or self._was_written(value, "base_url"):
            return
        for name in names:
            if not self._was_written(value, f"vars.{name}"):
                variable = provider.known.vars[name]
                remedy = f"write vars: {{{name}: ...}}, set {variable}, or write base_url"
                self._problems.add(value, f"the address needs {name!r}; {remedy}")

    def _provider_keys(self, value: Value, provider: ProviderSettings) -> None:
        keys = self._written.get(joined(value.path, "api_keys"))
        if keys is None or keys.data is None:
            if provider.preset is not None and not provider.known.keyless:
                variable = provider.known.env[0]
                remedy = f"set {variable}, or write api_keys ([] if it needs none)"
                self._problems.add(value, f"there is no key; {remedy}")
            return
        self._some_key(keys, "write api_keys: [] if it needs no key")
        self._no_key_twice(value.at(("api_keys",)), provider.api_keys)

    def client_keys(self) -> None:
        keys = self._written.get("api_keys")
        if keys is not None:
            self._some_key(keys, "write api_keys: [] for none")
        clients = self._shape.api_keys
        self._no_key_twice(self._left.at(("api_keys",)), [client.key for client in clients])
        entries = self._left.at(("api_keys",)).elements() if clients else []
        filled = [entry for entry in entries if _is_filled(entry.get("key") or entry)]
        for value, client in zip(filled, clients, strict=False):
            if [other.name for other in clients].count(client.name) > 1:
                self._problems.add(value.at(("name",)), "this name is given to more than one key")
            self._allowed_chains(value.at(("chains",)), client.chains)

    def _allowed_chains(self, value: Value, names: Iterable[str] | None) -> None:
        if names == ():
            self._problems.add(value, "this key may use no chain; leave 'chains' out to allow all")
        for index, name in enumerate(names or ()):
            self._known_chain(value.at((index,)), name)

    def _some_key(self, keys: Value, otherwise: str) -> None:
        """Refuse a list of keys that are all empty: somebody meant to give one."""
        entries = [entry.get("key") or entry for entry in keys.elements()]
        if not entries or any(map(_is_filled, entries)):
            return
        variables = list(dict.fromkeys(name for entry in entries for name in entry.variables))
        if not variables:
            self._problems.add(keys, f"every key is empty; fill one in, or {otherwise}")
            return
        which = "the variable" if len(variables) == 1 else "one of these variables"
        names = ", ".join(variables)
        self._problems.add(keys, f"every key is empty ({names}); set {which}, or {otherwise}")

    def _no_key_twice(self, value: Value, keys: Iterable[Any]) -> None:
        listed = list(keys)
        if len(set(listed)) < len(listed):
            self._problems.add(value, "the same key is given twice")

    def steps(self) -> None:
        for line in self._lines:
            if line.step.chain is not None:
                self._inclusion(line)
                continue
            for name in ("provider", "model"):
                if getattr(line.step, name) is None and not self._was_written(line.value, name):
                    self._problems.add(line.value, f"{name!r} is missing")
            self._known_provider(line)
        for name, chain in self._shape.chains.items():
            value = self._left.at(("chains", name))
            if not chain.steps and not self._had_steps(value):
                self._problems.add(value, "this chain has no steps")

    def _known_provider(self, line: _Line) -> None:
        name = line.step.provider
        if name is None or name in self._providers:
            return
        value = line.value.at(("provider",))
        hint = did_you_mean(name, self._providers)
        self._problems.add(value, f"unknown provider{_quoted(name, value)}{hint}")

    def _inclusion(self, line: _Line) -> None:
        value = line.value.at(("chain",))
        assert line.step.chain is not None
        others = sorted(line.step.model_fields_set - {"chain"})
        if others:
            self._problems.add(
                value, f"'chain' stands alone; {others[0]!r} belongs into that chain"
            )
        self._known_chain(value, line.step.chain)

    def _known_chain(self, value: Value, name: str) -> None:
        if name not in self._chains:
            hint = did_you_mean(name, self._chains)
            self._problems.add(value, f"unknown chain{_quoted(name, value)}{hint}")

    def inclusions(self) -> None:
        """Refuse chains that contain themselves; each circle is named once."""
        circles: set[frozenset[str]] = set()
        for name in self._shape.chains:
            circle = self._circle((name,))
            if circle and frozenset(circle) not in circles:
                circles.add(frozenset(circle))
                way = " -> ".join(circle)
                self._problems.add(self._including(circle), f"this chain contains itself: {way}")

    def _circle(self, way: tuple[str, ...]) -> tuple[str, ...]:
        """Follow inclusions from the last chain of a way; return the circle, if one closes."""
        chain = self._shape.chains.get(way[-1])
        for step in chain.steps if chain else ():
            if step.chain in way:
                return (*way[way.index(step.chain) :], step.chain)
            if step.chain is not None and (circle := self._circle((*way, step.chain))):
                return circle
        return ()

    def _including(self, circle: tuple[str, ...]) -> Value:
        """Return the line in which the circle's first chain includes its second."""
        steps = self._shape.chains[circle[0]].steps
        index = next(index for index, step in enumerate(steps) if step.chain == circle[1])
        return self._left.at(("chains", circle[0], "steps", index))

    def free_chains(self) -> None:
        lines = {id(line.step): line for line in self._lines}
        for name, chain in self._shape.chains.items():
            if not chain.free_only:
                continue
            for step in steps_of(name, self._shape.chains):
                value = lines[id(step)].value
                if self._is_paid(step):
                    text = f"this step costs money, but the chain {name!r} is free_only"
                    self._problems.add(value, text)
                for param in _costly(step.params or {}):
                    text = f"this may cost money, but the chain {name!r} is free_only"
                    self._problems.add(value.at(("params", param)), text)

    def _is_paid(self, step: StepSettings) -> bool:
        provider = self._shape.providers.get(step.provider or "")
        return step.cost == "paid" if provider is None else is_paid(step, provider)

    def same_limits(self) -> None:
        """Refuse two sets of limits for one model of one provider: its quota is one."""
        first: dict[tuple[Any, ...], _Line] = {}
        for line in self._lines:
            for name in ("limits", "concurrency"):
                said = getattr(line.step, name)
                if said is None or line.step.chain is not None:
                    continue
                before = first.setdefault((name, line.step.provider, line.step.model), line)
                if _unordered(getattr(before.step, name)) != _unordered(said):
                    text = f"differs from the same step's in {before.value.path}; write it once"
                    self._problems.add(line.value.at((name,)), text)

    def default_chain(self) -> None:
        name = default_chain(self._shape)
        if self._shape.default_chain is not None:
            self._known_chain(self._left.at(("default_chain",)), name)

    def _was_written(self, value: Value, name: str) -> bool:
        found = self._written.get(joined(value.path, name))
        return found is not None and found.data is not None

    def _had_steps(self, value: Value) -> bool:
        whole = self._written[value.path]
        steps = whole.get("steps") or whole
        return bool(steps.elements())


def _costly(params: Mapping[str, Any]) -> list[str]:
    """Return the parameters by which a provider may choose another model or a paid service."""
    tools = params.get("tools")
    hosted = isinstance(tools, list) and any(map(_is_hosted, tools))
    return sorted({*(choosing_fields() & params.keys()), *(["tools"] if hosted else [])})


def _is_hosted(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type", "function") not in CLIENTS_TOOLS


def _names(tree: Value, section: str) -> list[str]:
    found = tree.get(section)
    return [name for name, _ in found.items()] if found else []


def _is_filled(key: Value) -> bool:
    text = key.data.reveal() if isinstance(key.data, Secret) else key.data
    return bool(key.broken or (text.strip() if isinstance(text, str) else text))


def _quoted(name: str, value: Value) -> str:
    return f" {name!r}" if is_showable(value) else ""


def _unordered(said: Any) -> Any:
    return frozenset(said) if isinstance(said, tuple) else said
