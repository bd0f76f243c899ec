"""Secret and Redactor."""

import base64
import copy
import json
import logging
import pickle
import sys
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

from stepwell.secrets import Redactor, Secret

CANARY = "sk-canary/with+signs"


@pytest.mark.parametrize("show", [repr, str, format, "{:>30}".format, "%s".__mod__, ascii])
def test_a_secret_does_not_show_itself(show: object) -> None:
    """Whatever prints it prints two stars."""
    assert callable(show)
    assert CANARY not in show(Secret(CANARY))
    assert "**" in show(Secret(CANARY))


@pytest.mark.parametrize("dump", [pickle.dumps, json.dumps, lambda secret: secret.__getstate__()])
def test_a_secret_is_not_serialised(dump: object) -> None:
    """Pickle and JSON refuse it, rather than writing something that looks like a value."""
    assert callable(dump)
    with pytest.raises(TypeError) as caught:
        dump(Secret(CANARY))
    assert CANARY not in str(caught.value)


def test_a_secret_compares_by_value() -> None:
    """Equal texts are equal secrets, of any alphabet; a text is never equal to a secret."""
    assert Secret("schlüssel\ud800") == Secret("schlüssel\ud800")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_secret_does_not_change_and_copies_as_itself() -> None:
    """There is one object for one secret."""
    secret = Secret(CANARY)
    with pytest.raises(AttributeError):
        secret._value = "other"
    with pytest.raises(AttributeError):
        del secret._value
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
    assert secret.reveal() == CANARY


def test_an_empty_secret_is_false() -> None:
    """An unset variable with an empty default makes one."""
    assert not Secret("")
    assert Secret("x")


class _Holder(BaseModel, hide_input_in_errors=True):
    key: Secret


def test_pydantic_takes_text_and_secrets_and_gives_none_away() -> None:
    """A model reads it from text and writes stars."""
    holder = _Holder.model_validate({"key": CANARY})
    assert _Holder(key=holder.key).key.reveal() == CANARY
    assert holder.model_dump_json() == '{"key":"**"}'
    assert holder.model_dump() == {"key": Secret(CANARY)}
    with pytest.raises(ValidationError, match="valid string"):
        _Holder.model_validate({"key": 5})
    assert _Holder.model_json_schema(mode="serialization")["properties"]["key"]["type"] == "string"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"Authorization: Bearer {CANARY}", "Authorization: Bearer ***"),
        ("https://h/?key=sk-canary%2Fwith%2Bsigns&x=1", "https://h/?key=***&x=1"),
        ("https://h/?key=sk-canary%2fwith%2bsigns", "https://h/?key=***"),
        ("https://h/sk-canary/with%2Bsigns", "https://h/***"),
        (f"basic {base64.b64encode(CANARY.encode()).decode()}", "basic ***="),
        (f"{CANARY}{CANARY}", "******"),
        ("sk-canary", "sk-canary"),
        ("nothing here", "nothing here"),
    ],
)
def test_the_redactor_finds_a_secret_in_its_forms(text: str, clean: str) -> None:
    """Plain, URL-quoted in either case, and base64, in text and in bytes."""
    redact = Redactor([Secret(CANARY)])
    assert redact(text) == clean
    assert redact(text.encode()) == clean.encode()


def test_the_redactor_finds_a_json_escaped_secret() -> None:
    """A key with a quote or a letter beyond ASCII is found in a JSON body."""
    secret = 'pass"wörd'
    redact = Redactor([secret])
    assert secret not in json.loads(redact(json.dumps({"e": secret})))["e"]
    assert "rd" not in redact(json.dumps({"e": secret}))


def test_the_longer_of_two_secrets_is_replaced_whole() -> None:
    """A key that begins like another does not leave its end behind."""
    assert Redactor(["sk-alpha", "sk-alpha-second"])("sk-alpha-second") == "***"


def test_short_secrets_are_left_in_text() -> None:
    """Five letters stand in ordinary words; replacing them would spoil every line."""
    redact = Redactor(["model", "sk-alpha"])
    assert redact("the model of sk-alpha") == "the model of ***"


def test_a_redactor_without_secrets_returns_what_it_gets() -> None:
    """Nothing to look for costs nothing."""
    redact = Redactor([])
    text, raw = "sk-alpha", b"sk-alpha"
    assert redact(text) is text
    assert redact(raw) is raw


def test_a_redactor_does_not_show_its_secrets() -> None:
    """It states how many it looks for."""
    assert repr(Redactor([CANARY, "short", Secret(CANARY)])) == "Redactor(1 secrets)"


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def text(self) -> str:
        return "\n".join(self.format(record) for record in self.records)


@pytest.fixture
def lines() -> _Lines:
    return _Lines()


@pytest.fixture
def logger(lines: _Lines) -> Iterator[logging.Logger]:
    logger = logging.Logger("a gateway's own")  # noqa: LOG001 - one that no other test can see
    logger.addHandler(lines)
    logger.addFilter(Redactor([Secret(CANARY)]).filter())
    yield logger
    logger.removeHandler(lines)


def test_a_log_message_and_its_arguments_are_redacted(
    logger: logging.Logger, lines: _Lines
) -> None:
    """The secret may stand in the format, in an argument, or in an argument that does not fit."""
    logger.error("refused %s", CANARY)
    logger.error(f"refused {CANARY}")  # noqa: G004 - that is the point
    logger.error("refused %(key)s", {"key": CANARY})
    logger.error("refused %d", CANARY)
    logger.error(ValueError(CANARY))
    assert CANARY not in lines.text + repr([record.__dict__ for record in lines.records])
    assert lines.text.splitlines()[:3] == ["refused ***"] * 3


def _fail_because_of(text: str) -> None:
    raise RuntimeError("outer") from ValueError(text)


def test_a_logged_traceback_is_redacted(logger: logging.Logger, lines: _Lines) -> None:
    """The exception, what caused it, and the stack are text like any other."""
    try:
        _fail_because_of(CANARY)
    except RuntimeError:
        logger.exception("failed", stack_info=True)
    assert CANARY not in lines.text
    assert "ValueError: ***" in lines.text
    assert "RuntimeError: outer" in lines.text
    assert lines.records[0].exc_info is None


def test_a_logs_extras_are_redacted(logger: logging.Logger, lines: _Lines) -> None:
    """Handlers that write JSON take them from the record."""
    logger.error("failed", extra={"url": f"https://h/{CANARY}", "headers": {"x": CANARY}, "n": 3})
    record = lines.records[0].__dict__
    assert (record["url"], record["headers"], record["n"]) == ("https://h/***", "{'x': '***'}", 3)


def test_a_clean_log_record_passes_as_it_is(logger: logging.Logger, lines: _Lines) -> None:
    """Handlers that group by message or render exceptions themselves still can."""
    try:
        _fail_because_of("plain")
    except RuntimeError:
        logger.exception("served %s in %d ms", "groq", 5)
        (record,) = lines.records
        assert (record.msg, record.args) == ("served %s in %d ms", ("groq", 5))
        assert record.exc_info is not None
        assert record.exc_info[1] is sys.exc_info()[1]
