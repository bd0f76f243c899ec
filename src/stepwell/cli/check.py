"""`stepwell check`: are the settings right, and with --live, does every target answer?"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from stepwell.cli.console import (
    FAILED,
    WRONG_SETTINGS,
    ConfigOption,
    console,
    limit_text,
    load_settings,
    print_json,
    printable,
    settings_mistakes_told,
    table,
)
from stepwell.cli.live import Finding, call_all, targets
from stepwell.errors import SettingsError
from stepwell.gateway import Gateway
from stepwell.routing.chain import Step
from stepwell.settings import Settings


def check(
    config: ConfigOption = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Also ask every target once; that costs a request of its quota."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check the settings, and with --live every provider in them.

    All mistakes are shown at once, each with its file and line. Keys are counted, never shown.

    \b
    Examples:
      stepwell check
      stepwell check --config stepwell.yaml --live
      stepwell check --live --json | jq '.targets[] | select(.ok | not)'

    \b
    Exit codes: 0 all well, 1 a target did not answer, 2 wrong settings.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    gateway = _read_for_scripts(config) if as_json else _read(config)
    findings = _ask_all(gateway, quiet=as_json) if live else None
    if as_json:
        _print_document(gateway, findings)
    else:
        _print_tables(gateway, findings)
    if findings is not None and not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)


def _read(config: Path | None) -> Gateway:
    with settings_mistakes_told():
        return Gateway(load_settings(config))


def _read_for_scripts(config: Path | None) -> Gateway:
    try:
        return Gateway(load_settings(config))
    except SettingsError as error:
        print_json({"ok": False, "problems": error.problems})
        raise typer.Exit(WRONG_SETTINGS) from None


def _ask_all(gateway: Gateway, *, quiet: bool) -> list[Finding]:
    screen = console(stderr=True)
    hidden = quiet or not screen.is_terminal
    with Progress(console=screen, transient=True, disable=hidden) as progress:
        bar = progress.add_task("asking every target", total=len(targets(gateway)))
        return asyncio.run(call_all(gateway, lambda: progress.advance(bar)))


def _print_document(gateway: Gateway, findings: list[Finding] | None) -> None:
    settings, routes = gateway.settings, gateway.routes
    document: dict[str, Any] = {
        "ok": findings is None or all(finding.ok for finding in findings),
        "default_chain": routes.default,
        "chains": {
            chain.name: [_step_document(step) for step in chain.steps]
            for chain in routes.chains.values()
        },
        "provider_keys": {name: len(p.api_keys) for name, p in settings.providers.items()},
        "client_keys": len(settings.api_keys),
    }
    if findings is not None:
        document["targets"] = [asdict(finding) for finding in findings]
    print_json(document)


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "step": step.name,
        "targets": [target.key for target in step.targets],
        "paid": step.paid,
        "limits": _limits(step),
    }


def _limits(step: Step) -> list[str]:
    return [limit_text(limit) for limit in step.targets[0].limits]


def _print_tables(gateway: Gateway, findings: list[Finding] | None) -> None:
    screen = console()
    screen.print(_summary(gateway))
    for line in _remarks(gateway.settings):
        screen.print(line)
    if findings is not None:
        screen.print(_report(findings))
        well = sum(finding.ok for finding in findings)
        screen.print(f"{well} of {len(findings)} targets answered.")


def _summary(gateway: Gateway) -> Table:
    rows = table("chain", "step", "keys", "limits", "cost")
    for chain in gateway.routes.chains.values():
        mark = " (default)" if chain.name == gateway.routes.default else ""
        for number, step in enumerate(chain.steps):
            rows.add_row(
                "" if number else printable(chain.name) + mark,
                step.name,
                _key_count(gateway.settings, step.provider),
                ", ".join(_limits(step)) or "not told",
                "paid" if step.paid else "free",
            )
    return rows


def _key_count(settings: Settings, provider: str) -> str:
    return str(len(settings.providers[provider].api_keys) or "none")


def _remarks(settings: Settings) -> Iterator[str]:
    keys = len(settings.api_keys)
    yield f"client keys: {keys}" if keys else "client keys: none; it may only serve on loopback."
    used = {step.provider for chain in settings.chains.values() for step in chain.steps}
    for name in settings.providers:
        if name not in used:
            yield f"provider {name} stands in no chain."


def _report(findings: list[Finding]) -> Table:
    rows = table("target", "reachable", "model", "ms", "told limits, or the reason")
    for finding in findings:
        rows.add_row(
            finding.target,
            _word(finding.reachable),
            _word(finding.model),
            f"{finding.latency_ms:.0f}",
            printable("; ".join(finding.limits) if finding.ok else finding.reason) or "none told",
            style=None if finding.ok else "red",
        )
    return rows


def _word(known: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[known]
