"""`stepwell explain`: what would become of a request, by a gateway that runs or by settings alone."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[Any], str]


class Command(Protocol):
    async def address(self) -> str: ...


Start = Callable[..., AbstractAsyncContextManager[Command]]

SETTINGS = """\
api_keys: [sk-client-secret]
providers:
  small: {base_url: "http://127.0.0.1:9/v1", context: 1000, capabilities: []}
  large: {base_url: "http://127.0.0.1:9/v1", limits: ["6 requests/6s"]}
chains:
  default: [small/model-1, {provider: large, model: model-2, cost: paid}]
  fast: [small/model-1]
database: {url: "sqlite:///stepwell.db"}
"""
REQUEST = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def config(write: Write) -> str:
    return write(SETTINGS)


def document_of(result: "subprocess.CompletedProcess[str]") -> Any:
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_settings_alone_say_what_would_be_taken(run: Run, config: str, tmp_path: Path) -> None:
    """In words; nobody is called, and nothing is written."""
    before = set(tmp_path.iterdir())
    result = run("explain", "--config", config, "--tokens", "5000")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert (result.returncode, result.stderr) == (0, "")
    assert ["small/model-1", "skipped", "context"] in rows
    assert ["large/model-2", "(paid)", "large/model-2", "taken"] in rows
    assert "It would be sent to large/model-2." in result.stdout
    assert "secret" not in result.stdout
    assert "\x1b" not in result.stdout
    assert set(tmp_path.iterdir()) == before


def test_tokens_are_about_those_of_the_prompt(run: Run, config: str) -> None:
    """As the gateway estimates them, with a request's few words around."""
    document = document_of(run("explain", "--json", "--config", config, "--tokens", "700"))
    assert 700 <= document["estimate"]["prompt_tokens"] <= 720
    assert (document["decision"], document["route"]) == ("call", "default")


def test_a_request_comes_from_a_file(run: Run, config: str, tmp_path: Path) -> None:
    """With all that it asks for; --model names another chain or step."""
    (tmp_path / "request.json").write_text(json.dumps(REQUEST | {"tools": [{"type": "function"}]}))
    document = document_of(run("explain", "--json", "--config", config, "request.json"))
    assert (document["route"], document["decision"]) == ("fast", "reject")
    assert document["error"]["code"] == "unsupported_parameter"
    other = run("explain", "--json", "--config", config, "-m", "default", "request.json")
    assert document_of(other)["target"] == "large/model-2"


def test_a_rejection_is_told_in_the_words_of_its_error(run: Run, config: str) -> None:
    """And it is an explanation like any other: exit code 0."""
    result = run("explain", "--config", config, "--model", "fast", "--tokens", "5000")
    assert result.returncode == 0
    assert "Nobody could ever serve it." in result.stdout
    assert "maximum context length here is 1000 tokens" in result.stdout


async def test_a_gateway_that_runs_explains(start: Start, run: Run, config: str) -> None:
    """What it would do itself, with the key of STEPWELL_API_KEY."""
    async with start("serve", "--port", "0", "--config", config) as command:
        address = await command.address()
        result = await asyncio.to_thread(
            run, "explain", "--url", address, "--json", STEPWELL_API_KEY="sk-client-secret"
        )
        assert document_of(result)["target"] == "small/model-1"


def test_no_gateway_is_a_sentence(run: Run) -> None:
    """And exit code 1."""
    result = run("explain", "--url", "http://127.0.0.1:9")
    assert result.returncode == 1
    assert result.stderr.startswith("stepwell: no gateway answers at http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "no such file"), ("{", "not valid JSON"), ("[]", "a request is a JSON object")],
)
def test_a_file_that_cannot_be_used_is_a_sentence(
    content: str | None, complaint: str, run: Run, config: str, tmp_path: Path
) -> None:
    """Named, with what is wrong, and exit code 2."""
    if content is not None:
        (tmp_path / "request.json").write_text(content)
    result = run("explain", "--config", config, "request.json")
    assert result.returncode == 2
    assert result.stderr.startswith("stepwell: request.json: ")
    assert complaint in result.stderr


def test_a_request_that_is_refused_is_a_sentence(run: Run, config: str, tmp_path: Path) -> None:
    """There is nothing to explain about a request that is no request."""
    (tmp_path / "request.json").write_text('{"messages": 7}')
    result = run("explain", "--config", config, "request.json")
    assert result.returncode == 1
    assert "'messages' must be a list of messages" in result.stderr


def test_a_file_and_tokens_exclude_each_other(run: Run, config: str) -> None:
    """Nobody could say which was meant."""
    result = run("explain", "--config", config, "--tokens", "9", "request.json")
    assert result.returncode == 2
    assert "not both" in result.stderr


def test_wrong_settings_are_told_line_by_line(run: Run, write: Write) -> None:
    """As by every command: exit code 2, no traceback."""
    result = run("explain", "--config", write(SETTINGS.replace("large/", "larg/") + "pinz: any\n"))
    assert result.returncode == 2
    assert "pinz" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_prompt_beyond_any_context_is_a_wrong_option(run: Run, config: str) -> None:
    """It would not fit into memory either."""
    result = run("explain", "--config", config, "--tokens", "1000000000000")
    assert (result.returncode, result.stdout) == (2, "")
    assert "5000000" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_request_is_told_without_an_address_of_ours(
    run: Run, config: str, tmp_path: Path
) -> None:
    """By settings alone there is no gateway elsewhere that could have said so."""
    (tmp_path / "request.json").write_text('{"messages": 5}')
    result = run("explain", "--config", config, "request.json")
    words = "stepwell: the gateway answers 400: 'messages' must be a list of messages.\n"
    assert (result.returncode, result.stderr) == (1, words)
