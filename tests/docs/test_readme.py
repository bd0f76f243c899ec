"""What the README says is done here: its code runs, its commands and files exist."""

import asyncio
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from stepwell import create_app
from stepwell.cli.application import application
from stepwell.cli.serve import HOST, PORT
from stepwell.testing import Failure, Fleet

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8000"
PAGES = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*")))


@pytest.fixture
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return dict(tomllib.load(file)["project"])


# The code.


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet()
    fleet.add("groq", dialect="groq", models=["llama-3.3-70b-versatile"], reply="Of Groq.")
    fleet.add("gemini", dialect="gemini", models=["gemini-2.5-flash-lite"], reply="Of Gemini.")
    fleet.add("local", models=["smollm2"], keys=[], reply="Of this machine.")
    return fleet


@pytest.fixture
def mount(
    page: Any, keys: Any, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return a function that runs the README's mount, its providers played by the fleet."""

    def run() -> Any:
        (tmp_path / "stepwell.yaml").write_text("".join(page("README.md").blocks("yaml")))
        monkeypatch.chdir(tmp_path)
        for provider in fleet:
            variable = f"STEPWELL_PROVIDERS__{provider.name.upper()}__BASE_URL"
            monkeypatch.setenv(variable, provider.base_url)
        namespace: dict[str, Any] = {}
        exec(page("README.md").blocks("python")[0], namespace)
        return namespace["app"]

    return run


async def test_the_client_is_answered_by_the_mount(
    page: Any, mount: Any, fleet: Fleet, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks run as they stand, but for the port; each dry step leads to the one below it."""
    client = page("README.md").blocks("python")[1]
    assert client.count(ADDRESS) == 1
    async with fleet.serve(), serve(mount()) as url:
        for provider in fleet:
            await asyncio.to_thread(exec, client.replace(ADDRESS, url), {})
            provider.fail(Failure.rate_limit(60), times=None)
    assert capsys.readouterr().out.splitlines() == ["Of Groq.", "Of Gemini.", "Of this machine."]


async def test_an_answer_has_the_headers_that_the_readme_names(
    page: Any, mount: Any, fleet: Fleet, serve: Any, keys: dict[str, str]
) -> None:
    """Whoever gave the answer, it says so."""
    named = {word for word in page("README.md").words() if word.startswith("x-stepwell-")}
    async with fleet.serve(), serve(mount()) as url, httpx.AsyncClient() as client:
        answer = await client.post(
            f"{url}/llm/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "hi"}]},
            headers={"authorization": f"Bearer {keys['STEPWELL_API_KEY']}"},
        )
    assert answer.status_code == 200
    assert named
    assert named == {name for name in answer.headers if name.startswith("x-stepwell-")}


def test_the_second_key_may_be_missing(keys: Any, mount: Any) -> None:
    """A variable with a default needs not be set: Groq has one account then."""
    gateway = next(route for route in mount().routes if route.path == "/llm").app.state.gateway
    assert len(gateway.settings.providers["groq"].api_keys) == 1


# The commands.


def test_one_command_runs_the_tests(page: Any, project: dict[str, Any]) -> None:
    """CI takes the command from the README, so there must be exactly one."""
    script = (ROOT / ".ci/run").read_text()
    pattern = re.search(r"grep -E '(.+)' README\.md", script)
    assert pattern is not None
    commands = re.findall(pattern[1], page("README.md").text, re.MULTILINE)
    assert len(commands) == 1
    assert "-e '.[dev]'" in commands[0]
    assert any(needed.startswith("pytest>") for needed in project["optional-dependencies"]["dev"])


def test_the_demo_command_names_what_exists(page: Any, project: dict[str, Any]) -> None:
    """The extra, the script and the subcommand."""
    command = page("README.md").blocks("bash")[0]
    extra = re.search(r"'\.\[(\w+)\]'", command)
    script = re.search(r"bin/(\w+) (\w+)$", command, re.MULTILINE)
    assert extra is not None
    assert script is not None
    assert extra[1] in project["optional-dependencies"]
    assert script[1] in project["scripts"]
    assert script[2] in commands()


def commands() -> Any:
    group: Any = typer.main.get_command(application())
    return group.commands


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_option_exists(page: Any, name: str) -> None:
    """Of `stepwell`, wherever a page shows how to call it."""
    lines = "".join(page(name).blocks("bash")).splitlines() + page(name).words()
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["stepwell"] and len(words) > 1:
            options = {flag for param in commands()[words[1]].params for flag in param.opts}
            assert {word for word in words[2:] if word.startswith("-")} <= options, line


def test_the_address_of_serve_is_true(page: Any) -> None:
    """The default host and port."""
    assert f"# http://{HOST}:{PORT}/v1" in page("README.md").text


def test_the_version_of_python_is_true(page: Any, project: dict[str, Any]) -> None:
    """What pip will demand."""
    named = re.findall(r"Python (\d\.\d+) or newer", page("README.md").text)
    assert [f">={version}" for version in named] == [project["requires-python"]]


# The files.


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(page: Any, name: str) -> None:
    """A relative link names a file or folder of the project."""
    found = page(name)
    for link in found.links():
        assert (found.path.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("name", PAGES)
def test_every_yaml_block_is_a_settings_file(
    page: Any, keys: Any, tmp_path: Path, name: str
) -> None:
    """With the variables set, a gateway can be made of each block without a mistake."""
    for block in page(name).blocks("yaml"):
        file = tmp_path / "stepwell.yaml"
        file.write_text(block)
        assert create_app(file).state.gateway.routes.chains


def test_the_rooms_are_those_of_the_package(page: Any) -> None:
    """The design's table names what exists, and every folder of the package."""
    source = ROOT / "src" / "stepwell"
    named = re.findall(r"^\| `([\w./]+)` \|", page("docs/design.md").text, re.MULTILINE)
    assert [name for name in named if not (source / name).exists()] == []
    assert {f"{file.parent.name}/" for file in source.glob("*/__init__.py")} <= set(named)
