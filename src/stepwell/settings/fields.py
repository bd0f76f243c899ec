"""The types of single settings: durations, sizes, keys, addresses.

Each refuses with `mistake`, which keeps two sentences: one may show what was written, the other,
for values that are secret or came from the environment, does not.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit
from zoneinfo import available_timezones

from annotated_types import Ge, Gt
from pydantic import AfterValidator, BeforeValidator, InstanceOf
from pydantic_core import PydanticCustomError

from stepwell.quota.limit import Limit, parse_duration
from stepwell.routing.history import (
    ANY_ID,
    EXTRAS,
    NINE_ALPHANUMERICS,
    THOUGHTS,
    WORD_CHARACTERS,
    ToolIds,
    at_most,
)
from stepwell.secrets import Secret
from stepwell.settings.problems import MAX_SHOWN, did_you_mean

MISTAKE: Final = "stepwell"


def mistake(discreet: str, open_: str | None = None) -> PydanticCustomError:
    """Return the error to raise in a validator.

    Args:
        discreet: A sentence that shows nothing of the value.
        open_: A better one that does.
    """
    return PydanticCustomError(
        MISTAKE, "{discreet}", {"discreet": discreet, "open": open_ or discreet}
    )


def _duration(value: Any) -> float:
    general = "this is not a duration; write it like 5s, 250ms or 1m30s"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise mistake(general)
    try:
        return parse_duration(value)
    except ValueError as error:
        raise mistake(general, f"{error}{_word_hint(value, _UNITS)}") from None


def _word_hint(written: Any, known: Collection[str]) -> str:
    """Return `; did you mean 'seconds'?` if a word is nearly one that is known in the plural."""
    for word in re.findall(r"[A-Za-z]{3,}", written) if isinstance(written, str) else ():
        near = did_you_mean(word, known)
        if f"{word.lower().removesuffix('s')}s" not in known and "mean" in near:
            return near
    return ""


_UNITS: Final = ("seconds", "minutes", "hours", "days")
_LIMIT_WORDS: Final = (*_UNITS, "months", "requests", "tokens")

_SIZES: Final = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
"""Powers of 1024, as in nginx's and most servers' body limits; KiB, MiB and GiB mean the same."""


def _size(value: Any) -> int:
    match = re.fullmatch(r"\s*(\d+)\s*([KMG]?)I?(B?)\s*", str(value).upper())
    if isinstance(value, bool) or match is None:
        raise mistake("this is not a size; write it like 32MB or 512KB")
    return int(match[1]) * _SIZES[f"{match[2]}B" if match[2] else ""]


def _limit(value: Any) -> Limit:
    if isinstance(value, Limit):
        return value
    general = (
        "this is not a limit; write it like '30 requests/minute' "
        "or {metric: requests, limit: 30, window: 60s}"
    )
    if not isinstance(value, str | Mapping):
        raise mistake(general)
    try:
        return Limit.parse(value)
    except ValueError as error:
        raise mistake(general, f"{error}{_limit_hint(value)}") from None


def _limit_hint(written: str | Mapping[str, Any]) -> str:
    if isinstance(written, Mapping):
        return _zone_hint(str(written.get("reset", "")))
    counted, _, reset = written.partition(" from ")
    return _word_hint(counted, _LIMIT_WORDS) or _zone_hint(reset)


def _zone_hint(reset: str) -> str:
    """Return `; did you mean 'Europe/Berlin'?` if a reset's zone is nearly that, whatever its case."""
    zone = reset.strip().partition(" ")[2].strip()
    known = available_timezones() if zone else set()
    if zone in known:
        return ""
    zones = {name.lower(): name for name in sorted(known)}
    near = get_close_matches(zone[:MAX_SHOWN].lower(), zones, n=1)
    return f"; did you mean {zones[near[0]]!r}?" if near else ""


_TOOL_IDS: Final = {"any": ANY_ID, "mistral": NINE_ALPHANUMERICS, "anthropic": WORD_CHARACTERS}

# With fewer letters and digits a conversation's ids might not stay apart.
_SHORTEST_ID: Final = 9


def _tool_ids(value: Any) -> ToolIds:
    if isinstance(value, ToolIds):
        return value
    if isinstance(value, str) and value in _TOOL_IDS:
        return _TOOL_IDS[value]
    written = str(value)
    if isinstance(value, bool) or not written.isdecimal() or int(written) < _SHORTEST_ID:
        words = ", ".join(_TOOL_IDS)
        raise mistake(f"this must be the most characters, {_SHORTEST_ID} or more, or {words}")
    return at_most(int(written))


def _history_fields(value: Any) -> Any:
    return EXTRAS | THOUGHTS if value == "any" else value


def _history_field(name: str) -> str:
    if name not in EXTRAS | THOUGHTS:
        hint = did_you_mean(name, sorted(EXTRAS | THOUGHTS))
        raise mistake("this field is never left out", f"{name!r} is never left out{hint}")
    return name


