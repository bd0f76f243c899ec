"""Chain, Step, Target: what a request may be sent to, in which order; from a name to steps."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from stepwell.errors import UnknownModel
from stepwell.quota.limit import Limit
from stepwell.routing.history import UNTOUCHED, HistoryRules


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What is really called: one account's key and one model.

    Attributes:
        key: `account/model`, the identity that the ledger counts by.
        account: The provider's name, with `#2`, `#3` ... for its further keys.
        provider: The provider's name.
        model: The model's name at the provider.
        limits: Configured limits.
        concurrency: Calls in flight at most; None is unbounded.
    """

    account: str
    provider: str
    model: str
    limits: tuple[Limit, ...] = ()
    concurrency: int | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.account}/{self.model}")


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How a request's body must be changed for a step, so that its provider takes it.

    Attributes:
        drop: Fields to leave out.
        rename: The provider's names for fields, by the names that clients use.
    """

    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)


AS_IT_IS: Final = Adaptation()
"""Nothing is changed."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One line of a chain: provider and model, with what this line says otherwise.

    Attributes:
        name: `provider/model`.
        targets: One for each of the provider's keys.
        timeout: Seconds for one attempt: until its answer is whole, or its first meaningful delta.
        params: Body fields that this step sets.
        paid: It costs money.
        context: The largest context in tokens; None if not known.
        capabilities: Of `vision`, `tools`, `json`; None if they are not known.
        prefill: It continues a message that ends with the assistant's words.
        usage: It may be asked for usage in streams (`stream_options.include_usage`).
        adaptation: What else its provider wants otherwise than clients send it.
        history: What its provider takes of a conversation with others.
    """

    provider: str
    model: str
    targets: tuple[Target, ...]
    timeout: float
    params: Mapping[str, Any] = field(default_factory=dict)
    paid: bool = False
    context: int | None = None
    capabilities: frozenset[str] | None = None
    prefill: bool = False
    usage: bool = True
    adaptation: Adaptation = AS_IT_IS
    history: HistoryRules = UNTOUCHED
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider}/{self.model}")


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A named, ordered list of steps; of one that is free only none may cost money."""

    name: str
    steps: tuple[Step, ...]
    free_only: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Where one request may go.

    Attributes:
        name: The chain's name, the pinned step's, or the model's, for records.
        steps: In order.
        free_only: Every chain by which the caller comes to these steps is so.
    """

    name: str
    steps: tuple[Step, ...]
    free_only: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """One name that `model` may have, as a list of models shows it.

    Attributes:
        id: A chain's name, or `provider/model`.
        owner: The provider's name; `stepwell` for a chain.
        context: The largest context in tokens that is known to be served; None if none is known.
        capabilities: What some step is known to offer.
    """

    id: str
    owner: str
    context: int | None
    capabilities: frozenset[str]


MAX_PINNED: Final = 256
"""Steps made on demand that are remembered; a client that invents names must not fill the
memory."""

MAX_MODEL_LENGTH: Final = 200
"""Characters of a model's name that a step is made for; the longest known ones have about 90."""


