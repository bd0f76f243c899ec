"""stepwell: one OpenAI-compatible endpoint over many free tiers."""

__version__ = "0.1.0"
