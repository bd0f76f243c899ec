"""The journal on real SQLite files; time is the clock's, the database's work is real."""

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from stepwell.ledgers import MemoryLedger, journal, tables
from stepwell.ledgers.journal import INTERVAL, KEPT, LAST_RETRY, Journal, open_engine
from stepwell.quota.ledger import (
    Bench,
    Ended,
    Exhausted,
    Report,
    Reservation,
    TargetStatus,
)
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.reading import Reading
from stepwell.routing.chain import Target
from stepwell.testing import FakeClock

DAY = 86400.0
LIMIT = Limit.parse("100 requests/day")
FREE_LIMIT = Limit(Metric.REQUESTS, 50, DAY, Scope.FREE)
TARGET = Target("alpha", "alpha", "model-1", (LIMIT,))
OTHER = Target("beta", "beta", "model-1", (LIMIT,))
TARGETS = (TARGET, OTHER)
LOST = (
    "database: unable to open database file. Going on without it: "
    "a restart may forget what is learned now."
)
BACK = "database: it is back, and up to date"


def identify(salt: bytes) -> dict[str, str]:
    """Tell accounts apart by their names, as if these were their keys."""
    return {target.account: f"{salt.hex()}-{target.account}" for target in TARGETS}


class Book:
    """One process's ledger and journal."""

    def __init__(self, ledger: MemoryLedger, journal: Journal, clock: FakeClock) -> None:
        self.ledger = ledger
        self.journal = journal
        self.clock = clock

    async def reserve(self, target: Target = TARGET) -> Reservation | Any:
        return await self.ledger.reserve([target], 10, arrived=self.clock.monotonic())

    async def take(self, target: Target = TARGET) -> Reservation:
        answer = await self.reserve(target)
        assert isinstance(answer, Reservation)
        return answer

    async def report(self, report: Report, target: Target = TARGET) -> None:
        self.ledger.settle(await self.take(target), report)

    async def recall(self) -> None:
        """Ask the ledger something, by which it begins to remember."""
        await self.ledger.snapshot()

    async def status(self, target: Target = TARGET) -> TargetStatus:
        return next(each for each in await self.ledger.snapshot() if each.key == target.key)

    async def used(self, target: Target = TARGET) -> int | None:
        return (await self.status(target)).limits[0].used

    async def quiet(self) -> None:
        """Return when no visit to the database is under way."""
        while self.journal._visit is not None:
            await asyncio.wait({self.journal._visit})

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and let what falls due then reach the database."""
        await self.clock.advance(seconds)
        await self.quiet()


Open = Callable[..., Book]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stepwell.db"


@pytest.fixture
def open_book(clock: FakeClock, path: Path) -> Open:
    """Start a process, as it were; those before it are not ended first, as by `kill -9`."""

    def open_book(engine: Any = None, **parts: Any) -> Book:
        ledger = MemoryLedger(clock)
        parts = {"targets": TARGETS, "identify": identify, "clock": clock, **parts}
        logger = logging.getLogger("stepwell.test")
        engine = engine or open_engine(f"sqlite:///{path}")
        return Book(ledger, Journal(engine, ledger, logger=logger, **parts), clock)

    return open_book


def is_degraded(book: Book) -> bool:
    return not book.journal.is_ok


def rows_of(path: Path) -> list[tuple[str, str, float]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT account, model, saved FROM stepwell_quota").fetchall()
    finally:
        connection.close()


def change(path: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def remove(path: Path) -> None:
    path.unlink()


def write(path: Path, text: str) -> None:
    path.write_text(text)


def read(path: Path) -> str:
    return path.read_text()


class Sick:
    """An engine whose connections do what the test says instead of connecting."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.url = engine.url
        self.ails: BaseException | asyncio.Event | None = None
        self.visits = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        self.visits += 1
        if isinstance(self.ails, asyncio.Event):
            await self.ails.wait()
        elif self.ails is not None:
            raise self.ails
        async with self._engine.connect() as connection:
            yield connection


# --- what is remembered, and when it is written


@pytest.mark.parametrize(
    "report",
    [
        Report(Ended.REFUSED, bench=Bench.RATE, delay=9 * 3600.0, words="spent for today"),
        Report(Ended.REFUSED, bench=Bench.KEY, words="invalid key"),
        Report(Ended.REFUSED, bench=Bench.CREDIT, words="no credit"),
        Report(Ended.REFUSED, bench=Bench.MODEL, words="no such model"),
    ],
    ids=["told", "key", "credit", "model"],
)
async def test_what_is_sure_is_written_at_once(open_book: Open, report: Report) -> None:
    """A told cooldown and an account out of service outlive a crash in the very same second."""
    first = open_book()
    await first.report(report)
    await first.quiet()
    again = open_book()
    answer = await again.reserve()

    assert isinstance(answer, Exhausted)
    assert answer.blocks == ((await first.status()).block,)
    assert answer.blocks[0].words == report.words


