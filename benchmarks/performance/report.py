"""A run's results for readers and programs: a table, JSON, or Markdown for the docs."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .bars import CANNED_CPU, Verdict, machine_scale
from .contestants import CONTESTANTS
from .figures import FIGURES, RATIOS
from .results import Results, Spread
from .sampling import Profile

Row = tuple[str, ...]

LEAST_SHOWN: Final = 0.01

NAMES: Final = {
    "canned": "uvicorn, canned answer",
    "relay": "raw relay",
    "bare": "Starlette + httpx",
    "portkey": "Portkey",
    "litellm": "LiteLLM",
}


@dataclass(frozen=True)
class Run:
    """A run that is over.

    Attributes:
        results: What was found.
        figures: What was to be measured, in order.
        verdicts: On stepwell.
        about: Date, machine, versions.
    """

    results: Results
    figures: Sequence[str]
    verdicts: Sequence[Verdict]
    about: Mapping[str, str]

    def verdict(self, figure: str) -> str:
        return next((str(each) for each in self.verdicts if each.figure == figure), "")

    def rows(self) -> Iterator[tuple[str, str, Spread]]:
        """Yield figure, contestant and values."""
        for figure in self.figures:
            for who in CONTESTANTS:
                spread = self.results.spread(figure, who) if _is_its_own(figure, who) else None
                if spread is not None:
                    yield figure, who, spread


def _is_its_own(figure: str, who: str) -> bool:
    return figure not in RATIOS or who == "stepwell"


def unit(figure: str) -> str:
    return "times" if figure in RATIOS else FIGURES[figure].unit


def as_json(run: Run) -> dict[str, Any]:
    """Return every value, by figure, contestant and round."""
    found: dict[str, dict[str, Any]] = {}
    for figure, who, spread in run.rows():
        found.setdefault(figure, {})[who] = {
            "min": spread.least,
            "median": spread.median,
            "max": spread.most,
            "rounds": list(run.results.rounds(figure, who).values()),
        }
    return {
        "about": dict(run.about),
        "scale": machine_scale(run.results),
        "figures": found,
        "bars": [
            {"figure": each.figure, "bar": each.bar, "holds": each.holds} for each in run.verdicts
        ],
        "failures": run.results.failures,
    }


def as_table(run: Run) -> str:
    lines = _aligned(list(_cells(run, str)), words={0, 1, 2, 7})
    return "\n".join([*_about(run), "", *lines, *_missing(run)])


def as_markdown(run: Run) -> str:
    lines = _piped(list(_cells(run, lambda figure: f"`{figure}`")), words={0, 1, 2, 7})
    return "\n".join([*_about(run), "", *lines, *_missing(run)])


def profile_table(profile: Profile, *, markdown: bool) -> str:
    """Return who has which share of the gateway's CPU time under each load, the busiest first."""
    places = {place for shares in profile.values() for place in shares}
    total = {place: sum(shares.get(place, 0) for shares in profile.values()) for place in places}
    rows: list[Row] = [("at work", *profile)]
    for place in sorted(places, key=lambda place: -total[place]):
        found = [f"{shares.get(place, 0):.1%}" for shares in profile.values()]
        if total[place] >= LEAST_SHOWN:
            rows.append((place, *found))
    return "\n".join((_piped if markdown else _aligned)(rows, words={0}))


def _aligned(rows: Sequence[Row], words: Container[int]) -> list[str]:
    """Return lines of columns; those of words begin at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _piped(rows: Sequence[Row], words: Container[int]) -> list[str]:
    """Return the lines of a Markdown table."""
    head, *rest = rows
    ruler = tuple("---" if place in words else "---:" for place in range(len(head)))
    return [f"| {' | '.join(row)} |" for row in (head, ruler, *rest)]


def _cells(run: Run, name: Callable[[str], str]) -> Iterator[Row]:
    yield "figure", "of", "unit", "min", "median", "max", "to stepwell's", "bar"
    last = ""
    for figure, who, spread in run.rows():
        numbers = [_number(value) for value in (spread.least, spread.median, spread.most)]
        times = run.results.times(figure, who)
        beside = "" if times is None else _range(times)
        bar = run.verdict(figure) if who == "stepwell" else ""
        shown = name(figure) if figure != last else ""
        yield shown, NAMES.get(who, who), unit(figure), *numbers, beside, bar
        last = figure


def _number(value: float) -> str:
    """Three digits that count; no more are known."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) >= 1 else 3}f}"


def _range(times: Spread) -> str:
    return f"{times.median:.2g} ({times.least:.2g} to {times.most:.2g})"


def _about(run: Run) -> Iterator[str]:
    yield "; ".join(f"{name} {value}" for name, value in run.about.items())
    scale = machine_scale(run.results)
    yield f"Uvicorn's canned answer costs {scale * CANNED_CPU:.3f} ms here, so times may be"
    yield f"{scale:.2f} of what the bars say for a machine where it costs {CANNED_CPU:.3f} ms."


def _missing(run: Run) -> Iterable[str]:
    shown = {figure for figure, _, _ in run.rows()}
    missed = [
        f"MISSED {each.figure}: not measured" for each in run.verdicts if each.figure not in shown
    ]
    return [*([""] if missed or run.results.failures else []), *missed, *run.results.failures]
