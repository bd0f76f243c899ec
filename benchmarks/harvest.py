"""How much of the free quota is harvested, and at what price: an hour of traffic in seconds.

    .venv-dev/bin/python benchmarks/harvest.py [--quick] [--check] [--scenario NAME] [--json]

The real application stands before `stepwell.testing`'s fleet on a virtual clock. The fleet is the
referee: it enforces limits by its own count and knows at each moment who has room. Beside it runs
an oracle, a router that sees all counts, has no delays and misses nothing; what it serves of the
same requests is what could be served at all.

Each scenario is played with several fleets: windows that are fixed (each provider's beginning at
another second), sliding, or buckets; providers that tell their quota in headers, in bodies, or not
at all; limits told to the gateway, not told, or told wrong by a factor of two either way. A line is
the worst of the fleets that share its scenario and what was told; `--each` prints them all.

    ok         share of the requests that were answered
    avoidable  requests that failed at a moment at which a sound provider had room for them
    refused    429s that providers gave, per 1,000 requests
    later      the same, after the first window
    late       429s of a provider in the second half of the hour
    harvest    answers, compared with the oracle's
    paid       answers that providers gave, per answer that a client got
    waited     seconds by which an answer came later than its provider needed: the mean
    bars       whether the product's promises hold (harvesting/bars.py), and which does not
"""

import argparse
import functools
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from typing import Any, Final

from harvesting import (
    DIALECTS,
    FEW_FLEETS,
    FLEETS,
    SCENARIOS,
    TOLD,
    WINDOWS,
    Case,
    Figures,
    Result,
    judge,
    play,
)

MINUTES: Final = 60.0
FEW_MINUTES: Final = 12.0

# Cases can be chosen by each of these, several times.
CHOICES: Final[Mapping[str, Iterable[str]]] = {
    "scenario": SCENARIOS,
    "told": TOLD,
    "window": WINDOWS,
    "dialect": DIALECTS,
}

NAMES: Final = 50
COLUMNS: Final = {
    "ok": "{:8.1%}",
    "avoidable": "{:11}",
    "refused": "{:9.1f}",
    "later": "{:8.1f}",
    "late": "{:7.2f}",
    "harvest": "{:9.1%}",
    "paid": "{:6.2f}",
    "waited": "{:8.2f}",
}


def main() -> int:
    options = _options()
    cases = list(_cases(options))
    results = judge(_played(cases, options))
    done = _print_json(results) if options.json else _print_table(results, each=options.each)
    missed = sum(bool(result.missed) for result in done)
    return 1 if options.check and missed else 0


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield what was asked for in our own order: what is told is compared with what is not."""
    every = FEW_FLEETS if options.quick else FLEETS
    chosen = {name: getattr(options, name) or choices for name, choices in CHOICES.items()}
    for scenario, told, (window, dialect) in itertools.product(SCENARIOS, TOLD, every):
        case = Case(scenario, told, window, dialect, options.window_seconds)
        if all(getattr(case, name) in wanted for name, wanted in chosen.items()):
            yield case


# --- playing


def _played(cases: Sequence[Case], options: argparse.Namespace) -> Iterator[tuple[Case, Figures]]:
    """Play all cases side by side, and yield them in order."""
    minutes = options.minutes or (FEW_MINUTES if options.quick else MINUTES)
    work = functools.partial(play, seed=options.seed, minutes=minutes)
    if options.jobs == 1:  # in this process, where a profiler or a debugger finds it
        yield from zip(cases, map(work, cases), strict=True)
        return
    progress = Progress(len(cases))
    with ProcessPoolExecutor(options.jobs, initializer=_die_of_interrupts) as pool:
        futures = [pool.submit(work, case) for case in cases]
        try:
            for future in futures:
                future.add_done_callback(progress.step)
            for case, future in zip(cases, futures, strict=True):
                figures = future.result()
                progress.clear()
                yield case, figures
        finally:
            pool.shutdown(cancel_futures=True)


def _die_of_interrupts() -> None:
    """End a worker without a traceback; the one that matters is its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Progress:
    """How many cases are done, on stderr if somebody looks."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._seen = sys.stderr.isatty()

    def step(self, _future: Future[Figures]) -> None:
        self._done += 1
        self._write(f"\r{self._done} of {self._total} cases")

    def clear(self) -> None:
        """Make way for a line of the table."""
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._seen:
            sys.stderr.write(text)
            sys.stderr.flush()


# --- printing


def _print_json(results: Iterator[Result]) -> list[Result]:
    done = list(results)
    rows = [
        asdict(each.case) | asdict(each.figures) | {"missed": dict(each.missed)} for each in done
    ]
    print(json.dumps(rows, indent=1))
    return done


def _print_table(results: Iterator[Result], *, each: bool) -> list[Result]:
    """Print a group of cases as soon as its last one is there."""
    head = (name.rjust(len(form.format(0))) for name, form in COLUMNS.items())
    print(" " * NAMES + "".join(head) + "  bars")
    done = []
    for (scenario, told), some in itertools.groupby(results, key=_group):
        group = list(some)
        done += group
        for result in group if each else ():
            _print_row(str(result.case), [result])
        for label, is_silent in (("", False), (", silent", True)):
            alike = [result for result in group if result.case.is_silent is is_silent]
            if alike:
                _print_row(f"{scenario}, told {told}{label}", alike)
    return done


def _group(result: Result) -> tuple[str, str]:
    return result.case.scenario, result.case.told


def _print_row(name: str, results: Sequence[Result]) -> None:
    """Print the worst of each figure, and how many of the cases missed which bar."""
    figures = _worst([result.figures for result in results])
    cells = "".join(form.format(figures[name]) for name, form in COLUMNS.items())
    missed = Counter(figure for result in results for figure in result.missed)
    words = ", ".join(f"{figure} ({count} of {len(results)})" for figure, count in missed.items())
    print(f"{name:{NAMES}}{cells}  {f'MISSED {words}' if words else 'ok'}", flush=True)


def _worst(figures: Sequence[Figures]) -> dict[str, Any]:
    return {
        "ok": min(each.ok for each in figures),
        "avoidable": max(each.avoidable for each in figures),
        "refused": max(each.refused for each in figures),
        "later": max(each.refused_later for each in figures),
        "late": max(each.refused_late for each in figures),
        "harvest": min(each.harvest for each in figures),
        "paid": max(each.paid for each in figures),
        "waited": max(each.waited for each in figures),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    add = parser.add_argument
    add("--check", action="store_true", help="end with code 1 if a bar is missed")
    add(
        "--quick",
        action="store_true",
        help=f"few fleets, and {FEW_MINUTES:g} minutes, to begin with",
    )
    add("--json", action="store_true", help="every case, as JSON")
    add("--each", action="store_true", help="print every case, not the worst only")
    for name, choices in CHOICES.items():
        add(f"--{name}", action="append", choices=choices)
    add("--seed", type=int, default=1, help="of the dice that make the traffic")
    add("--minutes", type=float, help=f"of traffic in each case; {MINUTES:g} unless it is --quick")
    add(
        "--window-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="length of the providers' windows; the hour has as many of these as it had minutes",
    )
    add("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes; 1 is this one")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130  # as a shell expects of what was interrupted
    sys.exit(code)
