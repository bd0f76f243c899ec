"""Journal: writes a ledger's state through to a database, so that it outlives the process.

A change is noted in a set, and nothing else stands in a request's way. Half a second later all that
was noted since goes out as one batch; what is sure and costly to learn anew (told cooldowns, out of
service) goes out at once. So a crash forgets at most the last second.

1. One visit at a time, one connection a visit, none in between: at most two short connections a
   second, and in return nothing to keep alive, no pool that belongs to an event loop, and a database
   that was restarted, moved or replaced is found as it is.
2. A visit that fails or hangs is repeated, later each time. Meanwhile the ledger goes on in memory;
   the log is told once that the database is lost, and once that it is back.
3. What was written before is read by the first visit, and nothing is written before that. The first
   question to the ledger waits for it, for a bounded time. A database that comes back later is read
   then, and what it says is added to what is known.
4. Records hold ages, not times, and are as old as the wall clock says, but never younger than new:
   a clock that was turned back frees no quota.
5. Several processes may share a database. Each row is the last writer's view; nobody reads the
   others' before a restart.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from stepwell.clock import Clock, Timer
from stepwell.ledgers import tables
from stepwell.ledgers.memory import MemoryLedger
from stepwell.ledgers.record import Record
from stepwell.quota.ledger import Reservable

# Half of the second that a crash may forget; the other half is for the database to answer.
INTERVAL: Final = 0.5
# Seconds for a visit. SQLite on a busy disk answers within one; who takes longer is not there.
PATIENCE: Final = 5.0
# Seconds for which the first question waits to have the records back; a local file takes 20 ms.
FIRST_PATIENCE: Final = 2.0
# Seconds for which SQLite waits for another process's lock: shorter, so that it says so itself.
BUSY: Final = 3.0
# Seconds between visits while they fail: first, and at most.
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 30.0
# Seconds for which rows are kept that nobody renews. No quota is longer than a month.
KEPT: Final = 40 * 86400.0

Identify = Callable[[bytes], Mapping[str, str]]


def open_engine(url: str) -> AsyncEngine:
    """Return an engine for `database.url`; it opens nothing yet.

    Raises:
        ImportError: The driver is not installed.
        ValueError: The URL cannot be used; the message does not hold it.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("it is no address; write it like sqlite:///stepwell.db") from None
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address)
    query = dict(address.query)
    if "sslmode" in query:  # libpq's name, which hosters print; the driver calls it ssl
        query["ssl"] = query.pop("sslmode")
    return _open(address.set(drivername="postgresql+asyncpg", query=query))


def _open_sqlite(address: URL) -> AsyncEngine:
    if address.database in (None, "", ":memory:"):
        raise ValueError("it names no file; write it like sqlite:///stepwell.db")
    engine = _open(address.set(drivername="sqlite+aiosqlite"), timeout=BUSY)
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    return engine


def _open(address: URL, **arguments: Any) -> AsyncEngine:
    return create_async_engine(
        address, poolclass=NullPool, hide_parameters=True, connect_args=arguments
    )


def _set_up_sqlite(connection: Any, record: Any) -> None:
    # Readers and a writer do not wait for each other, and a commit does not wait for the disk: after
    # a power failure the last commits may be missing, but the file is whole.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


