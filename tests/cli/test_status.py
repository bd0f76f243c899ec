"""`stepwell status`: the quota of a gateway that runs."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol

import httpx
import pytest
from rich.console import Console

from stepwell import create_app
from stepwell.cli.remote import NoAnswer, ask, connect
from stepwell.cli.status import cooldown_text, look, picture, time_text
from stepwell.testing import Failure, FakeClock, Fleet

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[Any], str]


class Command(Protocol):
    async def address(self) -> str: ...


Start = Callable[..., AbstractAsyncContextManager[Command]]

SETTINGS = """\
api_keys: [sk-client-secret]
providers:
  alpha: {base_url: "http://127.0.0.1:9/v1", api_keys: [sk-a-secret], limits: ["6 requests/6s"]}
chains:
  default: [alpha/model-1, {provider: alpha, model: model-2, cost: paid}]
database: {url: null}
"""


def drawn(document: Any) -> list[str]:
    """Return the lines of a picture."""
    screen = Console(width=200, color_system=None)
    with screen.capture() as capture:
        screen.print(picture(document))
    return capture.get().splitlines()


def line(lines: list[str], start: str) -> str:
    (found,) = [line for line in lines if line.strip().startswith(start)]
    return found


@pytest.fixture
async def document() -> AsyncIterator[Any]:
    """What a gateway says whose first target was refused, and whose second has served."""
    clock = FakeClock()
    fleet = Fleet(clock)
    fleet.add("a", limits=["5 requests/60s"]).fail(Failure.rate_limit(90))
    fleet.add("b", limits=["9 requests/60s"])
    settings = fleet.settings(chains={"default": ["a/sim-model", "b/sim-model"]})
    settings["chains"]["lone"] = [{"provider": "a", "model": "sim-model", "cost": "paid"}]
    app = create_app(settings, transport=fleet.transport(), clock=fleet.clock)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://gateway",
        headers={"authorization": "Bearer sk-test"},
    ) as client:
        await clock.run(client.post("/v1/chat/completions", json=body))
        yield await ask(client, "GET", "/v1/quota")


async def test_chains_say_whether_they_serve(document: Any) -> None:
    """By whom, else when."""
    lines = drawn(document)
    assert "serves by b/sim-model" in line(lines, "default (default)")
    lone = line(lines, "lone")
    assert "cannot serve" in lone
    assert "1m 30s" in lone
    assert "a/sim-model (paid)" in lone


async def test_targets_say_what_is_left_and_who_said_so(document: Any) -> None:
    """One line for each limit, with its source; a cooldown with reason, words and time."""
    lines = drawn(document)
    refused = line(lines, "a/sim-model")
    assert "cooldown, told, 1m 30s: " in refused
    served = line(lines, "b/sim-model")
    assert "ready" in served
    assert "9 requests/1m" in served
    assert served.split()[-1] == "told"
    assert len([line for line in lines if "9 requests" in line]) == 1


def test_a_target_without_limits_has_a_line() -> None:
    """Nothing is known of it, and that is said."""
    target = {"target": "x/y", "ready": True, "in_flight": 3, "cooldown": None, "limits": []}
    lines = drawn({"chains": [], "targets": [target]})
    assert "none known" in line(lines, "x/y")


def test_a_limit_of_the_calendar_says_when_it_begins() -> None:
    """So that it is not taken for any stretch of 24 hours."""
    told = {"metric": "requests", "window": 86400.0, "limit": 5, "used": 2, "remaining": 3}
    more = {"reset": 60.0, "reset_at": "", "scope": "model", "source": "configured"}
    limit = {**told, **more, "calendar": "00:00 UTC"}
    target = {"target": "x/y", "ready": True, "in_flight": 0, "cooldown": None, "limits": [limit]}
    shown = line(drawn({"chains": [], "targets": [target]}), "x/y")
    assert "5 requests/1d from 00:00 UTC" in shown


def test_a_counter_of_calls_at_once_has_no_window() -> None:
    """It is of this moment, and of no stretch of time."""
    told = {"metric": "concurrency", "window": 0.0, "limit": 5, "used": 2, "remaining": 3}
    limit = {**told, "reset": None, "reset_at": None, "scope": "free", "source": "told"}
    target = {"target": "x/y", "ready": True, "in_flight": 0, "cooldown": None, "limits": [limit]}
    shown = line(drawn({"chains": [], "targets": [target]}), "x/y")
    assert "5 concurrency of all :free models" in shown


def test_words_of_providers_do_not_drive_the_terminal() -> None:
    """Control characters are left out."""
    cooldown = {"reason": "cooldown", "told": False, "retry_after": None, "words": "\x1b[2Jgo away"}
    target = {"target": "x/y", "ready": False, "in_flight": 0, "cooldown": cooldown, "limits": []}
    shown = "\n".join(drawn({"chains": [], "targets": [target]}))
    assert "\x1b" not in shown
    assert "go away" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "until something happens"), (4.21, "4.2s"), (200, "3m 20s"), (47100, "13h 5m")],
)
def test_times_are_told_in_two_units(seconds: float | None, text: str) -> None:
    """As exactly as anybody wants to know it."""
    assert time_text(seconds) == text


def test_no_cooldown_is_ready() -> None:
    """Where nothing stands in the way there is nothing to tell."""
    assert cooldown_text(None) == "ready"


async def test_it_asks_a_gateway_that_runs(start: Start, run: Run, write: Write) -> None:
    """With the key of STEPWELL_API_KEY or --key, once where there is no terminal."""
    async with start("serve", "--port", "0", "--config", write(SETTINGS)) as command:
        address = await command.address()
        shown = await asyncio.to_thread(
            run, "status", "--url", address, STEPWELL_API_KEY="sk-client-secret"
        )
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "serves by alpha/model-1" in shown.stdout
        assert "\x1b" not in shown.stdout

        arguments = ("status", "--json", "--key", "sk-client-secret", "--url", f"{address}/v1")
        document = json.loads((await asyncio.to_thread(run, *arguments)).stdout)
        assert [t["target"] for t in document["targets"]] == ["alpha/model-1", "alpha/model-2"]

        refused = await asyncio.to_thread(run, "status", "--url", address, "--key", "sk-wrong-1")
        assert refused.returncode == 1
        assert "401" in refused.stderr
        assert "sk-wrong-1" not in refused.stderr


def test_no_gateway_is_a_sentence(run: Run) -> None:
    """No traceback; the address is named."""
    result = run("status", "--url", "http://127.0.0.1:9")
    assert result.returncode == 1
    assert result.stderr.startswith("stepwell: no gateway answers at http://127.0.0.1:9")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "answer", [b"<html>", b"[]", b'{"object": "list"}'], ids=["html", "list", "other"]
)
async def test_something_else_that_answers_is_no_gateway(answer: bytes) -> None:
    """Its answer is not shown as if it were one."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=answer))
    async with httpx.AsyncClient(transport=transport, base_url="http://other") as client:
        with pytest.raises(NoAnswer, match="no stepwell gateway"):
            await ask(client, "GET", "/v1/quota")


