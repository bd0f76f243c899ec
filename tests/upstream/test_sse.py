from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell.upstream import sse
from stepwell.upstream.sse import EventSplitter, EventTooLarge, event_data

BOM = b"\xef\xbb\xbf"

LINES = st.sampled_from(
    [
        b"data: x",
        b"data:x",
        b"data:  two spaces",
        b"data",
        b"data:",
        b'data: {"delta": "gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8c\x8a"}',
        b"data: [DONE]",
        b"dataset: no",
        b" data: no",
        b"event: error",
        b"id: 7",
        b"retry: 10",
        b": ping",
        b":",
        b"",
    ]
)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Lines with one or mixed kinds of ends, perhaps a byte order mark, perhaps cut at the end."""
    ends = draw(st.one_of(LINE_ENDS.map(st.just), st.just(LINE_ENDS)))
    lines = draw(st.lists(LINES, max_size=20))
    stream = draw(st.sampled_from([b"", BOM])) + b"".join(line + draw(ends) for line in lines)
    return stream + draw(st.sampled_from([b"", b"data: cut", b"\r", b"da"]))


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    stream = draw(streams())
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def lines_of(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Lines with their ends, by the standard's grammar, one byte at a time; an unended one last."""
    lines, line, at = [], b"", 0
    while at < len(stream):
        end = b"\r\n" if stream[at : at + 2] == b"\r\n" else stream[at : at + 1]
        if end in (b"\n", b"\r", b"\r\n"):
            lines.append((line, end))
            line = b""
        else:
            line += end
        at += len(end)
    return [*lines, (line, b"")]


def reference(stream: bytes) -> tuple[list[bytes], list[bytes | None], bytes]:
    """Return raw events, their data and what is left, as the standard's interpretation has it."""
    events: list[bytes] = []
    payloads: list[bytes | None] = []
    raw, data = b"", None
    for line, end in lines_of(stream):
        raw += line + end
        text = line.removeprefix(BOM)
        if not line and end:
            events.append(raw)
            payloads.append(data)
            raw, data = b"", None
            continue
        field, colon, value = text.partition(b":")
        if field == b"data":
            value = value[1:] if colon and value[:1] == b" " else value
            data = value if data is None else data + b"\n" + value
    return events, payloads, raw


@given(cut_streams())
@example([b"data: x\r\n\r", b"\ndata: y\r\n\r\n"])
@example([b"data: x\r", b"\r", b"data: y\r\r", b""])
@example([BOM[:1], BOM[1:] + b"data: \xc3", b"\xbc\n", b"\n"])
@example([b"\n", b"\n\r", b"\n\r\r"])
def test_events_and_data_are_those_of_the_standard_however_the_stream_is_cut(
    chunks: list[bytes],
) -> None:
    """Where chunks end never shows, and no byte is lost, added or moved."""
    stream = b"".join(chunks)
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    expected, payloads, left = reference(stream)
    if stream.endswith(b"\r") and expected and not left:
        left = expected.pop()  # its line end may yet go on with LF
        payloads.pop()
    assert events == expected
    assert [event_data(event) for event in events] == payloads
    assert splitter.rest() == left
    assert b"".join(events) + splitter.rest() == stream


def test_a_chunk_that_is_one_event_is_handed_on_uncopied() -> None:
    """The common case costs no copy: the very object that came is the event."""
    chunk = b'data: {"choices": []}\n\n'
    assert EventSplitter().feed(chunk)[0] is chunk


def test_a_chunk_of_several_events_gives_them_in_order() -> None:
    """Joined they are the chunk again, so they may be relayed in one piece."""
    chunk = b"data: 1\n\n: ping\n\ndata: 2\n\n"
    assert EventSplitter().feed(chunk) == [b"data: 1\n\n", b": ping\n\n", b"data: 2\n\n"]


def test_a_last_event_without_its_blank_line_is_the_rest() -> None:
    """Whether a cut event counts is the caller's decision; its data can be read all the same."""
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n\ndata: [DONE]") == [b"data: 1\n\n"]
    assert splitter.rest() == b"data: [DONE]"
    assert event_data(splitter.rest()) == b"[DONE]"


def test_an_event_is_whole_with_its_line_feed_and_not_before() -> None:
    """A blank line cut between CR and LF is waited for, so the LF never opens the next event."""
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\r\n\r") == []
    assert splitter.feed(b"\n") == [b"data: 1\r\n\r\n"]
    assert splitter.rest() == b""


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: one\n\n", b"one"),
        (b"data:one\n\n", b"one"),
        (b"data:  one\n\n", b" one"),
        (b"data: one\r\n\r\n", b"one"),
        (b"data: one\ndata:\ndata: two\n\n", b"one\n\ntwo"),
        (b"event: error\ndata: one\nid: 3\n\n", b"one"),
        (b"data: one\nx", b"one"),
        (b"data: one\rdata: two\n\n", b"one\ntwo"),
        (BOM + b"data: one\n\n", b"one"),
        (b"data\n\n", b""),
        (b": comment\n\n", None),
        (b"retry: 5\n\n", None),
        (b"\n", None),
        (b"", None),
    ],
)
def test_data_is_joined_by_line_feeds_and_absent_from_comments(
    event: bytes, data: bytes | None
) -> None:
    """Empty data is not the same as none."""
    assert event_data(event) == data


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_without_an_end_is_refused_when_it_is_too_large(size: int) -> None:
    """What is held is bounded, however it arrives."""
    splitter = EventSplitter(max_event=100)
    for _ in range(100 // size):
        splitter.feed(b"x" * size)
    with pytest.raises(EventTooLarge, match="100 bytes"):
        splitter.feed(b"x" * size)


def test_events_that_have_ended_do_not_count_toward_the_limit() -> None:
    """The limit is on what is held, not on what one chunk brings."""
    splitter = EventSplitter(max_event=100)
    assert len(splitter.feed(b"data: 1\n\n" * 100)) == 100


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_event_that_comes_byte_by_byte_is_searched_once(
    line_end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work grows with the stream's length, not with its square."""
    searched = 0

    def counted(find: Callable[..., int]) -> Callable[..., int]:
        def end_of(data: bytes, start: int, search: int) -> int:
            nonlocal searched
            searched += len(data) - search
            return find(data, start, search)

        return end_of

    monkeypatch.setattr(sse, "_end_after_lf", counted(sse._end_after_lf))
    monkeypatch.setattr(sse, "_end_after_any", counted(sse._end_after_any))
    stream = (b"data: " + b"x" * 500 + line_end) * 10 + line_end
    splitter = EventSplitter()
    for byte in stream:
        splitter.feed(bytes([byte]))
    assert searched < 6 * len(stream)
