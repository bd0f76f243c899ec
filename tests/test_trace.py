"""The trace: a line for each request, in nobody's way, and with nothing in it that is not to be told."""

import asyncio
import logging
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepwell import create_app
from stepwell.observe import End, Event, Finished, Observer
from stepwell.quota.limit import Metric
from stepwell.routing.verdict import Outcome
from stepwell.testing import Failure, FakeClock, Fleet, open_stream
from stepwell.trace import Broken, Line, Recorder, line_of, read_lines

KEY = "canary-client-key-0001"
PROVIDER_KEY = "canary-provider-key-0002"
PROMPT, WORDS = "canary-prompt-0003", "canary-words-0005"
ANSWER = "canary-answer-0004 in some more words than one"
PATH = "/v1/chat/completions"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    fleet = Fleet(clock)
    fleet.add("a", keys=[PROVIDER_KEY], limits=["2 requests/60s"], latency=0.5, reply=ANSWER)
    return fleet


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


class Site:
    """A gateway that records, and a client."""

    def __init__(
        self, fleet: Fleet, settings: dict[str, Any], observers: Iterable[Observer] = ()
    ) -> None:
        self.clock = fleet.clock
        self.app = create_app(
            settings, transport=fleet.transport(), clock=fleet.clock, observers=observers
        )
        self.headers = {"authorization": f"Bearer {KEY}"}

    async def ask(self, **fields: Any) -> httpx.Response:
        assert isinstance(self.clock, FakeClock)
        body = {"messages": [{"role": "user", "content": PROMPT}], **fields}
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://t", headers=self.headers
        )
        return await self.clock.run(client.post(PATH, json=body))

    async def close(self) -> None:
        await self.app.state.gateway.aclose()


@pytest.fixture
def site(fleet: Fleet, file: Path) -> Site:
    return Site(fleet, settings_of(fleet, file))


def settings_of(fleet: Fleet, file: Path, **more: Any) -> dict[str, Any]:
    keys = [{"name": "ci", "key": KEY}]
    return fleet.settings(limits=False, api_keys=keys, trace={"path": str(file)}, **more)


def lines_of(file: Path) -> list[Line]:
    with file.open("rb") as lines:
        found = list(read_lines(lines))
    assert not [each for each in found if isinstance(each, Broken)]
    return [each for each in found if isinstance(each, Line)]