class Journal:
    """A ledger's memory in a database; see the module's text.

    Everything starts on first use, in whatever event loop runs then. `aclose` writes what is left;
    the ledger may be used again after it.

    Args:
        engine: What `open_engine` returned.
        ledger: What writes through to it.
        targets: Those configured.
        identify: Returns each account's digest by its name, made with a salt that belongs to the
            database. A record is given back to the account of the same digest, so that it follows
            a key to another place, and a new key does not inherit what was said of an old one.
        clock: Times records, batches and retries.
        logger: Is told of a database that is lost, and back.
        patience: Seconds for a visit, on the event loop's clock: the database does not live on ours.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        ledger: MemoryLedger,
        *,
        targets: Collection[Reservable],
        identify: Identify,
        clock: Clock,
        logger: logging.Logger,
        patience: float = PATIENCE,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._targets = targets
        self._identify = identify
        self._clock = clock
        self._logger = logger
        self._patience = patience
        self._dirty: set[str] = set()
        self._salt: bytes | None = None
        self._digests: Mapping[str, str] = {}
        self._is_prepared = False  # the tables are there
        self._is_loaded = False
        self._is_urgent = False
        self._failures = 0  # in a row
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: Timer | None = None
        self._visit: asyncio.Task[None] | None = None
        self.is_recalled = False
        ledger.remember(self)

    def __repr__(self) -> str:
        state = "ok" if self.is_ok else f"{self._failures} failures"
        return f"<Journal {self._engine.url.get_backend_name()}, {state}, {len(self._dirty)} noted>"

    @property
    def is_ok(self) -> bool:
        """The last visit went well, or there was none yet."""
        return self._failures == 0

    async def recall(self) -> None:
        """See `Memory.recall`."""
        if self.is_recalled:
            return
        await asyncio.wait({self._begin()}, timeout=min(self._patience, FIRST_PATIENCE))
        self.is_recalled = True

    def note(self, target: str, *, urgent: bool = False) -> None:
        """See `Memory.note`."""
        self._dirty.add(target)
        self._settle_in()
        if urgent and self.is_ok:
            self._is_urgent = True
            self._begin()
        elif self._timer is None and self._visit is None:
            self._timer = self._clock.call_later(INTERVAL, self._begin)

    async def aclose(self) -> None:
        """Write what is left, within the time for two visits, and stop; idempotent."""
        self._settle_in()
        if self._visit is not None:
            await asyncio.wait({self._visit}, timeout=self._patience)
        if self._dirty:
            await asyncio.wait({self._begin()}, timeout=self._patience)
        self._drop_timer()

    # --- when

    def _settle_in(self) -> None:
        """Forget timer and visit of an event loop that is gone: they will never come."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._timer, self._visit = loop, None, None

    def _begin(self) -> asyncio.Task[None]:
        self._settle_in()
        if self._visit is None:
            self._drop_timer()
            self._is_urgent = False
            self._visit = asyncio.create_task(self._try())
        return self._visit

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._go()
        except Exception as error:  # noqa: BLE001 - the outermost edge, and drivers raise anything
            self._fail(error)
        else:
            self._succeed()
        finally:
            self._visit = None
            self.is_recalled = True
        if self._dirty or not self._is_loaded:
            self._timer = self._clock.call_later(self._pause(), self._begin)

    def _pause(self) -> float:
        if self._failures:
            return min(FIRST_RETRY * 2.0 ** min(self._failures - 1, 32), LAST_RETRY)
        return 0.0 if self._is_urgent else INTERVAL

    def _fail(self, error: Exception) -> None:
        if self.is_ok:
            self._logger.warning(
                "database: %s. Going on without it: a restart may forget what is learned now.",
                _reason(error),
            )
        self._failures += 1
        self._is_prepared = False

    def _succeed(self) -> None:
        if not self.is_ok:
            self._logger.warning("database: it is back, and up to date")
        self._failures = 0

    # --- what

    async def _go(self) -> None:
        async with self._engine.connect() as connection:
            if not self._is_prepared:
                await tables.create(connection)
                self._is_prepared = True
            self._identify_by(await tables.salt_of(connection))
            if not self._is_loaded:
                rows = await tables.load(connection, since=self._clock.time() - KEPT)
                self._restore(rows)
                self._is_loaded = True
            await self._write(connection)

    def _identify_by(self, salt: bytes) -> None:
        if salt == self._salt:
            return
        if self._salt is not None:  # another database than before: it knows nothing
            self._dirty.update(filter(None, (each.target for each in self._ledger.export())))
        self._salt, self._digests = salt, self._identify(salt)

    def _restore(self, rows: Iterable[Any]) -> None:
        accounts = {digest: name for name, digest in self._digests.items()}
        now = self._clock.time()
        records = [
            _record(accounts[row.account], row, now) for row in rows if row.account in accounts
        ]
        self._ledger.restore(records, self._targets)
        # Rows from the future would be as good as new at each restart, until the clock gets there.
        early = {accounts.get(row.account) for row in rows if row.saved > now}
        self._dirty |= {target.key for target in self._targets if target.account in early}

    async def _write(self, connection: AsyncConnection) -> None:
        noted, self._dirty = self._dirty, set()
        try:
            rows = []
            for record in self._ledger.export(noted):
                if record.account in self._digests:
                    rows.append(self._row(record))
                await asyncio.sleep(0)  # requests first: a record takes a fraction of a millisecond
            if rows:
                await tables.save(connection, rows)
        except BaseException:
            self._dirty |= noted
            raise

    def _row(self, record: Record) -> dict[str, Any]:
        target = record.target or ""
        return {
            "account": self._digests[record.account],
            "model": target.removeprefix(f"{record.account}/"),
            "saved": self._clock.time(),
            "state": msgspec.json.encode(record.state).decode(),
        }


def _record(account: str, row: Any, now: float) -> Record:
    try:
        state = msgspec.json.decode(row.state)
    except msgspec.DecodeError:
        state = {}  # edited by somebody; the ledger passes it over
    target = f"{account}/{row.model}" if row.model else None
    return Record(account, target, state, age=max(0.0, now - row.saved))


def _reason(error: Exception) -> str:
    """Return one line without values: a driver's own words, or what kind of error it is."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = str(cause).strip() or type(cause).__name__
    return text.splitlines()[0]