async def test_counts_are_written_within_a_second(open_book: Open) -> None:
    """Settled calls and those under way alike: a crash must not forget what was counted."""
    first = open_book()
    await first.recall()
    await first.report(Report(Ended.SUCCESS))
    await first.take()
    await first.pass_time(INTERVAL)

    assert await open_book().used() == 2


async def test_a_reading_outlives_the_process(open_book: Open) -> None:
    """A counter that the provider says is empty is not tried again before its reset."""
    first = open_book()
    reading = Reading(LIMIT.metric, DAY, limit=100, remaining=0, reset=5000.0)
    await first.report(Report(Ended.SUCCESS, readings=(reading,)))
    await first.pass_time(INTERVAL)
    answer = await open_book().reserve()

    assert isinstance(answer, Exhausted)
    assert answer.until == pytest.approx(first.clock.monotonic() + 5000.0 - INTERVAL)


async def test_what_free_models_share_outlives_the_process(open_book: Open) -> None:
    """What one of them was told holds for the others, and for no paid model, after a crash too."""
    names = ("one:free", "two:free", "paid")
    one, two, paid = (Target("alpha", "alpha", name, (FREE_LIMIT,)) for name in names)
    first = open_book(targets=(one, two, paid))
    await first.recall()
    await first.report(Report(Ended.SUCCESS), one)
    told = Report(Ended.REFUSED, bench=Bench.RATE, delay=5000.0, scope=Scope.FREE)
    await first.report(told, one)
    await first.quiet()
    again = open_book(targets=(one, two, paid))

    answer = await again.reserve(two)
    assert isinstance(answer, Exhausted)
    assert answer.until == pytest.approx(first.clock.monotonic() + 5000.0)
    assert (await again.status(two)).limits[0].used == 2
    assert isinstance(await again.reserve(paid), Reservation)


async def test_a_request_waits_for_no_write(open_book: Open) -> None:
    """While the database hangs, questions and reports are answered at once."""
    sick = Sick(open_engine("sqlite:///never.db"))
    sick.ails = asyncio.Event()
    book = open_book(sick, patience=0.01)
    await book.recall()  # the only wait there is: the first question's, for what was written
    for _ in range(3):
        await book.report(Report(Ended.REFUSED, bench=Bench.RATE, delay=0.0))

    assert sick.visits == 1
    await book.quiet()
    assert is_degraded(book)


async def test_one_batch_for_many_changes(open_book: Open, path: Path) -> None:
    """A burst is one visit to the database, not one a request."""
    sick = Sick(open_engine(f"sqlite:///{path}"))
    book = open_book(sick)
    await book.recall()
    for _ in range(50):
        await book.report(Report(Ended.SUCCESS))
    await book.pass_time(INTERVAL)

    assert sick.visits == 2  # one to read, one to write
    assert await open_book().used() == 50


async def test_a_rested_journal_holds_nothing(open_book: Open, clock: FakeClock) -> None:
    """When all is written there is no task, no timer and no connection that keeps a process alive."""
    others = asyncio.all_tasks()
    book = open_book()
    await book.report(Report(Ended.SUCCESS))
    await book.pass_time(INTERVAL)

    assert asyncio.all_tasks() == others
    assert "0 timers" in repr(clock)
    assert repr(book.journal) == "<Journal sqlite, ok, 0 noted>"


async def test_closing_writes_what_is_left_and_may_be_repeated(open_book: Open) -> None:
    """A restart in good order forgets nothing, and the ledger may be used again after it."""
    book = open_book()
    await book.take()
    await book.journal.aclose()
    await book.journal.aclose()
    assert await open_book().used() == 1
    await book.take()
    await book.journal.aclose()
    assert await open_book().used() == 2


async def test_targets_are_in_sight_after_a_restart(open_book: Open) -> None:
    """Health and quota views show what is known before anyone has asked for it."""
    first = open_book()
    await first.report(Report(Ended.REFUSED, bench=Bench.KEY))
    await first.quiet()
    blocks = [each.block for each in await open_book().ledger.snapshot()]

    assert [block is not None for block in blocks] == [True, False]


def test_it_goes_on_in_another_event_loop(open_book: Open) -> None:
    """A host's tests run each in a loop of its own; what was noted in the last one is not lost."""
    book = open_book()
    asyncio.run(book.reserve())

    async def later() -> int | None:
        await book.take()
        await book.journal.aclose()
        return await open_book().used()

    assert asyncio.run(later()) == 2


# --- time


