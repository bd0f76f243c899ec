"""A stage: the providers, the contestants that have been called so far, and what was found."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .contestants import CONTESTANTS, PEERS, Contestant
from .load import LoadError, flood, timed
from .process import DidNotStartError
from .providers import Providers, start_providers
from .results import Results


@dataclass(frozen=True)
class Plan:
    """How long things take.

    Attributes:
        rounds: In which everybody has a turn.
        seconds: Of load by the clock, for each turn.
        warm: Seconds of load before anything counts.
        requests: By which a latency is known.
        growth: Requests after which memory is looked at.
    """

    rounds: int
    seconds: float
    warm: float
    requests: int
    growth: int


FULL = Plan(rounds=5, seconds=4.0, warm=5.0, requests=1000, growth=200_000)
QUICK = Plan(rounds=2, seconds=1.0, warm=2.0, requests=300, growth=20_000)


class Stage:
    """Starts who is called, once, and notes what is found.

    Attributes:
        turn: The number of the round.
    """

    def __init__(self, plan: Plan, folder: Path, stack: ExitStack, *, peers: bool) -> None:
        self.plan = plan
        self.folder = folder
        self.results = Results()
        self.turn = 0
        self.providers: Providers = start_providers(stack, folder)
        self._stack = stack
        self._peers = peers
        self._called: dict[str, Contestant] = {}

    def note(self, figure: str, who: str, value: float) -> None:
        self.results.note(figure, who, self.turn, value)

    def call(self, name: str) -> Contestant:
        """Return a contestant, started and warm."""
        if name not in self._called:
            who = CONTESTANTS[name](self.providers, self.folder)
            self._stack.callback(who.process.stop)
            self._called[name] = who
            _warm(who, self.plan.warm)
        return self._called[name]

    @property
    def called(self) -> list[Contestant]:
        return list(self._called.values())

    def each(self, names: Sequence[str], measure: Callable[[Contestant], None]) -> None:
        """Measure contestants one after the other; each round begins with another one."""
        here = [name for name in names if self._peers or name not in PEERS]
        first = self.turn % len(here)
        for name in here[first:] + here[:first]:
            with self.guard(name):
                measure(self.call(name))

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Note that something could not be measured, and go on."""
        try:
            yield
        except (LoadError, DidNotStartError) as error:
            self.results.failures.append(f"{what}: {error}")

    @contextmanager
    def fresh(self, start: Callable[[Providers, Path], Contestant]) -> Iterator[Contestant]:
        """Start a server for one measurement alone."""
        who = start(self.providers, self.folder)
        try:
            yield who
        finally:
            who.process.stop()


def _warm(who: Contestant, seconds: float) -> None:
    """Let caches, pools and compilers come to rest."""
    flood(who, who.request("whole"), 100, seconds)
    flood(who, who.request("whole"), 32, seconds / 2)
    if who.name != "canned":
        timed(who, who.request("stream-50-0", stream=True), 32, 200)
