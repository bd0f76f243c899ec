"""The collected samples of real response shapes, as test vectors."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stepwell.providers.dialects import Reply, dialect, embedded_status, quota_headers
from stepwell.quota.reading import About, Hint, Reading

SAMPLES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("samples.json").read_text(encoding="utf-8")
)["samples"]
OWN = {"openai": "openai", "groq": "groq", "gemini": "gemini", "generic": "generic"}
READ_HERE = [sample for sample in SAMPLES if sample["provider"] in OWN]
WINDOWS = {"minute": 60.0, "day": 86_400.0, "unknown": None}

# An outcome of the sample schema, as what the body is about. Which window of which quota it was
# (rate_limited, quota_exhausted, concurrency) is told by readings and delay.
ABOUT = {
    "ok": None,
    "ok_warn": None,
    "error": None,
    "rate_limited": About.RATE,
    "quota_exhausted": About.RATE,
    "concurrency": About.RATE,
    "too_large": About.TOO_LARGE,
    "credit": About.CREDIT,
    "not_allowed": About.MODEL,
    "overloaded": About.CAPACITY,
}
# Mistral's limit of 0 stands in a header that `auto` does not read.
NOT_BY_AUTO = {"mistral-429-plan-zero"}


def said(sample: dict[str, Any]) -> Reply:
    headers = [(name.encode(), value.encode()) for name, value in sample["headers"]]
    now = datetime.fromisoformat(sample["now"]).timestamp()
    return Reply(sample["status"], quota_headers(headers), sample["body"], now)


def named(samples: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(sample, id=sample["id"]) for sample in samples]


def expected_readings(sample: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Those of requests and tokens; the ledger counts nothing else."""
    return sorted(
        (r["metric"], WINDOWS[r["window"]] or 0, r["limit"], r["remaining"])
        for r in sample["expect"]["readings"]
        if r["metric"] in {"requests", "tokens"}
    )


def reading_of(hint: Hint, expected: dict[str, Any]) -> Reading:
    window = WINDOWS[expected["window"]]
    return next(r for r in hint.readings if (r.metric, r.window) == (expected["metric"], window))


@pytest.mark.parametrize("sample", named(READ_HERE))
def test_a_family_reads_the_counters_of_its_samples(sample: dict[str, Any]) -> None:
    """Metric, window, limit and remaining are exactly those of the sample, and no others."""
    hint = dialect(OWN[sample["provider"]])(said(sample))

    got = sorted((r.metric, r.window or 0, r.limit, r.remaining) for r in hint.readings)
    assert got == expected_readings(sample)


@pytest.mark.parametrize("sample", named(READ_HERE))
def test_a_family_reads_the_resets_of_its_samples(sample: dict[str, Any]) -> None:
    """A reset is the time until the counter is whole, absent where the sample tells none."""
    hint = dialect(OWN[sample["provider"]])(said(sample))

    for expected in sample["expect"]["readings"]:
        if expected["metric"] == "output_tokens":
            continue
        whole = expected.get("whole_s", expected["reset_s"])
        reset = reading_of(hint, expected).reset
        assert reset == (None if whole is None else pytest.approx(whole, abs=0.001))


@pytest.mark.parametrize("sample", named(READ_HERE))
def test_a_family_reads_the_delay_of_its_samples(sample: dict[str, Any]) -> None:
    """A delay is read where the sample states one or one follows, and only there."""
    hint = dialect(OWN[sample["provider"]])(said(sample))

    cooldown = sample["expect"]["cooldown"]
    if cooldown["kind"] in {"stated", "derived", "until-reset"}:
        assert hint.delay is not None
        assert cooldown["min_s"] - 0.001 <= hint.delay <= cooldown["max_s"] + 0.001
    else:
        assert hint.delay is None


@pytest.mark.parametrize("sample", named(READ_HERE))
def test_a_family_classifies_its_samples(sample: dict[str, Any]) -> None:
    """What a refusal is about follows from the body before any header or status."""
    hint = dialect(OWN[sample["provider"]])(said(sample))

    assert hint.about is ABOUT[sample["expect"]["outcome"]]


@pytest.mark.parametrize("sample", named(SAMPLES))
def test_auto_classifies_the_samples_of_every_family(sample: dict[str, Any]) -> None:
    """The shapes of bodies are shared rules, so `auto` knows a refusal's subject everywhere."""
    hint = dialect("auto")(said(sample))

    expected = ABOUT[sample["expect"]["outcome"]]
    if sample["id"] in NOT_BY_AUTO:
        expected = About.RATE
    assert hint.about is expected


@pytest.mark.parametrize("sample", named(SAMPLES))
def test_auto_is_never_worse_than_generic(sample: dict[str, Any]) -> None:
    """Whatever `generic` reads of a sample, `auto` reads too, or better."""
    auto, generic = dialect("auto")(said(sample)), dialect("generic")(said(sample))

    counted = {(r.metric, r.window) for r in auto.readings}
    assert {(r.metric, r.window) for r in generic.readings} <= counted
    assert (auto.delay is None) <= (generic.delay is None or auto.about is About.MODEL)
    assert auto.about is generic.about or auto.about is About.MODEL
    assert auto.words == generic.words


@pytest.mark.parametrize("sample", named(READ_HERE))
def test_auto_reads_the_delay_of_the_families_it_recognises(sample: dict[str, Any]) -> None:
    """Not knowing the family costs the window of a header, never the delay of a refusal."""
    own = dialect(OWN[sample["provider"]])(said(sample))

    assert dialect("auto")(said(sample)).delay == own.delay


@pytest.mark.parametrize("sample", named(SAMPLES))
def test_an_error_inside_a_200_is_recognised_and_a_success_is_not(sample: dict[str, Any]) -> None:
    """Only the two samples whose body holds an error stand for another status."""
    if sample["status"] == 200:
        refused = {"openrouter-200-error": 429, "minimax-200-1002": 429}
        assert embedded_status(sample["body"]) == refused.get(sample["id"])
    else:
        assert dialect("auto")(said(sample)).about is not None


@pytest.mark.parametrize("sample", named(SAMPLES))
def test_words_are_the_providers_own_on_one_short_line(sample: dict[str, Any]) -> None:
    """A refusal with a message gives its words, in at most 200 characters without line breaks."""
    words = dialect("auto")(said(sample)).words

    assert len(words) <= 200
    assert words == " ".join(words.split())
    assert bool(words) == (sample["body"] is not None)
