"""Sizes: what targets have refused as too large, so that they are not asked the same again."""

from collections.abc import Sequence

from stepwell.routing.chain import Step


class Sizes:
    """The smallest request, in estimated tokens, that each target has refused as too large.

    It is a guess, since estimates are rough: it leaves a target out only while another is left, and
    a success of that size or more takes it back.
    """

    __slots__ = ("_refused",)

    def __init__(self) -> None:
        self._refused: dict[str, int] = {}

    def refused(self, key: str, tokens: int) -> None:
        self._refused[key] = min(tokens, self._refused.get(key, tokens))

    def served(self, key: str, tokens: int) -> None:
        if self._refused and self._refused.get(key, tokens + 1) <= tokens:
            del self._refused[key]

    def fitting(self, steps: Sequence[Step], tokens: int) -> Sequence[Step]:
        """Return the steps that may take `tokens`; all of them if none seems to."""
        if not self._refused:
            return steps
        fit = [step for step in steps if any(self._fits(t.key, tokens) for t in step.targets)]
        return fit or steps

    def _fits(self, key: str, tokens: int) -> bool:
        return tokens < self._refused.get(key, tokens + 1)
