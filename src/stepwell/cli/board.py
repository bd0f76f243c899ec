"""What the demo shows: the water in each provider, and the requests on their way down."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from stepwell.cli.console import seconds_text, table
from stepwell.cli.traffic import Answered, Tally
from stepwell.testing import Fleet, SimProvider

FRAME: Final = 0.1
"""Seconds between two pictures in a terminal: a count-down by tenths that still is no film."""

LINE: Final = 1.0
"""Seconds between two lines where there is no terminal."""


class Board:
    """Shows a fleet and a tally until it is left.

    Args:
        screen: In a terminal a picture is kept up to date, elsewhere a line is added now and then.
        fleet: The truth about the providers.
        tally: What the clients have seen.
    """

    def __init__(self, screen: Console, fleet: Fleet, tally: Tally) -> None:
        self._screen = screen
        self._fleet = fleet
        self._tally = tally
        self._started = fleet.clock.monotonic()

    async def show(self) -> None:
        """Show until cancelled."""
        with self._drawing() as draw:
            pause = FRAME if self._screen.is_terminal else LINE
            while True:
                draw()
                await asyncio.sleep(pause)

    @contextmanager
    def _drawing(self) -> Iterator[Callable[[], None]]:
        if not self._screen.is_terminal:
            yield lambda: self._screen.print(self.line(), soft_wrap=True)
            return
        # Without a thread of its own: the pictures come from the loop that the fleet runs on.
        with Live(console=self._screen, auto_refresh=False) as live:
            try:
                yield lambda: live.update(self.picture(), refresh=True)
            finally:
                live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        rows = table("provider", "limit", "left", "state", "in flight", "served", "429")
        for provider in self._fleet:
            rows.add_row(
                provider.name,
                limits_text(provider),
                _level(provider),
                _state(provider),
                str(provider.in_flight),
                str(provider.served),
                str(provider.refused),
            )
        return Group(rows, self._totals(), *map(_recent, self._tally.recent))

    def _totals(self) -> str:
        tally = self._tally
        return (
            f"{self._elapsed():5.1f}s  sent {tally.sent}, answered {tally.answered}, "
            f"on the way {tally.waiting}, failed {tally.failed}"
        )

    def line(self) -> str:
        states = ", ".join(f"{provider.name} {_words(provider)}" for provider in self._fleet)
        return f"{self._totals()} | {states}"

    def _elapsed(self) -> float:
        return self._fleet.clock.monotonic() - self._started


def limits_text(provider: SimProvider) -> str:
    return ", ".join(
        f"{limit.amount} {limit.metric}/{seconds_text(limit.window)}" for limit in provider.limits
    )


def _level(provider: SimProvider) -> Text:
    gauge = provider.gauges()[0]
    used = gauge.limit.amount - gauge.remaining
    return Text("■" * gauge.remaining, "cyan").append("·" * used, "dim")


def _state(provider: SimProvider) -> Text:
    return Text(_words(provider), "green" if provider.room() else "yellow")


def _words(provider: SimProvider) -> str:
    if provider.room():
        return f"{provider.gauges()[0].remaining} left"
    return f"dry for {provider.wait():.1f}s"


def _recent(answer: Answered) -> Text:
    kind = "stream" if answer.stream else "whole "
    return Text(f"#{answer.number:<4} {kind}  {answer.trail}", "dim" if answer.ok else "red")
