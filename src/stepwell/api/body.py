"""Reading a request's body: its type, its size, its encoding, its depth."""

from collections.abc import Mapping
from io import BytesIO
from typing import Final

from starlette.types import Message, Receive

from stepwell.errors import BadRequest

_JSON: Final = b"application/json"
# Bytes in which counting is cheaper than looking from bracket to bracket.
_SMALL: Final = 64 * 1024
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_BOM: Final = b"\xef\xbb\xbf"


class ClientDisconnected(Exception):
    """The client left while its body was being read."""


async def read_json_body(
    headers: Mapping[bytes, bytes], receive: Receive, *, max_body: int, max_depth: int
) -> bytes:
    """Return the body of a request that says it is JSON.

    Args:
        headers: The request's.
        receive: The server's.
        max_body: Most bytes.
        max_depth: Most levels of objects and arrays.

    Raises:
        BadRequest: With status 415, 413 or 400.
        ClientDisconnected: The client left before its end.
    """
    if headers.get(b"content-type") != _JSON or b"content-encoding" in headers:
        _check_type(headers)
    declared = _declared_length(headers)
    if declared > max_body:
        raise _too_large(max_body)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect" or message.get("more_body", False):
        body = await _read_on(message, receive, declared, max_body)
    elif len(body) > max_body:
        raise _too_large(max_body)
    if not body.isascii():
        _check_encoding(body)
    if _opens_more_than(body, max_depth):
        _check_depth(body, max_depth)
    return body


def _check_type(headers: Mapping[bytes, bytes]) -> None:
    if not _is_json(headers.get(b"content-type", _JSON)):
        raise BadRequest(
            "Send the body as JSON, with 'Content-Type: application/json'.",
            code="unsupported_media_type",
            status=415,
        )
    if b"content-encoding" not in headers:
        return
    if headers[b"content-encoding"].strip().lower() not in (b"identity", b""):
        raise BadRequest(
            "Send the body uncompressed, without 'Content-Encoding'.",
            code="unsupported_media_type",
            status=415,
        )


def _is_json(media: bytes) -> bool:
    if media == _JSON:
        return True
    media = media.split(b";")[0].strip().lower()
    return media == _JSON or media.endswith(b"+json")


def _declared_length(headers: Mapping[bytes, bytes]) -> int:
    value = headers.get(b"content-length", b"")
    # Python refuses to read numbers of thousands of digits; twenty are enough for any length.
    return int(value[:20]) if value.isdigit() else 0


def _too_large(most: int) -> BadRequest:
    return BadRequest(
        f"The request body is larger than {most} bytes (limits.max_body): send less of it, "
        "such as images by URL in place of base64.",
        code="request_too_large",
        status=413,
    )


async def _read_on(message: Message, receive: Receive, declared: int, most: int) -> bytes:
    """Return the whole of a body of which `message` is the first part."""
    # All its memory at once, which costs nothing before it is written to: growing takes copies, and
    # chunks that are joined would be there twice.
    body = BytesIO(bytes(declared))
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body.write(message.get("body", b""))
        if body.tell() > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            body.truncate()  # what was declared and has not come
            return body.getvalue()  # its own memory, not a copy
        message = await receive()


def _check_encoding(body: bytes) -> None:
    """Refuse what is not UTF-8: the decoder skips most strings, and would hand it on."""
    if body.startswith(_BOM):
        raise BadRequest("The request body begins with a byte order mark: leave it out.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"The request body is not UTF-8 at byte {error.start}: encode it as UTF-8."
        ) from None


def _opens_more_than(body: bytes, most: int) -> bool:
    """Tell whether more than `most` brackets open, looking no further than to these.

    What opens fewer cannot be nested deeper than that, which settles most bodies.
    """
    if len(body) < _SMALL:
        return body.count(b"[") + body.count(b"{") > most
    for bracket in (b"[", b"{"):
        place = body.find(bracket)
        while place >= 0:
            most -= 1
            if most < 0:
                return True
            place = body.find(bracket, place + 1)
    return False


def _check_depth(body: bytes, most: int) -> None:
    """Refuse what is nested deeper than `most`, exactly, and without decoding it.

    The strings are cut out (escapes first), and the innermost pairs are taken away, a level a round.
    """
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(bare.split(b'"')[::2]).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(most):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            return  # balanced, or no JSON, which the decoder tells better
        brackets = fewer
    if brackets:
        raise BadRequest(
            f"The request body is nested deeper than {most} levels (limits.max_depth): flatten it."
        )
