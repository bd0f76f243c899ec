import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell.providers.dialects import (
    FAMILIES,
    NAMES,
    Head,
    Reply,
    dialect,
    embedded_status,
    is_timeless,
    quota_headers,
)
from stepwell.quota.limit import Metric
from stepwell.quota.reading import About, Hint, Other, Reading

MakeReply = Callable[..., Reply]
TWO_DAYS = 172_800.0
NOON = 1_790_942_400.0
TEN_YEARS = 315_360_000.0
LOCAL = ("llamacpp", "lmstudio", "ollama-local", "vllm")


def test_every_name_has_a_dialect() -> None:
    """Providers have their own; families, being recognised by what arrives, are read by `auto`."""
    assert {"auto", "generic", "openai", "groq", "gemini", *FAMILIES} <= set(NAMES)
    assert all(callable(dialect(name)) for name in NAMES)
    assert {dialect(family) for family in FAMILIES} == {dialect("auto"), dialect("anthropic")}


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    """Settings can show the message as it is."""
    with pytest.raises(ValueError, match=r"no dialect 'grok'; known are agnes, .*auto, .*groq"):
        dialect("grok")


@pytest.mark.parametrize("name", sorted({*NAMES} - {"generic", *LOCAL}))
def test_no_dialect_reads_less_than_auto(reply: MakeReply, name: str) -> None:
    """A provider's name adds to what is read; a proxy's headers in front of it are understood."""
    headers = {"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-reset-tokens-minute": "9"}
    body = {"error": {"message": "free-models-per-day", "code": 429}}

    assert [r.reset for r in dialect(name)(reply(200, headers)).readings] == [9.0]
    assert dialect(name)(reply(429, {}, body)).delay == 43_200


@pytest.mark.parametrize(
    "name",
    [
        b"x-ratelimit-remaining-requests",
        b"X-RateLimit-TimeRemaining",
        b"anthropic-priority-input-tokens-remaining",
        b"modelscope-ratelimit-model-requests-remaining",
        b"x-trial-endpoint-call-remaining",
        b"x-tokenlimit-remaining",
        b"ratelimitbysize-reset",
        b"RateLimit",
        b"x-error-message",
    ],
)
def test_every_familys_headers_are_picked(name: bytes) -> None:
    """None of them is lost before a dialect sees it."""
    assert quota_headers([(name, b"1")]) == {name.decode().lower(): "1"}


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


HEADS = [
    {"x-ratelimit-limit-requests": " 14400 ", "x-ratelimit-remaining-requests": "14369",
     "x-ratelimit-reset-requests": "3m6s", "x-ratelimit-limit-tokens": "6000, 6000;w=60",
     "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1790942430"},
    {"X-RateLimit-Limit-Tokens": "5.0", "x-ratelimit-renewalperiod-tokens": "60",
     "x-tokenlimit-limit": "0.5", "x-ratelimit-over-limit": "yes"},
    {"anthropic-ratelimit-input-tokens-limit": "9", "retry-after": "5", "content-type": "x"},
    {"ratelimit": "limit=5, remaining=3, reset=9", "ratelimit-policy": "5;w=60"},
    {},
]  # fmt: skip


