"""What a question to the ledger costs over ten targets with three limits each.

    .venv-dev/bin/python benchmarks/ledger.py

Prints microseconds of CPU for each state of the chain, the least of some repeats: other programs
can only make it more.

    open      the first target has room
    full      nine before it are full, by our own counts
    soft      all are full by our own counts, which nothing has confirmed: one is probed
    counted   all are full for the day, which a refusal has confirmed
    read      all are empty, by their readings
    cooled    all are cooled down, by the providers' word
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from stepwell.clock import SystemClock
from stepwell.ledgers.memory import MemoryLedger
from stepwell.quota.ledger import Bench, Ended, Report, Reservation
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target

TARGETS: Final = 10
LIMITS: Final = ("5 requests/hour", "60000 tokens/hour", "1000 requests/day")
DAILY: Final = ("60000 tokens/hour", "1000 requests/hour", "5 requests/day from 00:00 UTC")
AMPLE: Final = ("10000000 requests/minute", "60000000000 tokens/minute", "1000000000 requests/day")
EMPTY: Final = (Reading(Metric.REQUESTS, 3600.0, 5, 0, 3600.0),)
SERVED: Final = Report(Ended.SUCCESS, tokens=90)
REFUSED: Final = Report(Ended.REFUSED, bench=Bench.RATE)
TOLD: Final = Report(Ended.REFUSED, bench=Bench.RATE, delay=3600.0)
STATES: Final = ("open", "full", "soft", "counted", "read", "cooled")
QUESTIONS: Final = 2_000
REPEATS: Final = 7


def _target(number: int, limits: Sequence[str]) -> Target:
    account = f"account-{number}"
    return Target(account, account, "m", tuple(map(Limit.parse, limits)))


class Chain:
    """Ten targets in one state.

    Args:
        state: See the module's text.
    """

    def __init__(self, state: str) -> None:
        self._state = state
        self._clock = SystemClock()
        self._ledger = MemoryLedger(self._clock)
        tight = TARGETS - 1 if state in {"open", "full"} else TARGETS
        limits = DAILY if state == "counted" else LIMITS
        self._targets = [_target(number, limits) for number in range(tight)]

    async def prepare(self) -> None:
        """Bring it into that state."""
        for target in self._targets:
            match self._state:
                case "full" | "soft":
                    await self._fill(target)
                case "counted":
                    await self._fill(target)
                    await self._send(target, REFUSED)
                case "read":
                    await self._send(target, SERVED._replace(readings=EMPTY))
                case "cooled":
                    await self._send(target, TOLD)
        if len(self._targets) < TARGETS:
            place = 0 if self._state == "open" else len(self._targets)
            self._targets.insert(place, _target(TARGETS, AMPLE))

    async def ask(self, times: int) -> float:
        """Return the seconds of CPU for each question."""
        spent = 0.0
        for _ in range(times):
            before = time.thread_time()
            answer = await self._ledger.reserve(self._targets, 100, arrived=self._clock.monotonic())
            spent += time.thread_time() - before
            if isinstance(answer, Reservation) and answer.probe:
                self._ledger.release(answer)
            elif isinstance(answer, Reservation):
                self._ledger.observe(answer, ())
                self._ledger.settle(answer, SERVED)
        return spent / times

    async def _fill(self, target: Target) -> None:
        for _ in range(5):
            await self._send(target, SERVED)

    async def _send(self, target: Target, report: Report) -> None:
        taken = await self._ledger.reserve([target], 100, arrived=self._clock.monotonic())
        assert isinstance(taken, Reservation), taken
        self._ledger.settle(taken, report)


async def _measure(state: str) -> float:
    chain = Chain(state)
    await chain.prepare()
    return min([await chain.ask(QUESTIONS) for _ in range(REPEATS)])


def main() -> None:
    for state in STATES:
        print(f"{state:8}{1e6 * asyncio.run(_measure(state)):8.1f} us", flush=True)


if __name__ == "__main__":
    main()
