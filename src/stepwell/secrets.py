"""Secrets that do not show themselves, and the Redactor that finds them in text.

A `Secret` keeps a key out of what is printed by accident: repr, str, format, JSON, pickle. A
`Redactor` is the second line, for text of which we do not know what is in it: a provider's error,
a traceback, a log line. It looks for the secrets really configured, not for what keys usually look
like.
"""

import base64
import hmac
import json
import logging
import re
import traceback
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Never, overload
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

HIDDEN: Final = "**"
REDACTED: Final = "***"

SHORTEST_REDACTED: Final = 6
"""Characters. Shorter secrets stand in ordinary text by chance ("test", "key1"): replacing them
would spoil logs and answers, and every gap would tell the reader what the secret is. Real keys
have 20 or more; the shortest that examples and tests use ("sk-alpha") have 8."""


class Secret:
    """A text that only `reveal()` shows. An empty one is false."""

    __slots__ = ("_value",)

    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        return self._value

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError("a Secret does not change")

    def __delattr__(self, name: str) -> Never:
        raise AttributeError("a Secret does not change")

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time, as bytes: compare_digest refuses text that is not ASCII."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_encoded(self._value), _encoded(other._value))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __getstate__(self) -> Never:
        raise TypeError("a Secret is not pickled")

    def __reduce__(self) -> Never:
        raise TypeError("a Secret is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        # pydantic asks for this, so it is loaded already; importing it above would load it for all.
        from pydantic_core import core_schema  # noqa: PLC0415

        return core_schema.no_info_plain_validator_function(
            _validated,
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, when_used="json", return_schema=core_schema.str_schema()
            ),
        )


def _validated(value: object) -> Secret:
    from pydantic_core import PydanticKnownError  # noqa: PLC0415 # as above

    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value)
    raise PydanticKnownError("string_type")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class Redactor:
    """Replaces configured secrets in text and bytes by `***`.

    Found are a secret itself (so `Bearer sk-...` becomes `Bearer ***`), its URL-quoted and
    JSON-escaped forms, and the base64 of the whole secret. Secrets shorter than SHORTEST_REDACTED
    are not looked for.
    """

    def __init__(self, secrets: Iterable[Secret | str]) -> None:
        values = {s.reveal() if isinstance(s, Secret) else s for s in secrets}
        self._count = sum(len(value) >= SHORTEST_REDACTED for value in values)
        forms = {form for value in values for form in _forms(value)}
        # Longest first: of two secrets that begin alike the longer one must not leave its end
        # behind.
        ordered = sorted((f for f in forms if len(f) >= SHORTEST_REDACTED), key=len, reverse=True)
        pattern = "|".join(re.escape(form) for form in ordered)
        self._text = re.compile(pattern) if ordered else None
        self._bytes = re.compile(_encoded(pattern)) if ordered else None

    def __repr__(self) -> str:
        return f"Redactor({self._count} secrets)"

    @overload
    def __call__(self, text: str) -> str: ...
    @overload
    def __call__(self, text: bytes) -> bytes: ...
    def __call__(self, text: str | bytes) -> str | bytes:
        """Return `text` without the secrets; the same object if there are none in it."""
        if isinstance(text, bytes):
            return text if self._bytes is None else self._bytes.sub(REDACTED.encode(), text)
        return text if self._text is None else self._text.sub(REDACTED, text)

    def filter(self) -> "RedactingFilter":
        """Return a logging filter for a logger (`logger.addFilter`) or a handler."""
        return RedactingFilter(self)


def _forms(value: str) -> Iterator[str]:
    if len(value) < SHORTEST_REDACTED:
        return
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    quoted = quote(value, safe="", errors="replace")
    yield from (quoted, quote(value, errors="replace"), quote_plus(value, errors="replace"))
    yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    yield base64.b64encode(_encoded(value)).decode().rstrip("=")
    yield base64.urlsafe_b64encode(_encoded(value)).decode().rstrip("=")


class RedactingFilter(logging.Filter):
    """Takes secrets out of a record's message, arguments, extras, stack and traceback.

    A record without secrets passes as it is, arguments and exception included, so that handlers
    which render these themselves still can.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redact = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        self._clean_message(record)
        self._clean_traceback(record)
        for name, value in record.__dict__.items():
            record.__dict__[name] = self._clean_attribute(name, value)
        return True

    def _clean_attribute(self, name: str, value: object) -> object:
        if isinstance(value, str):
            return self._redact(value)
        if value is None or isinstance(value, int | float) or name in {"msg", "args", "exc_info"}:
            return value
        text = repr(value)  # a container or an object given as `extra`
        clean = self._redact(text)
        return value if clean == text else clean

    def _clean_message(self, record: logging.LogRecord) -> None:
        raw = f"{_message(record)}\n{record.args!r}"
        if self._redact(raw) == raw:
            return
        record.msg = self._redact(_message(record))
        record.args = ()

    def _clean_traceback(self, record: logging.LogRecord) -> None:
        if not record.exc_info or record.exc_info[0] is None:
            return
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        clean = self._redact(text)
        if clean != text:
            # Formatters use exc_text where it is set; without exc_info none can render it anew.
            record.exc_text = clean
            record.exc_info = None


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit: logging would print them to stderr as they are.
        return f"{record.msg} {record.args!r}"
