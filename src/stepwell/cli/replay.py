"""`stepwell replay`: what another chain would have done with yesterday's traffic."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from stepwell.cli.console import (
    FAILED,
    ConfigOption,
    console,
    fail,
    limit_text,
    load_settings,
    print_json,
    printable,
    settings_mistakes_told,
    table,
)
from stepwell.cli.rerun import Played, Rerun
from stepwell.observe import End
from stepwell.quota.limit import Limit
from stepwell.replay import Past, key_of
from stepwell.routing.verdict import Outcome
from stepwell.trace import Broken, Line, Try, read_lines

_FAILED_ENDS: Final = (End.EXHAUSTED, End.BROKEN, End.FAILED)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the requests of a trace came to; times are in seconds.

    Attributes:
        failed: Nothing could serve them, or their stream broke.
        rejected: They were at fault themselves.
        abandoned: Their client left; in a replay it stays.
        refused_calls: Calls that providers answered with 429.
    """

    served: int
    failed: int
    rejected: int
    abandoned: int
    calls: int
    refused_calls: int
    mean_wait: float
    longest_wait: float

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Summary":
        ends = Counter(line.end for line in lines)
        calls = [attempt for line in lines for attempt in line.attempts]
        return cls(
            served=ends[End.SERVED],
            failed=sum(ends[end] for end in _FAILED_ENDS),
            rejected=ends[End.REJECTED],
            abandoned=ends[End.ABANDONED],
            calls=len(calls),
            refused_calls=sum(call.outcome is Outcome.RATE_LIMITED for call in calls),
            mean_wait=round(sum(line.waited for line in lines) / len(lines), 3),
            longest_wait=max(line.waited for line in lines),
        )


@dataclass(frozen=True, slots=True)
class Share:
    """One target's part: calls that it answered, refused with 429, and failed otherwise."""

    served: int = 0
    refused: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """Then and now, of the same requests."""

    past: Past
    played: Played
    limits: dict[str, tuple[Limit, ...]]

    @property
    def then(self) -> Sequence[Line]:
        return self.past.lines

    @property
    def now(self) -> Sequence[Line]:
        return self.played.lines

    @property
    def targets(self) -> list[str]:
        """Every target that was called, then or now."""
        return sorted({*_shares(self.then), *_shares(self.now)})

    @property
    def unknown(self) -> list[str]:
        """Targets that are called now, and of which the trace tells nothing."""
        return sorted(_shares(self.now).keys() - self.past.targets.keys())

    def changed(self, *, served_now: bool) -> int:
        """Count the requests that were served only now, or only then."""
        pairs = zip(self.then, self.now, strict=True)
        ends = ((then.end is End.SERVED, now.end is End.SERVED) for then, now in pairs)
        return sum(now is served_now and then is not now for then, now in ends)


def replay(
    traces: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRACE", exists=True, dir_okay=False, help="What `trace.path` names."
        ),
    ],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what these settings would have done with the traffic of a trace.

    The requests come at their recorded times, on a virtual clock, through the real routing, quota and
    queue. Providers are simulated as the trace shows them: their speed, their limits, their faults.
    Nobody is called, and nothing is written. A target that is not in the trace is taken to answer
    within its configured limits.

    \b
    Record:   trace: {path: trace.jsonl}   in the settings
    Examples:
      stepwell replay trace.jsonl --config other.yaml
      stepwell replay trace.jsonl.1 trace.jsonl --json | jq .now.failed

    \b
    Exit codes: 0 replayed, 1 there is nothing to replay, 2 wrong settings or usage.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    lines, problems = _read(traces)
    for problem in problems:
        typer.echo(problem, err=True)
    if not lines:
        fail(f"{', '.join(map(str, traces))}: there is no request in it", FAILED)
    with settings_mistakes_told():
        report = _replay(Past.of(lines), config, quiet=as_json)
    if as_json:
        print_json(_document(report, problems))
    else:
        _print(console(), report)


def _read(traces: Iterable[Path]) -> tuple[list[Line], list[str]]:
    lines: list[Line] = []
    problems: list[str] = []
    for path in traces:
        with path.open("rb") as file:
            for found in read_lines(file):
                if isinstance(found, Broken):
                    problems.append(printable(f"{path}:{found.number}: passed over: {found.why}"))
                else:
                    lines.append(found)
    return lines, problems


