"""Which hours are played: the kinds of traffic, and the fleets that each of them meets.

All times are in windows: the same hour can be played with windows of a minute or of six seconds,
and everything but the gateway shrinks with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from stepwell.testing.dialects import DialectName
from stepwell.testing.limits import WindowKind

Told = Literal["nothing", "right", "half", "double"]
FleetKind: TypeAlias = tuple[WindowKind, DialectName]

PROVIDERS: Final = 6
# What such a fleet admits in one window, where requests are what is limited.
CAPACITY: Final = 10 * PROVIDERS

WINDOWS: Final[tuple[WindowKind, ...]] = ("fixed", "first-call", "sliding", "bucket")
DIALECTS: Final[tuple[DialectName, ...]] = ("openai", "groq", "gemini", "retry-after", "silent")
# By how much a limit is multiplied before it is told. Nothing comes first: what is told is compared
# with it.
TOLD: Final[Mapping[Told, float]] = {"nothing": 0.0, "right": 1.0, "half": 0.5, "double": 2.0}

FLEETS: Final[tuple[FleetKind, ...]] = tuple(
    (window, dialect) for window in WINDOWS for dialect in DIALECTS
)
# For a first look: each kind of window once, hints in headers, in bodies, as a bare delay, and none.
FEW_FLEETS: Final[tuple[FleetKind, ...]] = (
    ("fixed", "openai"),
    ("sliding", "gemini"),
    ("bucket", "retry-after"),
    ("first-call", "gemini"),
    ("fixed", "silent"),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of hour.

    Attributes:
        name: For the command line.
        load: Requests, as a share of what the fleet's limits allow on average.
        limits: Of each provider, in one window.
        cost: Tokens of one request on average, where tokens are what is short.
        bursts: Requests that come at one moment, every five windows, beside the load.
        queue: Windows that a request may wait for quota; 0 switches the queue off.
        faulty: Half of the providers are out of order, in turns.
        aligned: Fixed windows of all providers begin at the same moment.
        counts_refused: Providers count requests that they refuse, too.
    """

    name: str
    load: float
    limits: tuple[str, ...] = ("10 requests",)
    cost: int = 0
    bursts: int = 0
    queue: float = 0.0
    faulty: bool = False
    aligned: bool = False
    counts_refused: bool = False

    @property
    def is_within_capacity(self) -> bool:
        """Nobody asks for more than the limits allow, not even for a moment."""
        return self.load <= 1 and self.bursts <= CAPACITY


SCENARIOS: Final[Mapping[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario("steady", load=0.6),
        Scenario("burst", load=0.1, bursts=44),
        Scenario("tokens", load=0.6, limits=("6000 tokens", "30 requests"), cost=300),
        Scenario("overload", load=1.5),
        Scenario("overload-tokens", load=1.5, limits=("6000 tokens",), cost=300),
        Scenario("overload-queue", load=1.5, queue=0.5),
        Scenario("overload-counted", load=1.5, counts_refused=True),
        Scenario("faults", load=0.25, faulty=True),
        Scenario("recovery", load=0.2, bursts=90, aligned=True),
        Scenario("recovery-queue", load=0.2, bursts=90, aligned=True, queue=1.5),
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario with one fleet.

    Attributes:
        scenario: Its name.
        told: What the gateway is told of the limits.
        window: The kind of the providers' windows.
        dialect: How they tell their quota.
        length: Of a window, in seconds.
    """

    scenario: str
    told: Told
    window: WindowKind
    dialect: DialectName
    length: float = 60.0

    def __str__(self) -> str:
        return f"{self.scenario}, told {self.told}, {self.window}, {self.dialect}"

    @property
    def is_silent(self) -> bool:
        return self.dialect == "silent"
