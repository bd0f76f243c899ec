"""Provider by provider: further shapes that are known of each, beside the samples."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from stepwell.providers.dialects import Reply, dialect, embedded_status, summarize
from stepwell.quota.reading import Hint

MakeReply = Callable[..., Reply]
NOON = 1_790_942_400.0  # Friday, 2 October 2026, 12:00 UTC
MINUTE, HOUR, DAY, WEEK, MONTH = 60.0, 3_600.0, 86_400.0, 604_800.0, 2_592_000.0
TWO_DAYS = 172_800.0


def error(message: str = "m", code: Any = None, kind: str | None = None, **more: Any) -> Any:
    return {"error": {"message": message, "code": code, "type": kind, **more}}


def flat(message: str, code: str, kind: str = "", **more: Any) -> Any:
    return {"message": message, "type": kind, "code": code, **more}


def rows(hint: Hint) -> list[tuple[Any, ...]]:
    """Every counter: what, window, limit, remaining, reset, whose; in no order."""
    readings = [
        (str(r.metric), r.window, r.limit, r.remaining, r.reset, str(r.scope))
        for r in hint.readings
    ]
    others = [(o.name, o.window, o.limit, o.remaining, o.reset, str(o.scope)) for o in hint.others]
    return sorted(readings + others, key=str)


def refusal(  # noqa: PLR0917 - a row of the table below
    name: str, status: int, body: Any, outcome: str, seconds: float | None, scope: str, **more: Any
) -> Any:
    """A row: a refusal, and what it comes to."""
    reply = (name, status, more.get("headers", {}), body)
    counters = sorted(more.get("counters", []), key=str)
    return pytest.param(reply, (outcome, seconds, scope), counters, id=f"{name}-{status}-{outcome}")


EMPTY_TOKENS = {
    "retry-after-ms": "0",
    "x-ratelimit-limit-tokens": "5000",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-renewalperiod-tokens": "60",
}
LIMITS = {
    "x-ratelimit-limit-tokens-month": "1000",
    "x-ratelimit-remaining-tokens-month": "0",
    "x-ratelimit-limit-req-minute": "5",
    "x-ratelimit-remaining-req-minute": "4",
}
MISTRAL = flat("Requests rate limit exceeded", "1300", "rate_limited", object="error")
FREE_DAY = {
    "X-RateLimit-Limit": "1000",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": "1790985600000",
}


def cloudflare(code: int, message: str) -> Any:
    return {"success": False, "result": None, "errors": [{"code": code, "message": message}]}


def siliconflow(axis: str) -> Any:
    text = f"Request was rejected due to rate limiting. Details: {axis} limit reached."
    return {"code": 50602, "message": text, "data": None}


def ollama(window: str) -> Any:
    return {"error": f"you (someone) have reached your {window} usage limit, upgrade: https://x"}


def minimax(code: int, message: str) -> Any:
    return {"choices": None, "base_resp": {"status_code": code, "status_msg": message}}


def moonshot(message: str, kind: str = "rate_limit_reached_error") -> Any:
    return error(f"request reached organization {message}", kind=kind)


ZEN = {"type": "error", "error": {"type": "FreeUsageLimitError", "message": "Rate limit exceeded."}}
OPENAI_MONEY = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
)

REFUSALS = [
    # Groq
    refusal("groq", 498, error(code="capacity_exceeded"), "overloaded", 5, "model"),
    refusal("groq", 400, error(code="tool_use_failed"), "error", None, "request"),
    # OpenAI
    *(refusal("openai", 429, error(code=c), "credit", None, "account") for c in OPENAI_MONEY),
    refusal("openai", 503, error(code="server_is_overloaded"), "overloaded", 5, "model"),
    refusal(
        "openai",
        429,
        error(code="slow_down"),
        "rate_limited",
        3,
        "model",
        headers={"retry-after": "3"},
    ),
    # Azure
    refusal("azure", 429, error("Please retry after 26 seconds."), "rate_limited", 26, "model"),
    refusal(
        "azure",
        429,
        error(code="429"),
        "rate_limited",
        30,
        "model",
        headers={**EMPTY_TOKENS, "x-ratelimit-reset-tokens": "0"},
        counters=[("tokens", MINUTE, 5_000, 0, None, "model")],
    ),
    refusal(
        "azure",
        429,
        error(code="429"),
        "rate_limited",
        14,
        "model",
        headers={**EMPTY_TOKENS, "x-ratelimit-reset-tokens": "14"},
        counters=[("tokens", MINUTE, 5_000, 0, 14.0, "model")],
    ),
    # GitHub: the header alone is enough.
    refusal(
        "github",
        429,
        None,
        "rate_limited",
        42,
        "model",
        headers={"x-ratelimit-type": "UserByModelByMinute", "x-ratelimit-timeremaining": "42"},
        counters=[("requests", MINUTE, None, 0, 42.0, "model")],
    ),
    refusal(
        "github",
        429,
        None,
        "concurrency",
        1,
        "account",
        headers={"x-ratelimit-type": "UserConcurrentRequests", "retry-after": "0"},
        counters=[("concurrency", 0.0, None, 0, 0.0, "account")],
    ),
    refusal(
        "github",
        429,
        error("Rate limit of 8,000 per 60s exceeded for UserByModelByMinuteTokens. Wait 5 seconds"),
        "rate_limited",
        5,
        "model",
        counters=[("tokens", MINUTE, 8_000, 0, 5.0, "model")],
    ),
    refusal("github", 403, error(code="unavailable_model"), "not_allowed", None, "model"),
    # Cerebras: only the words tell the window.
    refusal(
        "cerebras",
        429,
        flat("Requests per day limit exceeded - too many sent.", "request_quota_exceeded"),
        "quota_exhausted",
        600,
        "model",
        counters=[("requests", DAY, None, 0, None, "model")],
    ),
    refusal(
        "cerebras",
        429,
        flat("Tokens per hour limit exceeded - too many tokens.", "token_quota_exceeded"),
        "rate_limited",
        58,
        "model",
        headers={"retry-after": "58"},
        counters=[("tokens", HOUR, None, 0, 58.0, "model")],
    ),
    refusal("cerebras", 402, flat("m", "payment_required"), "credit", None, "account"),
    # Mistral: windows end by the clock.
    refusal(
        "mistral",
        429,
        MISTRAL,
        "quota_exhausted",
        TWO_DAYS,
        "model",
        headers=LIMITS,
        counters=[
            ("tokens", MONTH, 1_000, 0, TWO_DAYS, "model"),
            ("requests", MINUTE, 5, 4, None, "model"),
        ],
    ),
    refusal(
        "mistral",
        429,
        MISTRAL,
        "rate_limited",
        17,
        "model",
        headers={
            "ratelimitbysize-limit": "500000",
            "ratelimitbysize-remaining": "-3",
            "ratelimitbysize-reset": "17",
            "ratelimitbysize-query-cost": "8",
        },
        counters=[("tokens", MINUTE, 500_000, 0, 17.0, "model")],
    ),
    refusal(
        "mistral",
        429,
        MISTRAL,
        "rate_limited",
        60,
        "model",
        counters=[("requests", MINUTE, None, 0, 60.0, "model")],
    ),
    refusal(
        "mistral",
        429,
        MISTRAL,
        "quota_exhausted",
        43_200,
        "model",
        headers={
            "x-ratelimit-limit-custom-day": "10",
            "x-ratelimit-remaining-custom-day": "0",
        },
        counters=[("requests", DAY, 10, 0, 43_200.0, "model")],
    ),
    # OpenRouter
    refusal(
        "openrouter",
        429,
        error(
            "Rate limit exceeded: free-models-per-day-high-balance",
            429,
            metadata={"headers": FREE_DAY},
        ),
        "quota_exhausted",
        43_200,
        "account-free",
        counters=[("requests", DAY, 1_000, 0, 43_200.0, "free")],
    ),
    refusal(
        "openrouter",
        429,
        error("m", 429, metadata={"limit_source": "openrouter_free_tier_daily"}),
        "quota_exhausted",
        43_200,
        "account-free",
        headers={"retry-after": "20"},
        counters=[("requests", DAY, None, 0, 43_200.0, "free")],
    ),
    refusal(
        "openrouter",
        402,
        error("m", 402, metadata={"limit_source": "openrouter_in_flight_budget"}),
        "rate_limited",
        2,
        "model",
        headers={"retry-after": "2"},
    ),
    refusal("openrouter", 402, error("Insufficient credits.", 402), "credit", None, "account"),
    refusal(
        "openrouter", 403, error("Key limit exceeded (total).", 403), "credit", None, "account"
    ),
    refusal("openrouter", 403, error("input was flagged", 403), "error", None, "request"),
    refusal("openrouter", 502, error("m", 502), "error", 5, "model"),
    # NVIDIA
    refusal(
        "nvidia",
        429,
        None,
        "rate_limited",
        60,
        "account",
        counters=[("requests", MINUTE, None, 0, None, "account")],
    ),
    refusal("nvidia", 404, {"detail": "Not found for account 'x'"}, "not_allowed", None, "model"),
    refusal("nvidia", 410, {"detail": "end of life"}, "not_allowed", None, "model"),
    refusal("nvidia", 402, None, "credit", None, "account"),
    # Cloudflare
    refusal(
        "cloudflare",
        429,
        cloudflare(3036, "Account limited"),
        "quota_exhausted",
        43_200,
        "account",
        counters=[("neurons", DAY, None, 0, 43_200.0, "account")],
    ),
    refusal("cloudflare", 429, cloudflare(3040, "m"), "overloaded", 5, "model"),
    refusal("cloudflare", 413, cloudflare(3006, "m"), "too_large", None, "request"),
    refusal("cloudflare", 403, cloudflare(5016, "agree first"), "not_allowed", None, "model"),
    refusal("cloudflare", 403, cloudflare(3023, "blocked"), "not_allowed", None, "account"),
    # Hugging Face: the reason may stand in a header only; a routed model's 403 is its own.
    refusal(
        "huggingface",
        402,
        None,
        "credit",
        TWO_DAYS,
        "account",
        headers={"x-error-message": "You have depleted your monthly included credits."},
        counters=[("credits", MONTH, None, 0, None, "account")],
    ),
    refusal("huggingface", 403, {"error": "Forbidden"}, "not_allowed", None, "model"),
    # SambaNova
    refusal("sambanova", 402, error(code="PAYMENT_METHOD_REQUIRED"), "credit", None, "account"),
    refusal(
        "sambanova",
        429,
        error("Rate limit exceeded"),
        "quota_exhausted",
        15_420,
        "model",
        headers={
            "x-ratelimit-limit-requests-day": "20",
            "x-ratelimit-remaining-requests-day": "0",
            "x-ratelimit-reset-requests-day": "4h17m",
        },
        counters=[("requests", DAY, 20, 0, 15_420.0, "model")],
    ),
    # Together: a 503 is a lack of capacity; a limit may be a fraction of a request a second.
    refusal("together", 503, error("Service unavailable"), "overloaded", 5, "model"),
    refusal(
        "together",
        429,
        error("m", kind="rate_limit"),
        "rate_limited",
        1,
        "model",
        headers={
            "x-ratelimit-limit": "0.5",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "1",
        },
        counters=[("requests", 1.0, 1, 0, 1.0, "model")],
    ),
    # Z.ai: the number says what the status does not.
    refusal("zai", 429, error("m", "1303"), "rate_limited", 5, "account"),
    refusal("zai", 429, error("m", "1305"), "overloaded", 5, "model"),
    refusal("zai", 429, error("m", "1312"), "overloaded", 5, "model"),
    refusal("zai", 429, error("m", "1311"), "not_allowed", None, "model"),
    refusal("zai", 429, error("m", "1113"), "credit", None, "account"),
    refusal("zai", 429, error("m", "1313"), "rate_limited", 30, "account"),
    refusal("zai", 400, error("m", "1261"), "too_large", None, "request"),
    refusal("zai", 434, error("m"), "not_allowed", None, "account"),
    refusal(
        "zai",
        429,
        error("daily limit", "1304"),
        "quota_exhausted",
        600,
        "account",
        counters=[("requests", DAY, None, 0, None, "account")],
    ),
    refusal(
        "zai",
        429,
        error("Your limit will reset at 2026-10-02 13:00:00", "1310"),
        "rate_limited",
        3_600,  # in Beijing that is past: the time was in UTC
        "account",
        counters=[("requests", None, None, 0, 3_600.0, "account")],
    ),
    # ModelScope
    refusal(
        "modelscope",
        429,
        error("We have to rate limit you for model X"),
        "rate_limited",
        30,
        "model",
        counters=[("requests", MINUTE, None, 0, None, "model")],
    ),
    refusal(
        "modelscope",
        429,
        error("You have exceeded today's quota"),
        "quota_exhausted",
        600,
        "account",
        headers={
            "modelscope-ratelimit-requests-limit": "2000",
            "modelscope-ratelimit-requests-remaining": "0",
            "modelscope-ratelimit-model-requests-limit": "200",
            "modelscope-ratelimit-model-requests-remaining": "12",
        },
        counters=[
            ("requests", DAY, 2_000, 0, None, "account"),
            ("requests", DAY, 200, 12, None, "model"),
        ],
    ),
    refusal("modelscope", 429, error("insufficient balance (1008)"), "not_allowed", None, "model"),
    # SiliconFlow names the axis; images are not counted.
    *(
        refusal(
            "siliconflow",
            429,
            siliconflow(axis),
            "quota_exhausted" if window == DAY else "rate_limited",
            600 if window == DAY else 30,
            "model",
            counters=[(counts, window, None, 0, None, "model")],
        )
        for axis, counts, window in (
            ("RPM", "requests", MINUTE),
            ("TPM", "tokens", MINUTE),
            ("RPD", "requests", DAY),
            ("TPD", "tokens", DAY),
        )
    ),
    refusal("siliconflow", 429, siliconflow("IPM"), "rate_limited", 30, "model"),
    refusal("siliconflow", 503, {"code": 50505, "message": "m"}, "overloaded", 5, "model"),
    # Chutes
    refusal(
        "chutes",
        402,
        {"detail": "Quota exceeded and account balance is $0.0, please pay with fiat or send tao"},
        "credit",
        None,
        "account",
    ),
    # Pollinations: one call at once, also as a 402.
    refusal(
        "pollinations",
        402,
        {"error": "Queue full for IP: ::1: 2 requests already queued (max: 2)", "x402Version": 1},
        "concurrency",
        3,
        "account",
        counters=[("concurrency", 0.0, 2, 0, None, "account")],
    ),
    refusal("pollinations", 402, error("Out of pollen"), "credit", None, "account"),
    refusal("pollinations", 429, {"error": "Too many requests"}, "rate_limited", 3, "account"),
    # OVHcloud, LLM7, Kilo
    refusal("ovh", 429, None, "rate_limited", 30, "model"),
    refusal("llm7", 429, error("Slow down.", retry_after=4), "rate_limited", 4, "account"),
    refusal("llm7", 429, error("Rate limit exceeded."), "rate_limited", 5, "account"),
    refusal(
        "kilo", 402, error("m", 402, metadata={"buyCreditsUrl": "u"}), "credit", None, "account"
    ),
    refusal("kilo", 403, error("not on the allow list", 403), "not_allowed", None, "model"),
    # Ollama: sessions of five hours, weeks, months.
    refusal(
        "ollama-cloud",
        429,
        ollama("session"),
        "quota_exhausted",
        3_600,
        "account",
        counters=[("compute", 5 * HOUR, None, 0, None, "account")],
    ),
    refusal(
        "ollama-cloud",
        429,
        ollama("monthly")["error"],
        "quota_exhausted",
        TWO_DAYS,
        "account",
        counters=[("compute", MONTH, None, 0, None, "account")],
    ),
    refusal(
        "ollama-cloud",
        429,
        ollama("hourly"),
        "rate_limited",
        600,
        "account",
        counters=[("compute", HOUR, None, 0, None, "account")],
    ),
    refusal(
        "ollama-cloud",
        403,
        {"error": "this model requires a subscription, upgrade for access"},
        "not_allowed",
        None,
        "model",
    ),
    # Moonshot: three kinds of 429.
    refusal(
        "moonshot",
        429,
        moonshot("RPM rate limit, current: 4, limit: 3"),
        "rate_limited",
        30,
        "account",
        counters=[("requests", MINUTE, 3, 0, None, "account")],
    ),
    refusal(
        "moonshot",
        429,
        moonshot("max concurrency: 2, please try again after 1 seconds"),
        "concurrency",
        1,
        "account",
    ),
    refusal(
        "moonshot", 429, moonshot("m", "exceeded_current_quota_error"), "credit", None, "account"
    ),
    refusal(
        "moonshot",
        429,
        moonshot("m", "engine_overloaded_error"),
        "overloaded",
        3,
        "model",
        headers={"retry-after": "3"},
    ),
    # DeepSeek
    refusal("deepseek", 402, error("Insufficient Balance"), "credit", None, "account"),
    refusal("deepseek", 429, error("concurrency limit reached"), "concurrency", 1, "model"),
    refusal("deepseek", 503, error("Server overloaded"), "overloaded", 5, "model"),
    # Anthropic
    refusal(
        "anthropic",
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}},
        "rate_limited",
        12,
        "model",
        headers={
            "retry-after": "12",
            "anthropic-ratelimit-tokens-limit": "80000",
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "2026-10-02T12:00:40Z",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "9",
            "anthropic-ratelimit-output-tokens-reset": "2026-10-02T12:00:39Z",
        },
        counters=[
            ("tokens", MINUTE, 80_000, 0, 40.0, "model"),
            ("output_tokens", MINUTE, 8_000, 9, 39.0, "model"),
        ],
    ),
    refusal(
        "anthropic",
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}},
        "quota_exhausted",
        7_600,
        "model",
        headers={
            "anthropic-ratelimit-unified-5h-utilization": "1.0",
            "anthropic-ratelimit-unified-reset": "1790950000",
        },
    ),
    # xAI
    refusal("xai", 429, {"code": "m", "error": "Too many requests"}, "rate_limited", 30, "model"),
    refusal(
        "xai", 400, {"code": "m", "error": "Incorrect API key"}, "not_allowed", None, "account"
    ),
    # Vercel
    refusal(
        "vercel",
        429,
        error("Free credits temporarily have rate limits in place", kind="rate_limit_exceeded"),
        "rate_limited",
        12,
        "account",
        headers={"retry-after": "12"},
    ),
    refusal("vercel", 403, error(kind="RestrictedModelsError"), "not_allowed", None, "model"),
    refusal(
        "vercel", 403, error(code="customer_verification_required"), "not_allowed", None, "account"
    ),
    refusal("vercel", 402, error(), "credit", None, "account"),
    # OpenCode Zen: the type's name counts, not the status.
    *(
        refusal("opencode-zen", status, ZEN, "rate_limited", 30, "account")
        for status in (400, 401, 403, 429)
    ),
    refusal("opencode-zen", 429, error(kind="GoUsageLimitError"), "credit", None, "account"),
    # MiniMax: everything is a 200.
    refusal(
        "minimax",
        200,
        minimax(1039, "token limit"),
        "rate_limited",
        30,
        "account",
        counters=[("tokens", MINUTE, None, 0, None, "account")],
    ),
    refusal("minimax", 200, minimax(1008, "insufficient balance"), "credit", None, "account"),
    refusal("minimax", 200, minimax(1002, "sensitive content"), "error", None, "request"),
    refusal("minimax", 200, minimax(1000, "unknown"), "error", 5, "model"),
    # AI Horde
    refusal(
        "aihorde",
        429,
        {"message": "2 per 1 second"},
        "rate_limited",
        1,
        "account",
        headers={"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"},
        counters=[("requests", None, 2, 0, 1.0, "account")],
    ),
    # Our own machines clear in seconds, whatever a proxy in between says.
    *(
        refusal(name, 503, body, "overloaded", 2, "model", headers={"retry-after": "300"})
        for name, body in (
            ("llamacpp", error("Loading model", 503, "unavailable_error")),
            ("vllm", None),
            ("lmstudio", {"error": "m"}),
        )
    ),
    refusal("vllm", 429, None, "rate_limited", 2, "model", headers={"retry-after": "300"}),
    refusal("ollama-local", 404, {"error": "model 'x' not found"}, "not_allowed", None, "model"),
]


@pytest.mark.parametrize(("said", "expected", "counters"), REFUSALS)
def test_a_refusal_is_read_as_its_provider_means_it(
    reply: MakeReply,
    said: tuple[str, int, Mapping[str, str], Any],
    expected: tuple[str, float | None, str],
    counters: list[tuple[Any, ...]],
) -> None:
    """Outcome, seconds, scope, and the counters behind it."""
    name, status, headers, body = said
    outcome, seconds, scope = expected

    hint = dialect(name)(reply(status, headers, body))

    found = summarize(hint, status if status >= 400 else embedded_status(body) or status)
    assert (found.outcome, found.scope) == (outcome, scope)
    assert found.seconds == (None if seconds is None else pytest.approx(seconds))
    assert rows(hint) == counters


def test_a_local_refusal_of_the_request_guesses_nothing(reply: MakeReply) -> None:
    """Only what passes by itself has a length."""
    hint = dialect("vllm")(reply(413, {"retry-after": "300"}, error("too large")))

    assert (hint.delay, hint.guess) == (None, None)


def triple(prefix: str, suffix: str, limit: Any, remaining: Any, reset: Any) -> dict[str, str]:
    """Headers whose field stands between a prefix and a suffix."""
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"{prefix}{name}{suffix}": str(value) for name, value in values.items() if value}


RATE = "x-ratelimit-"
SUCCESSES = [
    ("cerebras", triple(RATE, "-requests-hour", 150, 149, "120.5"), [
        ("requests", HOUR, 150, 149, 120.5, "model")
    ]),
    ("cerebras", triple(RATE, "-tokens-day", 1_000_000, 5, "7h30m"), [
        ("tokens", DAY, 1_000_000, 5, 27_000.0, "model")
    ]),
    ("mistral", triple(RATE, "-tokens-minute", 500, "0", None), [
        ("tokens", MINUTE, 500, 0, None, "model")  # `tokens` alone is not only Mistral's
    ]),
    ("mistral", triple("x-ratelimitbysize-", "-month", 1_000, 17, None), [
        ("tokens", MONTH, 1_000, 17, None, "model")
    ]),
    ("sambanova", triple(RATE, "-requests", 20, 19, 35), [
        ("requests", MINUTE, 20, 19, 35.0, "model")
    ]),
    ("digitalocean", triple(RATE, "-requests", 60, 59, int(NOON) + 30), [
        ("requests", MINUTE, 60, 59, 30.0, "model")
    ]),
    ("digitalocean", triple(RATE, "-tokens-per-minute", 90, 9, int(NOON) + 2), [
        ("tokens", MINUTE, 90, 9, 2.0, "model")
    ]),
    ("nous", triple(RATE, "-requests-1h", 800, 799, 3_500), [
        ("requests", HOUR, 800, 799, 3_500.0, "account")
    ]),
    ("nebius", triple(RATE, "-tokens", 400_000, 7, 3) | {"x-ratelimit-over-limit": "yes"}, [
        ("tokens", MINUTE, 400_000, 7, 3.0, "account")
    ]),
    ("xai", triple(RATE, "-tokens", 400_000, 7, None), [
        ("tokens", MINUTE, 400_000, 7, None, "model")
    ]),
    ("together", triple(RATE, "", 10, 9, 1), [("requests", 1.0, 10, 9, 1.0, "model")]),
    ("together", {"x-tokenlimit-limit-dynamic": "9"}, []),
    ("fireworks", triple(RATE, "-tokens-prompt", 60_000, 100, None), [
        ("input_tokens", None, 60_000, 100, None, "account")
    ]),
    ("fireworks", triple(RATE, "-tokens-generated", 600, 1, None), [
        ("output_tokens", None, 600, 1, None, "account")
    ]),
    ("anthropic", triple("anthropic-priority-input-tokens-", "", 10, 3, "2026-10-02T12:00:40Z"), [
        ("priority_input_tokens", MINUTE, 10, 3, 40.0, "model")
    ]),
    ("anthropic", triple("anthropic-ratelimit-requests-", "", 10, 3, "2026-10-02T14:00:40+02:00"), [
        ("requests", MINUTE, 10, 3, 40.0, "model")
    ]),
    ("anthropic", {"anthropic-ratelimit-unified-7d-utilization": "0.4"}, []),
    ("azure", triple(RATE, "-requests", 100, 99, 5) | {"x-ratelimit-renewalperiod-requests": "10"}, [
        ("requests", 10.0, 100, 99, 5.0, "model")
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "headers", "counters"), SUCCESSES)
def test_a_success_is_counted_as_its_provider_counts(
    reply: MakeReply, name: str, headers: Mapping[str, str], counters: list[tuple[Any, ...]]
) -> None:
    """The window from the name, from a header beside it, or from what is known of the provider."""
    assert rows(dialect(name)(reply(200, headers))) == counters


def test_a_success_that_empties_a_counter_tells_when_to_come_back(reply: MakeReply) -> None:
    """The latest of those that are empty; the ledger blocks the target until then all the same."""
    headers = {
        **triple(RATE, "-tokens-minute", 30_000, "0", "26.28"),
        **triple(RATE, "-requests-day", 2_400, "0", "33011.4"),
    }

    hint = dialect("cerebras")(reply(200, headers))

    assert (hint.delay, hint.about) == (33_011.4, None)


def test_a_minute_of_the_clock_is_recognised_by_mistrals_spelling(reply: MakeReply) -> None:
    """`req` is only Mistral's; then every empty counter beside it ends with its window."""
    headers = {
        **triple(RATE, "-req-minute", 5, 4, None),
        **triple(RATE, "-tokens-minute", 500, "0", None),
    }

    assert dialect("auto")(reply(200, headers, now=NOON + 48.689)).delay == pytest.approx(11.311)


def test_being_served_beyond_a_limit_is_a_warning(reply: MakeReply) -> None:
    """Fireworks and Nebius say so beside the answer; nothing is benched."""
    warned = dialect("auto")(reply(200, {"x-ratelimit-over-limit": "yes"}))
    calm = dialect("auto")(reply(200, {"x-ratelimit-over-limit": "no"}))

    assert (warned.over_limit, warned.delay) == (True, None)
    assert calm == Hint()
