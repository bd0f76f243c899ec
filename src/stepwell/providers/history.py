"""Which provider takes what in a conversation: see `stepwell.routing.history`.

A provider gets back the reasoning in the fields in which it gives reasoning itself; some insist on it
(DeepSeek, Moonshot: "the reasoning_content in the thinking mode must be passed back"). It gets
nobody else's, because many refuse a field that they do not know (Groq: "property 'reasoning_content'
is unsupported"; Mistral: "extra_forbidden").

Sources: the same that the catalogue has for where reasoning stands; for ids and refusals what
providers answered, as public issues quote them (read in November 2026).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from stepwell.routing.history import (
    NINE_ALPHANUMERICS,
    WORD_CHARACTERS,
    HistoryRules,
    at_most,
)


def _returning(*fields: str, cache_control: bool = False) -> HistoryRules:
    """Return the rules of a provider that takes these fields back and is not particular about ids."""
    return HistoryRules(fields=frozenset(fields), cache_control=cache_control)


# "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40".
_OPENAI: Final = HistoryRules(at_most(40))

# "Tool call id was turn1_0 but must be a-z, A-Z, 0-9, with a length of 9." Its models give their
# thoughts as parts of the content, and take them back there.
_MISTRAL: Final = HistoryRules(NINE_ALPHANUMERICS, fields=frozenset({"prefix", "thinking"}))

# Gemini 3 refuses a call without the signature of the thought behind it. For calls that another model
# made, Google's page on thought signatures names this word.
_GEMINI: Final = HistoryRules(
    fields=frozenset({"extra_content"}), signature="skip_thought_signature_validator"
)

RULES: Final[Mapping[str, HistoryRules]] = MappingProxyType(
    {
        "anthropic": HistoryRules(WORD_CHARACTERS, cache_control=True),
        "azure": _OPENAI,
        "cerebras": _returning("reasoning"),
        "chutes": _returning("reasoning_content"),
        "deepinfra": _returning("reasoning_content"),
        "deepseek": _returning("prefix", "reasoning_content"),
        "fireworks": _returning("reasoning_content"),
        "gemini": _GEMINI,
        "github": _OPENAI,
        "groq": _returning("reasoning"),
        "kilo": _returning("reasoning", "reasoning_details", cache_control=True),
        "llamacpp": _returning("reasoning_content"),
        "lmstudio": _returning("reasoning", "reasoning_content"),
        "minimax": _returning("reasoning_content", "reasoning_details"),
        "mistral": _MISTRAL,
        "modelscope": _returning("reasoning_content"),
        "moonshot": _returning("reasoning_content"),
        "nvidia": _returning("reasoning_content"),
        "ollama-cloud": _returning("reasoning"),
        "ollama-local": _returning("reasoning"),
        "openai": _OPENAI,
        "openrouter": _returning(
            "annotations", "reasoning", "reasoning_details", cache_control=True
        ),
        "siliconflow": _returning("reasoning_content"),
        "together": _returning("reasoning"),
        "vercel": _returning("reasoning", "reasoning_details", cache_control=True),
        "vllm": _returning("reasoning", "reasoning_content"),
        "xai": _returning("reasoning_content"),
        "zai": _returning("reasoning_content"),
    }
)
"""By the preset's name. Who is not here gets ids of at most 64 characters and no extras."""


def rules_for(*names: str | None) -> HistoryRules | None:
    """Return what is known under the first of these names that is known at all."""
    return next((RULES[name] for name in names if name is not None and name in RULES), None)
