"""From settings to what routing works with: chains of steps, steps of targets."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from stepwell.providers.history import rules_for
from stepwell.quota.limit import Limit, Scope
from stepwell.routing.chain import Adaptation, Chain, Routes, Step, Target
from stepwell.routing.history import UNTOUCHED, HistoryRules
from stepwell.secrets import Secret
from stepwell.settings.model import ChainSettings, ProviderSettings, Shape, StepSettings

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Account:
    """One key of a provider.

    Attributes:
        name: The provider's, with `#2`, `#3` ... for its further keys, as targets call it.
        provider: The provider's name.
        key: None where the provider needs none: no Authorization header is sent.
    """

    name: str
    provider: str
    key: Secret | None


def accounts_of(name: str, provider: ProviderSettings) -> tuple[Account, ...]:
    """Return a provider's accounts in the order of its keys; one without a key if it has none."""
    keys: tuple[Secret | None, ...] = provider.api_keys or (None,)
    return tuple(
        Account(name if number == 1 else f"{name}#{number}", name, key)
        for number, key in enumerate(keys, start=1)
    )


def default_chain(shape: Shape) -> str:
    """Return the name of the chain for everything that names none; empty if there are no chains."""
    if shape.default_chain is not None:
        return shape.default_chain
    return "default" if "default" in shape.chains else next(iter(shape.chains), "")


def steps_of(
    name: str, chains: Mapping[str, ChainSettings], _above: tuple[str, ...] = ()
) -> Iterator[StepSettings]:
    """Return the steps of a chain, those of the chains it includes in their places.

    A chain that does not exist, or contains itself, adds nothing: that is complained of elsewhere.
    """
    if name not in chains or name in _above:
        return
    for step in chains[name].steps:
        if step.chain is None:
            yield step
        else:
            yield from steps_of(step.chain, chains, (*_above, name))


def build_routes(shape: Shape) -> Routes:
    """Build every chain, step and target once; equal targets are one object."""
    builder = _Builder(shape)
    return Routes(
        {name: builder.chain(name) for name in shape.chains},
        default=default_chain(shape),
        reject_unknown=shape.unknown_model == "reject",
        pinnable=builder.pinned,
        providers=shape.providers,
    )


class _Builder:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._targets: dict[tuple[str, str], tuple[Target, ...]] = {}
        self._said: dict[tuple[str, str], list[StepSettings]] = defaultdict(list)
        for chain in shape.chains.values():
            for step in chain.steps:
                if step.provider is not None and step.model is not None:
                    self._said[step.provider, step.model].append(step)

    def chain(self, name: str) -> Chain:
        """Build a chain; a step that comes twice is asked where it is first."""
        steps: dict[str, Step] = {}
        for settings in steps_of(name, self._shape.chains):
            assert settings.provider is not None  # checked when the settings were read
            assert settings.model is not None
            step = self._step(settings.provider, settings.model, settings)
            steps.setdefault(step.name, step)
        return Chain(name, tuple(steps.values()), self._shape.chains[name].free_only)

    def pinned(self, provider: str, model: str) -> Step:
        """Build a step that stands in no chain."""
        return self._step(provider, model, StepSettings(provider=provider, model=model))

    def _step(self, name: str, model: str, step: StepSettings) -> Step:
        provider = self._shape.providers[name]
        known = provider.known
        capabilities = _first(
            step.capabilities, provider.capabilities, known.capabilities_of(model)
        )
        return Step(
            provider=name,
            model=model,
            targets=self._targets_of(name, model),
            timeout=_first(step.timeout, provider.timeout) or self._shape.timeouts.attempt,
            params=step.params or {},
            paid=is_paid(step, provider),
            context=_first(step.context, provider.context, known.context_of(model)),
            capabilities=capabilities,
            prefill=bool(_first(step.prefill, provider.prefill)),
            usage=_said(step.stream_usage, provider.stream_usage, known.stream_usage),
            adaptation=Adaptation(
                frozenset(_said(step.drop_params, provider.drop_params, known.dropped_for(model))),
                _said(step.rename_params, provider.rename_params, known.rename),
            ),
            history=self._history_of(name, provider),
        )

    def _history_of(self, name: str, provider: ProviderSettings) -> HistoryRules:
        """Return what is known of a provider, and of one not known what is safe.

        To the only provider there is nothing in a conversation is foreign.
        """
        alone = len(self._shape.providers) == 1
        known = rules_for(provider.preset, name, provider.dialect)
        return provider.history.over(known or (UNTOUCHED if alone else HistoryRules()))

    def _targets_of(self, name: str, model: str) -> tuple[Target, ...]:
        found = self._targets.get((name, model))
        if found is None:
            found = self._make_targets(name, model)
            if (name, model) in self._said:  # pinned ones are kept, and bounded, by Routes
                self._targets[name, model] = found
        return found

    def _make_targets(self, name: str, model: str) -> tuple[Target, ...]:
        provider = self._shape.providers[name]
        said = self._said.get((name, model), [])
        known, keyed = provider.known, shows_key(provider)
        concurrency = next((s.concurrency for s in said if s.concurrency is not None), None)
        at_once = _first(
            concurrency, provider.concurrency, known.concurrency_of(model, keyed=keyed)
        )
        general = _said(provider.limits, known.limits_of(model, keyed=keyed))
        limits = (*_model_limits(general, said), *self._shared_limits(name, model, general))
        return tuple(
            Target(account.name, name, model, limits, at_once)
            for account in accounts_of(name, provider)
        )

    def _shared_limits(self, name: str, model: str, general: Iterable[Limit]) -> tuple[Limit, ...]:
        """Return the limits that a model shares with others, also those written at another step."""
        written = list(general)
        for (provider, _), steps in self._said.items():
            if provider == name:
                written += [limit for step in steps for limit in step.limits or ()]
        shared = dict.fromkeys(limit for limit in written if limit.scope is not Scope.MODEL)
        return tuple(limit for limit in shared if limit.scope.covers(model))


def is_paid(step: StepSettings, provider: ProviderSettings) -> bool:
    """Whether a step costs money: as it says, else as is known of the provider's preset."""
    if step.cost is not None:
        return step.cost == "paid"
    return not provider.known.is_free(step.model or "", keyed=shows_key(provider))


def shows_key(provider: ProviderSettings) -> bool:
    """Whether it is asked with a key that is somebody's."""
    nobody = provider.known.anonymous_key
    return any(key.reveal() != nobody for key in provider.api_keys)


def _model_limits(general: Iterable[Limit], said: Iterable[StepSettings]) -> tuple[Limit, ...]:
    """Return what one of the steps says of a model, else what holds in general."""
    limits = next((step.limits for step in said if step.limits is not None), general)
    return tuple(limit for limit in limits if limit.scope is Scope.MODEL)


def _first(*values: _T | None) -> _T | None:
    return next((value for value in values if value is not None), None)


def _said(first: _T | None, *others: _T | None) -> _T:
    """Return the first value that is said; the last one always is."""
    return next(value for value in (first, *others) if value is not None)
