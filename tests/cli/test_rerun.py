"""A trace played with other settings: what is the same then is the same now."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest

from stepwell import Settings
from stepwell.chat import ChatRequest
from stepwell.cli.rerun import Played, Rerun, body_of
from stepwell.observe import End
from stepwell.quota.limit import Metric, Scope
from stepwell.replay import Past
from stepwell.routing.verdict import Outcome
from stepwell.trace import Line, Told, Try

NOON = 1_790_942_400.0


def line(at: float, *calls: Try, **more: Any) -> Line:
    end = End.SERVED if not calls or calls[-1].outcome is Outcome.ANSWER else End.EXHAUSTED
    fields: dict[str, Any] = {
        "route": "default",
        "prompt_tokens": 30,
        "tokens": 1054,
        "end": end,
    } | more
    return Line(at=NOON + at, seconds=1.0, attempts=calls, **fields)


def call(provider: str, outcome: Outcome = Outcome.ANSWER, **more: Any) -> Try:
    fields: dict[str, Any] = {"began": 0.0, "seconds": 0.5} | more
    return Try(f"{provider}/m", provider, outcome, **fields)


def settings_of(*steps: str, **more: Any) -> dict[str, Any]:
    """Return settings with a chain of these steps, and a provider for each."""
    names = {step.partition("/")[0] for step in steps}
    providers = {
        name: {"base_url": f"https://{name}.test/v1", "api_keys": [f"sk-{name}"]} for name in names
    }
    return {
        "api_keys": ["sk-test"],
        "providers": providers,
        "chains": {"default": list(steps)},
        **more,
    }


async def play(settings: dict[str, Any], lines: Iterable[Line]) -> Played:
    return await Rerun(Settings.from_dict(settings), Past.of(lines)).run()


def ends(played: Played) -> list[str]:
    return [line.end.value for line in played.lines]


def served_by(played: Played) -> Counter[str]:
    return Counter(line.target for line in played.lines if line.target)


async def test_a_fault_is_there_again_at_its_time() -> None:
    """The other step of the chain takes over while it lasts."""
    fault = call("a", Outcome.FAULT, status=503)
    lines = [line(0, call("a")), line(10, fault, call("b")), line(12, fault), line(60, call("a"))]
    played = await play(settings_of("a/m", "b/m"), lines)
    assert [each.target for each in played.lines] == ["a/m", "b/m", "b/m", "a/m"]
    assert played.lines[1].attempts[0].outcome is Outcome.FAULT


async def test_who_gave_no_answer_gives_none_again() -> None:
    """A connection that broke, after the time that it took."""
    lines = [line(0, call("a", Outcome.UNREACHABLE, seconds=7.0))]
    played = await play(settings_of("a/m"), lines)
    attempt = played.lines[0].attempts[0]
    assert (attempt.outcome, attempt.seconds) == (Outcome.UNREACHABLE, 7.0)


async def test_a_dead_key_is_dead_again() -> None:
    """Called once, and then left alone."""
    lines = [line(at, call("a", Outcome.KEY_REFUSED, status=401)) for at in range(5)]
    played = await play(settings_of("a/m", "b/m"), lines)
    assert served_by(played) == {"b/m": 5}
    calls = [each.outcome for line in played.lines for each in line.attempts]
    assert calls.count(Outcome.KEY_REFUSED) == 1


async def test_each_key_has_its_own_fate() -> None:
    """The second one is dead, however the provider takes keys; the first has its own limit."""
    settings = settings_of("a/m", "b/m")
    provider = {"api_keys": ["sk-1", "sk-2"], "auth": "x-api-key", "limits": ["1 requests/minute"]}
    settings["providers"]["a"] |= provider | {"headers": {"x-tenant": "t"}, "query": {"v": "1"}}
    dead = Try("a/m", "a#2", Outcome.KEY_REFUSED, began=0.0, seconds=0.1, status=401)
    played = await play(settings, [line(0), line(5, dead), line(10)])
    accounts = [line.account for line in played.lines]
    assert accounts == ["a", "b", "b"]
    tried = [call.account for line in played.lines for call in line.attempts]
    assert tried == ["a", "a#2", "b", "b"]


async def test_a_provider_may_have_no_key() -> None:
    """As a local server has none; and one chain may be all its models."""
    settings = settings_of("a.b_C/m")
    settings["providers"]["a.b_C"]["api_keys"] = []
    assert served_by(await play(settings, [line(0)])) == {"a.b_C/m": 1}


async def test_answers_take_the_time_they_took() -> None:
    """That of a target in the trace, and what is usual there for another."""
    lines = [line(0, call("a", seconds=2.0)), line(20, call("a", seconds=4.0))]
    known = await play(settings_of("a/m"), lines)
    assert [each.seconds for each in known.lines] == [2.0, 4.0]
    unknown = await play(settings_of("b/m"), lines)
    assert [each.seconds for each in unknown.lines] == [3.0, 3.0]


async def test_a_calendars_day_ends_at_its_reset() -> None:
    """Spent an hour before midnight, it is whole an hour later, and not a day later."""
    settings = settings_of("a/m")
    settings["providers"]["a"]["limits"] = ["1 requests/day from 00:00"]
    played = await play(settings, [line(at * 3600) for at in (11, 11.5, 12.5)])
    assert ends(played) == ["served", "exhausted", "served"]
    assert played.avoidable == 0


async def test_a_told_days_limit_follows_the_calendar_of_the_settings() -> None:
    """The trace tells the amount, the settings when the day begins."""
    settings = settings_of("a/m")
    settings["providers"]["a"]["limits"] = ["9 requests/day from 00:00"]
    told = Told(Metric.REQUESTS, 86400.0, limit=2, remaining=1)
    calls = [call("a", told=(told,))]
    played = await play(settings, [line(at * 3600, *calls) for at in (11, 11.2, 11.4, 12.1, 12.2)])
    assert ends(played) == ["served", "served", "exhausted", "served", "served"]
    assert played.avoidable == 0


async def test_a_month_begins_on_its_first() -> None:
    """A limit of the month that the settings know holds in the replay too."""
    settings = settings_of("a/m")
    settings["providers"]["a"]["limits"] = ["1 requests/month"]
    day = 24 * 3600
    played = await play(settings, [line(at * day) for at in (0, 20, 29.4, 29.6)])
    assert ends(played) == ["served", "exhausted", "exhausted", "served"]


async def test_a_limit_of_free_models_is_told_as_such_again() -> None:
    """One refusal speaks for both, as it did when the trace was made."""
    settings = settings_of("a/x:free", "a/y:free", "b/m")
    free = {"metric": "requests", "limit": 9, "window": 60, "scope": "free"}
    settings["providers"]["a"]["limits"] = [free]
    told = Told(Metric.REQUESTS, 60.0, limit=2, remaining=0, scope=Scope.FREE)
    x = partial(Try, "a/x:free", "a", began=0.0, seconds=0.5)
    refused = x(Outcome.RATE_LIMITED, told=(told,))
    lines = [line(0, x(Outcome.ANSWER)), line(1, x(Outcome.ANSWER)), line(2, refused, call("b"))]
    played = await play(settings, lines)
    assert [each.target for each in played.lines] == ["a/x:free", "a/x:free", "b/m"]
    calls = [each.target for each in played.lines[2].attempts]
    assert calls in (["b/m"], ["a/x:free", "b/m"])


async def test_limits_that_explain_the_refusals_are_the_only_ones() -> None:
    """A window that was only guessed from them does not come on top of the one that is known."""
    settings = settings_of("a/m")
    settings["providers"]["a"]["limits"] = ["2 requests/30s"]
    refused = call("a", Outcome.RATE_LIMITED)
    lines = [line(0, call("a")), line(1, call("a")), line(2, refused), line(35, call("a"))]
    played = await play(settings, [*lines, line(36, call("a"))])
    assert ends(played) == ["served", "served", "exhausted", "served", "served"]


async def test_less_patience_shows() -> None:
    """An answer that took ten seconds is not waited for by settings that wait five."""
    settings = settings_of("a/m", "b/m", timeouts={"attempt": "5s"})
    played = await play(settings, [line(0, call("a", seconds=10.0)), line(99, call("b"))])
    assert [each.outcome for each in played.lines[0].attempts] == ["unreachable", "answer"]
    assert played.lines[0].seconds == 5.5


async def test_a_stream_holds_its_place_as_long_as_it_did() -> None:
    """Where one call at a time is allowed, the next one has to go elsewhere meanwhile."""
    settings = settings_of("a/m", "b/m")
    settings["providers"]["a"]["concurrency"] = 1
    long = Line(NOON, End.SERVED, 30.0, "default", 30, 1054, stream=True, attempts=(call("a"),))
    played = await play(settings, [long, line(20), line(40)])
    assert [each.target for each in played.lines] == ["a/m", "b/m", "a/m"]
    assert played.lines[0].seconds == 30.0


async def test_told_limits_bind_whoever_comes() -> None:
    """Three a minute were told; all six come now."""
    told = (Told(Metric.REQUESTS, window=60.0, limit=3, remaining=2, reset=20.0),)
    lines = [line(0, call("a", told=told)), *(line(at) for at in range(1, 6))]
    played = await play(settings_of("a/m"), lines)
    assert ends(played) == ["served"] * 3 + ["exhausted"] * 3
    assert played.avoidable == 0


async def test_settings_limit_a_target_that_the_trace_does_not_know() -> None:
    """Unless the trace shows that they are wrong."""
    settings = settings_of("a/m")
    settings["providers"]["a"]["limits"] = ["2 requests/minute"]
    played = await play(settings, [line(at) for at in range(4)])
    assert ends(played) == ["served", "served", "exhausted", "exhausted"]
    played = await play(settings, [line(at, call("a")) for at in range(4)])
    assert ends(played) == ["served"] * 4


async def test_limits_of_one_model_do_not_bind_another() -> None:
    """They are the step's; those of the account bind all its models together."""
    settings = settings_of("a/m", "a/n")
    limit = {"metric": "requests", "limit": 1, "window": "60s"}
    settings["providers"]["a"]["limits"] = [limit]
    assert served_by(await play(settings, [line(0), line(1), line(2)])) == {"a/m": 1, "a/n": 1}
    settings["providers"]["a"]["limits"] = [limit | {"scope": "account"}]
    assert served_by(await play(settings, [line(0), line(1), line(2)])) == {"a/m": 1}


