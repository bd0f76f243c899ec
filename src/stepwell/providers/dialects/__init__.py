"""Dialects: what providers say about quota, read out of their responses.

A dialect is a pure function from a `Reply` to a `Hint`. It knows one family of providers; the rules
all share (lengths of time, Retry-After, shapes of error bodies, subjects, prose) stand beside it,
each in a module of its own.
"""

from stepwell.providers.dialects.auto import auto
from stepwell.providers.dialects.bodies import BodyError, error_of
from stepwell.providers.dialects.gemini import gemini
from stepwell.providers.dialects.generic import generic
from stepwell.providers.dialects.reply import Dialect, Reply, quota_headers
from stepwell.providers.dialects.split import groq, openai
from stepwell.providers.dialects.subject import embedded_status

__all__ = [
    "NAMES",
    "BodyError",
    "Dialect",
    "Reply",
    "dialect",
    "embedded_status",
    "error_of",
    "quota_headers",
]

_DIALECTS: dict[str, Dialect] = {
    "auto": auto,
    "generic": generic,
    "openai": openai,
    "groq": groq,
    "gemini": gemini,
}

# Names that settings may use although nothing beyond `auto` is known of these families.
_READ_BY_AUTO = (
    "anthropic",
    "azure",
    "cerebras",
    "cloudflare",
    "cohere",
    "deepinfra",
    "deepseek",
    "digitalocean",
    "fireworks",
    "github",
    "huggingface",
    "kilo",
    "minimax",
    "mistral",
    "modelscope",
    "moonshot",
    "nebius",
    "nous",
    "nvidia",
    "ollama",
    "openrouter",
    "sambanova",
    "siliconflow",
    "together",
    "vercel",
    "xai",
    "zai",
)
_DIALECTS.update(dict.fromkeys(_READ_BY_AUTO, auto))

NAMES: tuple[str, ...] = tuple(sorted(_DIALECTS))
"""Every name that `dialect` knows."""


def dialect(name: str) -> Dialect:
    """Return the dialect of that name.

    Raises:
        ValueError: No dialect has this name; the message lists those that are known.
    """
    try:
        return _DIALECTS[name]
    except KeyError:
        raise ValueError(f"no dialect {name!r}; known are {', '.join(NAMES)}") from None
