"""What a refusal is about: a table of words, read from top to bottom.

The status alone misleads: money comes as 402, 403, 429 and 400, a full queue as 429 and 400, a
request that never fits as 413, 400 and 429. So the body speaks first, and the order is the rule:

1. the free allowance of a day or minute, whose texts also mention credits and plans;
2. calls at once; 3. what looks like money, but is a model outside the plan; 4. money; 5. size;
6. capacity; 7. key; 8. model; 9. content; then the status.

A pattern matches anywhere in the lines `code`, `type`, `message`; a whole code stands between ^ and
$. Patterns in prose are narrow on purpose: a refusal may quote the request, and a request must not
be able to put a provider out of service.
"""

import re
from collections.abc import Mapping

from stepwell.providers.dialects.bodies import BodyError, error_of, is_explicit
from stepwell.providers.dialects.remembered import remembered
from stepwell.quota.reading import About

_READ = 4_000  # characters of a message that are looked at

# "The model `gpt-x` ...", "models/gemini-x ..."; bounded, so that no text makes the search slow.
_NAMED_MODEL = r"\bmodels?[ :/]{1,3}['\"`]?[\w./:@-]{1,200}['\"`]? "

_WORDS: tuple[tuple[About, tuple[str, ...]], ...] = (
    (
        About.RATE,
        (
            "free-models-per-",  # OpenRouter: "... Add 10 credits to unlock"
            "daily free allocation",  # Cloudflare: "... please upgrade to ... Paid plan"
            "free credits temporarily have rate limits",  # Vercel
            "^freeusagelimiterror$",  # OpenCode Zen, whatever the status
            "^openrouter_(?:free_tier_daily|in_flight_budget)$",  # the latter as a 402
        ),
    ),
    (
        About.CONCURRENCY,
        (
            "^1302$",  # Z.ai, whose text speaks of a rate
            "userconcurrentrequests",  # GitHub
            "max(?:imum)? concurren",  # Moonshot
            "queue full for ip",  # Pollinations, also as a 402
            r"too many (?:concurrent|simultaneous|parallel) \w{1,20}",
            r"concurren\w{1,10} (?:requests? )?(?:rate )?(?:limit|quota)",
            r"(?:limit|quota) (?:of|on|for) concurren\w{1,10}",
            "requests in flight",
        ),
    ),
    (
        About.MODEL,
        (
            r"insufficient balance \(1008\)",  # ModelScope: a retired model, passed through
            "^restrictedmodelserror$",  # Vercel, as a 403
            "free credits temporarily have restricted access",
            "this model requires a subscription",  # Ollama, as a 403: the other models stay
            "^(?:1311|5016|3041|5018)$",  # Z.ai: plan lacks it; Cloudflare: terms, no access
        ),
    ),
    (
        About.CREDIT,
        (
            "^insufficient_(?:quota|balance|credits?|funds)$",
            "^credit_balance_exhausted$",
            "^(?:organization|project|enforced)_(?:spend|usage)_limit_(?:exceeded|reached)$",
            "^exceeded_current_quota_error$",  # Moonshot
            "^(?:billing_error|payment_required|payment_method_required)$",
            "^billing_(?:hard_limit_reached|not_active)$",
            "^gousagelimiterror$",  # OpenCode Zen's paid twin
            r"insufficient (?:account )?(?:balance|credits?|funds)",
            "credit balance is too low",  # Anthropic, as a 400
            "requires more credits|can only afford",  # OpenRouter
            "(?:used all|depleted|exceeded) (?:available|(?:your )?(?:monthly )?included) credits",
            "out of credits|credits are (?:depleted|exhausted)",
            "spend(?:ing)? limit",  # xAI, as a 403
            r"account balance is (?:\$?-?0|insufficient)",  # Chutes; SiliconFlow, as a 403
            "^1113$",  # Z.ai, as a 429
            "key limit exceeded",  # OpenRouter, as a 403: the key's own allowance of money
            "out of pollen|insufficient pollen",  # Pollinations
            # OpenAI's words for an empty account are also Gemini's for any empty bucket.
            r"\A(?![\s\S]*(?:resource_exhausted|free_tier))[\s\S]*plan and billing",
        ),
    ),
    (
        About.TOO_LARGE,
        (
            "^context_length_exceeded$",
            "^tokens_limit_reached$",
            "^request_too_large$",
            "^(?:1261|3006)$",  # Z.ai, Cloudflare
            "request (?:body )?(?:is )?too large",
            "maximum context length",
            r"exceed\w* .{0,60}context (?:length|window|size)",
            r"context (?:length|window|size) .{0,30}exceed",
            "exceeds the maximum number of tokens",
            "(?:prompt|input) is too long",
            "reduce the length of",
        ),
    ),
    (
        About.CAPACITY,
        (
            "^queue_exceeded$",
            "^(?:service_tier|model)_capacity_(?:exceeded|exhausted)$",
            "^unavailable$",  # Google's word for 503
            "overloaded_error|^overloaded$",
            "(?:is|currently|service|engine|server)[ _]overloaded",
            "at (?:maximum )?capacity|out of capacity|tier capacity exceeded",
            "no more data centers|^3040$",  # Cloudflare
            "^13(?:05|12)$",  # Z.ai
            "^50505$",  # SiliconFlow
            "^unavailable_error$|^loading model$",  # llama.cpp
            "server busy|model busy|maximum pending requests",  # Ollama, DeepInfra
            "experiencing high (?:traffic|demand)",  # Cerebras, Gemini
            "temporarily rate-limited upstream",  # OpenRouter: one model's upstream
            "degraded function cannot be invoked",  # NVIDIA, as a 400
        ),
    ),
    (
        About.KEY,
        (
            "^(?:invalid_api_key|api_key_invalid|authentication_error|unauthenticated)$",
            "api key not valid",  # Gemini, as a 400
            "(?:invalid|incorrect) api key",
            "user location is not supported",  # Gemini, as a 400
            "^3023$",  # Cloudflare: account blocked
        ),
    ),
    (
        About.MODEL,
        (
            "^(?:model_not_found|unavailable_model|model_not_available|model_decommissioned)$",
            f"{_NAMED_MODEL}(?:does not exist|not found|is not (?:found|supported|available))",
            f"{_NAMED_MODEL}has been (?:decommissioned|deprecated|removed|retired)",
            "not found for account",  # NVIDIA
            "no endpoints found",  # OpenRouter
            "(?:not (?:on|in)|blocked by) .{0,40}allow ?list",  # Kilo, as a 403
        ),
    ),
    (
        About.REQUEST,
        (
            "^content_(?:filter|policy_violation)$",
            "requires moderation|input was flagged",  # OpenRouter, as a 403
            "^1301$|sensitive content|new_sensitive",  # Z.ai, MiniMax
        ),
    ),
)
_TABLE = tuple((about, re.compile("|".join(words), re.MULTILINE)) for about, words in _WORDS)

