"""Clients that leave, and what they leave behind."""

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from .contestants import Contestant, Request
from .process import Process

HANG_UPS: Final = 600
LEAVERS: Final = 16  # at a time, fewer than the connections that were open before
LONGEST: Final = 0.6  # seconds; the stream takes half a second
LEFT_LIMIT: Final = 5.0


def wire(request: Request) -> bytes:
    return f"{request.head}content-length: {len(request.body)}\r\n\r\n{request.body}".encode()


def hang_up_once(who: Contestant, provider: Process) -> float:
    """Return the milliseconds from a client's leaving a stream to the provider's noticing."""
    seen = len(provider.output.read_text().splitlines())
    with socket.create_connection(("127.0.0.1", who.port)) as client:
        client.sendall(wire(who.request("stream-48-125", stream=True)))
        received = b""
        while b"word" not in received:
            received += client.recv(65536)
        left = time.monotonic()
    while len(lines := provider.output.read_text().splitlines()) == seen:
        if time.monotonic() - left > LEFT_LIMIT:
            return 1000 * LEFT_LIMIT
        time.sleep(0.01)
    return 1000 * (float(lines[-1].split()[1]) - left)


def hang_up_often(who: Contestant) -> None:
    """Leave at random moments, from amid the request's head to the stream's end."""
    dice = random.Random(HANG_UPS)
    request = wire(who.request("stream-50-10", stream=True))
    plans = [
        (
            dice.choice([dice.randrange(100, len(request)), *[len(request)] * 3]),
            dice.uniform(0.0, dice.choice([0.002, 0.05, LONGEST])),
        )
        for _ in range(HANG_UPS)
    ]

    def leave(plan: tuple[int, float]) -> None:
        size, seconds = plan
        with socket.create_connection(("127.0.0.1", who.port)) as client:
            client.sendall(request[:size])
            time.sleep(seconds)

    with ThreadPoolExecutor(LEAVERS) as pool:
        list(pool.map(leave, plans))
    time.sleep(1.0)
