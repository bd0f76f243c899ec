"""The collected samples of real response shapes, as test vectors.

Each sample is read by its own provider's dialect and by `auto`; what is expected of both is written
in the samples' own words, so hints are compared through `summarize` and `wait_of`.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stepwell.providers.dialects import (
    Reply,
    Summary,
    dialect,
    embedded_status,
    quota_headers,
    summarize,
    wait_of,
)
from stepwell.quota.limit import Scope
from stepwell.quota.reading import Hint, Other, Reading


def load(name: str) -> list[dict[str, Any]]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    samples: list[dict[str, Any]] = json.loads(text)["samples"]
    return samples


COLLECTED = load("samples.json")
SAMPLES = COLLECTED + load("more_samples.json")
WINDOWS: dict[str, float | None] = {
    "now": 0.0,
    "second": 1.0,
    "10s": 10.0,
    "minute": 60.0,
    "hour": 3_600.0,
    "5h": 18_000.0,
    "day": 86_400.0,
    "week": 604_800.0,
    "month": 2_592_000.0,
    "unknown": None,
}
# What shares a counter, in our words.
SCOPES: dict[str | None, str] = {
    **dict.fromkeys(("model", "account+model", "project+model", "deployment", None), "model"),
    **dict.fromkeys(("account", "key", "ip"), "account"),
    "account-free": "free",
}
COVERS = {"ip": "account", "key": "account"}
COOLDOWNS = {"derived": "stated", "until-reset": "stated"}

# Where a response does not tell and only the provider's name does, `auto` reads less:
LESS = {
    "nvidia-429": "no word beyond the status: neither the window nor that it is the account's",
    "llm7-429": "that the limit is the address's, not the model's",
    "kilo-429": "the limit of 200, which stands in no response",
    "fireworks-200-over": "that the counter is the account's",
    "digitalocean-200-past": "that a header without a window counts a minute",
    "nous-200-hour": "the same, and that the counters are the account's",
    "nvidia-429-problem": "as nvidia-429",
    "moonshot-concurrency": "that the limit is the organization's",
    "ai21-429": "that the limit is the account's",
    "llm7-body": "as llm7-429",
    "fireworks-429": "that the limit is the account's",
    "nebius-over": "that the counter is the account's",
    "aihorde-429": "that the counter is the key's",
}


def named(samples: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(sample, id=sample["id"]) for sample in samples]


EVERY = named(SAMPLES)
FOR_AUTO = named([sample for sample in SAMPLES if sample["id"] not in LESS])


def said(sample: dict[str, Any]) -> Reply:
    """The response; of a stream that ended in an error, what its last event says."""
    headers = [(name.encode(), value.encode()) for name, value in sample["headers"]]
    now = datetime.fromisoformat(sample["now"]).timestamp()
    status, body = sample["status"], sample["body"]
    if sample.get("stream_tail"):
        events = [line for line in sample["stream_tail"] if line.startswith("data: ")]
        body = json.loads(events[-1].removeprefix("data: "))
    if status == 200:
        status = embedded_status(body) or status
    return Reply(status, quota_headers(headers), body, now)


def read(sample: dict[str, Any], name: str) -> Hint:
    return dialect(name)(said(sample))


def summary(sample: dict[str, Any], name: str) -> Summary:
    return summarize(read(sample, name), said(sample).status)


def rows(hint: Hint) -> dict[tuple[Any, ...], Reading | Other]:
    """Each counter of a hint by what the samples say of it, except for its reset."""
    counters: dict[tuple[Any, ...], Reading | Other] = {
        (str(r.metric), r.window, r.limit, r.remaining, str(r.scope)): r for r in hint.readings
    }
    others: dict[tuple[Any, ...], Reading | Other] = {
        (o.name, o.window, o.limit, o.remaining, str(o.scope)): o for o in hint.others
    }
    return counters | others


def expected_rows(sample: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The same of a sample; a limit of one request is our `size`, see below."""
    return {
        (r["metric"], WINDOWS[r["window"]], r["limit"], r["remaining"], SCOPES[r["scope"]]): r
        for r in sample["expect"]["readings"]
        if r["window"] != "request"
    }


def assert_counters(sample: dict[str, Any], hint: Hint) -> None:
    found, expected = rows(hint), expected_rows(sample)
    assert set(found) == set(expected)
    tolerance = sample["expect"]["cooldown"]["tolerance_s"]
    for row, reading in expected.items():
        wait, reset = wait_of(found[row], hint, said(sample)), reading["reset_s"]
        assert wait == (None if reset is None else pytest.approx(reset, abs=tolerance))