# Weaker words, believed only where the status is no verdict of its own.
_RATE = re.compile(
    "rate.?limit|too.many.requests|^resource_exhausted$|usage limit"
    "|^(?:token|request)_quota_exceeded$"  # Cerebras
    "|quota exceeded|exceeded your (?:current )?quota",
    re.MULTILINE,
)

_BY_STATUS = {
    **dict.fromkeys((400, 405, 409, 415, 422, 431, 451), About.REQUEST),
    401: About.KEY,
    402: About.CREDIT,
    403: About.KEY,
    404: About.MODEL,
    410: About.MODEL,
    413: About.TOO_LARGE,
    429: About.RATE,
    434: About.KEY,  # Z.ai: no permission
    435: About.TOO_LARGE,  # Z.ai: a file
    498: About.CAPACITY,  # Groq: no flex capacity
    529: About.CAPACITY,  # Anthropic
}
_FIRM = frozenset(_BY_STATUS) - {403}  # GitHub and Google also send rates as 403
# Where the request is at fault, its own words may be quoted: of rates only a whole code is believed.
_QUOTING = frozenset({400, 413, 422})
_RATE_CODE = re.compile("^freeusagelimiterror$", re.MULTILINE)

_INVALID = re.compile("invalid_", re.IGNORECASE)  # invalid_request_error, INVALID_ARGUMENT
_STATUS_OF = {
    About.RATE: 429,
    About.CONCURRENCY: 429,
    About.CREDIT: 402,
    About.KEY: 401,
    About.MODEL: 404,
    About.TOO_LARGE: 413,
    About.CAPACITY: 503,
    About.REQUEST: 400,
}


def about_of(
    status: int, error: BodyError, statuses: Mapping[int, About] = _BY_STATUS
) -> About | None:
    """What a refusal is about; None where nothing tells more than the status.

    Args:
        status: The HTTP status, or the one that an error inside a 200 stands for.
        error: What the body says.
        statuses: What statuses mean to this provider; the usual meaning holds for all others.
    """
    lines = error.lines(_READ)
    spoken = _spoken(lines)
    if spoken is About.RATE and status in _QUOTING and not _RATE_CODE.search(lines):
        spoken = None
    if spoken is None and status not in _FIRM and _RATE.search(lines):
        return About.RATE
    return spoken or statuses.get(status) or _BY_STATUS.get(status)


@remembered
def _spoken(lines: str) -> About | None:
    return next((about for about, words in _TABLE if words.search(lines)), None)


def embedded_status(body: object) -> int | None:
    """The status that an error inside a 200 stands for; None when the body holds no error.

    It is the one the error names; else the one that suits its words; else 500.
    """
    if not is_explicit(body):
        return None
    error = error_of(body) or BodyError()
    if error.status is not None:
        return error.status
    about = about_of(200, error)
    if about is not None:
        return _STATUS_OF[about]
    return 400 if _INVALID.match(error.type) else 500