def _replay(past: Past, config: Path | None, *, quiet: bool) -> Report:
    screen = console(stderr=True)
    hidden = quiet or not screen.is_terminal
    with Progress(console=screen, transient=True, disable=hidden) as progress:
        bar = progress.add_task("replaying", total=len(past.lines))
        rerun = Rerun(load_settings(config), past, lambda: progress.advance(bar))
        played = asyncio.run(rerun.run())
    called = _shares(played.lines)
    return Report(past, played, {key: rerun.world.limits(key) for key in called})


def _shares(lines: Iterable[Line]) -> dict[str, Share]:
    calls = Counter(
        (key_of(attempt.account, attempt.target), _part(attempt))
        for line in lines
        for attempt in line.attempts
    )
    keys = {key for key, _ in calls}
    parts = ("served", "refused", "failed")
    return {key: Share(*(calls[key, part] for part in parts)) for key in keys}


def _part(attempt: Try) -> str:
    if attempt.outcome is Outcome.RATE_LIMITED:
        return "refused"
    return "served" if attempt.outcome in (Outcome.ANSWER, Outcome.EMPTY) else "failed"


def _document(report: Report, problems: list[str]) -> dict[str, Any]:
    then, now = _shares(report.then), _shares(report.now)
    return {
        "requests": len(report.then),
        "first": _instant(report.then[0].at),
        "last": _instant(report.then[-1].at),
        "then": asdict(Summary.of(report.then)),
        "now": asdict(Summary.of(report.now)) | {"avoidable": report.played.avoidable},
        "served_only_now": report.changed(served_now=True),
        "served_only_then": report.changed(served_now=False),
        "targets": [
            {
                "target": key,
                "then": asdict(then.get(key, Share())),
                "now": asdict(now.get(key, Share())),
                "limits": [limit_text(limit) for limit in report.limits.get(key, ())],
            }
            for key in report.targets
        ],
        "assumptions": list(_assumptions(report)),
        "problems": problems,
    }


def _print(screen: Console, report: Report) -> None:
    first, last = _instant(report.then[0].at), _instant(report.then[-1].at)
    screen.print(f"{len(report.then)} requests from {first} to {last}")
    screen.print(_comparison(report))
    screen.print(
        f"{report.changed(served_now=True)} requests that were not served then are served now; "
        f"{report.changed(served_now=False)} that were served are not."
    )
    screen.print(_by_target(report))
    for line in _assumptions(report):
        screen.print(line, soft_wrap=True)


def _comparison(report: Report) -> Table:
    rows = table("requests", "then", "now")
    then, now = Summary.of(report.then), Summary.of(report.now)
    rows.add_row("served", str(then.served), str(now.served))
    rows.add_row("failed", str(then.failed), str(now.failed))
    rows.add_row("  while a target had room", "not known", str(report.played.avoidable))
    rows.add_row("rejected", str(then.rejected), str(now.rejected))
    rows.add_row("the client left", str(then.abandoned), str(now.abandoned))
    rows.add_row("calls of providers", str(then.calls), str(now.calls))
    rows.add_row("  refused (429)", str(then.refused_calls), str(now.refused_calls))
    rows.add_row("waited, mean", f"{then.mean_wait:.1f}s", f"{now.mean_wait:.1f}s")
    rows.add_row("waited, longest", f"{then.longest_wait:.1f}s", f"{now.longest_wait:.1f}s")
    return rows


def _by_target(report: Report) -> Table:
    rows = table("target", "served", "refused", "failed", "limits taken")
    then, now = _shares(report.then), _shares(report.now)
    for key in report.targets:
        before, after = then.get(key, Share()), now.get(key, Share())
        limits = ", ".join(limit_text(limit) for limit in report.limits.get(key, ()))
        rows.add_row(
            printable(key),
            f"{before.served} > {after.served}",
            f"{before.refused} > {after.refused}",
            f"{before.failed} > {after.failed}",
            limits or ("none" if key in now else "-"),
        )
    return rows


def _assumptions(report: Report) -> Iterator[str]:
    """Yield what the trace cannot know, and what is taken to be so."""
    seconds = report.past.seconds_of_answer
    for key in report.unknown:
        yield printable(
            f"{key} is not in the trace: it is taken to answer each time within its configured "
            f"limits, in {seconds:.1f}s."
        )
    for route, count in sorted(report.played.elsewhere.items()):
        yield printable(
            f"{route} is no chain or model of these settings: its {count} requests went to the "
            "default chain."
        )


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
