"""`stepwell check`: settings read and told, targets asked."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import httpx
import pytest

from stepwell import Gateway, Settings
from stepwell.cli.console import printable
from stepwell.cli.live import PROVES, call_all
from stepwell.routing.verdict import Outcome
from stepwell.testing import Failure, FakeClock, Fleet

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[Any], str]


class Command(Protocol):
    seen: str

    async def exit_code(self) -> int: ...
    async def complaints(self) -> str: ...


Start = Callable[..., AbstractAsyncContextManager[Command]]

GOOD = """\
api_keys: [sk-client-secret]
providers:
  alpha:
    base_url: http://127.0.0.1:9/v1
    api_keys: [sk-alpha-secret, sk-alpha-secret-2]
    limits: ["6 requests/6s", {metric: tokens, limit: 20000, window: 1h, scope: account}]
  beta: {base_url: "http://127.0.0.1:9/v1"}
  gamma: {base_url: "http://127.0.0.1:9/v1"}
chains:
  default: [alpha/model-1, {provider: beta, model: model-2, cost: paid}]
"""

BAD = """\
providers:
  alpha: {base_url: "http://127.0.0.1:9/v1", api_keys: [sk-alpha-secret], dialekt: groq}
chains:
  default: [alpha/model-1, alpa/model-2]
