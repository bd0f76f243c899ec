"""One upstream's stream, fed chunk by chunk."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest

from stepwell.testing import FakeClock
from stepwell.upstream.plain import PlainEvents
from stepwell.upstream.relay import MAX_HELD_BYTES, MAX_HELD_EVENTS, Relay
from stepwell.upstream.seam import Tap

Chunk = bytes | Exception | float
Make = Callable[..., Relay]

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def delta(**fields: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


HELLO = delta(content="Hello")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def relay(clock: FakeClock) -> Make:
    """Make a relay of chunks; a number among them is a pause in seconds, an exception is raised."""

    async def play(chunks: Sequence[Chunk]) -> AsyncIterator[bytes]:
        for chunk in chunks:
            if isinstance(chunk, bytes):
                yield chunk
            elif isinstance(chunk, Exception):
                raise chunk
            else:
                await clock.sleep(chunk)

    def make(*chunks: Chunk, **options: Any) -> Relay:
        plain = {"idle_timeout": 30.0, "drop_usage": True, "every_choice": False, "keep": True}
        return Relay(Played(play(chunks)), clock=clock, **{**plain, **options})

    return make


class Played:
    """A body that is read as it is played."""

    tap: Tap | None = None

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    async def read(self) -> bytes:
        """Return what comes next and is not tapped."""
        while chunk := await anext(self._chunks, b""):
            if self.tap is None or not self.tap(chunk):
                return chunk
        return b""


class Taken:
    """A sink that keeps what it takes; after so many pieces it fails; some take pieces at once."""

    def __init__(
        self, most: int = 1000, error: Exception | None = None, *, takes_at_once: bool = False
    ) -> None:
        self.pieces: list[bytes] = []
        self.pushed: list[bytes] = []
        self._most = most
        self._error = error
        self.pushes = takes_at_once

    def push(self, events: bytes) -> bool:
        self.pieces.append(events)
        self.pushed.append(events)
        return True

    async def write(self, events: bytes) -> None:
        self.pieces.append(events)
        if self._error is not None and len(self.pieces) == self._most:
            raise self._error


async def read(relay: Relay) -> bytes:
    """Look ahead, then take everything."""
    await relay.look_ahead()
    return b"".join(await pieces_of(relay))


async def pieces_of(relay: Relay) -> list[bytes]:
    """Take what follows when it was looked ahead."""
    taken = Taken()
    if ahead := relay.ahead():
        await taken.write(ahead)
    if last := await relay.pour(taken):
        await taken.write(last)
    return taken.pieces


# --- looking ahead


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "a"},
        {"content": " "},
        {"reasoning": "a"},
        {"reasoning_content": "a"},
        {"reasoning_details": [{"text": "a"}]},
        {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"refusal": "no"},
        {"audio": {"id": "1"}},
        {"images": [{"url": "data:..."}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_what_is_meaningful_makes_an_answer(fields: dict[str, Any], relay: Make) -> None:
    """Whatever a reader could use, also in fields that are invented tomorrow."""
    stream = relay(ROLE, delta(**fields), DONE)
    await stream.look_ahead()
    assert (stream.is_answer, stream.is_done, stream.events) == (True, False, 0)


@pytest.mark.parametrize(
    "event",
    [
        ROLE,
        delta(role="assistant"),
        delta(content=None),
        delta(content=""),
        delta(content="", reasoning_content=None, tool_calls=[]),
        delta(role="assistant", name="sim", annotations=[{"a": 1}]),
        b": PROCESSING\n\n",
        b"event: ping\n\n",
        b"retry: 3000\n\n",
        b"\n\n",
        b'data: {"choices":[]}\n\n',
        USAGE,
    ],
)
async def test_what_means_nothing_does_not(event: bytes, relay: Make) -> None:
    """Preambles, empty deltas, comments and pings are no answer, however many."""
    stream = relay(event, event, event)
    await stream.look_ahead()
    assert (stream.is_answer, stream.finished, stream.broken) == (False, False, "")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_finish_that_says_why_is_an_answer(reason: str, relay: Make) -> None:
    """An empty completion that was cut or filtered is what the provider has to say."""
    stream = relay(ROLE, STOP.replace(b"stop", reason.encode()), DONE)
    await stream.look_ahead()
    assert stream.is_answer


async def test_an_empty_completion_has_finished_without_an_answer(relay: Make) -> None:
    """So that another target can be asked; its events are kept, should that one be empty too."""
    stream = relay(ROLE, STOP, DONE)
    await stream.look_ahead()
    assert (stream.is_answer, stream.finished, stream.broken) == (False, True, "")
    assert b"".join(await pieces_of(stream)) == ROLE + STOP + DONE


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (b'data: {"error":{"message":"no","code":429}}\n\n', 429),
        (b'event: error\ndata: {"error":{"message":"no","type":"overloaded_error"}}\n\n', 503),
        (b'data: {"type":"error","error":{"message":"no"}}\n\n', 500),
        (b'data: {"object":"error","message":"no","code":400}\n\n', 400),
        (b'data: {"base_resp":{"status_code":1002,"status_msg":"no"}}\n\n', 429),
        (b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\n', 502),
        (b'data: [{"error":{"code":503,"message":"no"}}]\n\n', 503),
    ],
)
async def test_an_error_is_found_in_every_shape_before_and_after_content(
    event: bytes, status: int, relay: Make
) -> None:
    """The status that it stands for is told, and nothing of it is relayed."""
    early, late = relay(ROLE, event), relay(ROLE, HELLO, event, DONE)
    assert await read(early) == ROLE
    assert await read(late) == ROLE + HELLO
    assert (early.is_answer, early.broken, early.error_status) == (False, "error", status)
    assert (late.is_answer, late.broken, late.error_status) == (True, "error", status)


async def test_look_ahead_is_bounded_in_events(relay: Make) -> None:
    """A provider that chatters without saying anything is let through, not held back for ever."""
    stream = relay(*[ROLE] * (MAX_HELD_EVENTS + 2), HELLO)
    await stream.look_ahead()
    assert stream.is_answer
    assert len(stream._held) == MAX_HELD_EVENTS + 1


async def test_look_ahead_is_bounded_in_bytes(relay: Make) -> None:
    """Nor may comments fill the memory."""
    comment = b": " + b"x" * 65_536 + b"\n\n"
    stream = relay(*[comment] * (MAX_HELD_BYTES // 65_536 + 1), HELLO)
    await stream.look_ahead()
    assert stream.is_answer


# --- relaying


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
async def test_bytes_are_relayed_as_they_came(size: int, line_end: bytes, relay: Make) -> None:
    """However they are cut, and whatever ends their lines."""
    whole = (ROLE + delta(content="Grüße \u2028 😀") + HELLO + STOP).replace(b"\n", line_end)
    chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert await read(relay(*chunks)) == whole


async def test_each_piece_holds_whole_events(relay: Make) -> None:
    """So that a comment may go between any two of them."""
    whole = ROLE + HELLO * 5 + STOP + DONE
    stream = relay(*(whole[at : at + 33] for at in range(0, len(whole), 33)))
    await stream.look_ahead()
    for piece in await pieces_of(stream):
        assert piece.startswith(b"data: ")
        assert piece.endswith(b"\n\n")


async def test_text_that_speaks_of_errors_is_no_error(relay: Make) -> None:
    """Inside a JSON string quotes are escaped, so that a model may write about this very code."""
    words = delta(content='{"error": {"code": 500}} "finish_reason": "stop" data: [DONE]')
    stream = relay(ROLE, HELLO, words, STOP, DONE)
    assert await read(stream) == ROLE + HELLO + words + STOP + DONE
    assert stream.broken == ""


async def test_the_usage_event_is_dropped_unless_it_was_asked_for(relay: Make) -> None:
    """Its count is taken in both cases."""
    dropped, passed = (
        relay(HELLO, STOP, USAGE, DONE),
        relay(HELLO, STOP, USAGE, DONE, drop_usage=False),
    )
    assert await read(dropped) == HELLO + STOP + DONE
    assert await read(passed) == HELLO + STOP + USAGE + DONE
    assert (dropped.tokens, passed.tokens) == (7, 7)


async def test_usage_in_the_finish_event_is_the_providers_own(relay: Make) -> None:
    """Only the extra event was ours to ask for."""
    last = STOP.replace(b"}\n\n", b',"usage":{"total_tokens":9}}\n\n')
    stream = relay(HELLO, last, DONE)
    assert await read(stream) == HELLO + last + DONE
    assert stream.tokens == 9


async def test_done_needs_no_space(relay: Make) -> None:
    """The specification makes it optional."""
    stream = relay(HELLO, STOP, b"data:[DONE]\n\n")
    assert await read(stream) == HELLO + STOP + b"data:[DONE]\n\n"
    assert stream.is_done


async def test_what_follows_done_is_not_relayed(relay: Make) -> None:
    """The answer has ended; a client has stopped reading."""
    assert await read(relay(HELLO, STOP + DONE + HELLO)) == HELLO + STOP + DONE


async def test_a_last_event_without_its_blank_line_counts(relay: Make) -> None:
    """Some providers end the body right after it; the blank line is added."""
    stream = relay(HELLO, STOP.rstrip(b"\n"))
    assert await read(stream) == HELLO + STOP
    assert (stream.finished, stream.broken) == (True, "")


# --- breaking


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([HELLO], "truncated"),
        ([HELLO, DONE], "truncated"),
        ([HELLO, b'data: {"choices":[{"in\n\n', STOP], "malformed event"),
        ([HELLO, b"data: oops\n\n", STOP], "malformed event"),
        ([HELLO, b'data: {"choices":[{"a":{}'], "malformed event"),
        ([HELLO, httpx.ReadError("")], "connection lost (ReadError)"),
        ([HELLO, httpx.DecodingError("")], "connection lost (DecodingError)"),
        ([HELLO, ConnectionResetError()], "connection lost (ConnectionResetError)"),
        ([HELLO, 30.0, STOP], "stalled"),
    ],
)
async def test_a_broken_stream_says_why(
    chunks: list[Chunk], why: str, clock: FakeClock, relay: Make
) -> None:
    """What came before is relayed, nothing of what broke it."""
    stream = relay(*chunks)
    assert await clock.run(read(stream)) == HELLO
    assert (stream.broken, stream.finished) == (why, False)


@pytest.mark.parametrize(
    "end",
    [[httpx.ReadError("")], [31.0], [b"data: oops\n\n"], [b'data: {"error":{"message":"no"}}\n\n']],
)
async def test_after_the_finish_nothing_can_break(
    end: list[Chunk], clock: FakeClock, relay: Make
) -> None:
    """The answer is whole, whatever becomes of the connection."""
    stream = relay(HELLO, STOP, *end)
    assert await clock.run(read(stream)) == HELLO + STOP
    assert (stream.broken, stream.is_done) == ("", False)


async def test_every_choice_must_finish(relay: Make) -> None:
    """With n=2 one finish is half an answer, also before `[DONE]`."""
    both = b'data: {"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{}}]}\n\n'
    other = STOP.replace(b'"index":0', b'"index":1')
    half, whole = (
        relay(both, STOP, DONE, every_choice=True),
        relay(both, STOP, other, DONE, every_choice=True),
    )
    assert await read(half) == both + STOP
    assert await read(whole) == both + STOP + other + DONE
    assert (half.broken, whole.broken) == ("truncated", "")


async def test_silence_is_measured_between_events(clock: FakeClock, relay: Make) -> None:
    """Each one starts the idle timeout anew."""
    stream = relay(HELLO, 29.0, HELLO, 29.0, HELLO, 29.0, STOP)
    assert await clock.run(read(stream)) == HELLO * 3 + STOP
    assert stream.broken == ""


@pytest.mark.parametrize("sign", [b": keep-alive\n\n", b"\n\n", b":\r\n\r\n"])
async def test_what_keeps_a_connection_alive_is_no_word(
    sign: bytes, clock: FakeClock, relay: Make
) -> None:
    """A provider that sends nothing else has stalled, however often it does."""
    stream = relay(HELLO, *([10.0, sign] * 9), 10.0, STOP)
    assert (await clock.run(read(stream))).startswith(HELLO)
    assert stream.broken == "stalled"
    assert clock.monotonic() == 1030.0


# --- afterwards


async def test_the_text_is_kept_for_a_continuation(relay: Make) -> None:
    """Plain text of the first choice; reasoning is not part of it."""
    stream = relay(ROLE, delta(reasoning="hm"), HELLO, delta(content=" you"), STOP, DONE)
    await read(stream)
    assert stream.text() == "Hello you"


async def test_nothing_is_kept_of_what_cannot_be_continued(relay: Make) -> None:
    """A long stream then costs no memory."""
    stream = relay(HELLO, STOP, DONE, keep=False)
    await read(stream)
    assert (stream.kept, stream.text()) == (None, "")


async def test_events_are_counted(relay: Make) -> None:
    """About one token each: the price of a stream that breaks."""
    stream = relay(ROLE, HELLO, HELLO, STOP, USAGE, DONE)
    await read(stream)
    assert stream.events == 5


async def test_draining_waits_for_the_end_but_not_long(clock: FakeClock, relay: Make) -> None:
    """A provider that closes in a moment keeps its connection; one that dawdles does not keep us."""
    prompt, late = relay(HELLO, STOP, DONE, 0.2, b"\n"), relay(HELLO, STOP, DONE, 5.0)
    for stream in (prompt, late):
        await read(stream)
    began = clock.monotonic()
    await clock.run(prompt.drain())
    assert clock.monotonic() - began == pytest.approx(0.2)
    await clock.run(late.drain())
    assert clock.monotonic() - began == pytest.approx(0.45)


# --- one event a chunk


SEEN: list[tuple[bytes, bool]] = [
    (HELLO, True),
    (delta(content='it said "error" and "usage": 3'), True),
    (delta(content="[DONE]"), True),
    (b'data: {"usage": null, "error_code": 1}\n\n', True),
    (STOP, False),
    (USAGE, False),
    (DONE, False),
    (b'data: {"error": null}\n\n', False),
    (b'data: {"base_resp" : {}}\n\n', False),
    (HELLO + HELLO, False),
    (HELLO[:-1], False),
    (HELLO[5:], False),
    (HELLO.replace(b"\n", b"\r\n"), False),
    (b'data: {"a":\ndata: 1}\n\n', False),
    (b'data: {"a":\rdata: 1}\n\n', False),
    (b": comment\n\n", False),
    (b"\n", False),
    (b"", False),
]


@pytest.mark.parametrize(("event", "is_plain"), SEEN)
def test_only_a_whole_event_of_content_goes_out_unseen(event: bytes, is_plain: bool) -> None:
    """Whatever may say more than a text is looked at; the names inside a text say nothing."""
    assert PlainEvents().has(event) == is_plain


@pytest.mark.parametrize(("event", "is_plain"), SEEN)
@pytest.mark.parametrize(
    "before",
    [
        HELLO,
        delta(content="x", role="assistant"),
        b'data: {"usage":null,"delta":1}\n\n',
        b'data: {"usage":"delta"}\n\n',
        b'data: {"delta":"error"}\n\n',
        b"data: {}\n\n",
    ],
)
def test_what_is_plain_does_not_depend_on_what_came_before(
    before: bytes, event: bytes, is_plain: bool
) -> None:
    """How the first event of a stream began is only a shorter way to the same."""
    events = PlainEvents()
    events.has(before)
    assert events.has(event) == is_plain
    assert events.has(HELLO)


def test_a_mark_is_seen_where_a_known_beginning_ends() -> None:
    """No beginning is remembered inside a field, whose other half may be a mark."""
    events = PlainEvents()
    assert events.has(b'data: {"a":"delta"}\n\n')
    assert not events.has(b'data: {"a":1,"usage":3}\n\n')
    assert events.has(b'data: {"choices":[{"delta":{}}]}\n\n')
    assert not events.has(b'data: {"choices":[{"error":{}}]}\n\n')
    assert not events.has(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')


# --- whoever is written to


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), httpx.WriteError("")])
async def test_an_error_of_the_writers_is_no_break(error: Exception, relay: Make) -> None:
    """A client whose connection fails says nothing of the provider, though the errors look alike."""
    stream = relay(HELLO, HELLO, HELLO, STOP, DONE)
    await stream.look_ahead()
    stream.ahead()
    taken = Taken(2, error)
    with pytest.raises(type(error)):
        await stream.pour(taken)
    assert (taken.pieces, stream.broken) == ([HELLO, HELLO], "")


# --- straight through


async def test_plain_events_go_straight_through_and_no_others(relay: Make) -> None:
    """In order, counted and kept as all are; what may matter is looked at, wherever it stands."""
    half = len(HELLO) // 2
    chunks = [HELLO, HELLO[:half], HELLO[half:], HELLO, STOP, USAGE, DONE]
    stream, taken = relay(ROLE, HELLO, *chunks, drop_usage=False), Taken(takes_at_once=True)
    await stream.look_ahead()
    await taken.write(stream.ahead())
    last = await stream.pour(taken)
    assert taken.pushed == [HELLO, HELLO]
    assert b"".join([*taken.pieces, last]) == b"".join([ROLE, HELLO, *chunks])
    assert b"".join(stream.kept or ()) == b"".join([ROLE, HELLO, *chunks])
    assert (stream.events, stream.broken, stream.tokens) == (8, "", 7)


async def test_nothing_goes_straight_through_where_every_event_is_decoded(relay: Make) -> None:
    """Several choices must all finish, which only their events tell."""
    stream, taken = relay(HELLO, HELLO, STOP, DONE, every_choice=True), Taken(takes_at_once=True)
    await stream.look_ahead()
    await stream.pour(taken)
    assert (taken.pushed, stream.broken) == ([], "")


async def test_silence_counts_from_what_went_straight_through(
    relay: Make, clock: FakeClock
) -> None:
    """Each event moves the time at which a stream is stalled."""
    stream = relay(HELLO, 20.0, HELLO, 20.0, HELLO, 31.0, HELLO)
    taken = Taken(takes_at_once=True)
    await stream.look_ahead()
    began = clock.monotonic()
    await clock.run(stream.pour(taken))
    assert (taken.pushed, stream.broken) == ([HELLO, HELLO], "stalled")
    assert clock.monotonic() - began == 70.0