@pytest.mark.parametrize("url", ["http://[", "nowhere", "ftp://gateway"])
async def test_an_address_that_is_none_is_a_sentence(url: str) -> None:
    """Whatever it lacks."""
    with pytest.raises(NoAnswer, match="no gateway answers"):
        async with connect(url, "") as client:
            await ask(client, "GET", "/v1/quota")


def test_a_key_that_no_header_can_hold_is_a_sentence() -> None:
    """Which does not show it."""
    with pytest.raises(NoAnswer, match="cannot be asked") as caught:
        connect("http://gateway", "sk-\N{SNOWMAN}")
    assert "sk-" not in str(caught.value)


async def test_a_gateway_that_is_gone_for_a_moment_leaves_the_last_picture() -> None:
    """With the reason below it; the next look may find it again."""
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="bad gateway"))
    async with httpx.AsyncClient(transport=transport, base_url="http://gone") as client:
        shown, remark = await look(client, "the last picture")
    assert shown == "the last picture"
    assert "http://gone" in remark


async def test_in_a_terminal_it_is_live_until_ctrl_c(
    start: Start, write: Write, environment: dict[str, str]
) -> None:
    """It is drawn over itself, and its end by Ctrl-C is no error."""
    async with start("serve", "--port", "0", "--config", write(SETTINGS)) as command:
        address = await command.address()
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stepwell", "status", "--url", address),
            env=environment | {"STEPWELL_API_KEY": "sk-client-secret", "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        seen = ""
        while seen.count("serves by") < 2:
            seen += (await asyncio.to_thread(os.read, ours, 65536)).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        reading = asyncio.create_task(asyncio.to_thread(drain, ours))
        assert await process.wait() == 0
        await reading
        os.close(ours)
    assert "\x1b[" in seen


def drain(descriptor: int) -> None:
    """Read a terminal until its other end is closed."""
    with suppress(OSError):
        while os.read(descriptor, 65536):
            pass
