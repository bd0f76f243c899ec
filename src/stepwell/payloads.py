"""Payloads: the base64 of pictures and files, taken out of a request while it is looked at.

A body of megabytes is nearly all payload, and a decoder goes through each of its bytes. Nobody here
looks into one. So each leaves a mark in its place, and what is decoded, searched and encoded is small.
On the way out payloads take their places again, as views of what the client sent.

Of a payload it is only checked that it ends where its string does and holds no line's end; what else
JSON forbids in a string the provider finds.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from stepwell.quota.estimate import BASE64, opens_url

# Bytes that a decoder goes through as fast as they are taken out.
_SMALL: Final = 4096
# Nobody sends so many; a body made of them must not hold up everyone else.
_MOST: Final = 1000
_NOT_PLAIN: Final = (b"\\", b"\n", b"\r")

# Nobody outside can know it, so that it stands in no text by chance or on purpose.
_MARK: Final = secrets.token_hex(16).encode()
_MARKS: Final = re.compile(_MARK + rb"<(\d+)>")

Part = bytes | memoryview
"""Some of a body."""


def take_out(body: bytes) -> tuple[bytes, Sequence[memoryview]]:
    """Return JSON with a mark in place of each large payload, and these by their numbers."""
    view = memoryview(body)
    parts: list[Part] = []
    payloads: list[memoryview] = []
    done = 0
    for start, end in _payloads(body):
        parts += (view[done:start], b"%b<%d>" % (_MARK, len(payloads)))
        payloads.append(view[start:end])
        done = end
    return (b"".join((*parts, view[done:])), payloads) if payloads else (body, ())


def put_back(marked: bytes, payloads: Sequence[memoryview]) -> list[Part]:
    """Return JSON in parts that follow each other, with a payload in place of each mark."""
    pieces: list[Part] = list(_MARKS.split(marked))
    pieces[1::2] = [payloads[int(number)] for number in pieces[1::2]]
    return pieces


def _payloads(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each begins and ends."""
    place = 0
    for _ in range(_MOST):
        url = body.find(BASE64, place)
        start = url + len(BASE64)
        end = body.find(b'"', start)
        if url < 0 or end < 0:
            return
        place = start
        if end - start > _SMALL and opens_url(body, url) and _is_plain(body, start, end):
            yield start, end
            place = end


def _is_plain(body: bytes, start: int, end: int) -> bool:
    return all(body.find(byte, start, end) < 0 for byte in _NOT_PLAIN)