def files_in(folder: Path) -> dict[str, bytes]:
    """Return what the folder's files hold, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


async def test_a_request_is_one_line(site: Site, file: Path, clock: FakeClock) -> None:
    """Who asked for what and when, what it came to, and what the provider told."""
    arrived = clock.time()
    await site.ask(max_tokens=7, tools=[{"type": "function", "function": {"name": "f"}}])
    await site.close()
    (line,) = lines_of(file)
    assert (line.at, line.seconds, line.end) == (arrived, 0.5, End.SERVED)
    assert (line.client, line.route, line.max_tokens) == ("ci", "default", 7)
    assert (line.target, line.account, line.needs) == ("a/sim-model", "a", ("tools",))
    (call,) = line.attempts
    assert (call.outcome, call.status, call.began, call.seconds) == (Outcome.ANSWER, 200, 0.0, 0.5)
    assert line.used == call.tokens
    assert (call.told[0].metric, call.told[0].limit) == (Metric.REQUESTS, 2)
    assert call.told[0].remaining == 1


async def test_a_stream_is_recorded_at_its_end(site: Site, file: Path) -> None:
    """Only then its tokens are known."""
    await site.ask(stream=True)
    await site.close()
    (line,) = lines_of(file)
    assert line.stream
    assert line.end is End.SERVED
    assert line.used is not None


async def test_what_failed_is_recorded_too(
    site: Site, file: Path, fleet: Fleet, clock: FakeClock
) -> None:
    """Exhausted with the time to come again, rejected, and broken off."""
    fleet["a"].fail(Failure.bad_request(WORDS), Failure.bad_request(WORDS))
    await site.ask()
    fleet["a"].fail(Failure.cut(3))
    await site.ask(stream=True)
    clock.shift(1)  # the failure is no evidence for a request that comes later
    fleet["a"].fail(Failure.rate_limit(17))
    await site.ask()
    await site.close()
    rejected, broken, exhausted = lines_of(file)
    assert [each.end for each in (rejected, broken, exhausted)] == [
        End.REJECTED,
        End.BROKEN,
        End.EXHAUSTED,
    ]
    assert rejected.attempts[0].status == 400
    assert exhausted.attempts[0].delay == exhausted.retry_after == 17.0
    assert (exhausted.target, exhausted.used) == ("", None)


async def test_a_client_that_leaves_is_recorded(
    site: Site, file: Path, fleet: Fleet, clock: FakeClock
) -> None:
    """In the middle of a stream: the target began to answer, and nobody was there for the rest."""
    fleet["a"].hold()
    body = {"messages": [{"role": "user", "content": PROMPT}], "stream": True}
    async with open_stream(site.app, "POST", PATH, headers=site.headers, json=body) as stream:
        await clock.advance(1)
        fleet["a"].let(3)
        await clock.advance(1)
        await stream.disconnect()
        await clock.advance(1)
    await site.close()
    (line,) = lines_of(file)
    assert (line.end, line.target, line.seconds) == (End.ABANDONED, "a/sim-model", 2.0)


async def test_a_resumed_stream_is_one_request(fleet: Fleet, file: Path) -> None:
    """Its continuation is a further attempt."""
    fleet.add("b", prefill=True, reply=ANSWER)
    fleet["a"].fail(Failure.cut(3))
    settings = settings_of(fleet, file)
    settings["providers"]["b"]["prefill"] = True
    site = Site(fleet, settings)
    await site.ask(stream=True)
    await site.close()
    (line,) = lines_of(file)
    assert line.end is End.SERVED
    assert [call.target for call in line.attempts] == ["a/sim-model", "b/sim-model"]
    assert [call.began for call in line.attempts] == [0.0, 0.5]


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
async def test_no_secret_and_no_word_is_in_it(
    fleet: Fleet, file: Path, stream: bool, tmp_path: Path
) -> None:
    """Keys in any place, what was asked, what was answered, and what providers say of it."""
    site = Site(fleet, settings_of(fleet, file, pins="any"))
    echo = f"{WORDS} {PROMPT} {PROVIDER_KEY} {KEY}"
    failures = [
        Failure.status(500, message=echo),
        Failure.bad_request(echo, param=PROVIDER_KEY),
        Failure.in_band_error(500, after=2, message=echo),
        Failure.unauthorized(),
    ]
    for failure in failures:
        fleet["a"].fail(failure)
        await site.ask(stream=stream, user=PROMPT, tools=[], stop=[PROMPT])
    await site.ask(model=f"a/{PROVIDER_KEY}", stream=stream)
    await site.ask(model=KEY, stream=stream)
    await site.close()
    written = b"".join(files_in(tmp_path).values())
    assert written.count(b"\n") == len(failures) + 2
    assert b"canary" not in written


async def test_it_can_be_read_again(fleet: Fleet, file: Path) -> None:
    """A line holds all that a Finished says, but for words."""
    seen: list[Event] = []
    site = Site(fleet, settings_of(fleet, file), observers=[seen.append])
    for stream in (False, True, False):
        await site.ask(stream=stream)
    await site.close()
    assert lines_of(file) == [line_of(event) for event in seen if isinstance(event, Finished)]
    assert len(seen) == 5  # the third finds nobody


async def test_nothing_is_written_without_the_setting(fleet: Fleet, tmp_path: Path) -> None:
    """By default there is no trace, and no thread."""
    site = Site(fleet, fleet.settings(api_keys=[KEY]))
    await site.ask()
    await site.close()
    assert files_in(tmp_path) == {}


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


async def test_it_is_for_its_owner_only(site: Site, file: Path) -> None:
    """Who asked when is nobody else's business."""
    await site.ask()
    await site.close()
    assert mode_of(file) == 0o600


