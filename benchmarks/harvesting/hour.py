"""Play one case and count what came of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from .cases import PROVIDERS, SCENARIOS, Case
from .oracle import most_served
from .stage import Stage, make_stage
from .traffic import Request, traffic


@dataclass(frozen=True, slots=True)
class Figures:
    """What an hour came to.

    Attributes:
        requests: How many came.
        ok: Share of them that were answered.
        avoidable: Requests that failed at a moment at which a sound provider had room for them.
        refused: 429s that providers gave, per 1,000 requests.
        refused_later: The same, of what came after the first window.
        refused_late: 429s that a provider gave on average in the second half of the hour.
        harvest: Answers, compared with the oracle's.
        paid: Answers that providers gave, per answer that a client got.
        waited: Seconds by which an answer came later than its provider needed: the mean.
    """

    requests: int
    ok: float
    avoidable: int
    refused: float
    refused_later: float
    refused_late: float
    harvest: float
    paid: float
    waited: float


def play(case: Case, *, seed: int = 1, minutes: float = 60.0) -> Figures:
    """Let the hour pass and return what it came to.

    Args:
        case: The traffic and the fleet.
        seed: Of the dice that make the traffic.
        minutes: How long; with windows of another length than a minute, as many of those.
    """
    with asyncio.Runner() as runner:
        return runner.run(_play(case, seed, minutes))


async def _play(case: Case, seed: int, windows: float) -> Figures:
    scenario = SCENARIOS[case.scenario]
    stage = make_stage(case)
    began = stage.clock.monotonic()
    requests = traffic(scenario, stage.fleet, seed=seed, windows=windows, length=case.length)
    if scenario.faulty:
        stage.plan_troubles(windows=windows, length=case.length)
    await stage.clock.run(stage.send_all(requests))
    patience = scenario.queue * case.length
    possible = most_served(requests, stage.fleet, began=began, patience=patience)
    return _figures(stage, requests, possible, began, case.length, windows * case.length)


def _figures(  # noqa: PLR0917 - as its caller has them
    stage: Stage,
    requests: Sequence[Request],
    possible: int,
    began: float,
    first: float,
    whole: float,
) -> Figures:
    refused = [call.time - began for call in stage.fleet.calls if call.status == 429]
    served = sum(provider.served for provider in stage.fleet)
    return Figures(
        requests=len(requests),
        ok=stage.answered / len(requests),
        avoidable=stage.failed_in_vain,
        refused=_per_thousand(refused, requests),
        refused_later=_per_thousand(
            [at for at in refused if at >= first], [each for each in requests if each.at >= first]
        ),
        refused_late=sum(at >= whole / 2 for at in refused) / PROVIDERS,
        harvest=stage.answered / possible,
        paid=served / max(1, stage.answered),
        waited=stage.late / max(1, stage.answered),
    )


def _per_thousand(some: Sequence[object], requests: Sequence[Request]) -> float:
    return 1000 * len(some) / max(1, len(requests))
