"""Where providers put an error, and under which names.

Seen so far: OpenAI's envelope `{error: {message, type, code}}`, the same inside an array (Gemini)
or as a JSON text inside `message` (proxies of Gemini), `error` as a string (xAI, Ollama, Hugging
Face), a flat `{message, type, code}` (Cerebras, Mistral, SiliconFlow), `{detail}` (Chutes),
`{title, status}` (problem details, NVIDIA), `{errors: [{code, message}]}` (Cloudflare), MiniMax's
`{base_resp: {status_code, status_msg}}` inside a 200, and plain text or HTML from a proxy.
"""

import json
import re
from typing import Any, NamedTuple, TypeAlias

from stepwell.providers.dialects.durations import number

_LONGEST_PAGE = 4_096  # characters of an HTML page in which its title is sought
_LONGEST_JSON = 65_536  # an error text beyond this is not worth decoding a second time
_DEEPEST = 3  # JSON in a message in JSON: Gemini behind a proxy needs one level
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,300})", re.IGNORECASE)
_STATUS_NAMES = ("code", "status", "status_code", "statusCode", "http_code")
_MESSAGE_NAMES = ("message", "msg", "status_msg", "detail", "error", "title", "error_description")

# MiniMax's own numbers: 1002 request rate, 1039 token rate, 1041 connections, 1008 no balance,
# 1004 and 2049 the key, 2013 parameters, 1026 and 1027 content. Any other one is their fault.
_MINIMAX = {
    1002: 429,
    1039: 429,
    1041: 429,
    1008: 402,
    1004: 401,
    2049: 401,
    2013: 400,
    1026: 400,
    1027: 400,
}

Node: TypeAlias = dict[str, Any]
"""An object of decoded JSON."""


class BodyError(NamedTuple):
    """An error that a body holds; what it does not say is None or empty.

    Attributes:
        status: The HTTP status it names or stands for, 400 to 599.
        code: The provider's code; a reason in `details`, being more exact, goes before `code`.
        type: Its type, or Google's status word.
        message: For people, as it came.
        param: The request's field at fault.
    """

    status: int | None = None
    code: str = ""
    type: str = ""
    message: str = ""
    param: str = ""

    def lines(self, length: int) -> str:
        """Code, type and the beginning of the message, a line each, in lower case."""
        return f"{self.code[:200]}\n{self.type[:200]}\n{self.message[:length]}".lower()


def error_of(body: Any) -> BodyError | None:
    """The error in a body of any shape seen; None if it holds none (`error: null` is none)."""
    return error_in(node_of(body), body)


def error_in(node: Node | None, body: Any) -> BodyError | None:
    """The same, where the mapping that holds the body's error is known."""
    if node is not None:
        return _read(node)
    if isinstance(body, str) and body.strip():
        return BodyError(message=_plain(body))
    if _broken_choice(body):
        return BodyError(status=502, type="error")
    return None


def is_explicit(body: Any) -> bool:
    """Whether a decoded body can be nothing but an error, even inside a 200.

    A flat `{message, ...}` is an error only beside a failing status or with a code of its own.
    """
    if isinstance(body, list):
        body = body[0] if body else None
    node = None if isinstance(body, str) else node_of(body)
    if node is None:
        return _broken_choice(body) is not None
    if node is not body or node.get("object") == "error" or node.get("type") == "error":
        return True
    error = _read(node)
    return error.status is not None or (bool(error.code) and number(error.code) is None)


def node_of(body: Any, depth: int = 0) -> Node | None:
    """The mapping that holds the error's fields, wherever the provider put it."""
    if isinstance(body, str):
        body = _decoded(body)
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict) or depth > _DEEPEST:
        return None
    node = _enveloped(body) or _flat(body)
    if not node:
        return None
    message = node.get("message")
    return (node_of(message, depth + 1) if message else None) or node


def _enveloped(body: Node) -> Node | None:
    error = body.get("error")
    if isinstance(error, dict):
        return error if any(error.values()) else None
    if isinstance(error, str) and error.strip():
        return {**body, "message": error}
    base = body.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return base
    errors = body.get("errors")
    if isinstance(errors, list) and errors and "choices" not in body:
        return errors[0] if isinstance(errors[0], dict) else {"message": errors[0]}
    error = (_broken_choice(body) or {}).get("error")
    return error if isinstance(error, dict) and any(error.values()) else None


def _flat(body: Node) -> Node | None:
    if "choices" in body or body.get("object", "error") != "error":
        return None
    return body if _message(body) else None


def _read(node: Node) -> BodyError:
    metadata = node.get("metadata")
    kind = text_of(node.get("type"))
    word = text_of(node.get("status"))  # RESOURCE_EXHAUSTED, where it is no number
    kind = kind or ("" if word.isdigit() else word)
    message = _message(node)
    if isinstance(metadata, dict):  # OpenRouter's
        kind = kind or text_of(metadata.get("limit_source"))  # which limit tripped
        raw = text_of(metadata.get("raw"))  # the words of the provider behind it
        message = f"{message}: {raw}" if raw else message
    code = _reason(node.get("details")) or text_of(node.get("code") or node.get("status_code"))
    return BodyError(_status(node), code, kind, message, text_of(node.get("param")))


def _status(node: Node) -> int | None:
    for name in _STATUS_NAMES:
        field = node.get(name)
        if field is not None and (value := number(field)) is not None and 400 <= value <= 599:
            return int(value)
    if "status_msg" in node:
        return _MINIMAX.get(int(number(node.get("status_code")) or 0), 500)
    return None


def _message(node: Node) -> str:
    for name in _MESSAGE_NAMES:
        value = node.get(name)
        if isinstance(value, dict):
            value = value.get("message") or value.get("detail")  # the latter inside Mistral's 422
        if isinstance(value, list):
            value = "; ".join(_complaints(value))
        if isinstance(value, str) and value.strip():
            return value
    return ""


def _complaints(items: list[Any]) -> list[str]:
    """The messages of a validation error, without the echo of the request beside them."""
    found = (text_of(item.get("msg")) for item in items if isinstance(item, dict))
    return [text for text in found if text]


def _reason(details: Any) -> str:
    """Google: `details[].reason` (API_KEY_INVALID); Anthropic: `details.error_code`."""
    if not details:
        return ""
    if isinstance(details, dict):
        return text_of(details.get("error_code"))
    items = details if isinstance(details, list) else ()
    reasons = (text_of(item.get("reason")) for item in items if isinstance(item, dict))
    return next(filter(None, reasons), "")


def _broken_choice(body: Any) -> Node | None:
    """OpenRouter and Kilo end a broken answer with this finish reason, and perhaps an error there."""
    choices = body.get("choices") if isinstance(body, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    is_broken = isinstance(first, dict) and first.get("finish_reason") == "error"
    return first if is_broken else None


def _plain(text: str) -> str:
    """Text as it is; of a proxy's HTML page only the title."""
    if not text.lstrip().startswith("<"):
        return text
    title = _TITLE.search(text[:_LONGEST_PAGE])
    return title[1] if title else ""


def _decoded(text: str) -> Any:
    if len(text) > _LONGEST_JSON or text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def text_of(value: Any) -> str:
    """A code or a word: text, or a whole number as text; empty for anything else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e15:
        return str(value)
    return ""
