"""What an hour must come to: the product's promises as a table.

Limits that were told may cost a call or two in the first window, so what was told right is measured
from the beginning; nothing told, or told wrong, has to be learned first. An overload without a queue
has its price: a request fails only upon evidence, and evidence is a call that is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .cases import SCENARIOS, Case
from .hour import Figures


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise: a figure, the most or the least that it may be, and for whom."""

    figure: str
    holds_for: Callable[[Case], bool]
    most: float = float("inf")
    least: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Result:
    """One case's figures, and in words what is wrong with those that missed a bar."""

    case: Case
    figures: Figures
    missed: Mapping[str, str]


def _always(_case: Case) -> bool:
    return True


def _told_right_and_served(case: Case) -> bool:
    scenario = SCENARIOS[case.scenario]
    return case.told == "right" and (scenario.is_within_capacity or scenario.queue > 0)


def _told_right_and_overrun(case: Case) -> bool:
    return case.told == "right" and not _told_right_and_served(case)


def _untold_but_hinted(case: Case) -> bool:
    return _untold(case) and not case.is_silent


def _untold_and_unhinted(case: Case) -> bool:
    return _untold(case) and case.is_silent


def _untold(case: Case) -> bool:
    return case.told == "nothing" and SCENARIOS[case.scenario].is_within_capacity


def _told_right_and_overloaded(case: Case) -> bool:
    return case.told == "right" and SCENARIOS[case.scenario].load > 1


# Of two bars for the same figure the stricter comes first.
BARS: Final = (
    Bar("avoidable", _always, most=0),
    Bar("paid", _always, most=1.0),
    Bar("refused", _told_right_and_served, most=1),
    Bar("refused", _told_right_and_overrun, most=100),
    Bar("refused_later", _untold_but_hinted, most=30),
    Bar("refused_later", _untold_and_unhinted, most=100),
    Bar("harvest", _told_right_and_overloaded, least=0.98),
    Bar("harvest", _always, least=0.93),
)

# Telling never makes anything worse than not telling, except by as much as chance may. That what was
# told is wrong is found out once, which costs what it costs to find out what nobody told, but at
# another time: so refusals are compared when both have learned. Two calls of a provider show that an
# amount is right, and how its window moves; when they are due is chance.
REFUSED_BY_CHANCE: Final = 2.0
HARVEST_BY_CHANCE: Final = 0.01


def judge(played: Iterable[tuple[Case, Figures]]) -> Iterator[Result]:
    """Hold each case against the bars, and against the one before it that was told nothing."""
    untold: dict[Case, Figures] = {}
    for case, figures in played:
        like = replace(case, told="nothing")
        if case.told == "nothing":
            untold[like] = figures
        bars = [*(bar for bar in BARS if bar.holds_for(case)), *_no_worse(untold.get(like))]
        yield Result(case, figures, _missed(bars, figures))


def _no_worse(untold: Figures | None) -> Iterator[Bar]:
    if untold is not None:
        yield Bar("refused_late", _always, most=untold.refused_late + REFUSED_BY_CHANCE)
        # A wait for evidence may end in room, which the oracle never waits for: that sets no standard.
        yield Bar("harvest", _always, least=min(1.0, untold.harvest) - HARVEST_BY_CHANCE)


def _missed(bars: Iterable[Bar], figures: Figures) -> dict[str, str]:
    """Return for each figure the first bar that it missed; two places are enough."""
    missed: dict[str, str] = {}
    for bar in bars:
        value = round(getattr(figures, bar.figure), 2)
        if value > round(bar.most, 2):
            missed.setdefault(bar.figure, f"{value:g} > {bar.most:g}")
        elif value < round(bar.least, 2):
            missed.setdefault(bar.figure, f"{value:g} < {bar.least:g}")
    return missed
