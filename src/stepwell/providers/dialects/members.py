"""The dialects by name: every provider of which something is known, and every family.

Families differ in the names of their headers and the words of their bodies, and no two of them
share one. So all dialects read all families, and a provider's differs from `auto` only by its
customs: what its responses leave out. A gateway in front of a provider may add its own headers and
is understood as well.

Sources: the providers' rate-limit and error pages, recorded answers in public issues and fixtures,
and measurements by others, all read 2026-11-22.
"""

from collections.abc import Mapping
from types import MappingProxyType

from stepwell.providers.dialects.bodies import node_of
from stepwell.providers.dialects.customs import UNKNOWN, Customs, Unnamed
from stepwell.providers.dialects.durations import DAY, HOUR, MINUTE, SECOND
from stepwell.providers.dialects.gemini import with_quota_details
from stepwell.providers.dialects.generic import generic
from stepwell.providers.dialects.headers import counters
from stepwell.providers.dialects.refusal import read
from stepwell.providers.dialects.reply import Dialect, Reply
from stepwell.quota.limit import Scope
from stepwell.quota.reading import About, Hint


def reading_by(customs: Customs) -> Dialect:
    """The dialect of a provider with these customs."""

    def dialect(reply: Reply) -> Hint:
        node = None if reply.body is None else node_of(reply.body)
        hint = read(reply, node, counters(reply, customs, node), customs)
        if node is None or hint.about is not About.RATE:
            return hint
        return with_quota_details(node, hint, reply.now)

    return dialect


auto = reading_by(UNKNOWN)
"""The dialect of a provider of which nothing is known: it goes by what arrives."""

FAMILIES = (
    "openai-duration",
    "azure-seconds",
    "windowed-suffix",
    "bare-xratelimit",
    "anthropic",
    "google-rpc",
    "own-headers",
    "body-code",
    "bare-body",
    "error-in-200",
    "ietf",
    "silent",
)

_A_MINUTE = {"requests": MINUTE, "tokens": MINUTE}
_PER_ACCOUNT = Customs(scope=Scope.ACCOUNT)
_LOCAL = Customs(statuses={503: About.CAPACITY}, local=True)  # 503: its model loads, or no slot

_CUSTOMS: Mapping[str, Customs] = MappingProxyType(
    {
        # Families whose headers name no window. OpenAI counts in minutes, Groq requests in days.
        "openai": Customs(windows=_A_MINUTE),
        "groq": Customs(windows={"requests": DAY, "tokens": MINUTE}),
        "nebius": Customs(windows=_A_MINUTE, scope=Scope.ACCOUNT),
        "xai": UNKNOWN,  # whether requests are of a day is unclear
        "azure": UNKNOWN,  # the renewal period is in a header
        "github": Customs(windows=_A_MINUTE),
        # Families whose headers name it, except for one counter.
        "cerebras": UNKNOWN,
        "mistral": UNKNOWN,
        "sambanova": Customs(windows=_A_MINUTE),
        "digitalocean": Customs(windows=_A_MINUTE),
        "nous": Customs(windows=_A_MINUTE, scope=Scope.ACCOUNT),
        # Unsplit headers. Together counts in seconds; a 503 says that its capacity is short.
        "openrouter": UNKNOWN,
        "together": Customs(
            windows={"requests": SECOND, "tokens": SECOND}, statuses={503: About.CAPACITY}
        ),
        "aihorde": _PER_ACCOUNT,
        "anthropic": UNKNOWN,
        "gemini": UNKNOWN,
        # Vendors' own counters.
        "cohere": _PER_ACCOUNT,
        "fireworks": Customs(windows=_A_MINUTE, scope=Scope.ACCOUNT),
        "modelscope": UNKNOWN,
        # Nothing but a body. NVIDIA's says nothing at all: 40 requests a minute and account.
        "nvidia": Customs(scope=Scope.ACCOUNT, unnamed=Unnamed("requests", MINUTE), guess=60.0),
        "cloudflare": _PER_ACCOUNT,
        # A routed model's upstream may answer 403; a wrong key of its own is a 401.
        "huggingface": Customs(scope=Scope.ACCOUNT, statuses={403: About.MODEL}),
        "deepinfra": UNKNOWN,
        "zai": UNKNOWN,
        "siliconflow": UNKNOWN,
        "chutes": _PER_ACCOUNT,
        "ollama-cloud": _PER_ACCOUNT,
        "moonshot": _PER_ACCOUNT,
        "minimax": _PER_ACCOUNT,
        "kilo": Customs(
            scope=Scope.ACCOUNT, unnamed=Unnamed("requests", HOUR, limit=200), guess=60.0
        ),
        "vercel": _PER_ACCOUNT,
        "opencode-zen": _PER_ACCOUNT,
        # Silent ones, by what shares their limits. LLM7 was seen to clear within five seconds.
        "pollinations": Customs(scope=Scope.ACCOUNT, guess=3.0),
        "llm7": Customs(scope=Scope.ACCOUNT, guess=5.0),
        **dict.fromkeys(("ai21", "aion", "anyapi", "navy", "routeway", "sealion"), _PER_ACCOUNT),
        **dict.fromkeys(
            ("agnes", "deepseek", "longcat", "orcarouter", "ovh", "perplexity", "reka"), UNKNOWN
        ),
        **dict.fromkeys(("scaleway", "upstage", "volcengine"), UNKNOWN),
        **dict.fromkeys(("ollama-local", "llamacpp", "vllm", "lmstudio"), _LOCAL),
    }
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        **dict.fromkeys(("auto", *FAMILIES), auto),
        **{name: reading_by(customs) for name, customs in _CUSTOMS.items()},
        "generic": generic,
        "ollama": reading_by(_CUSTOMS["ollama-cloud"]),  # a shorter name that settings may use
    }
)
