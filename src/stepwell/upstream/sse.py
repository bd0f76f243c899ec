"""EventSplitter: server-sent events out of a stream of chunks, byte for byte.

Theory. A line ends with LF, CR LF or CR, freely mixed, and an event with a blank line. So an event
ends where two line ends meet, or after the first if it begins with one. Events are handed on as the
bytes that came; nothing is decoded, and UTF-8 needs no care, because neither CR nor LF occurs
inside one of its characters. What one call returns is a row of whole events: joined they may be
relayed in one piece, and a comment of our own may go before or after them, never inside.

Two things are not obvious:

- A blank line that ends in the very last CR that has come may go on with LF. It is waited for, so
  that how the bytes were cut never shows in the events. That keeps an event back only where bare
  CRs end the lines, which no known provider does, or where a segment was cut between CR and LF.
- Most streams know LF alone. While no CR is in sight the end is looked for as LF LF, which is
  several times faster than the pattern.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream" (read 2026-11-22).
"""

import re
from collections.abc import Iterable, Iterator

# The longest event. A completion's are some 300 bytes; a picture as base64 in one of them, as image
# models send it, is a few MiB.
MAX_EVENT = 8 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"

# As numbers, because to look for a byte string in bytes costs Python four times as much.
CR, LF = b"\r\n"

# Atomic, so that CR LF is never taken for two line ends.
_LINE_END = re.compile(rb"(?>\r\n?|\n)")
_BLANK_LINE = re.compile(rb"(?>\r\n?|\n)(?>\r\n?|\n)")

# As much of a blank line as can stand before what has not been searched: CR LF CR.
_OVERLAP = 3


class EventTooLarge(ValueError):
    """An event has no end after as many bytes as one may have."""


class EventSplitter:
    """Cuts a stream into its events, in time linear in its length however it arrives.

    The events and `rest()`, joined, are the stream. An event includes its blank line; one may hold
    no data (comments, blank lines, `retry:`), which `event_data` tells.

    Args:
        max_event: Bytes after which an event must have ended.

    Attributes:
        held: What has come of an event that is not whole.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self.held = bytearray()
        self._has_cr = False  # in what is held

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that this chunk completes; a chunk that is one event comes back itself.

        Raises:
            EventTooLarge: What is held is longer than `max_event`.
        """
        held = self.held
        searched = max(0, len(held) - _OVERLAP)
        self._has_cr = self._has_cr or CR in chunk
        end_of = _end_after_any if self._has_cr else _end_after_lf
        if held:
            held += chunk
            if end_of(held, 0, searched) < 0:
                self._check_length()
                return []
            chunk = bytes(held)
            held.clear()
        events = []
        start = 0
        while (end := end_of(chunk, start, max(start, searched))) >= 0:
            events.append(chunk[start:end])
            start = end
        self._hold(chunk, start)
        return events

    def rest(self) -> bytes:
        """Return what has come of an event that is not whole: at the stream's end, a cut one."""
        return bytes(self.held)

    def _hold(self, chunk: bytes, start: int) -> None:
        self.held += memoryview(chunk)[start:]
        self._has_cr = CR in self.held
        self._check_length()

    def _check_length(self) -> None:
        if len(self.held) > self._max_event:
            raise EventTooLarge(f"an event is longer than {self._max_event} bytes")


def events_in(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the events of pieces that each hold whole ones."""
    for piece in pieces:
        splitter = EventSplitter()
        yield from splitter.feed(piece)
        # It waits for an LF after a CR that ends the piece; whoever cut the piece has waited already.
        if rest := splitter.rest():
            yield rest


def event_data(event: bytes) -> bytes | None:
    """Return an event's data, its lines joined by LF; None if it has none, as comments have none.

    A byte order mark is dropped wherever an event starts with it, not only in a stream's first.
    """
    if is_one_data_line(event):
        return event[6:-2]
    fields = (line.partition(b":") for line in _LINE_END.split(event.removeprefix(_BOM)))
    lines = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
    return b"\n".join(lines) if lines else None


def is_one_data_line(event: bytes) -> bool:
    """Tell whether it is `data: ...`, LF, LF, as nearly every event is."""
    return (
        event.startswith(b"data: ")
        and event.endswith(b"\n\n")
        and event.find(b"\n") == len(event) - 2
        and CR not in event
    )


def _end_after_lf(data: bytes | bytearray, start: int, search: int) -> int:
    """Return where the event that starts at `start` ends, or -1, in bytes without any CR."""
    if data.startswith(b"\n", start):
        return start + 1
    at = data.find(b"\n\n", search)
    return at + 2 if at >= 0 else -1


def _end_after_any(data: bytes | bytearray, start: int, search: int) -> int:
    """Return where the event that starts at `start` ends, or -1; see the module on a last CR."""
    blank = _LINE_END.match(data, start) or _BLANK_LINE.search(data, search)
    if blank is None:
        return -1
    end = blank.end()
    return -1 if end == len(data) and data.endswith(b"\r") else end
