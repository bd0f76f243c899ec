"""Large requests on a prepared line: their parts, how they leave, and what is left of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import httpx
import pytest
import uvloop

from stepwell.upstream.connection import PIECE, Part
from stepwell.upstream.seam import HttpxLine, Line
from stepwell.upstream.transport import HttpTransport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NewLoop = Callable[[], asyncio.AbstractEventLoop]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BYTES = bytes(range(256)) * (4 * PIECE // 256)

loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def run(new_loop: NewLoop, handler: Handler, use: Callable[[Line], Awaitable[None]]) -> None:
    """Call a server with a line to it, on one of the loops."""

    async def main() -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, limit=2**12)
        transport = HttpTransport()
        port = server.sockets[0].getsockname()[1]
        try:
            await use(transport.prepare(httpx.URL(f"http://127.0.0.1:{port}/"), []))
        finally:
            await transport.aclose()
            server.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def cut(sizes: Sequence[int]) -> list[Part]:
    """Return parts of these sizes that follow each other: bytes and views in turn."""
    parts: list[Part] = []
    start = 0
    for number, size in enumerate(sizes):
        part = memoryview(BYTES)[start : start + size]
        parts.append(part if number % 2 else bytes(part))
        start += size
    return parts


@loops
@pytest.mark.parametrize(
    "sizes",
    [
        (10,),
        (5, 100_000, 1),
        (PIECE,),
        (PIECE - 1, 1, 1),
        (1, PIECE, PIECE - 1),
        (0, 2 * PIECE, 0, 7),
        (3, PIECE + 1, 2, PIECE - 6, 30_000),
    ],
    ids=str,
)
def test_parts_arrive_as_one_body(new_loop: NewLoop, sizes: tuple[int, ...]) -> None:
    """Wherever one ends and however little a server takes at a time."""
    got = bytearray()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while len(got) < sum(sizes):
            got.extend(await reader.read(1000))
        writer.write(OK)
        writer.close()

    async def use(line: Line) -> None:
        answer = await line.open(cut(sizes), 1.0)
        assert await answer.read() == b"ok"

    run(new_loop, handler, use)
    assert got == BYTES[: sum(sizes)]


@loops
@pytest.mark.parametrize("accident", ["cancelled", "refused", "reset"])
def test_an_upload_cut_short_lets_go_of_the_body(new_loop: NewLoop, accident: str) -> None:
    """A body is exported while a view of it is held: afterwards it can be emptied."""
    body = bytearray(BYTES) * 4

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if accident == "refused":
            writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        elif accident == "reset":
            writer.transport.abort()
        else:
            askers[0].cancel()
        closing.append(writer)

    async def ask(line: Line) -> int:
        answer = await line.open([b"{", memoryview(body), b"}"], 1.0)
        try:
            return answer.status
        finally:
            await answer.aclose()

    async def use(line: Line) -> None:
        askers.append(asyncio.create_task(ask(line)))
        (end,) = await asyncio.gather(*askers, return_exceptions=True)
        expected = {"cancelled": asyncio.CancelledError, "reset": httpx.TransportError}
        assert end == 413 if accident == "refused" else isinstance(end, expected[accident])
        del end
        askers.clear()  # with its traceback
        for _ in range(3):
            await asyncio.sleep(0)  # sockets are closed in the loop's next turn
        body.clear()
        for writer in closing:
            writer.transport.abort()

    closing: list[asyncio.StreamWriter] = []
    askers: list[asyncio.Task[int]] = []
    run(new_loop, handler, use)


@loops
def test_a_read_that_was_cancelled_loses_nothing(new_loop: NewLoop) -> None:
    """What comes afterwards is there for the next one."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.removesuffix(b"ok"))
        await gone.wait()
        writer.write(b"ok")
        writer.close()

    async def use(line: Line) -> None:
        answer = await line.open([b"{}"], 1.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await answer.read()
        gone.set()
        assert (await answer.read(), await answer.read()) == (b"ok", b"")

    gone = asyncio.Event()
    run(new_loop, handler, use)


async def test_a_transport_of_the_hosts_gets_the_body_whole() -> None:
    """It knows of no parts: they are joined, with the length of them all."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, text="ok")

    line = HttpxLine(httpx.URL("http://host.test/"), [], httpx.MockTransport(answer))
    sizes = (3, PIECE + 1, 2)
    reply = await line.open(cut(sizes), 1.0)
    assert await reply.read() == b"ok"
    assert seen[0].content == BYTES[: sum(sizes)]
    assert seen[0].headers["content-length"] == str(sum(sizes))
