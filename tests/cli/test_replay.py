"""`stepwell replay`: yesterday's traffic on another chain."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepwell import create_app
from stepwell.testing import FakeClock, Fleet

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[Any], str]

REQUESTS = 40


@pytest.fixture
def fleet() -> Fleet:
    """Together they serve fifteen a minute, and twenty are asked for."""
    fleet = Fleet(FakeClock())
    fleet.add("a", limits=["10 requests/60s"], latency=0.5, keys=["canary-a"])
    fleet.add("b", limits=["5 requests/60s"], dialect="retry-after", latency=1, keys=["canary-b"])
    fleet.add("c", keys=["canary-c"])
    return fleet


@pytest.fixture
def settings(fleet: Fleet) -> dict[str, Any]:
    plain = fleet.settings(limits=False, api_keys=["canary-client"])
    return plain | {"chains": {"default": ["a/sim-model", "b/sim-model"]}}


@pytest.fixture
def trace(fleet: Fleet, settings: dict[str, Any], tmp_path: Path) -> str:
    """Record two minutes of traffic, and return the file's name."""
    path = tmp_path / "trace.jsonl"
    recording = settings | {"trace": {"path": str(path)}}
    asyncio.run(traffic(fleet, recording))
    return path.name


async def traffic(fleet: Fleet, settings: dict[str, Any]) -> None:
    clock = fleet.clock
    assert isinstance(clock, FakeClock)
    app = create_app(settings, transport=fleet.transport(), clock=clock)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://gateway.test",
        headers={"authorization": "Bearer canary-client"},
    )

    async def ask(number: int) -> None:
        await clock.sleep(3 * number)
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": number % 2 == 0}
        await client.post("/v1/chat/completions", json=body)

    await clock.run(asyncio.gather(*(ask(number) for number in range(REQUESTS))))
    await app.state.gateway.aclose()


def document(run: Run, *arguments: str) -> Any:
    done = run("replay", *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_same_settings_do_the_same_again(
    run: Run, write: Write, settings: Any, trace: str
) -> None:
    """Request by request: so the providers are well simulated, and the gateway is the real one."""
    told = document(run, trace, "--config", write(settings))
    assert told["requests"] == REQUESTS
    assert 0 < told["then"]["failed"] < REQUESTS
    waits = {"mean_wait", "longest_wait"}  # by less than a second: who probes first is chance
    ends = set(told["then"]) - waits
    assert {name: told["now"][name] for name in ends} == {n: told["then"][n] for n in ends}
    assert abs(told["now"]["longest_wait"] - told["then"]["longest_wait"]) <= 1
    assert (told["served_only_now"], told["served_only_then"]) == (0, 0)
    assert [each["then"] == each["now"] for each in told["targets"]] == [True, True]


def test_another_chain_is_compared(run: Run, write: Write, settings: Any, trace: str) -> None:
    """A third provider would have taken what failed; that it can is an assumption, and called so."""
    chain = {"chains": {"default": ["a/sim-model", "b/sim-model", "c/sim-model"]}}
    told = document(run, trace, "--config", write(settings | chain))
    assert told["now"]["failed"] == 0
    assert told["served_only_now"] == told["then"]["failed"]
    third = told["targets"][2]
    assert (third["target"], third["then"]["served"]) == ("c/sim-model", 0)
    assert third["now"]["served"] == told["then"]["failed"]
    assert [line for line in told["assumptions"] if line.startswith("c/sim-model is not in")]


def test_people_get_tables(run: Run, write: Write, settings: Any, trace: str) -> None:
    """Then beside now, by request and by target, with the limits that were taken."""
    done = run("replay", trace, "--config", write(settings | {"chains": {"main": ["b/sim-model"]}}))
    assert done.returncode == 0
    for words in ("40 requests from 2026", "while a target had room", "5 requests/1m"):
        assert words in done.stdout
    assert "default is no chain or model of these settings: its 40 requests went" in done.stdout
    assert "\x1b" not in done.stdout


def test_no_key_is_shown(run: Run, write: Write, settings: Any, trace: str) -> None:
    """Neither of clients nor of providers, on any channel."""
    for arguments in ((), ("--json",)):
        done = run("replay", trace, "--config", write(settings), *arguments)
        assert "canary" not in done.stdout + done.stderr


def test_lines_that_make_no_sense_are_named(
    run: Run, write: Write, settings: Any, trace: str, tmp_path: Path
) -> None:
    """And passed over; a last line that is still being written is no mistake."""
    file = tmp_path / trace
    first, second, *rest = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([first, b'{"at": "noon"}\n', *rest, second[:50]]))
    done = run("replay", trace, "--config", write(settings), "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["requests"] == REQUESTS - 1
    assert len(told["problems"]) == 1
    assert done.stderr.startswith(f"{trace}:2: passed over: ")


def test_several_files_are_one_trace(
    run: Run, write: Write, settings: Any, trace: str, tmp_path: Path
) -> None:
    """As after a rotation, in any order."""
    lines = (tmp_path / trace).read_bytes().splitlines(keepends=True)
    (tmp_path / "new").write_bytes(b"".join(lines[20:]))
    (tmp_path / "old").write_bytes(b"".join(lines[:20]))
    told = document(run, "new", "old", "--config", write(settings))
    assert told == document(run, trace, "--config", write(settings))


def test_an_empty_trace_is_said_to_be_empty(run: Run, write: Write, settings: Any) -> None:
    """That is a failure, but none of usage."""
    name = write(settings)
    empty = run("replay", name, "--config", name)
    assert empty.returncode == 1
    assert empty.stderr.splitlines()[-1] == f"{name}: there is no request in it"


def test_wrong_settings_and_usage_are_told(
    run: Run, write: Write, settings: Any, trace: str
) -> None:
    """Exit code 2, without a traceback."""
    wrong = run("replay", trace, "--config", write(settings | {"chains": {"x": ["a"]}}))
    missing = run("replay", "elsewhere.jsonl")
    for done in (wrong, missing, run("replay")):
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
    assert "settings.yaml" in wrong.stderr
    assert "elsewhere.jsonl" in missing.stderr


def test_help_says_how(run: Run) -> None:
    """How to record, examples, exit codes."""
    shown = run("replay", "--help").stdout
    for words in ("trace: {path: trace.jsonl}", "--config other.yaml", "Exit codes:"):
        assert words in shown
