import json
from collections.abc import Callable
from typing import Any

import pytest

from stepwell.providers.dialects import Reply, dialect
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import About, Reading

MakeReply = Callable[..., Reply]
NOON = 1_790_942_400.0  # 2 October 2026, 12:00 UTC: 19 hours before midnight Pacific
DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"


def refusal(*quotas: tuple[str, str | None], delay: str = "17s", message: str = "Quota") -> Any:
    violations = [{"quotaId": name, "quotaValue": value} for name, value in quotas]
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    return {"error": error}


@pytest.mark.parametrize("name", ["gemini", "auto"])
@pytest.mark.parametrize("wrap", ["object", "array", "text", "message"])
def test_the_details_are_found_however_the_body_is_wrapped(
    reply: MakeReply, name: str, wrap: str
) -> None:
    """An object, an array around it, its JSON as text, or as text in another error's message."""
    body = refusal((MINUTE, "10"))
    wrapped = {
        "object": body,
        "array": [body],
        "text": json.dumps(body),
        "message": {"error": {"message": json.dumps([body]), "code": 429}},
    }[wrap]

    hint = dialect(name)(reply(429, {}, wrapped))

    assert hint.delay == 17
    assert hint.readings == (Reading(Metric.REQUESTS, 60.0, 10, 0, 17.0),)


def test_the_day_beats_the_stated_delay(reply: MakeReply) -> None:
    """With a day's quota gone, a retryDelay of seconds is wrong; each counter keeps its reset."""
    hint = dialect("gemini")(reply(429, {}, refusal((MINUTE, "10"), (DAY, "20"))))

    assert hint.delay == 19 * 3_600
    assert {(r.window, r.limit, r.reset) for r in hint.readings} == {
        (60.0, 10, 17.0),
        (86_400.0, 20, 19 * 3_600.0),
    }


def test_details_replace_what_the_message_says_of_the_same_counter(reply: MakeReply) -> None:
    """One bucket is one reading, and the day's reset is midnight, not the message's delay."""
    message = "Limit of requests per day. Limit: 20. Please retry in 9s"

    hint = dialect("gemini")(reply(429, {}, refusal((DAY, "20"), message=message)))

    assert hint.readings == (Reading(Metric.REQUESTS, 86_400.0, 20, 0, 19 * 3_600.0),)


def test_a_day_named_only_in_the_message_counts_too(reply: MakeReply) -> None:
    """Some proxies keep the message and drop the details."""
    body = {
        "error": {"message": f"Quota exceeded: {DAY}. Retry in 9s", "status": "RESOURCE_EXHAUSTED"}
    }

    assert dialect("gemini")(reply(429, {}, body)).delay == 19 * 3_600


def test_a_limit_of_zero_means_the_model_is_not_free(reply: MakeReply) -> None:
    """Zero is not sent as a value, only said in the message; no wait helps."""
    message = "* Quota exceeded for metric: x, limit: 0, model: m\nPlease retry in 20s."

    hint = dialect("gemini")(reply(429, {}, refusal((DAY, None), message=message)))

    assert (hint.about, hint.delay) == (About.MODEL, None)
    assert hint.readings == (Reading(Metric.REQUESTS, 86_400.0, 0, 0),)


@pytest.mark.parametrize("message", ["limit: 0.5", "limit: 05", "limit: 20"])
def test_a_limit_that_only_begins_with_zero_is_not_zero(reply: MakeReply, message: str) -> None:
    """`limit: 0` is read as a whole number."""
    hint = dialect("gemini")(reply(429, {}, refusal((MINUTE, None), message=message)))

    assert hint.about is About.RATE


@pytest.mark.parametrize(
    ("quota", "metric", "window", "scope"),
    [
        ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "tokens", 60, Scope.MODEL),
        ("GenerateRequestsPerDayPerProject", "requests", 86_400, Scope.ACCOUNT),
        ("GenerateRequestsPerHourPerProjectPerModel", "requests", 3_600, Scope.MODEL),
        ("SomethingNew", "requests", None, Scope.MODEL),
    ],
)
def test_a_quotas_name_tells_what_it_counts(
    reply: MakeReply, quota: str, metric: str, window: float | None, scope: Scope
) -> None:
    """Metric, window and scope stand in quotaId; what it does not tell stays unknown."""
    (reading,) = dialect("gemini")(reply(429, {}, refusal((quota, "7")))).readings

    assert (reading.metric, reading.window, reading.scope) == (metric, window, scope)


@pytest.mark.parametrize(
    ("quotas", "scope"),
    [
        (("GenerateRequestsPerDayPerProject",), Scope.ACCOUNT),
        (("GenerateRequestsPerDayPerProject", MINUTE), Scope.MODEL),
        ((), Scope.MODEL),
    ],
)
def test_a_refusal_covers_the_account_only_if_every_quota_does(
    reply: MakeReply, quotas: tuple[str, ...], scope: Scope
) -> None:
    """The narrowest scope that the violations prove."""
    body = refusal(*((quota, "7") for quota in quotas))

    assert dialect("gemini")(reply(429, {}, body)).scope is scope


def test_prose_is_the_delay_where_no_detail_states_one(reply: MakeReply) -> None:
    """A bare refusal may still say `retry in` in words."""
    body = {"error": {"status": "RESOURCE_EXHAUSTED", "message": "Please retry in 20.04s."}}

    assert dialect("gemini")(reply(429, {}, body)).delay == pytest.approx(20.04)


def test_a_retry_delay_in_the_details_is_enough(reply: MakeReply) -> None:
    """RetryInfo without a QuotaFailure states the delay, and no counter."""
    hint = dialect("gemini")(reply(429, {}, refusal(delay="1.5s")))

    assert (hint.delay, hint.readings) == (1.5, ())


def test_a_broken_detail_is_passed_over(reply: MakeReply) -> None:
    """Details of any shape cost nothing but themselves."""
    body = refusal((MINUTE, "10"), delay="soon")
    body["error"]["details"] += [3, {"violations": [None, {"quotaId": 5}]}, {"violations": "x"}]

    hint = dialect("gemini")(reply(429, {}, body))

    assert hint.delay is None
    assert Reading(Metric.REQUESTS, 60.0, 10, 0) in hint.readings
