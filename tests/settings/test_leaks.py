"""A canary in every place that may hold a secret, and every way in which settings may be shown."""

import base64
import logging
import pickle
import traceback
from typing import Any

import pytest

from stepwell.errors import SettingsError
from stepwell.secrets import Redactor
from stepwell.settings import Settings
from stepwell.settings.tree import tree_of

CANARIES = {
    "client": "sk-client-canary",
    "named": "sk-named-canary",
    "provider": "sk-provider-canary",
    "second": "sk-second-canary",
    "header": "header-canary",
    "word": "0123456789abcdefcanary0123",
    "query": "query-canary",
    "proxy": "proxy%40canary",
    "redis": "redis-canary",
    "database": "database-canary",
}


def _data() -> dict[str, Any]:
    c = CANARIES
    return {
        "api_keys": [c["client"], {"name": "ci", "key": c["named"], "chains": ["default"]}],
        "providers": {
            "p": {
                "base_url": "http://p/v1",
                "api_keys": [c["provider"], c["second"]],
                "headers": {
                    "X-Secret": f"Bearer {c['header']}",
                    "x-id": c["word"],
                    "x-title": "Mine",
                },
                "query": {"key": c["query"], "version": "2026-01-01"},
                "proxy": f"http://me:{c['proxy']}@proxy:3128",
            }
        },
        "chains": {"default": ["p/m"]},
        "state": {"url": f"redis://:{c['redis']}@redis:6379/0"},
        "database": {"url": f"postgresql://me:{c['database']}@db/stepwell"},
    }


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda settings: settings.model_dump_json(),
        lambda settings: repr(settings.model_dump()),
        lambda settings: repr(vars(settings)),
        lambda settings: repr(settings.accounts()),
        lambda settings: repr(settings.secrets()),
        lambda settings: repr(settings.routes().models()),
    ],
)
def test_settings_show_no_secret(show: Any) -> None:
    """Neither the model nor anything it returns can be printed into a leak."""
    shown = show(Settings.from_dict(_data()))
    assert not [name for name, canary in CANARIES.items() if canary in shown]


def test_settings_are_not_pickled() -> None:
    """A pickle would hold every key."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Settings.from_dict(_data()))


def test_every_secret_is_known_to_the_redactor() -> None:
    """Keys, passwords as written and as sent, and what looks like a credential elsewhere."""
    secrets = Settings.from_dict(_data()).secrets()
    redact = Redactor(secrets)
    assert not [c for c in CANARIES.values() if redact(f"<{c}>") != "<***>"]
    assert redact("<proxy@canary>") == "<***>"
    sent = base64.b64encode(b"me:database-canary").decode()
    assert redact(sent) == "***"
    assert len(secrets) == len(set(secrets))


def test_ordinary_header_and_query_values_are_no_secrets() -> None:
    """A title redacted from every line would only spoil the log."""
    revealed = {secret.reveal() for secret in Settings.from_dict(_data()).secrets()}
    assert not {"Mine", "2026-01-01", "me"} & revealed


def test_settings_without_secrets_have_none() -> None:
    """A keyless provider and the default stores give the redactor nothing to look for."""
    bare = Settings(providers={"p": {"base_url": "http://p"}}, chains={"default": ["p/m"]})
    assert bare.secrets() == []


def test_the_tree_that_settings_are_read_into_shows_no_secret() -> None:
    """Tracebacks with local variables print it."""
    tree = tree_of(_data())
    assert "canary" not in repr([*tree.walk()])
    assert repr(tree.at(("api_keys", 0))) == "Value(api_keys[0] at code)"


# Where a canary stands by mistake, so that something is wrong with it or near it.
MISPLACED: dict[str, dict[str, Any]] = {
    "key with a blank": {"api_keys": ["sk-canary x"]},
    "key as the name of a setting": {"api_keys": [{"sk-canary-1": None}]},
    "key as a mapping": {"api_keys": {"sk-canary": "sk-canary"}},
    "key in an unknown setting": {"providers": {"p": {"base_url": "http://p", "key": "sk-canary"}}},
    "key as a provider": {"providers": {"p": "sk-canary"}},
    "key as a list": {"providers": {"p": {"base_url": "http://p", "api_keys": "sk-canary"}}},
    "key inside an address": {"providers": {"p": {"base_url": "http://sk-canary@p/v1"}}},
    "key in the query": {"providers": {"p": {"base_url": "http://p/v1?k=sk-canary"}}},
    "key in a header": {
        "providers": {"p": {"base_url": "http://p", "headers": {"a": "sk-canary\n"}}}
    },
    "wrong proxy": {"providers": {"p": {"base_url": "http://p", "proxy": "me:sk-canary@p"}}},
    "wrong database": {"database": {"url": "mysql://me:sk-canary@db/x"}},
    "wrong state": {"state": {"url": "sk-canary"}},
    "key as a section": {"state": "sk-canary"},
    "key that is also a step": {"api_keys": ["sk-canary"], "chains": {"default": ["sk-canary"]}},
}


@pytest.mark.parametrize("wrong", MISPLACED.values(), ids=MISPLACED)
def test_mistakes_show_no_secret(wrong: dict[str, Any]) -> None:
    """An error about a secret names its place and never the secret."""
    good = {"providers": {"p": {"base_url": "http://p"}}, "chains": {"default": ["p/m"]}}
    with pytest.raises(SettingsError) as caught:
        Settings.from_dict(good | wrong)
    text = "".join(traceback.format_exception(caught.value))
    assert "canary" not in text
    assert "canary" not in repr(caught.value.problems)


def test_pydantic_settings_logs_no_secret_when_debugged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its debug switch prints what each source yields; ours yields secrets as Secret."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    with caplog.at_level(logging.DEBUG):
        Settings.from_dict(_data())
    assert "Secret" in caplog.text
    assert "canary" not in caplog.text