def assert_summary(sample: dict[str, Any], found: Summary) -> None:
    cooldown = sample["expect"]["cooldown"]
    kind, scope = cooldown["kind"], cooldown["scope"]
    assert found.outcome == sample["expect"]["outcome"]
    assert found.cooldown == COOLDOWNS.get(kind, kind)
    assert found.scope == COVERS.get(scope, scope)
    if found.seconds is not None:
        least, most = cooldown["min_s"], cooldown["max_s"]
        assert found.seconds >= least - 0.001
        assert most is None or found.seconds <= most + 0.001


@pytest.mark.parametrize("sample", EVERY)
def test_a_providers_dialect_reads_the_counters_of_its_samples(sample: dict[str, Any]) -> None:
    """Metric, window, limit, remaining, scope and reset are the sample's, and no others."""
    assert_counters(sample, read(sample, sample["provider"]))


@pytest.mark.parametrize("sample", EVERY)
def test_a_providers_dialect_reads_the_cooldown_of_its_samples(sample: dict[str, Any]) -> None:
    """Outcome, kind and scope are the sample's, and the seconds lie between its bounds."""
    assert_summary(sample, summary(sample, sample["provider"]))


@pytest.mark.parametrize("sample", FOR_AUTO)
def test_auto_reads_the_counters_of_every_family(sample: dict[str, Any]) -> None:
    """It recognises a family by what arrives and reads no less, except for what is listed."""
    assert_counters(sample, read(sample, "auto"))


@pytest.mark.parametrize("sample", FOR_AUTO)
def test_auto_reads_the_cooldown_of_every_family(sample: dict[str, Any]) -> None:
    """The words of a body mean the same whoever says them."""
    assert_summary(sample, summary(sample, "auto"))


@pytest.mark.parametrize(
    "sample", named([sample for sample in SAMPLES if sample["id"] in LESS]), ids=str
)
def test_what_auto_cannot_know_costs_no_more_than_that(sample: dict[str, Any]) -> None:
    """Outcome and delay are read all the same, and the scope is never too wide."""
    found = summary(sample, "auto")
    own = summary(sample, sample["provider"])

    assert (found.outcome, found.cooldown) == (own.outcome, own.cooldown)
    assert found.scope in {own.scope, "model"}
    assert read(sample, "auto") != read(sample, sample["provider"])


@pytest.mark.parametrize("sample", EVERY)
def test_auto_is_never_worse_than_generic(sample: dict[str, Any]) -> None:
    """Whatever `generic` reads of a sample, `auto` reads too, or better."""
    auto, generic = read(sample, "auto"), read(sample, "generic")

    counted = {(r.metric, r.window) for r in auto.readings}
    assert {(r.metric, r.window) for r in generic.readings} <= counted
    assert auto.about is generic.about or auto.delay is None
    assert auto.delay is not None or not generic.delay or auto.about is not generic.about
    assert auto.words == generic.words


@pytest.mark.parametrize("sample", EVERY)
def test_a_bucket_that_only_a_sentence_names_is_read_until_it_is_whole(
    sample: dict[str, Any],
) -> None:
    """The sample's `reset_s` is the wait; the ledger counts to `whole_s`, and refills evenly."""
    hint = read(sample, sample["provider"])

    for row, reading in expected_rows(sample).items():
        if "whole_s" in reading:
            counter = rows(hint)[row]
            assert isinstance(counter, Reading)
            assert counter.refills
            assert counter.reset == pytest.approx(reading["whole_s"])


@pytest.mark.parametrize("sample", EVERY)
def test_the_largest_request_is_learned_where_it_is_told(sample: dict[str, Any]) -> None:
    """A limit of one request is no counter: it is what fits here at all."""
    ceilings = [r["limit"] for r in sample["expect"]["readings"] if r["window"] == "request"]

    if ceilings:
        assert [read(sample, sample["provider"]).size] == ceilings


@pytest.mark.parametrize("sample", EVERY)
def test_openrouters_tiers_are_told_apart(sample: dict[str, Any]) -> None:
    """The free models' day is not the paid models', and credit is not the free models' trouble."""
    hint, scope = read(sample, "auto"), sample["expect"]["cooldown"]["scope"]

    assert (hint.scope is Scope.FREE) == (scope == "account-free")
    assert hint.paid == (scope == "account-paid")


@pytest.mark.parametrize("sample", EVERY)
def test_an_error_inside_a_200_is_recognised_and_a_success_is_not(sample: dict[str, Any]) -> None:
    """Only the samples whose body, or last event, holds an error stand for another status."""
    is_sound = sample["expect"]["outcome"] in {"ok", "ok_warn"}

    if sample["status"] == 200:
        assert (said(sample).status == 200) == is_sound


@pytest.mark.parametrize("sample", EVERY)
def test_words_are_the_providers_own_on_one_short_line(sample: dict[str, Any]) -> None:
    """A refusal with a message gives its words, in at most 200 characters without line breaks."""
    words = read(sample, "auto").words

    assert len(words) <= 200
    assert words == " ".join(words.split())
    if sample in COLLECTED:
        assert bool(words) == (said(sample).body is not None)
