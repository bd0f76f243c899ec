"""What comes back on a connection: who is given it, and when."""

import asyncio

import pytest

from stepwell.upstream.answer import Answer


class Wire:
    """A connection that only tells its loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def drop(self) -> None:
        """Take nothing more."""

    def resume(self) -> None:
        """Take more."""


class Tapped:
    """An answer, and what its tap was offered; it takes what begins with `take`."""

    def __init__(self) -> None:
        self.answer = Answer(Wire())
        self.answer.tap = self._take
        self.offered: list[bytes] = []

    def _take(self, chunk: bytes) -> bool:
        self.offered.append(chunk)
        return chunk.startswith(b"take")

    def comes(self, *chunks: bytes) -> None:
        self.answer.chunks += chunks
        self.answer.arrived(sum(map(len, chunks)))


async def test_what_the_tap_takes_is_not_read() -> None:
    """Whoever waits is woken by the first piece that it leaves."""
    tapped = Tapped()
    reading = tapped.answer.read()
    tapped.comes(b"take 1")
    tapped.comes(b"take 2")
    tapped.comes(b"leave")
    assert await reading == b"leave"
    assert tapped.offered == [b"take 1", b"take 2", b"leave"]


async def test_nothing_is_tapped_before_what_came_earlier_is_handled() -> None:
    """Else it would go out first."""
    tapped = Tapped()
    reading = tapped.answer.read()
    tapped.comes(b"leave")
    tapped.comes(b"take")  # the reader has been woken, and did not run yet
    assert await reading == b"leave"
    assert await tapped.answer.read() == b"take"
    assert tapped.offered == [b"leave"]


async def test_pieces_that_come_together_are_read_together() -> None:
    """One of them may be taken and the next one not: that is the reader's to tell."""
    tapped = Tapped()
    reading = tapped.answer.read()
    tapped.comes(b"take 1", b"take 2")
    assert (await reading, tapped.offered) == (b"take 1take 2", [])


async def test_nothing_is_tapped_for_a_reader_that_was_cancelled() -> None:
    """Whoever gave up sends nothing more."""
    tapped = Tapped()
    reading = asyncio.ensure_future(tapped.answer.read())
    reading.cancel()
    tapped.comes(b"take")
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert tapped.offered == []
