"""What a provider's protocol costs us: HTTP/2 beside our HTTP/1.1, and a TLS session taken up again.

nginx is the provider, with TLS on. The same small chat request goes to it over our own engine on 32
connections, and over one HTTP/2 connection by h2, the HTTP/2 engine that Python's clients share. Then
new connections are made one after the other, with the last one's session and without. CPU is this
process's alone; each round asks everybody, and ratios are those of one round.

  benchmarks/protocols.py              ten rounds, half a minute
  benchmarks/protocols.py --rounds 3

It exits with: 0 done, 2 a tool is missing or the usage is wrong
"""

import argparse
import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, cast

import h2.config
import h2.connection
import h2.events
import httpx
import uvloop
from performance.machine import description, missing_tools, tool
from performance.providers import start_nginx

from stepwell.upstream.tls import trusting
from stepwell.upstream.transport import HttpTransport

AT_A_TIME: Final = 32
REQUESTS: Final = 1920  # in a round
CONNECTIONS: Final = 100  # in a round
BODY: Final = b'{"model":"whole","messages":[{"role":"user","content":"How are you today?"}]}'
HEADERS: Final = (
    ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
    ("content-type", "application/json"),
    ("content-length", str(len(BODY))),
)

Ask = Callable[[], Awaitable[object]]


class Http2(asyncio.Protocol):
    """A client that does as little as h2 lets it."""

    def __init__(self, authority: str) -> None:
        # Its checks of what goes out and comes in are left out, which favours it.
        self._machine: Any = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self._headers = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", b"/v1/chat/completions"),
            *((name.encode(), value.encode()) for name, value in HEADERS),
        ]
        self._answers: dict[int, asyncio.Future[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._machine.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._machine.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                size = event.flow_controlled_length
                self._machine.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self._answers.pop(event.stream_id).set_result(None)
        self._flush()

    async def ask(self) -> None:
        stream = self._machine.get_next_available_stream_id()
        self._answers[stream] = answer = asyncio.get_running_loop().create_future()
        self._machine.send_headers(stream, self._headers)
        self._machine.send_data(stream, BODY, end_stream=True)
        self._flush()
        await answer

    def _flush(self) -> None:
        if data := self._machine.data_to_send():
            self._transport.write(data)


async def requests(port: int, authority: str, rounds: int) -> Mapping[str, Sequence[float]]:
    """Return CPU milliseconds for each request, by protocol and round."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2"])
    _, two = await loop.create_connection(
        lambda: Http2(f"localhost:{port}"),
        "127.0.0.1",
        port,
        ssl=context,
        server_hostname="localhost",
    )
    async with HttpTransport(ca_file=authority) as transport:
        line = transport.prepare(_url(port), HEADERS[:2])

        async def one() -> None:
            answer = await line.open((BODY,), 5.0)
            try:
                while await answer.read():
                    pass
            finally:
                await answer.aclose()

        return await _in_turn({"HTTP/1.1": one, "HTTP/2": two.ask}, rounds, REQUESTS, AT_A_TIME)


async def handshakes(port: int, authority: str, rounds: int) -> Mapping[str, Sequence[float]]:
    """Return CPU milliseconds for each new connection with one request, by kind and round."""
    whole = ssl.create_default_context(cafile=authority)
    again = trusting(authority)

    async def connect(context: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")  # a session's tickets come before it
        writer.transport.abort()

    asks = {"whole handshake": lambda: connect(whole), "session again": lambda: connect(again)}
    return await _in_turn(asks, rounds, CONNECTIONS, 1)


async def _in_turn(
    asks: Mapping[str, Ask], rounds: int, count: int, at_a_time: int
) -> Mapping[str, Sequence[float]]:
    async def some(ask: Ask, times: int) -> None:
        for _ in range(times):
            await ask()

    costs: dict[str, list[float]] = {name: [] for name in asks}
    for number in range(rounds + 1):
        for name, ask in asks.items():
            begun = time.process_time()
            await asyncio.gather(*(some(ask, count // at_a_time) for _ in range(at_a_time)))
            if number:  # the first one warms up
                costs[name].append(1000 * (time.process_time() - begun) / count)
    return costs


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Return PEM files of a root to trust, and of localhost with an issuer between them."""
    root, between, own = (folder / name for name in ("root.pem", "between.pem", "localhost.pem"))
    for path, issuer, extension in (
        (root, None, "basicConstraints=critical,CA:TRUE"),
        (between, root, "basicConstraints=critical,CA:TRUE"),
        (own, between, "subjectAltName=DNS:localhost"),
    ):
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        name = ["-subj", f"/CN={path.stem}", "-addext", extension]
        where = ["-keyout", f"{path}.key", "-out", str(path)]
        signed = ["-CA", str(issuer), "-CAkey", f"{issuer}.key"] if issuer else []
        command = [tool("openssl"), "req", "-x509", *kind, *name, *where, *signed]
        subprocess.run(command, check=True, capture_output=True)
    own.write_text(own.read_text() + between.read_text())
    return root, own


def _url(port: int) -> httpx.URL:
    return httpx.URL(f"https://localhost:{port}/v1/chat/completions")


def _lines(costs: Mapping[str, Sequence[float]]) -> Iterable[str]:
    first = next(iter(costs.values()))
    for name, cost in costs.items():
        ratios = [one / other for one, other in zip(cost, first, strict=True)]
        yield (
            f"{name:16} {min(cost):.3f} {statistics.median(cost):.3f} {max(cost):.3f} ms CPU"
            f"   {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="(10)")
    rounds = max(1, parser.parse_args().rounds)
    missing = missing_tools(["nginx", "taskset", "openssl"])
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 2
    print(f"{description()}; least, median and most of {rounds} rounds")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        root, own = _certificates(folder)
        nginx = start_nginx(folder, own)
        stack.callback(nginx.stop)
        for measure in (requests, handshakes):
            costs = uvloop.run(measure(nginx.port, str(root), rounds))
            print("\n".join(_lines(costs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
