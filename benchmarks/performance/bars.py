"""What stepwell must show: the bars as a table, and the judgement on a run.

Times are stated for a machine on which uvicorn's canned answer costs 0.050 ms of CPU. A run measures
that too, and its bars are moved by as much.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .results import Results

CANNED_CPU: Final = 0.050


@dataclass(frozen=True)
class Bar:
    """The most or the least that a figure may be; `scaled` with the machine's speed."""

    figure: str
    most: float = float("inf")
    least: float = float("-inf")
    scaled: bool = False


BARS: Final = (
    Bar("request_cpu", most=0.25, scaled=True),
    Bar("request_cpu_growth", most=1.3),
    Bar("rate_to_portkey", least=5),
    Bar("rate_to_litellm", least=40),
    Bar("refusal_cpu", most=0.1, scaled=True),
    Bar("dry_to_sound", most=1.1),
    Bar("added_median", most=0.5, scaled=True),
    Bar("added_p99", most=2.0, scaled=True),
    Bar("stream_cpu", most=0.8, scaled=True),
    Bar("stream_paced_cpu", most=4.0, scaled=True),
    Bar("stream_paced_to_relay", most=1.3),
    Bar("first_token_added", most=1.0, scaled=True),
    Bar("many_late_p99", most=125),  # who is one event late has fallen behind
    Bar("body_100kb_cpu", most=0.45, scaled=True),
    Bar("body_5mb_to_relay", most=1.3),
    Bar("body_5mb_peak", most=2.5),
    Bar("import_seconds", most=0.3, scaled=True),
    Bar("import_mb", most=45),
    Bar("start_seconds", most=1.5, scaled=True),
    Bar("idle_mb", most=70),
    Bar("idle_database_mb", most=90),
    Bar("growth_mb", most=10),
    Bar("hang_up_descriptors", most=0),
    Bar("hang_up_reservations", most=0),
)


@dataclass(frozen=True)
class Verdict:
    """A bar as it stood in one run, and whether the median held it."""

    figure: str
    bar: str
    holds: bool

    def __str__(self) -> str:
        return f"{'ok' if self.holds else 'MISSED'} {self.bar}"


def judge(results: Results, measured: Iterable[str]) -> Iterator[Verdict]:
    """Hold each bar against the median of its figure.

    Args:
        results: Of the run.
        measured: The figures that the run was to measure; a bar of another is left out, and one whose
            figure did not come about is missed.
    """
    wanted = set(measured)
    scale = machine_scale(results)
    for bar in BARS:
        if bar.figure in wanted:
            yield _verdict(bar, scale if bar.scaled else 1.0, results.median(bar.figure))


def machine_scale(results: Results) -> float:
    """Return by how much this machine is slower than the one that the bars are stated for."""
    canned = results.median("canned_cpu", "canned")
    return 1.0 if canned is None else canned / CANNED_CPU


def _verdict(bar: Bar, scale: float, value: float | None) -> Verdict:
    is_least = bar.most == float("inf")
    limit = (bar.least if is_least else bar.most) * scale
    words = f"{'>=' if is_least else '<='} {limit:.3g}"
    if value is None:
        return Verdict(bar.figure, words, holds=False)
    return Verdict(bar.figure, words, holds=value >= limit if is_least else value <= limit)
