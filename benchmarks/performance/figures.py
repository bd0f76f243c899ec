"""What is measured: names, units, and what each means; docs/performance.md repeats it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Figure:
    """One figure; `says` is a sentence for readers."""

    unit: str
    says: str


@dataclass(frozen=True)
class Ratio:
    """One contestant's figure divided by another's, or by another figure, of the same round."""

    figure: str
    who: str
    to_figure: str
    to: str
    says: str


CPU: Final = "ms CPU"

FIGURES: Final[Mapping[str, Figure]] = {
    "canned_cpu": Figure(CPU, "Uvicorn's canned answer, for each request: the scale of all bars."),
    "request_cpu": Figure(CPU, "A small chat request, 32 connections."),
    "request_rate": Figure("1/s", "Throughput of one core meanwhile."),
    "request_cpu_100": Figure(CPU, "The same with 100 connections."),
    "request_cpu_1": Figure(CPU, "The same with one connection."),
    "added_median": Figure(
        "ms", "Latency added at one connection: the median less a direct one's."
    ),
    "added_p99": Figure("ms", "The 99th percentile likewise."),
    "refusal_cpu": Figure(CPU, "A further attempt after a 429, its cooldown included."),
    "sound_cpu": Figure(CPU, "A request whose chain has one step, beside the next."),
    "dry_cpu": Figure(CPU, "A request whose first step has no quota left, and is skipped."),
    "stream_cpu": Figure(CPU, "A stream of 50 events that come at once, 32 connections."),
    "stream_paced_cpu": Figure(CPU, "A stream of 50 events, 10 ms apart, 32 at a time."),
    "first_token_added": Figure("ms", "First token: the median less a direct stream's."),
    "many_late_median": Figure("ms", "1,000 streams of 8 events/s: an event's way to the client."),
    "many_late_p99": Figure("ms", "The 99th percentile likewise; an event comes every 125 ms."),
    "many_core": Figure("%", "How much of its core that takes."),
    "body_100kb_cpu": Figure(CPU, "A request of 100 KB, 16 connections."),
    "body_5mb_cpu": Figure(CPU, "A request of 5 MB, 4 connections."),
    "body_5mb_peak": Figure("sizes", "Memory for one such in flight, in sizes of its body."),
    "import_seconds": Figure("s", "`import stepwell`."),
    "import_mb": Figure("MB", "Peak memory of an interpreter that has done that."),
    "create_app_seconds": Figure(
        "s", "The same with all that `create_app` needs, which comes later."
    ),
    "create_app_mb": Figure("MB", "Peak memory likewise."),
    "start_seconds": Figure("s", "`stepwell serve`, from its start to its first chat answer."),
    "idle_mb": Figure("MB", "Resident after one answer, without a database."),
    "idle_database_mb": Figure("MB", "The same with a database."),
    "loaded_mb": Figure("MB", "Resident after this benchmark's load."),
    "growth_mb": Figure("MB", "Resident after many requests, less `idle_database_mb`."),
    "hang_up_ms": Figure("ms", "From a client's leaving a stream to its provider's noticing."),
    "hang_up_descriptors": Figure("", "Descriptors left over after 600 hang-ups."),
    "hang_up_reservations": Figure("", "Reservations left over after them."),
}

RATIOS: Final[Mapping[str, Ratio]] = {
    "request_cpu_growth": Ratio(
        "request_cpu_100", "stepwell", "request_cpu", "stepwell", "100 connections to 32."
    ),
    "rate_to_portkey": Ratio(
        "request_rate", "stepwell", "request_rate", "portkey", "Throughput to Portkey's."
    ),
    "rate_to_litellm": Ratio(
        "request_rate", "stepwell", "request_rate", "litellm", "Throughput to LiteLLM's."
    ),
    "dry_to_sound": Ratio(
        "dry_cpu", "stepwell", "sound_cpu", "stepwell", "A dry first step to none."
    ),
    "stream_paced_to_relay": Ratio(
        "stream_paced_cpu",
        "stepwell",
        "stream_paced_cpu",
        "relay",
        "A paced stream to a raw relay.",
    ),
    "body_5mb_to_relay": Ratio(
        "body_5mb_cpu", "stepwell", "body_5mb_cpu", "relay", "5 MB to a relay that decodes nothing."
    ),
}
