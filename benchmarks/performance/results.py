"""What a run has found: for each figure and contestant one value a round."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .figures import RATIOS

Rounds = Mapping[int, float]


@dataclass(frozen=True)
class Spread:
    """The least, the median and the most of some values."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        ordered = sorted(values)
        if not ordered:
            return None
        return cls(ordered[0], statistics.median(ordered), ordered[-1])


@dataclass
class Results:
    """Values by figure and contestant, by round; `failures` says what could not be measured."""

    values: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def note(self, figure: str, who: str, turn: int, value: float) -> None:
        self.values.setdefault((figure, who), {})[turn] = value

    def rounds(self, figure: str, who: str = "stepwell") -> Rounds:
        """Return a figure's values, or a ratio's, pair by pair."""
        ratio = RATIOS.get(figure)
        if ratio is None:
            return self.values.get((figure, who), {})
        above = self.rounds(ratio.figure, ratio.who)
        return _pairs(above, self.rounds(ratio.to_figure, ratio.to))

    def spread(self, figure: str, who: str = "stepwell") -> Spread | None:
        return Spread.of(self.rounds(figure, who).values())

    def median(self, figure: str, who: str = "stepwell") -> float | None:
        spread = self.spread(figure, who)
        return None if spread is None else spread.median

    def times(self, figure: str, who: str) -> Spread | None:
        """Return how many times stepwell's a contestant's figure is, round by round."""
        if who == "stepwell":
            return None
        return Spread.of(_pairs(self.rounds(figure, who), self.rounds(figure)).values())


def _pairs(above: Rounds, below: Rounds) -> Rounds:
    return {turn: above[turn] / below[turn] for turn in above if below.get(turn)}