"""


def test_good_settings_are_summed_up_without_a_key(run: Run, write: Write) -> None:
    """Chains, steps, counted keys and limits; a provider nobody asks is mentioned."""
    result = run("check", "--config", write(GOOD))
    rows = [line.split() for line in result.stdout.splitlines()]

    assert result.returncode == 0
    assert ["default", "(default)", "alpha/model-1", "2", "6", "requests/6s,", "20000"] in [
        row[:7] for row in rows
    ]
    assert ["beta/model-2", "none", "not", "told", "paid"] in rows
    assert "client keys: 1" in result.stdout
    assert "provider gamma stands in no chain." in result.stdout
    assert "secret" not in result.stdout + result.stderr
    assert "\x1b" not in result.stdout


def test_good_settings_as_json(run: Run, write: Write) -> None:
    """The same for scripts: one document on standard output and nothing else."""
    result = run("check", "--json", "--config", write(GOOD))
    document = json.loads(result.stdout)

    assert (result.returncode, result.stderr) == (0, "")
    assert document["ok"] is True
    assert document["chains"]["default"][0] == {
        "step": "alpha/model-1",
        "targets": ["alpha/model-1", "alpha#2/model-1"],
        "paid": False,
        "limits": ["6 requests/6s", "20000 tokens/1h of the account"],
    }
    assert document["provider_keys"] == {"alpha": 2, "beta": 0, "gamma": 0}
    assert document["client_keys"] == 1
    assert "targets" not in document
    assert "secret" not in result.stdout


def test_all_mistakes_are_told_with_file_and_line(run: Run, write: Write) -> None:
    """Not only the first one; exit code 2, and what was probably meant."""
    result = run("check", "--config", write(BAD))

    first, second = result.stderr.splitlines()
    assert result.returncode == 2
    assert first.startswith("settings.yaml:2: providers.alpha.dialekt: unknown setting")
    assert second.startswith("settings.yaml:4: chains.default[1]: unknown provider 'alpa'")
    assert "did you mean 'alpha'?" in second


def test_all_mistakes_as_json(run: Run, write: Write) -> None:
    """The same lines in one document, and the same exit code."""
    result = run("check", "--json", "--config", write(BAD))
    document = json.loads(result.stdout)

    assert (result.returncode, document["ok"], len(document["problems"])) == (2, False, 2)


def test_the_file_may_be_named_by_a_variable(run: Run, write: Write) -> None:
    """Without --config STEPWELL_CONFIG counts, as for serve."""
    result = run("check", STEPWELL_CONFIG=write(BAD))

    assert result.returncode == 2
    assert "settings.yaml:2:" in result.stderr


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """A provider that answers, and one for every way not to."""
    fleet = Fleet()
    fleet.add("well", dialect="openai", limits=["6 requests/60s"])
    fleet.add("dry", dialect="openai").fail(Failure.status(429), times=None)
    fleet.add("locked", keys=["sk-another-secret"])
    fleet.add("other", models=["another-model"])
    fleet.add("gone")
    async with fleet.serve() as server:
        await server.stop(fleet["gone"])
        yield fleet


def live_settings(fleet: Fleet) -> dict[str, Any]:
    settings = fleet.settings(limits=False)
    settings["providers"]["locked"]["api_keys"] = ["sk-wrong-secret"]
    settings["chains"]["default"] = [f"{provider.name}/sim-model" for provider in fleet]
    return settings


async def test_live_asks_every_target_once(start: Start, write: Write, fleet: Fleet) -> None:
    """What is there is told from what is not; exit code 1 if one target does not answer."""
    config = write(live_settings(fleet))
    async with start("check", "--live", "--json", "--config", config) as check:
        code = await check.exit_code()
        document = json.loads(check.seen)

    found = {finding["target"].partition("/")[0]: finding for finding in document["targets"]}
    told = {name: (f["ok"], f["reachable"], f["model"]) for name, f in found.items()}
    assert told == {
        "well": (True, True, True),
        "dry": (False, True, None),
        "locked": (False, True, None),
        "other": (False, True, False),
        "gone": (False, False, None),
    }
    assert (code, document["ok"]) == (1, False)
    assert found["well"]["limits"] == ["5 of 6 requests/1m left, whole in 60.0s"]
    assert found["well"]["latency_ms"] > 0
    assert found["dry"]["reason"].startswith("rate limited (429)")
    assert found["gone"]["reason"].startswith("unreachable")
    assert "secret" not in check.seen
    assert {name: len(fleet[name].calls) for name in ("well", "dry", "locked", "other")} == {
        "well": 1,
        "dry": 1,
        "locked": 1,
        "other": 1,
    }


async def test_live_shows_a_table(start: Start, write: Write, fleet: Fleet) -> None:
    """The same for people, with a last line that counts."""
    config = write(live_settings(fleet))
    async with start("check", "--live", "--config", config) as check:
        code = await check.exit_code()
        complaints = await check.complaints()

    assert code == 1
    assert "5 of 6 requests/1m left" in check.seen
    assert "1 of 5 targets answered." in check.seen
    assert "\x1b" not in check.seen + complaints
    assert "secret" not in check.seen


async def test_live_is_content_when_all_answer(start: Start, write: Write, fleet: Fleet) -> None:
    """Exit code 0: every target of every chain is there."""
    settings = live_settings(fleet)
    settings["chains"]["default"] = ["well/sim-model"]
    async with start("check", "--live", "--config", write(settings)) as check:
        assert await check.exit_code() == 0


async def test_an_account_is_asked_one_thing_at_a_time() -> None:
    """Free tiers that allow one call in flight exist; the check must not be what they refuse."""
    clock = FakeClock()
    fleet = Fleet(clock)
    models = [f"model-{number}" for number in range(5)]
    alpha = fleet.add("alpha", models=models, concurrency=1, latency=0.5)
    fleet.add("beta", models=models, keys=["sk-1", "sk-2"], concurrency=1, latency=0.5)
    settings = Settings.from_dict(fleet.settings(limits=False))
    gateway = Gateway(settings, transport=fleet.transport(), clock=clock)
    done: list[None] = []

    findings = await clock.run(call_all(gateway, lambda: done.append(None)))

    assert [finding.ok for finding in findings] == [True] * 15
    assert len(done) == 15
    assert [call.model for call in alpha.calls] == models


async def test_a_providers_words_are_shown_without_its_key() -> None:
    """A refusal may quote the key that it was shown."""
    message = {"error": {"message": "The key sk-alpha is \x1b[31mwrong"}}
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json=message))
    fleet = Fleet()
    fleet.add("alpha")
    gateway = Gateway(Settings.from_dict(fleet.settings()), transport=transport)

    (finding,) = await call_all(gateway, lambda: None)

    assert finding.reason == "key refused (401): The key *** is \x1b[31mwrong"
    assert printable(finding.reason) == "key refused (401): The key *** is  [31mwrong"


@pytest.mark.parametrize("outcome", sorted(PROVES))
def test_only_an_outcome_that_needs_the_model_proves_it(outcome: Outcome) -> None:
    """Whoever could not be reached has proved nothing about its models."""
    known = PROVES[outcome]

    assert known.reachable or known.model is None