@pytest.mark.parametrize("headers", HEADS)
@pytest.mark.parametrize("name", ["auto", "generic", "groq", "together"])
@pytest.mark.parametrize("status", [200, 429])
def test_a_head_is_read_as_its_headers_are(name: str, status: int, headers: dict[str, str]) -> None:
    """Whether bytes are read where they stand, or were decoded and picked before."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    head, picked = Head([*raw, *raw[:1]]), quota_headers(raw)
    hints = [dialect(name)(Reply(status, each, None, NOON)) for each in (head, picked)]

    assert hints[0] == hints[1]
    assert dict(head) == picked


def test_a_long_reset_is_no_reset_and_is_not_remembered() -> None:
    """A provider can fill no memory with what nobody can mean."""
    raw = [
        (b"x-ratelimit-remaining-requests", b"5"),
        (b"x-ratelimit-reset-requests", b"5s" * 40),
    ]
    (reading,) = dialect("auto")(Reply(200, Head(raw), None, NOON)).readings

    assert (reading.remaining, reading.reset) == (5, None)


@pytest.mark.parametrize("name", NAMES)
def test_a_success_without_counters_says_nothing(reply: MakeReply, name: str) -> None:
    """Most responses: an empty hint, also with a Retry-After that no refusal stands behind."""
    assert dialect(name)(reply(200, {"retry-after": "5"})) == Hint()
    assert dialect(name)(reply(200, {}, {"choices": [], "error": None})) == Hint()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LOCAL])
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
    expected = Reading(Metric.REQUESTS, 60.0, 100, 4, 5.0)

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
    "violations", "quotaId", "quotaValue", "@type", "retryDelay", "object", "reason", "headers",
    "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "limit_source",
])  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from([
        "RESOURCE_EXHAUSTED", "rate_limit_exceeded", "tokens", "error", "34s", "1e999s", "limit: 0",
        "try again in 99999999999999999999h", "on TPD: Limit 0, Used 5, Requested 9. Retry in 1s",
        "GenerateRequestsPerDayPerProjectPerModel", "type.googleapis.com/x", '{"error": "x"}',
        "on RPM: Limit 9, Used 99999999999999999999, Requested 1", "[[[[", "<title>x", "-1", "9" * 50,
        "Rate limit of 9999999999999999999 per 9999999999999999999s exceeded for UserByMinute",
        "limited to 0 API calls / month with a Trial key", "Usage limit reached for 999 month",
        "will reset at 9999-12-31 23:59:59", "will reset at 0000-99-99 99:99", "UserByModelByDay",
        "Tokens per minute limit exceeded", "free-models-per-day", "1300", "1302", "1308", "3036",
        "daily free allocation of 9999999999999999999 neurons", "Queue full for IP: x (max: 0)",
        "you have reached your weekly usage limit", "overloaded", "insufficient_quota",
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
    st.sampled_from(
        [
            "Fri, 02 Oct 2026 12:00:30 GMT",
            "Fri, 99 Zzz 0000 99:99:99 GMT",
            "7m12s",
            "0",
            "-1",
            "2026-10-02T12:00:02Z",
            "9999-12-31T23:59:59-23:59",
            "0001-01-01T00:00:00+14:00",
            '"a";r=0;t=99999999999',
            '"a";q=5;w=0',
            "limit=5, remaining=-3, reset=1e9",
            "5, 5;w=1",
        ]
    ),
)
FIELDS = ("limit", "remaining", "reset")
SPELLINGS = (
    "x-ratelimit-{}", "x-ratelimit-{}-requests", "x-ratelimit-{}-tokens", "x-tokenlimit-{}",
    "x-ratelimit-{}-req-minute", "x-ratelimit-{}-tokens-month", "x-ratelimit-{}-requests-per-day",
    "x-ratelimit-{}-requests-1h", "ratelimitbysize-{}", "ratelimit-{}",
    "anthropic-ratelimit-tokens-{}", "anthropic-ratelimit-input-tokens-{}",
    "modelscope-ratelimit-model-requests-{}", "x-trial-endpoint-call-{}",
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from([
        "retry-after", "retry-after-ms", "date", "ratelimit", "ratelimit-policy",
        "x-ratelimit-type", "x-ratelimit-timeremaining", "x-ratelimit-over-limit",
        "x-ratelimit-renewalperiod-tokens", "x-error-message",
        *(spelling.format(field) for spelling in SPELLINGS for field in FIELDS),
    ]),
    NUMBERS,
)  # fmt: skip


RAW = NUMBERS.map(lambda text: text.encode("latin-1", "replace"))
RAW_NAMES = [
    b"Date", b"retry-after", b"ratelimit", b"RateLimit-Policy", b"x-ratelimit-over-limit", b"\xb2",
    *(spelling.format(field).encode() for spelling in SPELLINGS for field in FIELDS),
]  # fmt: skip


def is_sound(hint: Hint) -> bool:
    """Every number is one the ledger can count with."""
    counters: tuple[Reading | Other, ...] = (*hint.readings, *hint.others)
    times = [hint.delay, hint.guess, *(counter.reset for counter in counters)]
    windows = [counter.window for counter in counters if counter.window is not None]
    amounts = [hint.size, *(n for c in counters for n in (c.limit, c.remaining))]
    return (
        all(math.isfinite(window) and window >= 0 for window in windows)
        and all(t is None or (math.isfinite(t) and 0 <= t <= TWO_DAYS) for t in times)
        and all(n is None or (type(n) is int and n >= 0) for n in amounts)
        and len(hint.words) <= 200
    )


@given(st.sampled_from(NAMES), st.integers(100, 599), HEADERS, BODIES)
@example("gemini", 429, {}, [{"error": {"status": "RESOURCE_EXHAUSTED", "details": [[], {}]}}])
@example("auto", 200, {}, {"base_resp": {"status_code": 10**400, "status_msg": None}})
@example("auto", 429, {"x-ratelimit-reset-tokens": "1ns", "x-ratelimit-limit-tokens": "9"}, None)
@example("openrouter", 429, {}, {"error": {"metadata": {"headers": {"X-RateLimit-Limit": "x"}}}})
@example("auto", 429, {"retry-after": "Fri, 99 Zzz 0000 99:99:99 GMT"}, "[" * 5_000)
def test_no_response_makes_a_dialect_raise(
    name: str, status: int, headers: dict[str, str], body: Any
) -> None:
    """Whatever arrives, the hint holds finite times within two days and amounts not below zero."""
    assert is_sound(dialect(name)(Reply(status, headers, body, NOON)))


@given(
    st.sampled_from(NAMES),
    st.integers(400, 599),
    HEADERS,
    BODIES,
    st.floats(0.0, TEN_YEARS),
    NUMBERS,
)
@example("auto", 429, {"retry-after": "Fri, 02 Oct 2026 12:00:30 GMT"}, None, 10.0, "")
@example("auto", 429, {}, {"error": {"message": "free-models-per-day", "code": 429}}, 86_400.0, "")
@example("agnes", 400, {"x-ratelimit-remaining-tokens-month": "0"}, None, 278_424_001.0, "")
@example("auto", 429, {"retry-after": "60"}, None, 86_400.0, "Fri, 02 Oct 2026 12:00:30 GMT")
def test_a_timeless_refusal_reads_the_same_whenever_it_comes(  # noqa: PLR0917
    name: str, status: int, headers: dict[str, str], body: Any, later: float, date: str
) -> None:
    """So what it says may be remembered, whatever its date says the next time."""
    reply = Reply(status, headers, body, NOON)
    hint = dialect(name)(reply)
    again = reply._replace(headers={**headers, "date": date}, now=NOON + later)

    assert dialect(name)(again) == hint or not is_timeless(dialect(name), reply, hint)


@pytest.mark.parametrize(
    ("headers", "message", "timeless"),
    [
        ({"retry-after": "60", "date": "Fri, 02 Oct 2026 12:00:00 GMT"}, "slow down", True),
        ({"retry-after": "Fri, 02 Oct 2026 12:00:30 GMT"}, "slow down", False),
        (
            {
                "retry-after": "Fri, 02 Oct 2026 12:00:30 GMT",
                "date": "Fri, 02 Oct 2026 12:00:00 GMT",
            },
            "slow down",
            False,
        ),
        ({}, "Please try again in 7m12s.", True),
        ({}, "free-models-per-day", False),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790942460000"}, "", False),
    ],
)
def test_a_refusal_with_a_moment_in_it_is_not_timeless(
    headers: dict[str, str], message: str, *, timeless: bool
) -> None:
    """Lengths of time are the same always; dates and ends of days come nearer."""
    body = {"error": {"message": message, "code": 429}}
    reply = Reply(429, headers, body, NOON)

    assert is_timeless(dialect("auto"), reply, dialect("auto")(reply)) is timeless


@given(st.sampled_from(NAMES), st.lists(st.tuples(st.sampled_from(RAW_NAMES), st.binary() | RAW)))
def test_no_head_makes_a_dialect_raise(name: str, raw: list[tuple[bytes, bytes]]) -> None:
    """Nor is any other read out of its bytes than out of the same as text."""
    head = dialect(name)(Reply(200, Head(raw), None, NOON))

    assert is_sound(head)
    assert head == dialect(name)(Reply(200, quota_headers(raw), None, NOON))


@given(st.integers(400, 599), HEADERS, BODIES)
def test_auto_reads_whatever_generic_reads(status: int, headers: dict[str, str], body: Any) -> None:
    """On any response: the same words, and a delay unless `auto` knows more of what it is about.

    A zero is no delay beside a counter that `auto` finds empty.
    """
    reply = Reply(status, headers, body, 1_790_942_400.0)
    auto, generic = dialect("auto")(reply), dialect("generic")(reply)

    assert auto.words == generic.words
    if generic.delay and auto.about is generic.about:
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