async def test_the_queue_of_the_settings_is_used() -> None:
    """A request waits for the minute to end, where the settings let it, or where it asked to."""
    settings = settings_of("a/m")
    settings["providers"]["a"]["limits"] = ["1 requests/minute"]
    waiting = await play(settings | {"queue": {"max_wait": "90s"}}, [line(0), line(1)])
    assert ends(waiting) == ["served", "served"]
    assert waiting.lines[1].waited == pytest.approx(59, abs=2)
    asked = await play(settings, [line(0), line(1, max_wait=90.0), line(2)])
    assert ends(asked) == ["served", "served", "exhausted"]


async def test_a_request_too_large_for_a_target_goes_past_it() -> None:
    """As in the trace, so do larger ones."""
    lines = [
        line(
            0, call("a", Outcome.TOO_LARGE, status=413), call("b"), tokens=5024, prompt_tokens=4000
        ),
        line(9, tokens=8024, prompt_tokens=7000),
        line(18),
    ]
    played = await play(settings_of("a/m", "b/m"), lines)
    assert [each.target for each in played.lines] == ["b/m", "b/m", "a/m"]


async def test_routes_and_rights_are_those_of_the_settings() -> None:
    """A route that is not there goes to the default chain; a client gets its own chains."""
    settings = settings_of("a/m", "b/m", pins="any", unknown_model="reject")
    settings["chains"]["second"] = ["b/m"]
    settings["api_keys"] = [{"name": "ci", "key": "sk-ci", "chains": ["second"]}]
    routes = [("gone", ""), ("default", "ci"), ("second", ""), ("b/other", ""), ("b/other", "ci")]
    lines = [line(at * 99, route=r, client=c) for at, (r, c) in enumerate(routes)]
    played = await play(settings, lines)
    assert [each.target for each in played.lines] == ["a/m", "b/m", "b/m", "b/other", "b/m"]
    assert played.elsewhere == {"gone": 1, "default": 1, "b/other": 1}


