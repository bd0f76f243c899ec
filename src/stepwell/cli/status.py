"""`stepwell status`: the quota of a gateway that runs, live."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stepwell.cli.console import (
    FAILED,
    SHARED,
    console,
    fail,
    print_json,
    printable,
    seconds_text,
    table,
)
from stepwell.cli.remote import DEFAULT_URL, KeyOption, NoAnswer, UrlOption, ask, connect

EVERY: Final = 1.0
"""Seconds between two looks: resets are told in seconds, and a look costs the gateway no call."""

LONGEST_WORDS: Final = 60
"""Of the provider's words in a table; --json has all that is kept."""


def status(
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    once: Annotated[
        bool, typer.Option("--once", help="Show it once, as is done anyway outside a terminal.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what GET /v1/quota answers, once.")
    ] = False,
) -> None:
    """Show what is left of every target's quota, and whether each chain could serve now.

    It asks a gateway that runs, which asks no provider for it. What a provider told and what is only
    guessed or counted are kept apart. Ctrl-C ends it.

    \b
    Examples:
      stepwell status
      stepwell status --url http://gateway:8429 --once
      stepwell status --json | jq '.targets[] | select(.ready | not)'

    \b
    Exit codes: 0 shown, 1 no gateway answers, or it refuses.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    screen = console()
    live = screen.is_terminal and not once and not as_json
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_watch(screen, url, key) if live else _show(screen, url, key, as_json))
    except NoAnswer as error:
        fail(f"stepwell: {error}", FAILED)


async def _show(screen: Console, url: str, key: str, as_json: bool) -> None:
    async with connect(url, key) as client:
        document = await ask(client, "GET", "/v1/quota")
    if as_json:
        print_json(document)
    else:
        screen.print(picture(document))


async def _watch(screen: Console, url: str, key: str) -> None:
    async with connect(url, key) as client:
        shown = picture(await ask(client, "GET", "/v1/quota"))
        with Live(shown, console=screen, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(EVERY)
                shown, remark = await look(client, shown)
                live.update(Group(shown, Text(remark)), refresh=True)


async def look(client: httpx.AsyncClient, last: RenderableType) -> tuple[RenderableType, str]:
    """Return a new picture; or the last one and why there is none: a gateway may come back."""
    try:
        return picture(await ask(client, "GET", "/v1/quota")), ""
    except NoAnswer as error:
        return last, printable(str(error))


def picture(document: Mapping[str, Any]) -> RenderableType:
    """Return what GET /v1/quota answers as two tables."""
    return Group(_chains(document), _targets(document))


def _chains(document: Mapping[str, Any]) -> Table:
    rows = table("chain", "now", "next", "steps")
    for chain in document["chains"]:
        now = f"serves by {chain['target']}" if chain["ready"] else "cannot serve"
        steps = " > ".join(_step(step) for step in chain["steps"])
        rows.add_row(
            printable(chain["name"]) + (" (default)" if chain["default"] else ""),
            now,
            "" if chain["ready"] else time_text(chain["retry_after"]),
            steps,
            style=None if chain["ready"] else "red",
        )
    return rows


def _step(step: Mapping[str, Any]) -> str:
    return f"{step['step']} (paid)" if step["paid"] else str(step["step"])


def _targets(document: Mapping[str, Any]) -> Table:
    rows = table("target", "state", "in flight", "limit", "left", "whole in", "source")
    for target in document["targets"]:
        first, *others = list(_limits(target)) or [("none known", "", "", "")]
        style = None if target["ready"] else "red"
        state = printable(cooldown_text(target["cooldown"]))
        rows.add_row(target["target"], state, str(target["in_flight"]), *first, style=style)
        for limit in others:
            rows.add_row("", "", "", *limit)
    return rows


def _limits(target: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for limit in target["limits"]:
        amount = "?" if limit["limit"] is None else limit["limit"]
        window = f"/{seconds_text(limit['window'])}" if limit["window"] else ""
        left = "?" if limit["remaining"] is None else str(limit["remaining"])
        shared = SHARED.get(limit["scope"], "")
        calendar = f" from {limit['calendar']}" if limit.get("calendar") else ""
        what = f"{amount} {limit['metric']}{window}{calendar}{shared}"
        reset = limit["reset"]
        yield what, left, "" if reset is None else time_text(reset), limit["source"]


def cooldown_text(cooldown: Mapping[str, Any] | None) -> str:
    """Return `cooldown, told, 30s: Slow down`, or that there is none."""
    if cooldown is None:
        return "ready"
    reason = cooldown["reason"].replace("_", " ")
    who = "told" if cooldown["told"] else "not told"
    words = cooldown["words"][:LONGEST_WORDS]
    said = f": {words}" if words else ""
    return f"{reason}, {who}, {time_text(cooldown['retry_after'])}{said}"


def time_text(seconds: float | None) -> str:
    """Return a time from now in its two largest units: `4.2s`, `3m 20s`, `13h 5m`."""
    if seconds is None:
        return "until something happens"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m"
