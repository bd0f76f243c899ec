"""What is known of providers by name: enough to need no more than a key.

Source: the providers' documentation, read in November 2026.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Preset:
    """A provider that `preset:` may name.

    Attributes:
        base_url: Where its OpenAI-compatible API stands.
        dialect: How it speaks of quota.
        env: Customary variables for its key, the most used one first.
        model: A model of its free tier, for a chain made from the environment alone; None where
            nothing is free.
    """

    base_url: str
    dialect: str
    env: tuple[str, ...]
    model: str | None

    @property
    def paid(self) -> bool:
        """Whether its steps cost money unless they say otherwise."""
        return self.model is None


# In the order in which a chain made from the environment alone asks them: largest free quota first.
PRESETS: Final[dict[str, Preset]] = {
    "cerebras": Preset(
        "https://api.cerebras.ai/v1", "cerebras", ("CEREBRAS_API_KEY",), "gpt-oss-120b"
    ),
    "groq": Preset(
        "https://api.groq.com/openai/v1", "groq", ("GROQ_API_KEY",), "openai/gpt-oss-120b"
    ),
    "mistral": Preset(
        "https://api.mistral.ai/v1", "mistral", ("MISTRAL_API_KEY",), "mistral-small-latest"
    ),
    "gemini": Preset(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "gemini",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "gemini-flash-lite-latest",
    ),
    "openrouter": Preset(
        "https://openrouter.ai/api/v1",
        "openrouter",
        ("OPENROUTER_API_KEY",),
        "openai/gpt-oss-120b:free",
    ),
    "openai": Preset("https://api.openai.com/v1", "openai", ("OPENAI_API_KEY",), None),
}
