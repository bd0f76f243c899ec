"""`stepwell init`: a first file from the keys in the environment, which it never overwrites."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., "subprocess.CompletedProcess[str]"]

KEYS = {
    "GROQ_API_KEY": "gsk-canary-one",
    "GROQ_API_KEY_2": "gsk-canary-two",
    "GEMINI_API_KEY": "AIza-canary",
    "CLOUDFLARE_API_TOKEN": "cf-canary",
    "CLOUDFLARE_ACCOUNT_ID": "account-canary",
    "OPENAI_API_KEY": "sk-canary",
    "ARK_API_KEY": "ark-canary",
    "LM_STUDIO_API_KEY": "lm-canary",
}
CHAIN = [
    "groq/openai/gpt-oss-120b",
    "gemini/gemini-flash-lite-latest",
    "cloudflare/@cf/openai/gpt-oss-120b",
    "groq/openai/gpt-oss-20b",
    "gemini/gemini-flash-latest",
]


def test_the_file_has_the_free_models_and_passes_the_check(run: Run, tmp_path: Path) -> None:
    """The chain stands in the order of the catalogue, with every key by its variable."""
    assert run("init", **KEYS).returncode == 0
    settings = yaml.safe_load((tmp_path / "stepwell.yaml").read_text())
    assert settings["chains"] == {"default": CHAIN}
    assert settings["providers"]["groq"]["api_keys"] == ["${GROQ_API_KEY}", "${GROQ_API_KEY_2}"]
    assert settings["providers"]["cloudflare"]["vars"] == {"account_id": "${CLOUDFLARE_ACCOUNT_ID}"}
    assert "api_keys" not in settings
    checked = json.loads(run("check", "--json", **KEYS).stdout)
    assert checked["ok"]
    assert checked["provider_keys"] == {"groq": 2, "gemini": 1, "cloudflare": 1}


def test_no_key_is_written_or_shown(run: Run, tmp_path: Path) -> None:
    """The file may be committed."""
    shown = run("init", **KEYS, STEPWELL_API_KEY="client-canary")
    assert "canary" not in (tmp_path / "stepwell.yaml").read_text()
    assert "canary" not in shown.stdout + shown.stderr


def test_what_is_left_out_is_said_and_stands_there_as_a_comment(run: Run, tmp_path: Path) -> None:
    """A provider that costs money is never in the chain; a program here is not looked for."""
    shown = run("init", **KEYS).stdout
    assert "found OPENAI_API_KEY: openai, left out: costs money" in shown
    assert "found ARK_API_KEY: volcengine, left out: choose one of its models" in shown
    text = (tmp_path / "stepwell.yaml").read_text()
    assert "    # - {provider: openai, model: ..., cost: paid}\n" in text
    assert "    # - {provider: volcengine, model: ...}\n" in text
    assert '  #   api_keys: ["${OPENAI_API_KEY}"]\n' in text
    assert "  # ollama-local: {preset: ollama-local}" in text


def test_the_comments_become_settings_by_taking_the_mark_away(run: Run, tmp_path: Path) -> None:
    """What they say of a provider that was left out is right."""
    run("init", **KEYS)
    path = tmp_path / "stepwell.yaml"
    text = path.read_text()
    for line in ("openai:", "  preset: openai", '  api_keys: ["${OPENAI_API_KEY}"]'):
        text = text.replace(f"  # {line}\n", f"  {line}\n")
    step = "- {provider: openai, model: ..., cost: paid}"
    text = text.replace(f"    # {step}\n", f"    {step.replace('...', 'gpt-5')}\n")
    path.write_text(text)
    checked = json.loads(run("check", "--json", **KEYS).stdout)
    assert checked["chains"]["default"][-1]["step"] == "openai/gpt-5"
    assert checked["chains"]["default"][-1]["paid"]


def test_clients_keys_are_asked_for_if_there_is_one(run: Run, tmp_path: Path) -> None:
    """By the variable that is kept for it."""
    run("init", GROQ_API_KEY="gsk", STEPWELL_API_KEY="sk-client")
    settings = yaml.safe_load((tmp_path / "stepwell.yaml").read_text())
    assert settings["api_keys"] == ["${STEPWELL_API_KEY}"]


@pytest.mark.parametrize("how", ["file", "link to nothing"])
def test_what_is_there_is_never_overwritten(run: Run, tmp_path: Path, how: str) -> None:
    """Not even where a link would lead to a new file."""
    path = tmp_path / "stepwell.yaml"
    if how == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "elsewhere.yaml")
    answer = run("init", GROQ_API_KEY="gsk")
    assert answer.returncode == 1
    assert answer.stderr == (
        "stepwell: stepwell.yaml exists already and was left as it is; "
        "choose another with --output\n"
    )
    assert path.is_symlink() or path.read_text() == "mine"
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_another_file_may_be_named(run: Run, tmp_path: Path) -> None:
    """The advice at the end then names it too."""
    shown = run("init", "--output", "other.yaml", GROQ_API_KEY="gsk")
    assert (tmp_path / "other.yaml").exists()
    assert not (tmp_path / "stepwell.yaml").exists()
    assert "next: stepwell check --config other.yaml --live" in shown.stdout


def test_a_place_that_cannot_be_written_is_told(run: Run) -> None:
    """In a sentence."""
    answer = run("init", "--output", "nowhere/x.yaml", GROQ_API_KEY="gsk")
    assert answer.returncode == 1
    assert answer.stderr == "stepwell: cannot write nowhere/x.yaml: no such file or directory\n"


def test_without_a_free_key_nothing_is_written(run: Run, tmp_path: Path) -> None:
    """The message names the variables that would do."""
    answer = run("init", OPENAI_API_KEY="sk-canary")
    assert answer.returncode == 1
    assert answer.stderr.startswith("stepwell: no key of a free provider is set; set one of ")
    assert "GROQ_API_KEY" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_variable_of_blanks_is_no_key(run: Run, tmp_path: Path) -> None:
    """It is what a form or a secret store leaves of a key that nobody gave."""
    result = run("init", GROQ_API_KEY=" ", GEMINI_API_KEY="sk-gemini")

    assert (result.returncode, "GROQ" in result.stdout) == (0, False)
    assert "groq" not in (tmp_path / "stepwell.yaml").read_text()


def test_scripts_get_one_document(run: Run) -> None:
    """With what was found, what became of it, and the chain; or with the problem."""
    document = json.loads(run("init", "--json", **KEYS).stdout)
    assert (document["ok"], document["file"], document["chain"]) == (True, "stepwell.yaml", CHAIN)
    found = {each["provider"]: each for each in document["found"]}
    assert found["groq"]["variables"] == ["GROQ_API_KEY", "GROQ_API_KEY_2"]
    assert [name for name, each in found.items() if each["in_chain"]] == [
        "groq",
        "gemini",
        "cloudflare",
    ]
    again = run("init", "--json", **KEYS)
    assert again.returncode == 1
    assert json.loads(again.stdout)["problem"].startswith("stepwell.yaml exists already")


def test_an_address_that_lacks_a_value_is_left_out(run: Run) -> None:
    """With the variable that is missing."""
    shown = run("init", GROQ_API_KEY="gsk", CLOUDFLARE_API_TOKEN="cf").stdout
    assert "cloudflare, left out: needs CLOUDFLARE_ACCOUNT_ID too" in shown
