import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell.providers.dialects import NAMES, Reply, dialect, embedded_status, quota_headers
from stepwell.quota.limit import Metric
from stepwell.quota.reading import About, Hint, Reading

MakeReply = Callable[..., Reply]
TWO_DAYS = 172_800.0
OWN = ("auto", "generic", "openai", "groq", "gemini")


def test_every_name_has_a_dialect() -> None:
    """Families without rules of their own are read by `auto`."""
    assert set(OWN) <= set(NAMES)
    assert all(callable(dialect(name)) for name in NAMES)
    assert dialect("cerebras") is dialect("auto")


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    """Settings can show the message as it is."""
    with pytest.raises(ValueError, match=r"no dialect 'grok'; known are anthropic, auto, .*groq"):
        dialect("grok")


def test_only_headers_that_may_speak_of_quota_are_picked() -> None:
    """Names become lower case, values lose their edges, and of duplicates the first wins."""
    raw = [
        (b"Date", b"Fri, 02 Oct 2026 12:00:00 GMT"),
        (b"Content-Type", b"application/json"),
        (b"X-RateLimit-Limit", b" 20 "),
        (b"x-ratelimit-limit", b"100"),
        (b"Retry-After", b"\xff"),
        (b"retry-after-ms", b"5"),
    ]

    assert quota_headers(raw) == {
        "date": "Fri, 02 Oct 2026 12:00:00 GMT",
        "x-ratelimit-limit": "20",
        "retry-after": "\xff",
        "retry-after-ms": "5",
    }


@pytest.mark.parametrize("name", OWN)
def test_a_success_without_counters_says_nothing(reply: MakeReply, name: str) -> None:
    """Most responses: an empty hint, also with a Retry-After that no refusal stands behind."""
    assert dialect(name)(reply(200, {"retry-after": "5"})) == Hint()
    assert dialect(name)(reply(200, {}, {"choices": [], "error": None})) == Hint()


@pytest.mark.parametrize("name", OWN)
def test_an_error_inside_a_200_is_read_as_a_refusal(reply: MakeReply, name: str) -> None:
    """The body's error counts, not the status before it."""
    body = {"error": {"code": 429, "message": "Rate limit exceeded, try again in 9s"}}

    hint = dialect(name)(reply(200, {}, body))

    assert (hint.about, hint.delay) == (About.RATE, 9)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "9"}, {"error": {"message": "try again in 644ms", "retry_after": 7}}, 9),
        ({}, {"error": {"message": "try again in 644ms", "retry_after": 7}}, 7),
        ({}, {"error": {"message": "m"}, "retry_after": "7.5"}, 7.5),
        ({}, {"error": {"message": "m", "retry_after_ms": 1500}}, 1.5),
        ({}, {"error": {"message": "m", "retryAfter": "1m30s"}}, 90),
        ({}, {"error": {"message": "try again in 644ms", "retry_after": None}}, 0.644),
        ({}, "Slow down. Please wait 20 seconds.", 20),
        ({"retry-after": "0"}, {"error": {"message": "try again in 5s"}}, 0),
        ({"retry-after": ""}, {"error": {"message": "m"}}, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "50"}, None, 50),
        ({"ratelimit-remaining": "1", "ratelimit-reset": "50"}, None, None),
    ],
)
def test_a_header_goes_before_a_field_before_a_sentence_before_a_reset(
    reply: MakeReply, headers: dict[str, str], body: Any, seconds: float | None
) -> None:
    """The first of them that says anything is the delay; zero says something."""
    assert dialect("generic")(reply(429, headers, body)).delay == seconds


@pytest.mark.parametrize(
    ("header", "sentence", "seconds"),
    [
        ("3", "try again in 2.104s", 2.104),
        ("1", "try again in 644ms", 0.644),
        ("3", "try again in 3s", 3),
        ("3", "try again in 2s", 3),
        ("3", "try again in 3.1s", 3),
    ],
)
def test_a_sentence_that_rounds_up_to_the_header_is_the_exact_delay(
    reply: MakeReply, header: str, sentence: str, seconds: float
) -> None:
    """Retry-After counts whole seconds; a difference of one or more is another time."""
    body = {"error": {"message": sentence}}

    assert dialect("generic")(reply(429, {"retry-after": header}, body)).delay == seconds


@pytest.mark.parametrize(
    ("status", "message"),
    [(413, "Too big, retry in 9s"), (400, "context_length_exceeded"), (422, "bad field")],
)
def test_a_fault_of_the_request_never_cools_a_provider(
    reply: MakeReply, status: int, message: str
) -> None:
    """Another request may come at once, whatever delay is stated."""
    hint = dialect("generic")(reply(status, {"retry-after": "9"}, {"error": {"message": message}}))

    assert hint.delay is None


def test_a_failing_server_may_state_a_delay(reply: MakeReply) -> None:
    """A 503 with Retry-After is told, though nothing but the status says what it is about."""
    hint = dialect("auto")(reply(503, {"retry-after": "120"}, "<title>Down</title>"))

    assert (hint.delay, hint.about, hint.words) == (120, None, "Down")