class Routes:
    """All chains, and the rule by which `model` picks a way through them.

    A caller may be restricted to some chains (`allowed`). Such a caller gets the steps of these
    chains and no others; its default is the default chain if that is among them, else the first of
    its chains in the order of the settings.

    Args:
        chains: By name, in the order of the settings.
        default: The chain for names that match nothing.
        reject_unknown: Such a name is an error instead.
        pinnable: Makes a step of provider and model that stands in no chain, for callers that may
            pin any (`pins: any`); None where that is never allowed.
        providers: The configured providers' names.
    """

    def __init__(
        self,
        chains: Mapping[str, Chain],
        *,
        default: str,
        reject_unknown: bool = False,
        pinnable: Callable[[str, str], Step] | None = None,
        providers: Collection[str] = (),
    ) -> None:
        self.chains = dict(chains)
        self.default = default
        self._routes = {chain.name: _route_of(chain) for chain in chains.values()}
        self._reject_unknown = reject_unknown
        self._make = None if pinnable is None else lru_cache(MAX_PINNED)(pinnable)
        # Longest first, so that of the providers `a` and `a/b` the name `a/b/c` finds the second.
        self._providers = sorted(providers, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Routes({len(self.chains)} chains, default {self.default!r})"

    def resolve(
        self, model: str | None, *, allowed: frozenset[str] | None = None, pin_any: bool = False
    ) -> Route:
        """Return the way that `model` names.

        Args:
            model: The request's field; None and "" mean the default chain.
            allowed: Names of the chains that the caller may use; None means all.
            pin_any: The caller may name `provider/model` even if it stands in none of its chains.

        Raises:
            UnknownModel: Nothing has this name and unknown names are rejected, or the caller may
                use no chain at all.
        """
        if model and (named := self._named_chain(model, allowed)):
            return named
        usable = self.usable(allowed)
        if not usable:
            raise UnknownModel("This key may use no chain.")
        if not model:
            return self._routes[usable[0].name]
        found = (
            _named_step(model, usable)
            or (self._pinned(model) if pin_any else None)
            or _served_model(model, usable)
        )
        if found is not None:
            return found
        if self._reject_unknown:
            raise UnknownModel(
                f"The model {_shortened(model)!r} does not exist or you do not have access to it."
            )
        return self._routes[usable[0].name]

    def models(self, *, allowed: frozenset[str] | None = None) -> list[Listed]:
        """List every name once: the caller's chains, then the steps in them."""
        usable = self.usable(allowed)
        listed = {chain.name: _listed_chain(chain) for chain in usable}
        for step in _steps(usable):
            listed.setdefault(step.name, _listed_step(step))
        return list(listed.values())

    def usable(self, allowed: frozenset[str] | None) -> list[Chain]:
        """Return the caller's chains, its default first, the rest in the order of the settings."""
        usable = [c for c in self.chains.values() if allowed is None or c.name in allowed]
        return sorted(usable, key=lambda chain: chain.name != self.default)  # sorting is stable

    def _named_chain(self, model: str, allowed: frozenset[str] | None) -> Route | None:
        return self._routes.get(model) if allowed is None or model in allowed else None

    def _pinned(self, name: str) -> Route | None:
        if self._make is None or len(name) > MAX_MODEL_LENGTH or not is_model_name(name):
            return None
        for provider in self._providers:
            model = name.removeprefix(f"{provider}/")
            if model and model != name:
                return Route(name, (self._make(provider, model),))
        return None


def is_model_name(text: str) -> bool:
    """Whether a provider may have a model of this name: visible ASCII, as it travels in headers."""
    return text.isascii() and text.isprintable() and text != "" and " " not in text


def _route_of(chain: Chain) -> Route:
    return Route(chain.name, chain.steps, chain.free_only)


def _steps(chains: Iterable[Chain]) -> Iterator[Step]:
    return (step for chain in chains for step in chain.steps)


def _named_step(name: str, chains: Iterable[Chain]) -> Route | None:
    found = _route_by(name, chains, lambda step: step.name == name)
    return None if found is None else Route(name, found.steps[:1], found.free_only)


def _served_model(model: str, chains: Iterable[Chain]) -> Route | None:
    return _route_by(model, chains, lambda step: step.model == model)


def _route_by(name: str, chains: Iterable[Chain], serves: Callable[[Step], bool]) -> Route | None:
    """Find the steps that serve, each provider's once, as its first chain has it."""
    serving: dict[str, Step] = {}
    free_only = True
    for chain in chains:
        for step in filter(serves, chain.steps):
            serving.setdefault(step.name, step)
            free_only = free_only and chain.free_only
    return Route(name, tuple(serving.values()), free_only) if serving else None


def _listed_chain(chain: Chain) -> Listed:
    contexts = [step.context for step in chain.steps if step.context is not None]
    capabilities = frozenset[str]().union(*(step.capabilities or () for step in chain.steps))
    return Listed(chain.name, "stepwell", max(contexts, default=None), capabilities)


def _listed_step(step: Step) -> Listed:
    return Listed(step.name, step.provider, step.context, step.capabilities or frozenset())


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MODEL_LENGTH else f"{text[:MAX_MODEL_LENGTH]}..."