def _sendable(secret: Secret) -> Secret:
    """Strip the line's end that `$(cat key)` leaves; what remains must fit into a header."""
    text = secret.reveal().strip()
    if re.fullmatch(r"[\x21-\x7e]*", text) is None:
        raise mistake(
            "the key contains white space, control characters or signs outside ASCII, "
            "which cannot be sent in a header; copy it again"
        )
    return Secret(text)


def _parts(url: str) -> SplitResult:
    if re.search(r"[\x00-\x20\x7f]", url):
        raise mistake("the address contains white space or control characters")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise mistake("this is not an address; write it like https://host/v1") from None
    return parts


def _base_url(value: str) -> str:
    parts = _parts(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise mistake("the address must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        raise mistake("the address holds a user or password; give the key in api_keys")
    if parts.query or parts.fragment:
        raise mistake("the address has a '?' or '#' part; give parameters in 'query'")
    path = parts.path.rstrip("/")
    if path.endswith(("/chat/completions", "/completions", "/models")):
        raise mistake("the address must be the base, such as https://host/v1, without the endpoint")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _address(*schemes: str, example: str) -> AfterValidator:
    """Return a check that a secret address begins with one of the schemes."""

    def check(secret: Secret) -> Secret:
        scheme = _parts(secret.reveal()).scheme
        if scheme not in schemes:
            wanted = ", ".join(f"{name}://" for name in schemes)
            raise mistake(f"the address must begin with {wanted}, as in {example}")
        return secret

    return AfterValidator(check)


_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field name (RFC 9110, section 5.6.2)."""

_OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "content-type", "accept-encoding"}
)
"""Header fields that follow from the request that is sent, and would break it."""


def is_token(text: str) -> bool:
    """Whether this may be the name of a header."""
    return _TOKEN.fullmatch(text) is not None


def _header_name(name: str) -> str:
    if not is_token(name):
        raise mistake("this is not the name of a header", f"{name!r} is not the name of a header")
    if name.lower() in _OURS:
        raise mistake("stepwell sets this header itself", f"stepwell sets {name!r} itself")
    return name.lower()


def _header_value(secret: Secret) -> Secret:
    if re.fullmatch(r"[\x20-\x7e]*", secret.reveal()) is None:
        raise mistake("the value contains control characters or signs outside ASCII")
    return secret


def _file(value: str) -> str:
    if not Path(value).is_file():
        raise mistake("there is no such file", f"there is no file {value!r}")
    return value


def _name(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise mistake("this is not a name: it is empty or contains control characters")
    return value


def _model_name(value: str) -> str:
    if re.fullmatch(r"[\x21-\x7e]+", value) is None:
        raise mistake("this is not a model's name: it must be ASCII without white space")
    return value


_URL_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _url_word(value: str) -> str:
    if _URL_WORD.fullmatch(value) is None:
        raise mistake("this must be a word of letters, digits, '.', '_' and '-'")
    return value


def with_vars(address: str, values: Any) -> str | None:
    """Return an address with its {names} filled in; None if a value is missing or no word."""
    words = values if isinstance(values, Mapping) else {}
    for name in placeholders(address):
        word = words.get(name)
        if not isinstance(word, str) or _URL_WORD.fullmatch(word) is None:
            return None
        address = address.replace(f"{{{name}}}", word)
    return address


def placeholders(address: str) -> list[str]:
    """Return the {names} in an address."""
    return re.findall(r"\{(\w+)\}", address)


_ROUTED: Final = ("model", "messages", "stream")


def _param_name(value: str) -> str:
    if value in _ROUTED or not value.strip():
        raise mistake(f"this must name a body field other than {', '.join(_ROUTED)}")
    return value


Duration = Annotated[float, Ge(0), BeforeValidator(_duration)]
"""Seconds."""
Timeout = Annotated[float, Gt(0), BeforeValidator(_duration)]
"""Seconds, more than none."""
Size = Annotated[int, Ge(1), BeforeValidator(_size)]
"""Bytes."""
Count = Annotated[int, Ge(1)]
ToolIdsField = Annotated[InstanceOf[ToolIds], BeforeValidator(_tool_ids)]
HistoryFields = Annotated[
    frozenset[Annotated[str, AfterValidator(_history_field)]], BeforeValidator(_history_fields)
]
LimitField = Annotated[InstanceOf[Limit], BeforeValidator(_limit)]
Key = Annotated[Secret, AfterValidator(_sendable)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
ProxyUrl = Annotated[Secret, _address("http", "https", example="http://user:password@host:3128")]
StateUrl = Annotated[
    Secret,
    _address(
        "memory", "redis", "rediss", "valkey", "valkeys", "unix", example="redis://host:6379/0"
    ),
]
DatabaseUrl = Annotated[
    Secret, _address("sqlite", "postgresql", "postgres", example="sqlite:///stepwell.db")
]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[Secret, AfterValidator(_header_value)]
FilePath = Annotated[str, AfterValidator(_file)]
Name = Annotated[str, AfterValidator(_name)]
UrlWord = Annotated[str, AfterValidator(_url_word)]
ParamName = Annotated[str, AfterValidator(_param_name)]
"""A body field that may be set, left out, or called otherwise."""
ModelName = Annotated[str, AfterValidator(_model_name)]