def test_the_draft_headers_are_one_counter_of_requests(reply: MakeReply) -> None:
    """RateLimit-Limit, -Remaining and -Reset, the reset in seconds from now."""
    headers = {
        "RateLimit-Limit": "100, 100;w=60",
        "RateLimit-Remaining": "4",
        "RateLimit-Reset": "5",
    }
    expected = Reading(Metric.REQUESTS, None, 100, 4, 5.0)

    assert dialect("generic")(reply(200, headers)).readings == (expected,)
    assert dialect("auto")(reply(200, headers)).readings == (expected,)


def test_long_words_are_cut(reply: MakeReply) -> None:
    """At most 200 characters, white space collapsed."""
    hint = dialect("auto")(reply(500, {}, {"error": {"message": "very\n\n  " * 100}}))

    assert hint.words.startswith("very very very")
    assert len(hint.words) <= 200


WORDS = st.sampled_from([
    "error", "errors", "message", "code", "status", "type", "details", "choices", "base_resp",
    "status_code", "status_msg", "metadata", "raw", "retry_after", "detail", "finish_reason",
    "violations", "quotaId", "quotaValue", "@type", "retryDelay", "object", "reason",
])  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from([
        "RESOURCE_EXHAUSTED", "rate_limit_exceeded", "tokens", "error", "34s", "1e999s", "limit: 0",
        "try again in 99999999999999999999h", "on TPD: Limit 0, Used 5, Requested 9. Retry in 1s",
        "GenerateRequestsPerDayPerProjectPerModel", "type.googleapis.com/x", '{"error": "x"}',
        "on RPM: Limit 9, Used 99999999999999999999, Requested 1", "[[[[", "<title>x", "-1", "9" * 50,
    ]),
)  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | TEXTS, inner, max_size=6),
    max_leaves=25,
)
NUMBERS = st.one_of(
    TEXTS,
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["Fri, 02 Oct 2026 12:00:30 GMT", "Fri, 99 Zzz 0000 99:99:99 GMT", "7m12s"]),
)
HEADERS = st.dictionaries(
    st.sampled_from([
        "retry-after", "retry-after-ms", "date", "ratelimit-limit", "ratelimit-remaining",
        "ratelimit-reset",
        *(f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in Metric),
    ]),
    NUMBERS,
)  # fmt: skip


def is_sound(hint: Hint) -> bool:
    """Every number is one the ledger can count with."""
    times = [hint.delay, *(r.reset for r in hint.readings)]
    amounts = [hint.size, *(n for r in hint.readings for n in (r.limit, r.remaining))]
    return (
        all(t is None or (math.isfinite(t) and 0 <= t <= TWO_DAYS) for t in times)
        and all(n is None or (type(n) is int and n >= 0) for n in amounts)
        and len(hint.words) <= 200
    )


@given(st.sampled_from(OWN), st.integers(100, 599), HEADERS, BODIES)
@example("gemini", 429, {}, [{"error": {"status": "RESOURCE_EXHAUSTED", "details": [[], {}]}}])
@example("auto", 200, {}, {"base_resp": {"status_code": 10**400, "status_msg": None}})
@example("auto", 429, {"retry-after": "Fri, 99 Zzz 0000 99:99:99 GMT"}, "[" * 5_000)
def test_no_response_makes_a_dialect_raise(
    name: str, status: int, headers: dict[str, str], body: Any
) -> None:
    """Whatever arrives, the hint holds finite times within two days and amounts not below zero."""
    assert is_sound(dialect(name)(Reply(status, headers, body, 1_790_942_400.0)))


@given(st.integers(400, 599), HEADERS, BODIES)
def test_auto_reads_whatever_generic_reads(status: int, headers: dict[str, str], body: Any) -> None:
    """On any response: a delay unless the model is not allowed at all, and the same words."""
    reply = Reply(status, headers, body, 1_790_942_400.0)
    auto, generic = dialect("auto")(reply), dialect("generic")(reply)

    assert auto.words == generic.words
    if generic.delay is not None and auto.about is generic.about:
        assert auto.delay is not None


@given(BODIES)
def test_an_embedded_status_is_that_of_a_failure(body: Any) -> None:
    """None, or a status from 400 to 599."""
    status = embedded_status(body)

    assert status is None or 400 <= status <= 599


@given(BODIES)
def test_text_and_decoded_bodies_of_a_refusal_read_the_same(body: Any) -> None:
    """A caller that did not decode an error's JSON loses nothing."""
    body = {"error": body}
    text = json.dumps(body)

    decoded = dialect("auto")(Reply(500, {}, json.loads(text), 0.0))

    if decoded.words:
        assert dialect("auto")(Reply(500, {}, text, 0.0)) == decoded


def test_a_counter_of_a_window_without_a_name_is_empty_until_the_told_delay(
    reply: MakeReply,
) -> None:
    """A guess at the window's length would keep a target that has room unused."""
    sentence = "Rate limit reached on requests per 6s: Limit 6, Used 6, Requested 1."
    error = {"message": f"{sentence} Please try again in 3.2s.", "type": "requests"}

    (counter,) = dialect("groq")(reply(429, {"retry-after": "3.2"}, {"error": error})).readings

    assert (counter.remaining, counter.window, counter.reset) == (0, None, 3.2)
    assert not counter.refills