async def test_time_that_passed_while_it_was_down_counts(open_book: Open, clock: FakeClock) -> None:
    """A cooldown that has ended meanwhile has ended; one that has not goes on for the rest."""
    first = open_book()
    await first.report(Report(Ended.REFUSED, bench=Bench.RATE, delay=600.0))
    await first.report(Report(Ended.REFUSED, bench=Bench.RATE, delay=3600.0), OTHER)
    await first.quiet()
    clock.shift(1800.0)
    again = open_book()
    answer = await again.reserve(OTHER)

    assert isinstance(await again.reserve(), Reservation)
    assert isinstance(answer, Exhausted)
    assert answer.until == pytest.approx(clock.monotonic() + 1800.0)


async def test_a_clock_that_was_turned_back_frees_nothing(
    open_book: Open, clock: FakeClock
) -> None:
    """Rows from the future are as good as new, and are dated anew."""
    first = open_book()
    await first.report(Report(Ended.REFUSED, bench=Bench.RATE, delay=600.0))
    await first.quiet()
    clock.jump_wall(-7200.0)
    again = open_book()
    answer = await again.reserve()
    assert isinstance(answer, Exhausted)
    assert answer.until == pytest.approx(clock.monotonic() + 600.0)

    await again.journal.aclose()
    clock.shift(601.0)
    assert isinstance(await open_book().reserve(), Reservation)


async def test_a_day_that_is_counted_ends_when_it_would_have(
    open_book: Open, clock: FakeClock
) -> None:
    """Counts age while nobody runs."""
    first = open_book()
    await first.report(Report(Ended.SUCCESS))
    await first.journal.aclose()
    clock.shift(DAY - 10)
    assert await open_book().used() == 1
    clock.shift(11)
    assert await open_book().used() == 0


async def test_old_rows_are_dropped_and_unknown_ones_kept(
    open_book: Open, clock: FakeClock, path: Path
) -> None:
    """What nobody renews goes after 40 days; a target that is not configured may come back."""
    first = open_book()
    await first.report(Report(Ended.SUCCESS))
    await first.report(Report(Ended.SUCCESS), OTHER)
    await first.journal.aclose()
    one_day_old = clock.time() - DAY
    change(path, "UPDATE stepwell_quota SET saved = ?", clock.time() - KEPT - 1)
    change(path, "UPDATE stepwell_quota SET saved = ? WHERE account LIKE '%-beta'", one_day_old)
    alone = open_book(targets=[TARGET], identify=lambda salt: {"alpha": "alpha"})
    await alone.recall()

    assert {saved for _, _, saved in rows_of(path)} == {one_day_old}
    assert await alone.used() == 0


# --- accounts


async def test_a_new_key_inherits_nothing_and_a_moved_one_takes_its_own_along(
    open_book: Open,
) -> None:
    """A record belongs to a key, wherever in the settings the key stands."""
    first = open_book(identify=lambda salt: {"alpha": "key-1"})
    await first.report(Report(Ended.REFUSED, bench=Bench.KEY, words="invalid key"))
    await first.quiet()
    replaced = open_book(identify=lambda salt: {"alpha": "key-2", "beta": "key-1"})

    assert isinstance(await replaced.reserve(TARGET), Reservation)
    assert isinstance(await replaced.reserve(OTHER), Exhausted)


async def test_processes_share_a_file(open_book: Open) -> None:
    """Each writes the rows of what it used; of one row the last writer's view stays."""
    first, second = open_book(), open_book()
    await first.recall()
    await second.recall()
    await first.report(Report(Ended.SUCCESS))
    await first.report(Report(Ended.SUCCESS))
    await second.report(Report(Ended.SUCCESS))
    await second.report(Report(Ended.SUCCESS), OTHER)
    await asyncio.gather(first.journal.aclose(), second.journal.aclose())
    third = open_book()

    assert await third.used(OTHER) == 1
    assert await third.used(TARGET) in (1, 2)


# --- a database that is not well


