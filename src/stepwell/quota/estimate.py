"""How many tokens a request may cost, before anyone has counted them.

    prompt bytes / 4, images apart, + what the answer may come to

Each target corrects that by what its calls really came to: see `calibration`.

It reads the raw JSON, by searches that run at memory speed, so that a body of megabytes costs
little.
"""

from typing import Final

# English prose and JSON come to 4 characters a token in the common vocabularies; other scripts take
# fewer characters but more bytes, so that bytes stay near.
_BYTES_PER_TOKEN: Final = 4
# What the common providers charge for a picture of middling size: OpenAI 765 (1024x1024, high
# detail), Anthropic about 1,300 at most, Gemini 258 a tile.
_IMAGE: Final = 800
# Few answers are longer, and most clients that set `max_tokens` set it far above what they expect:
# a reservation of all of it would leave quota unused.
_ANSWER: Final = 1024

BASE64: Final = b";base64,"
"""What stands before the payload of a data URL."""
_START: Final = b'"data:'
# A data URL names its media type between start and mark.
_LONGEST_TYPE: Final = 128
# Nobody sends so many pictures; a body made of marks must not hold up everyone else.
_MOST_MARKS: Final = 1000


def estimate_tokens(prompt: bytes | int, max_tokens: int | None = None) -> int:
    """Return the tokens to reserve for a request: prompt and answer.

    Args:
        prompt: The raw JSON of `messages` and whatever else becomes prompt (`tools`); or its length
            in bytes, where it is known to hold no images.
        max_tokens: The request's bound on the answer; None if it sets none.
    """
    size, images = (prompt, 0) if isinstance(prompt, int) else _weigh(prompt)
    return -(-size // _BYTES_PER_TOKEN) + images * _IMAGE + estimate_answer(max_tokens)


def estimate_answer(max_tokens: int | None) -> int:
    """Return the tokens to reserve for the answer alone; see `estimate_tokens`."""
    if max_tokens is None or max_tokens > _ANSWER:
        return _ANSWER
    return max(0, max_tokens)


def _weigh(prompt: bytes) -> tuple[int, int]:
    """Return the bytes outside base64 data URLs, and how many of these there are."""
    size, images, position = len(prompt), 0, 0
    for _ in range(_MOST_MARKS):
        mark = prompt.find(BASE64, position)
        if mark < 0:
            break
        position = payload = mark + len(BASE64)
        if opens_url(prompt, mark):
            end = prompt.find(b'"', payload)
            position = len(prompt) if end < 0 else end
            size -= position - payload
            images += 1
    return size, images


def opens_url(prompt: bytes, mark: int) -> bool:
    """Only a string that is nothing but a data URL is a picture; in prose it is read as text."""
    start = prompt.rfind(b'"', max(0, mark - _LONGEST_TYPE), mark)
    escaped = prompt[start - 1 : start] == b"\\"
    return start >= 0 and not escaped and prompt.startswith(_START, start)
