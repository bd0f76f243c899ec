"""An hour of traffic on a virtual clock, and what must come of it; `harvest.py` is the command."""

from .bars import Result, judge
from .cases import DIALECTS, FEW_FLEETS, FLEETS, SCENARIOS, TOLD, WINDOWS, Case, Scenario
from .hour import Figures, play

__all__ = [
    "DIALECTS",
    "FEW_FLEETS",
    "FLEETS",
    "SCENARIOS",
    "TOLD",
    "WINDOWS",
    "Case",
    "Figures",
    "Result",
    "Scenario",
    "judge",
    "play",
]