async def test_a_database_that_cannot_be_had_is_told_once_and_found_again(
    open_book: Open, clock: FakeClock, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No request fails; one line when it is lost, one when it is back; then all is written."""
    home = path.parent / "missing"
    book = open_book(open_engine(f"sqlite:///{home / 'stepwell.db'}"))
    for _ in range(3):
        await book.report(Report(Ended.SUCCESS))
        await book.pass_time(5.0)
    assert is_degraded(book)
    assert caplog.messages == [LOST]

    home.mkdir()
    await book.pass_time(LAST_RETRY)
    assert book.journal.is_ok
    assert caplog.messages == [LOST, BACK]
    shutil.copy(home / "stepwell.db", path)
    assert await open_book().used() == 3


async def test_a_locked_file_is_waited_for_in_vain_and_tried_again(
    open_book: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program that holds the file for long costs nothing but memory's freshness."""
    monkeypatch.setattr(journal, "BUSY", 0.01)
    book = open_book()
    await book.recall()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    await book.report(Report(Ended.SUCCESS))
    await book.pass_time(INTERVAL)
    assert is_degraded(book)
    blocker.execute("ROLLBACK")
    blocker.close()
    await book.pass_time(LAST_RETRY)

    assert book.journal.is_ok
    assert await open_book().used() == 1


async def test_retries_come_later_and_later(open_book: Open, clock: FakeClock) -> None:
    """After 1, 2, 4 ... 30 seconds, whatever happens in between."""
    sick = Sick(open_engine("sqlite:///never.db"))
    sick.ails = OSError("no route to host")
    book = open_book(sick)
    await book.recall()
    seen = []
    for _ in range(64):
        await book.report(Report(Ended.REFUSED, bench=Bench.RATE, delay=0.0))
        await book.pass_time(1.0)
        seen.append(sick.visits)
    moments = [second for second, (old, new) in enumerate(pairwise(seen), 2) if new > old]

    assert seen[0] == 2
    assert moments == [3, 7, 15, 31, 61]


async def test_a_database_that_comes_late_adds_to_what_is_known(
    open_book: Open, path: Path
) -> None:
    """What was written before is read first; then both are one, and nothing was overwritten."""
    before = open_book()
    await before.report(Report(Ended.SUCCESS))
    await before.report(Report(Ended.REFUSED, bench=Bench.RATE, delay=600.0), OTHER)
    await before.journal.aclose()
    sick = Sick(open_engine(f"sqlite:///{path}"))
    sick.ails = OSError("not yet")
    book = open_book(sick)
    await book.report(Report(Ended.SUCCESS))
    await book.take(OTHER)
    sick.ails = None
    await book.pass_time(1.0)

    assert await book.used() == 2
    assert isinstance(await book.reserve(OTHER), Exhausted)
    assert await open_book().used() == 2


async def test_a_file_that_is_replaced_gets_everything(open_book: Open, path: Path) -> None:
    """Another database knows nothing, so it is told all, not only what changes from now on."""
    book = open_book()
    await book.report(Report(Ended.SUCCESS))
    await book.pass_time(INTERVAL)
    remove(path)
    await book.report(Report(Ended.SUCCESS), OTHER)
    await book.pass_time(INTERVAL)
    await book.pass_time(1.0)
    again = open_book()

    assert [await again.used(), await again.used(OTHER)] == [1, 1]


async def test_what_is_no_database_is_left_alone(
    open_book: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong path must not cost somebody a file."""
    write(path, "my diary, " * 1000)
    book = open_book()
    await book.report(Report(Ended.SUCCESS))
    await book.journal.aclose()

    assert read(path).startswith("my diary")
    assert "file is not a database" in caplog.text


async def test_tables_of_a_newer_version_are_left_alone(
    open_book: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to do, and the gateway goes on without."""
    await open_book().recall()
    change(path, "UPDATE stepwell_meta SET value = '2' WHERE name = 'version'")
    book = open_book()
    await book.report(Report(Ended.SUCCESS))
    await book.journal.aclose()

    assert rows_of(path) == []
    assert "its tables are of version 2, and this stepwell knows version 1" in caplog.text


@pytest.mark.parametrize(
    "state", ["", "[]", "{}", '{"counts": 7, "cooldowns": [{"bench": "none"}]}', "{"]
)
async def test_rows_that_somebody_edited_are_passed_over(
    open_book: Open, path: Path, state: str
) -> None:
    """A record that makes no sense is worth less than the request that meets it."""
    first = open_book()
    await first.report(Report(Ended.SUCCESS))
    await first.journal.aclose()
    change(path, "UPDATE stepwell_quota SET state = ?", state)

    assert isinstance(await open_book().reserve(), Reservation)


# --- addresses


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_that_does_not_last_is_refused(url: str) -> None:
    """A memory that forgets at once would be no memory, and nobody would know."""
    with pytest.raises(ValueError, match="names no file"):
        open_engine(url)


def test_a_wrong_address_is_not_repeated() -> None:
    """It may hold a password."""
    with pytest.raises(ValueError, match="it is no address") as caught:
        open_engine("postgresql://me:secret@host:port/name")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("dialect", [sqlite.dialect, postgresql.dialect])
def test_both_databases_are_spoken_to_in_their_own_words(dialect: Any) -> None:
    """A row is written whether it is there or not, in one statement."""
    text = str(tables.upsert(dialect.name).compile(dialect=dialect()))
    assert "ON CONFLICT (account, model) DO UPDATE SET saved = excluded.saved" in text