async def test_what_a_request_needs_it_needs_again() -> None:
    """A step that cannot see, or costs money, is passed over; if none is left, it is rejected."""
    settings = settings_of("a/m", "b/m")
    settings["chains"]["default"] = [
        {"provider": "a", "model": "m", "capabilities": ["tools"]},
        {"provider": "b", "model": "m", "cost": "paid"},
    ]
    lines = [
        line(0, needs=("vision",)),
        line(99, needs=("tools", "json"), stream=True),
        line(199, free_only=True),
        line(299, free_only=True, needs=("vision",)),
    ]
    played = await play(settings, lines)
    assert [each.target for each in played.lines] == ["b/m", "b/m", "a/m", ""]
    assert played.lines[3].end is End.REJECTED


async def test_nothing_is_written_and_nobody_is_called(tmp_path: Any) -> None:
    """Whatever the settings say of databases and traces."""
    written = tmp_path / "trace.jsonl"
    more = {"trace": {"path": str(written)}, "database": {"url": f"sqlite:///{tmp_path}/s.db"}}
    assert ends(await play(settings_of("a/m", **more), [line(0)])) == ["served"]
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize("needs", [(), ("vision",), ("tools",), ("json", "tools", "vision")])
def test_a_request_weighs_what_it_weighed(needs: tuple[str, ...]) -> None:
    """Its estimate is that of the trace, and so are its needs."""
    for tokens in (200, 4001):
        original = line(0, needs=needs, prompt_tokens=tokens, max_tokens=50, stream=True)
        request = ChatRequest(body_of(7, original))
        assert request.prompt_tokens == tokens
        assert request.capabilities == frozenset(needs)
        assert (request.max_tokens, request.stream) == (50, True)
