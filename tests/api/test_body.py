"""A request's body, as servers deliver it."""

from collections.abc import Mapping

import pytest
from starlette.types import Message

from stepwell.api.body import ClientDisconnected, read_json_body

PIECES = (b'{"messages": ', b"", b'["a", "b"]', b"}")


def _message(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def _whole() -> list[Message]:
    return [*(_message(piece, more=True) for piece in PIECES), _message(b"", more=False)]


async def _read(messages: list[Message], headers: Mapping[bytes, bytes]) -> bytes:
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming)

    return await read_json_body(headers, receive, max_body=1000, max_depth=10)


@pytest.mark.parametrize("declared", [None, 0, 5, len(b"".join(PIECES)), 999])
async def test_pieces_are_one_body_whatever_length_was_declared(declared: int | None) -> None:
    """Memory is made ready for what was declared; what comes is what counts."""
    headers = {} if declared is None else {b"content-length": b"%d" % declared}
    assert await _read(_whole(), headers) == b"".join(PIECES)


async def test_a_body_that_its_client_does_not_finish_is_none() -> None:
    """Half of one is never taken for the whole."""
    gone: Message = {"type": "http.disconnect"}
    with pytest.raises(ClientDisconnected):
        await _read([*_whole()[:2], gone], {b"content-length": b"999"})
