"""Remembered: what words mean is found once for the words that come again and again.

A provider refuses with one of a few sentences, most of the time, and a refusal is read by some fifty
patterns. Only pure functions of texts may be remembered, and only of short ones: a provider must not
fill the memory.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

ResultT = TypeVar("ResultT")

MOST: Final = 256
LONGEST: Final = 1_000  # characters of all texts; a refusal's sentence has some hundred


def remembered(read: Callable[..., ResultT]) -> Callable[..., ResultT]:
    """Return a function of one or more texts that remembers what it returned for short ones."""
    remember = lru_cache(maxsize=MOST)(read)

    @wraps(read)
    def recall(*texts: str) -> ResultT:
        return remember(*texts) if sum(map(len, texts)) <= LONGEST else read(*texts)

    return recall
