import json
from typing import Any

import pytest

from stepwell.providers.dialects import BodyError, embedded_status, error_of


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(
            {"error": {"message": "m", "type": "t", "code": "c", "param": "p"}},
            BodyError(None, "c", "t", "m", "p"),
            id="openai",
        ),
        pytest.param(
            {"message": "m", "type": "t", "param": "quota", "code": "c"},
            BodyError(None, "c", "t", "m", "quota"),
            id="flat",
        ),
        pytest.param(
            [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}],
            BodyError(429, "429", "RESOURCE_EXHAUSTED", "m"),
            id="array",
        ),
        pytest.param({"error": "m"}, BodyError(message="m"), id="error-is-text"),
        pytest.param(
            {"code": "permission-denied", "error": "m"},
            BodyError(None, "permission-denied", "", "m"),
            id="error-is-text-beside-a-code",
        ),
        pytest.param({"detail": "m"}, BodyError(message="m"), id="detail"),
        pytest.param(
            {"detail": [{"msg": "m", "input": "secret"}, {"msg": "n"}, {}, 3]},
            BodyError(message="m; n"),
            id="detail-is-a-list",
        ),
        pytest.param(
            {"object": "error", "message": {"detail": [{"msg": "m", "input": "secret"}]}},
            BodyError(message="m"),
            id="detail-inside-the-message",
        ),
        pytest.param(
            {"status": 429, "title": "m"}, BodyError(429, "", "", "m"), id="problem-details"
        ),
        pytest.param(
            {"success": False, "errors": [{"code": 3040, "message": "m"}]},
            BodyError(None, "3040", "", "m"),
            id="errors",
        ),
        pytest.param({"errors": ["m"]}, BodyError(message="m"), id="errors-are-text"),
        pytest.param(
            {"base_resp": {"status_code": 1008, "status_msg": "m"}, "choices": None},
            BodyError(402, "1008", "", "m"),
            id="minimax",
        ),
        pytest.param(
            {"error": {"message": "m", "details": [{}, {"reason": "API_KEY_INVALID"}]}},
            BodyError(None, "API_KEY_INVALID", "", "m"),
            id="google-reason",
        ),
        pytest.param(
            {"error": {"message": "m", "details": {"error_code": "c"}}},
            BodyError(None, "c", "", "m"),
            id="anthropic-reason",
        ),
        pytest.param(
            {"error": {"message": "m", "metadata": {"raw": "r"}}},
            BodyError(message="m: r"),
            id="openrouter-upstream",
        ),
        pytest.param(
            {"error": {"message": json.dumps([{"error": {"code": 503, "message": "m"}}])}},
            BodyError(503, "503", "", "m"),
            id="json-in-the-message",
        ),
        pytest.param('{"error": {"message": "m"}}', BodyError(message="m"), id="json-as-text"),
        pytest.param("upstream down", BodyError(message="upstream down"), id="text"),
        pytest.param(
            "<html><title>502 Bad Gateway</title>", BodyError(message="502 Bad Gateway"), id="html"
        ),
        pytest.param("<p>no title</p>", BodyError(), id="html-without-a-title"),
        pytest.param(
            {"choices": [{"finish_reason": "error"}]},
            BodyError(502, "", "error"),
            id="finished-in-error",
        ),
        pytest.param(
            {"choices": [{"finish_reason": "error", "error": {"code": 429, "message": "m"}}]},
            BodyError(429, "429", "", "m"),
            id="error-of-a-choice",
        ),
    ],
)
def test_an_error_is_found_in_every_shape(body: Any, error: BodyError) -> None:
    """Wherever a provider puts status, code, type and message, they are found."""
    assert error_of(body) == error


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        [3],
        "",
        "  ",
        3.5,
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": {"message": None, "code": None}},
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"errors": []},
        {"id": "1", "object": "chat.completion", "choices": [], "error": None},
        {"object": "list", "data": []},
        {"choices": [{"finish_reason": "stop"}], "errors": [{"message": "m"}]},
    ],
)
def test_an_empty_error_is_none(body: Any) -> None:
    """A null or empty error field, or no error field at all, is no error."""
    assert error_of(body) is None
    assert embedded_status(body) is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"code": 429, "message": "m"}}, 429),
        ({"error": {"code": "429", "message": "m"}}, 429),
        ({"error": {"code": 502, "message": "m"}, "choices": [{"finish_reason": "error"}]}, 502),
        ({"error": {"type": "rate_limit_exceeded"}}, 429),
        ({"error": {"code": "insufficient_quota"}}, 402),
        ({"error": {"type": "server_error"}}, 500),
        ({"error": {"status": "RESOURCE_EXHAUSTED"}}, 429),
        ({"error": {"status": "UNAVAILABLE"}}, 503),
        ({"error": {"type": "overloaded_error", "message": "Overloaded"}, "type": "error"}, 503),
        ({"error": {"code": "context_length_exceeded"}}, 413),
        ({"error": {"code": "invalid_api_key"}}, 401),
        ({"error": {"code": "model_not_found"}}, 404),
        ({"error": {"type": "invalid_request_error", "message": "m"}}, 400),
        ({"error": {"code": 7, "message": "m"}}, 500),
        ({"error": "boom"}, 500),
        ([{"error": {"code": 429}}], 429),
        ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, 429),
        ({"base_resp": {"status_code": 1039, "status_msg": "tokens"}}, 429),
        ({"base_resp": {"status_code": 1008, "status_msg": "balance"}}, 402),
        ({"base_resp": {"status_code": 4242, "status_msg": "?"}}, 500),
        ({"choices": [{"finish_reason": "error"}]}, 502),
        ({"message": "Tokens per minute limit exceeded", "code": "token_quota_exceeded"}, 429),
        ({"message": "queue is full", "code": "queue_exceeded", "type": "t"}, 503),
        ({"object": "error", "message": "m"}, 500),
        ({"status": 429, "title": "Too Many Requests"}, 429),
    ],
)
def test_an_error_inside_a_200_stands_for_a_status(body: Any, status: int) -> None:
    """The status it names, else the one that suits its words, else 500."""
    assert embedded_status(body) == status


@pytest.mark.parametrize(
    "body",
    [
        "text",
        '{"error": {"message": "a text is not decoded here"}}',
        {"message": "hello"},
        {"type": "ping", "message": "hello"},
        {"code": 20000, "message": "success", "data": {}},
        {"choices": [{"finish_reason": "stop"}], "message": "m", "code": "c"},
        {"choices": [{"finish_reason": "length"}], "usage": {}},
        {"choices": "none"},
    ],
)
def test_a_message_inside_a_200_is_not_yet_an_error(body: Any) -> None:
    """Beside a success a flat message counts as an error only with a code of its own."""
    assert embedded_status(body) is None


def test_json_within_json_is_followed_only_so_deep() -> None:
    """Each level of a message is decoded at most a few times, whatever an upstream nests."""
    body: Any = {"error": {"message": "bottom"}}
    for _ in range(8):
        body = {"error": {"message": json.dumps(body)}}

    error = error_of(body)

    assert error is not None
    assert error.message.startswith("{")


def test_text_that_nests_without_end_is_left_as_text() -> None:
    """A text of brackets that no decoder follows is the message itself."""
    assert error_of("[" * 60_000) == BodyError(message="[" * 60_000)
