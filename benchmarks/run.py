"""What stepwell adds to a request: CPU, time and memory, beside its peers in the same run.

The gateway is `stepwell serve` as users run it, pinned to one core; load and providers share another.
wrk sends, nginx and `upstream.py` answer. Everybody has a turn in each round, and ratios are taken
round by round. docs/performance.md says what the figures mean.

To begin with:
  benchmarks/run.py --install            fetch the peers, LiteLLM and Portkey, into benchmarks/.peers
  benchmarks/run.py                      everything, half an hour
  benchmarks/run.py --quick --no-peers   a first look, three minutes
  benchmarks/run.py --only small --only paced
  benchmarks/run.py --profile            where the gateway's time goes
  benchmarks/run.py --check --markdown   the table of docs/performance.md, and code 1 if a bar is missed

It exits with: 0 done, 1 a bar is missed (--check), 2 a tool is missing or the usage is wrong
"""

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from performance import (
    FULL,
    GROUPS,
    PEERS,
    QUICK,
    LoadError,
    Plan,
    Run,
    Stage,
    as_json,
    as_markdown,
    as_table,
    description,
    install,
    judge,
    missing_peers,
    missing_sampler,
    missing_tools,
    profile,
    profile_table,
    versions,
)


def main() -> int:
    options = _options()
    if options.install:
        return _install()
    missing = missing_tools(["wrk", "nginx", "taskset"])
    if options.profile:
        missing += missing_sampler()
    elif not options.no_peers:
        missing += missing_peers(PEERS)
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 2
    if options.profile:
        return _profile(options)
    run = _measure(options)
    if options.json:
        print(json.dumps(as_json(run), indent=1))
    else:
        print(as_markdown(run) if options.markdown else as_table(run))
    missed = any(not verdict.holds for verdict in run.verdicts)
    return 1 if options.check and missed else 0


def _install() -> int:
    try:
        install()
    except (OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _profile(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stage = Stage(_plan(options), Path(folder), stack, peers=False)
        try:
            found = profile(stage)
        except LoadError as error:
            print(error, file=sys.stderr)
            return 2
    table = profile_table(found, markdown=options.markdown)
    print(json.dumps(found, indent=1) if options.json else table)
    return 0


# --- measuring


def _measure(options: argparse.Namespace) -> Run:
    _allow_many_descriptors()
    plan = _plan(options)
    # The scale comes first, for what is judged by it.
    chosen = list(dict.fromkeys(["scale", *(options.only or GROUPS)]))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stage = Stage(plan, Path(folder), stack, peers=not options.no_peers)
        _play(stage, plan, chosen)
    figures = [figure for name in chosen for figure in GROUPS[name].figures]
    verdicts = [
        verdict
        for verdict in judge(stage.results, figures)
        if not (options.no_peers and _needs_peers(verdict.figure))
    ]
    return Run(stage.results, figures, verdicts, _about(plan, peers=not options.no_peers))


def _plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    return replace(plan, rounds=options.rounds) if options.rounds else plan


def _play(stage: Stage, plan: Plan, chosen: Sequence[str]) -> None:
    progress = Progress()
    for turn in range(plan.rounds):
        stage.turn = turn
        for name in chosen:
            if not GROUPS[name].once:
                progress.say(f"round {turn + 1} of {plan.rounds}: {name}")
                with stage.guard(name):
                    GROUPS[name].measure(stage)
    for name in chosen:
        if GROUPS[name].once:
            progress.say(name)
            with stage.guard(name):
                GROUPS[name].measure(stage)
    progress.clear()


def _needs_peers(figure: str) -> bool:
    return any(figure.endswith(f"_to_{peer}") for peer in PEERS)


def _allow_many_descriptors() -> None:
    """For a thousand streams, each of which has a connection on both sides."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _about(plan: Plan, *, peers: bool) -> dict[str, str]:
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return {
        "date": today,
        "machine": description(),
        "rounds": str(plan.rounds),
        **(versions() if peers else {}),
    }


class Progress:
    """What is being measured, on stderr if somebody looks."""

    def __init__(self) -> None:
        self._seen = sys.stderr.isatty()
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        self._write(f"\r\x1b[K{time.monotonic() - self._begun:4.0f} s  {text}")

    def clear(self) -> None:
        """Make way for the table."""
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._seen:
            sys.stderr.write(text)
            sys.stderr.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", action="append", choices=GROUPS, help="these figures alone; may be repeated")
    add("--quick", action="store_true", help="few rounds and short ones, to begin with")
    add("--rounds", type=int, metavar="N", help=f"{FULL.rounds} unless it is --quick")
    add("--no-peers", action="store_true", help="without LiteLLM and Portkey")
    add("--check", action="store_true", help="end with code 1 if a bar is missed")
    add("--profile", action="store_true", help="where the gateway's time goes, by py-spy, and end")
    add("--install", action="store_true", help="fetch the peers with pip and npm, and end")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="every value of every round")
    shape.add_argument("--markdown", action="store_true", help="the table as it stands in the docs")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130  # as a shell expects of what was interrupted
    sys.exit(code)
