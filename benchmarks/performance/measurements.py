"""What is done to find the figures: one function for each group, called once a round."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from .contestants import (
    FIRST_STEPS,
    PEERS,
    Contestant,
    request,
    stepwell,
    stepwell_with_first_steps,
    stepwell_without_database,
)
from .hang_ups import hang_up_often, hang_up_once
from .load import LoadError, at_port, first_answer, flood, targets, timed
from .stage import Stage

GATEWAYS: Final = ("stepwell", "relay", "bare", *PEERS)
OURS: Final = ("stepwell", "relay")

KB, MB = 10**3, 10**6
BODY: Final = 5 * MB
SETTLE: Final = 2.0  # seconds for what is written behind an answer to be done

# VmHWM, because ru_maxrss begins with what the parent had.
IMPORT: Final = """
import time; begun = time.perf_counter()
{code}
print(time.perf_counter() - begun)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

MANY: Final = 1000
MANY_MODEL: Final = "stream-48-125"  # six seconds
MANY_BEGIN: Final = 2.0


# --- a request


def scale(stage: Stage) -> None:
    def measure(who: Contestant) -> None:
        found = flood(who, who.request("whole"), 32, stage.plan.seconds / 2)
        stage.note("canned_cpu", who.name, found.cpu_ms)
        stage.note("request_rate", who.name, found.rate)

    stage.each(["canned"], measure)


def small(stage: Stage) -> None:
    def at(connections: int, figure: str, who: Contestant) -> None:
        found = flood(who, who.request("whole"), connections, stage.plan.seconds)
        stage.note(figure, who.name, found.cpu_ms)
        if connections == 32:
            stage.note("request_rate", who.name, found.rate)

    stage.each(GATEWAYS, partial(at, 32, "request_cpu"))
    stage.each(GATEWAYS, partial(at, 100, "request_cpu_100"))


def latency(stage: Stage) -> None:
    requests = stage.plan.requests
    port = stage.providers.port("whole")
    at_port(port, request("whole"), 1, requests)
    direct = at_port(port, request("whole"), 1, requests)["whole"]

    def measure(who: Contestant) -> None:
        found = timed(who, who.request("whole"), 1, requests)
        stage.note("request_cpu_1", who.name, found.cpu_ms)
        stage.note("added_median", who.name, found.whole["median"] - direct["median"])
        stage.note("added_p99", who.name, found.whole["p99"] - direct["p99"])

    stage.each(GATEWAYS, measure)


def refusal(stage: Stage) -> None:
    """Ask every chain three times: first steps answer, answer, and refuse."""
    kind = f"turn-{stage.turn}"
    with stage.fresh(partial(stepwell_with_first_steps, kind=kind)) as who:
        ask = request(f"{kind}-NUMBER")
        _, answered, refused = [timed(who, ask, 32, FIRST_STEPS) for _ in range(3)]
        cooled = sum(target["cooldown"] is not None for target in targets(who))
        if cooled != FIRST_STEPS:
            raise LoadError(f"{cooled} of {FIRST_STEPS} first steps refused")
    stage.note("refusal_cpu", who.name, refused.cpu_ms - answered.cpu_ms)


def dry(stage: Stage) -> None:
    who = stage.call("stepwell")
    at_port(who.port, who.request("dry"), 1, 10)  # by which the first step is known to be dry
    for figure, model in (("sound_cpu", "whole"), ("dry_cpu", "dry")):
        found = flood(who, who.request(model), 32, stage.plan.seconds)
        stage.note(figure, who.name, found.cpu_ms)


# --- streams


def stream(stage: Stage) -> None:
    def measure(who: Contestant) -> None:
        ask = who.request("stream-50-0", stream=True)
        stage.note("stream_cpu", who.name, flood(who, ask, 32, stage.plan.seconds).cpu_ms)

    stage.each(GATEWAYS, measure)


def paced(stage: Stage) -> None:
    waves = max(2, round(stage.plan.seconds / 0.5))

    def measure(who: Contestant) -> None:
        ask = who.request("stream-50-10", stream=True)
        stage.note("stream_paced_cpu", who.name, timed(who, ask, 32, 32 * waves).cpu_ms)

    stage.each(GATEWAYS, measure)


