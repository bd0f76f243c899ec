from collections.abc import Callable, Mapping
from typing import Any

import pytest

from stepwell.providers.dialects import Reply, dialect
from stepwell.quota.limit import Metric
from stepwell.quota.reading import About, Reading

MakeReply = Callable[..., Reply]
COUNTERS = {
    "X-RateLimit-Limit-Requests": "14400",
    "x-ratelimit-remaining-requests": "14369",
    "x-ratelimit-reset-requests": "3m6s",
    "x-ratelimit-limit-tokens": "6000",
    "x-ratelimit-remaining-tokens": "5963",
    "x-ratelimit-reset-tokens": "370ms",
}


def refusal(message: str, kind: str = "tokens") -> Any:
    return {"error": {"message": message, "type": kind, "code": "rate_limit_exceeded"}}


@pytest.mark.parametrize(
    ("name", "requests", "tokens"), [("openai", 60, 60), ("groq", 86_400, 60), ("auto", 86_400, 60)]
)
def test_the_window_is_what_the_family_knows(
    reply: MakeReply, name: str, requests: float | None, tokens: float | None
) -> None:
    """The same names mean a minute at OpenAI and a day at Groq; their pace tells `auto` which."""
    hint = dialect(name)(reply(200, COUNTERS))

    assert set(hint.readings) == {
        Reading(Metric.REQUESTS, requests, 14_400, 14_369, 186.0, refills=True),
        Reading(Metric.TOKENS, tokens, 6_000, 5_963, 0.37, refills=True),
    }


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "window"),
    [
        (14_400, 14_369, "3m6s", 86_400.0),  # Groq: one comes back in 6 s
        (500, 499, "120ms", 60.0),  # OpenAI
        (60, 58, "2s", 60.0),
        (100, 50, "500ms", 1.0),
        (1_000, 900, "6m0s", 3_600.0),
        (200, 0, "7m12s", None),  # of no usual window
        (200, 200, "1s", None),  # nothing is used: no pace
        (200, 100, "0s", None),
        (200, 100, "30", None),  # without a unit it is no evenly refilling bucket
    ],
)
def test_the_pace_of_a_bucket_tells_its_window(
    reply: MakeReply, limit: int, remaining: int, reset: str, window: float | None
) -> None:
    """What was used comes back evenly, so use and time until it is whole give the window."""
    headers = {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": reset,
    }

    (reading,) = dialect("auto")(reply(200, headers)).readings

    assert reading.window == window


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-limit-tokens": "9"}, Reading(Metric.TOKENS, 60.0, 9)),
        ({"x-ratelimit-remaining-tokens": "-9"}, Reading(Metric.TOKENS, 60.0, None, 0)),
        ({"x-ratelimit-remaining-requests": "0"}, Reading(Metric.REQUESTS, None, None, 0)),
        (
            {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "12"},
            Reading(Metric.REQUESTS, None, None, 3, 12.0),
        ),
        (
            {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "soon"},
            Reading(Metric.REQUESTS, None, None, 3),
        ),
        (
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "0"},
            Reading(Metric.TOKENS, 60.0, None, 0),
        ),
        ({"x-ratelimit-limit-tokens": "", "x-ratelimit-remaining-tokens": "?"}, None),
        ({"x-ratelimit-reset-tokens": "5s"}, None),
    ],
)
def test_a_counter_is_as_complete_as_what_was_sent(
    reply: MakeReply, headers: Mapping[str, str], expected: Reading | None
) -> None:
    """Each part may be missing; zero is a value, garbage is absent, a reset alone says nothing."""
    assert dialect("auto")(reply(200, headers)).readings == (
        () if expected is None else (expected,)
    )


ZEROS = {"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "0"}


def test_a_success_refutes_a_limit_of_nothing(reply: MakeReply) -> None:
    """Some gateways fill in zeros; a request that was served proves them wrong."""
    assert dialect("openai")(reply(200, ZEROS)).readings == ()


@pytest.mark.parametrize(
    ("headers", "body", "about"),
    [
        (ZEROS, None, About.MODEL),
        (ZEROS | {"x-ratelimit-limit-requests": "30"}, None, About.RATE),
        (ZEROS | {"retry-after": "5"}, None, About.RATE),
        (ZEROS, refusal("on RPM: Limit 30, Used 30, Requested 1"), About.RATE),
    ],
)
def test_a_limit_of_zero_is_a_plan_without_the_model_unless_contradicted(
    reply: MakeReply, headers: Mapping[str, str], body: Any, about: About
) -> None:
    """A delay, or any limit above zero, says that there is something to wait for."""
    assert dialect("openai")(reply(429, headers, body)).about is about


def test_a_text_that_names_the_headers_bucket_gives_it_the_window(reply: MakeReply) -> None:
    """The same metric up to the same limit is the same bucket: exact numbers, known window."""
    body = refusal("on requests per day (RPD): Limit 200, Used 200, Requested 1.", "requests")
    headers = {
        "x-ratelimit-limit-requests": "200",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "24h0m0s",
    }

    hint = dialect("openai")(reply(429, headers, body))

    assert hint.readings == (Reading(Metric.REQUESTS, 86_400.0, 200, 0, 86_400.0, refills=True),)


def test_a_text_about_another_limit_of_the_same_window_replaces_the_header(
    reply: MakeReply,
) -> None:
    """The text is about what tripped, so it is believed."""
    body = refusal("on tokens per minute (TPM): Limit 100, Used 90, Requested 20.")

    hint = dialect("groq")(reply(429, COUNTERS, body))

    assert [(r.metric, r.limit) for r in hint.readings] == [("tokens", 100), ("requests", 14_400)]


def test_an_empty_bucket_without_a_stated_delay_waits_for_one_request(reply: MakeReply) -> None:
    """The reset is until the bucket is whole; one of 14400 requests a day is back in 6 s."""
    headers = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "24h0m0s",
    }

    assert dialect("groq")(reply(429, headers)).delay == pytest.approx(6)


def test_an_empty_token_bucket_tells_no_delay_by_itself(reply: MakeReply) -> None:
    """How many tokens the next request needs is not the dialect's to know."""
    headers = {
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "60s",
    }

    assert dialect("groq")(reply(429, headers)).delay is None


def test_a_request_larger_than_the_window_is_too_large_under_any_status(reply: MakeReply) -> None:
    """Waiting never helps it: no delay, though one is stated, and the size is learned."""
    body = refusal(
        "on tokens per minute (TPM): Limit 6000, Used 0, Requested 6791. Try again in 8s"
    )

    hint = dialect("groq")(reply(429, {"retry-after": "8"}, body))

    assert (hint.about, hint.delay, hint.size) == (About.TOO_LARGE, None, 6_000)


def test_a_limit_on_the_answer_alone_is_not_a_limit_on_requests(reply: MakeReply) -> None:
    """OTPM bounds max_tokens; as a limit of requests it would turn prompts away."""
    body = refusal("on output tokens per minute (OTPM): Limit 1000, Used 0, Requested 1434.")

    hint = dialect("groq")(reply(429, {}, body))

    assert (hint.about, hint.size, hint.readings) == (About.TOO_LARGE, None, ())


def test_a_limit_of_zero_in_the_text_means_the_model_is_not_allowed(reply: MakeReply) -> None:
    """A request larger than nothing is not too large; the plan is without this model."""
    body = refusal("on requests per min (RPM): Limit 0, Used 0, Requested 1.", "requests")

    assert dialect("openai")(reply(429, {}, body)).about is About.MODEL
