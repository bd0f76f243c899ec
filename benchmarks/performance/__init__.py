"""CPU, time and memory of the gateway and its peers; `run.py` is the command."""

from .bars import BARS, Bar, Verdict, judge
from .contestants import PEERS
from .figures import FIGURES, RATIOS
from .load import LoadError
from .machine import description, missing_tools
from .measurements import GROUPS
from .peers import install, missing_peers, versions
from .report import Run, as_json, as_markdown, as_table, profile_table
from .results import Results
from .sampling import missing_sampler, profile, shares
from .stage import FULL, QUICK, Plan, Stage

__all__ = [
    "BARS",
    "FIGURES",
    "FULL",
    "GROUPS",
    "PEERS",
    "QUICK",
    "RATIOS",
    "Bar",
    "LoadError",
    "Plan",
    "Results",
    "Run",
    "Stage",
    "Verdict",
    "as_json",
    "as_markdown",
    "as_table",
    "description",
    "install",
    "judge",
    "missing_peers",
    "missing_sampler",
    "missing_tools",
    "profile",
    "profile_table",
    "shares",
    "versions",
]
