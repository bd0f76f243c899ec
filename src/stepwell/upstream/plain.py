"""Plain: which bytes of a stream are whole events that only carry content, as nearly all do.

Those go out as they came. Anything else is decoded, so a doubt is never in favour of plain.
"""

import re
from typing import Final

from stepwell.upstream.sse import CR, LF

# What may matter, and what a word must go on with to do so: many events say `"finish_reason":null`.
# Inside a JSON string these quotes would be escaped, so that text that speaks of errors never
# matches. One pattern that begins with a quote is faster than a search for each word.
_MARK: Final = re.compile(
    rb'"(?:finish_reason"\s*:\s*"|error"|usage"\s*:\s*[^n\s]|base_resp"\s*:\s*[^n\s])'
)


# What nearly every event begins and ends with.
_START: Final = b"data: {"
_END: Final = b"}\n\n"


class PlainEvents:
    """Tells which chunks are one whole event that only carries content, as most chunks are.

    All events of a stream begin alike, as a rule, with its id, time and model. What the first of them
    begins with, up to its delta, is not searched again. The ways to cut and to search are those that
    cost least: Python parses the arguments of `find`, `startswith` and `endswith` each time.
    """

    __slots__ = ("_around", "_has_seen_one", "_known")

    def __init__(self) -> None:
        self._begin(_START)
        self._has_seen_one = False

    def has(self, chunk: bytes) -> bool:
        """Tell whether it is one."""
        known = self._known
        rest = chunk.removeprefix(known).removesuffix(_END)
        if len(chunk) - len(rest) != self._around:
            return known is not _START and PlainEvents().has(chunk)
        # Nor `[DONE]`: that is no data that begins with a brace.
        if LF in rest or CR in rest or _MARK.search(rest):
            return False
        if not self._has_seen_one:
            self._has_seen_one = True
            self._begin(_beginning(chunk))
        return True

    def _begin(self, known: bytes) -> None:
        self._known = known
        self._around = len(known) + len(_END)


def _beginning(event: bytes) -> bytes:
    """Return what stands before the delta of a plain event.

    It ends with a brace or a comma, so that no mark begins in it and goes on after it.
    """
    before = event.partition(b'"delta"')[0]
    is_fit = before != event and before.rstrip(b" ").endswith((b"{", b","))
    return before if is_fit else _START


def first_marker(data: bytes) -> int:
    """Return where the first mark stands of anything that matters, or -1."""
    found = _MARK.search(data)
    first = found.start() if found else -1
    done = data.find(b"[DONE]", 0, first if found else len(data))
    return done if done >= 0 else first


def plain_length(chunk: bytes) -> int:
    """Return how much of a chunk, from its start, is whole events that only carry content.

    Each of these is `data: {...}`, LF, LF; anything else is looked at event by event.
    """
    marker = first_marker(chunk)
    end = chunk.rfind(b"\n\n", 0, marker if marker >= 0 else len(chunk)) + 2
    head = chunk if end == len(chunk) else chunk[: max(0, end)]
    events = head.count(b"\n\n")
    is_plain = (
        events > 0
        and head.startswith(b"data: {")
        and head.endswith(b"}\n\n")
        and head.count(b"}\n\ndata: {") == events - 1
        and CR not in head
    )
    return len(head) if is_plain else 0