def first_token(stage: Stage) -> None:
    model, streams = "stream-8-10", max(10, stage.plan.requests // 20)
    port = stage.providers.port(model)
    direct = at_port(port, request(model, stream=True), 1, streams)["first"]

    def measure(who: Contestant) -> None:
        found = timed(who, who.request(model, stream=True), 1, streams)
        stage.note("first_token_added", who.name, found.first["median"] - direct["median"])

    stage.each(GATEWAYS, measure)


def many(stage: Stage) -> None:
    def measure(who: Contestant) -> None:
        ask = who.request(MANY_MODEL, stream=True)
        found = timed(who, ask, MANY, MANY, begin=MANY_BEGIN)
        stage.note("many_late_median", who.name, found.late["median"])
        stage.note("many_late_p99", who.name, found.late["p99"])
        stage.note("many_core", who.name, found.cpu_ms * MANY / found.seconds / 10)

    stage.each(OURS, measure)


# --- large bodies


def bodies(stage: Stage) -> None:
    def measure(figure: str, size: int, connections: int, who: Contestant) -> None:
        ask = who.request("body", size=size)
        flood(who, ask, connections, stage.plan.seconds / 4)
        stage.note(figure, who.name, flood(who, ask, connections, stage.plan.seconds).cpu_ms)

    stage.each(OURS, partial(measure, "body_100kb_cpu", 100 * KB, 16))
    stage.each(OURS, partial(measure, "body_5mb_cpu", BODY, 4))


def body_memory(stage: Stage) -> None:
    with stage.fresh(stepwell) as who:
        first_answer(who, who.request("body"))
        time.sleep(SETTLE)
        before = who.process.resident_mb()
        who.process.forget_peak()
        first_answer(who, who.request("body", size=BODY))
        grown = (who.process.peak_mb() - before) * 2**20
    stage.note("body_5mb_peak", who.name, grown / BODY)


# --- start, memory, life


def imports(stage: Stage) -> None:
    for name, code in (("import", "import stepwell"), ("create_app", "import stepwell.app")):
        command = [sys.executable, "-c", IMPORT.format(code=code)]
        runs = [subprocess.run(command, check=True, capture_output=True).stdout for _ in range(3)]
        found = [[float(word) for word in run.split()] for run in runs]
        seconds, kilobytes = (statistics.median(values) for values in zip(*found, strict=True))
        stage.note(f"{name}_seconds", "stepwell", seconds)
        stage.note(f"{name}_mb", "stepwell", kilobytes / 1024)


def start(stage: Stage) -> None:
    for figure, server in (
        ("idle_mb", stepwell_without_database),
        ("idle_database_mb", stepwell),
    ):
        with stage.fresh(server) as who:
            first_answer(who, who.request("whole"))
            seconds = time.monotonic() - who.process.begun
            time.sleep(SETTLE)
            stage.note(figure, who.name, who.process.resident_mb())
    stage.note("start_seconds", who.name, seconds)  # of the last one, with a database


def growth(stage: Stage) -> None:
    with stage.fresh(stepwell) as who:
        first_answer(who, who.request("whole"))
        time.sleep(SETTLE)
        before = who.process.resident_mb()
        sent = 0
        while sent < stage.plan.growth:
            sent += flood(who, who.request("whole"), 32, stage.plan.seconds).requests
        time.sleep(SETTLE)
        stage.note("growth_mb", who.name, who.process.resident_mb() - before)
    for other in stage.called:
        stage.note("loaded_mb", other.name, other.process.resident_mb())


def hang_ups(stage: Stage) -> None:
    with stage.fresh(stepwell) as who:
        for ask in (who.request("stream-50-10", stream=True), who.request("whole")):
            timed(who, ask, 32, 128)
        before = who.process.descriptors()
        stage.note("hang_up_ms", who.name, hang_up_once(who, stage.providers.upstream))
        hang_up_often(who)
        timed(who, who.request("whole"), 1, 1)  # it still answers
        left = sum(target["in_flight"] for target in targets(who))
        stage.note("hang_up_reservations", who.name, left)
        stage.note("hang_up_descriptors", who.name, max(0, who.process.descriptors() - before))


@dataclass(frozen=True)
class Group:
    """Figures that are found together.

    Attributes:
        measure: Called in each round, or once.
        figures: Their names, ratios included.
    """

    measure: Callable[[Stage], None]
    figures: tuple[str, ...]
    once: bool = False


GROUPS: Final[Mapping[str, Group]] = {
    "scale": Group(scale, ("canned_cpu",)),
    "small": Group(
        small,
        (
            "request_cpu",
            "request_rate",
            "rate_to_portkey",
            "rate_to_litellm",
            "request_cpu_100",
            "request_cpu_growth",
        ),
    ),
    "latency": Group(latency, ("added_median", "added_p99", "request_cpu_1")),
    "refusal": Group(refusal, ("refusal_cpu",)),
    "dry": Group(dry, ("sound_cpu", "dry_cpu", "dry_to_sound")),
    "stream": Group(stream, ("stream_cpu",)),
    "paced": Group(paced, ("stream_paced_cpu", "stream_paced_to_relay")),
    "first-token": Group(first_token, ("first_token_added",)),
    "many": Group(many, ("many_late_median", "many_late_p99", "many_core")),
    "bodies": Group(bodies, ("body_100kb_cpu", "body_5mb_cpu", "body_5mb_to_relay")),
    "body-memory": Group(body_memory, ("body_5mb_peak",)),
    "import": Group(
        imports, ("import_seconds", "import_mb", "create_app_seconds", "create_app_mb")
    ),
    "start": Group(start, ("start_seconds", "idle_mb", "idle_database_mb")),
    "hang-ups": Group(
        hang_ups, ("hang_up_ms", "hang_up_descriptors", "hang_up_reservations"), once=True
    ),
    "growth": Group(growth, ("growth_mb", "loaded_mb"), once=True),
}
