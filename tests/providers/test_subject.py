from typing import Any

import pytest

from stepwell.providers.dialects import error_of
from stepwell.providers.dialects.bodies import BodyError
from stepwell.providers.dialects.subject import about_of
from stepwell.quota.reading import About

GROQ_ADVICE = "Need more tokens? Upgrade at https://console.groq.com/settings/billing"


def openai_error(message: str = "m", code: str | None = None, kind: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "about"),
    [
        # The free allowance, before its own mention of credits and plans.
        (
            429,
            openai_error("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock"),
            About.RATE,
        ),
        (
            429,
            openai_error("used up your daily free allocation, please upgrade to the Paid plan"),
            About.RATE,
        ),
        (429, openai_error("Free credits temporarily have rate limits in place"), About.RATE),
        (401, openai_error("Rate limit exceeded.", kind="FreeUsageLimitError"), About.RATE),
        # Money, under every status.
        (429, openai_error("m", "insufficient_quota"), About.CREDIT),
        (429, openai_error("check your plan and billing details"), About.CREDIT),
        (403, openai_error("Your team has used all available credits"), About.CREDIT),
        (400, openai_error("Your credit balance is too low to access the API"), About.CREDIT),
        (402, openai_error(), About.CREDIT),
        (402, None, About.CREDIT),
        (429, openai_error("Insufficient balance or no resource package.", "1113"), About.CREDIT),
        (403, openai_error("Key limit exceeded (total limit)."), About.CREDIT),
        # Too many at once, under every status.
        (429, openai_error("Rate limit reached for requests", "1302"), About.CONCURRENCY),
        (
            402,
            {"error": "Queue full for IP: 1.2.3.4: 1 requests already queued (max: 1)"},
            About.CONCURRENCY,
        ),
        (429, openai_error("exceeded for UserConcurrentRequests"), About.CONCURRENCY),
        (429, openai_error("Too many concurrent requests"), About.CONCURRENCY),
        (429, openai_error("reached organization max concurrency: 3"), About.CONCURRENCY),
        (429, openai_error("concurrency limit reached"), About.CONCURRENCY),
        # A model outside the plan, though it sounds like money.
        (429, openai_error("insufficient balance (1008)"), About.MODEL),
        (403, {"error": "this model requires a subscription"}, About.MODEL),
        (403, openai_error(kind="RestrictedModelsError"), About.MODEL),
        (429, openai_error("m", "1311"), About.MODEL),
        # A rate under a status of the request's fault is believed only as a whole code.
        (400, openai_error("Rate limit exceeded.", kind="FreeUsageLimitError"), About.RATE),
        (400, openai_error("bad field 'free-models-per-day'"), About.REQUEST),
        (422, openai_error("bad field 'daily free allocation'"), About.REQUEST),
        # A rate's advice is not about money.
        (429, openai_error(f"Rate limit reached. {GROQ_ADVICE}"), About.RATE),
        (
            429,
            {
                "error": {
                    "status": "RESOURCE_EXHAUSTED",
                    "message": "You exceeded your current quota, please check your plan and billing",
                }
            },
            About.RATE,
        ),
        # Size.
        (400, openai_error("m", "context_length_exceeded"), About.TOO_LARGE),
        (400, openai_error("This model's maximum context length is 8192 tokens."), About.TOO_LARGE),
        (413, None, About.TOO_LARGE),
        (413, openai_error(f"Request too large for model `m`. {GROQ_ADVICE}"), About.TOO_LARGE),
        (400, openai_error("prompt is too long: 210000 tokens"), About.TOO_LARGE),
        # Capacity.
        (503, openai_error("The model is overloaded. Please try again later."), About.CAPACITY),
        (503, {"error": {"status": "UNAVAILABLE", "message": "m"}}, About.CAPACITY),
        (429, openai_error("m", "queue_exceeded"), About.CAPACITY),
        (429, openai_error("m", kind="service_tier_capacity_exceeded"), About.CAPACITY),
        (429, openai_error("m", "engine_overloaded", "invalid_request_error"), About.CAPACITY),
        (400, {"detail": "DEGRADED function cannot be invoked"}, About.CAPACITY),
        (529, None, About.CAPACITY),
        (498, None, About.CAPACITY),
        # Key.
        (400, {"error": {"message": "m", "details": [{"reason": "API_KEY_INVALID"}]}}, About.KEY),
        (401, openai_error("m", kind="invalid_request_error"), About.KEY),
        (403, openai_error("You may not"), About.KEY),
        (400, openai_error("User location is not supported for the API use."), About.KEY),
        # Model.
        (404, openai_error(), About.MODEL),
        (403, openai_error("m", "unavailable_model"), About.MODEL),
        (400, openai_error("The model `m-1` has been decommissioned"), About.MODEL),
        (400, openai_error("models/m-1 is not found for API version v1beta"), About.MODEL),
        (410, None, About.MODEL),
        # The request.
        (400, openai_error("top_k is not permitted"), About.REQUEST),
        (422, {"detail": [{"msg": "Field required", "input": "out of credits"}]}, About.REQUEST),
        (403, openai_error("m requires moderation, your input was flagged"), About.REQUEST),
        (400, openai_error("'rate limit' is not one of the allowed values"), About.REQUEST),
        (400, openai_error("tool `model` was not found in request.tools"), About.REQUEST),
        # Rates.
        (429, None, About.RATE),
        (429, openai_error("m", kind="invalid_request_error"), About.RATE),
        (403, openai_error("You have exceeded a secondary rate limit"), About.RATE),
        (503, openai_error("Too many requests"), About.RATE),
        # Only the status speaks.
        (500, openai_error("Internal error"), None),
        (502, "<html><title>502 Bad Gateway</title></html>", None),
        (408, None, None),
        (302, None, None),
    ],
)
def test_a_refusals_subject(status: int, body: Any, about: About | None) -> None:
    """Each row of the table, and the orders that matter, by example."""
    assert about_of(status, error_of(body) or BodyError()) is about


def test_a_provider_may_give_a_status_another_meaning() -> None:
    """Where the body says nothing of its own."""
    forbidden = BodyError(message="Forbidden")

    assert about_of(403, forbidden, {403: About.MODEL}) is About.MODEL
    assert about_of(403, BodyError(code="insufficient_quota"), {403: About.MODEL}) is About.CREDIT
    assert about_of(404, forbidden, {403: About.MODEL}) is About.MODEL


def test_a_very_long_message_is_read_only_at_its_beginning() -> None:
    """What stands far behind, such as an echo of the request, decides nothing."""
    error = BodyError(message="bad request " + "x" * 5_000 + " out of credits")

    assert about_of(400, error) is About.REQUEST