async def test_a_gateway_that_was_closed_records_on(site: Site, file: Path) -> None:
    """Closing twice does nothing more; a request after it is recorded as well."""
    await site.ask()
    await site.close()
    await site.close()
    await site.ask()
    await site.close()
    assert len(lines_of(file)) == 2


@pytest.fixture
def folder_in_the_way(file: Path) -> Path:
    file.mkdir()
    return file


def remove(folder: Path) -> None:
    folder.rmdir()


async def test_a_path_that_cannot_be_written_is_told_once(
    site: Site, folder_in_the_way: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on; when it can be written again, that is told too, and how many are missing."""
    file = folder_in_the_way
    for _ in range(2):
        assert (await site.ask()).status_code == 200
        await site.close()
    remove(file)
    await site.ask()
    await site.close()
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("trace:")]
    assert len(told) == 2
    assert "Is a directory" in told[0]
    assert "2 requests are missing" in told[1]
    assert len(lines_of(file)) == 1


async def test_more_than_can_be_written_is_dropped(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that hangs costs records, and neither memory nor requests."""
    monkeypatch.setattr("stepwell.trace.MOST_WAITING", 0)
    for _ in range(2):
        assert (await site.ask()).status_code == 200
    assert [r.getMessage() for r in caplog.records if "as fast as" in r.getMessage()][1:] == []
    assert "as fast as requests come" in caplog.text


Record = Callable[..., Recorder]


@pytest.fixture
def record(file: Path) -> Record:
    """Return a function that makes a recorder of the file."""

    def make(max_size: int = 1 << 20) -> Recorder:
        return Recorder(
            file, max_size=max_size, usual_wait=0.0, redact=bytes, logger=logging.getLogger("t")
        )

    return make


def finished(at: float) -> Finished:
    return Finished(
        arrived=at,
        seconds=1.0,
        route="default",
        client="ci",
        stream=False,
        prompt_tokens=10,
        tokens=20,
        max_tokens=None,
        needs=frozenset(),
        free_only=False,
        max_wait=0.0,
        waited=0.0,
        end=End.SERVED,
    )


async def test_a_full_file_makes_room(record: Record, file: Path) -> None:
    """It is moved aside, where one older file is kept, and no line is cut."""
    for number in range(30):
        recorder = record(max_size=500)
        recorder(finished(number))
        await recorder.aclose()
    older = file.with_name("trace.jsonl.1")
    found = files_in(file.parent)
    assert list(found) == [file.name, older.name]
    assert max(map(len, found.values())) <= 500
    kept = [line.at for line in (*lines_of(older), *lines_of(file))]
    assert kept == list(range(30))[-len(kept) :]


@pytest.fixture
def cut(file: Path) -> Path:
    """Return a file whose last line has no end."""
    file.write_bytes(b'{"at":1.0,"end":"ser')
    return file


async def test_a_line_that_was_cut_spoils_no_other(record: Record, cut: Path) -> None:
    """After a crash or a full disk the next line begins anew, and the reader names the cut one."""
    recorder = record()
    recorder(finished(2.0))
    await recorder.aclose()
    broken, line = read_lines(files_in(cut.parent)[cut.name].splitlines(keepends=True))
    assert isinstance(broken, Broken)
    assert broken.number == 1
    assert isinstance(line, Line)
    assert line.at == 2.0


def test_a_last_line_without_its_end_is_passed_over() -> None:
    """Somebody is writing it; a line with its end that makes no sense is named."""
    assert list(read_lines([b'{"at":1.0,"en'])) == []
    found = list(read_lines([b"\n", b"{}\n", b"\xff\n", b'{"at":"x"}\n']))
    assert [each.number for each in found if isinstance(each, Broken)] == [2, 3, 4]


async def test_records_wait_for_the_disk_and_requests_do_not(record: Record, file: Path) -> None:
    """Many records at once become few writes, in order."""
    recorder = record()
    for number in range(2000):
        recorder(finished(number))
    await asyncio.gather(recorder.aclose(), recorder.aclose())
    assert [line.at for line in lines_of(file)] == list(range(2000))
    assert repr(recorder) == f"<Recorder of {file}, ok>"
