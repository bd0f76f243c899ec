"""Chain, Step, Target: what a request may be sent to, in which order; and from a model name to steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.errors import UnknownModel
from stepwell.quota.limit import Limit


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
        capabilities: `vision`, `tools`, `json`, as far as they are known.
        prefill: It continues a message that ends with the assistant's words.
        usage: It may be asked for usage in streams (`stream_options.include_usage`).
    """

    provider: str
    model: str
    targets: tuple[Target, ...]
    timeout: float
    params: Mapping[str, Any] = field(default_factory=dict)
    paid: bool = False
    context: int | None = None
    capabilities: frozenset[str] = frozenset()
    prefill: bool = False
    usage: bool = True
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider}/{self.model}")


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A named, ordered list of steps."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Where one request may go.

    Attributes:
        name: The chain's name, or the pinned step's, for records.
        steps: In order.
    """

    name: str
    steps: tuple[Step, ...]


class Routes:
    """All chains, and the rule by which `model` picks a way through them.

    Args:
        chains: By name.
        default: The chain for names that match nothing.
        reject_unknown: Such a name is an error instead.
        pinnable: Steps of no chain that `provider/model` may name all the same (`pins: any`), made
            on demand from provider and model; None where that is not allowed.
        providers: The configured providers' names.
    """

    def __init__(
        self,
        chains: Mapping[str, Chain],
        *,
        default: str,
        reject_unknown: bool = False,
    ) -> None:
        self.chains = dict(chains)
        self.default = default
        self._reject_unknown = reject_unknown

    def resolve(self, model: str | None, *, allowed: frozenset[str] | None = None) -> Route:
        raise UnknownModel("")  # replaced below
