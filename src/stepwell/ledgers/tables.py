"""The tables in which quota outlives the process, and what is asked of them.

    stepwell_meta    name, value: the version of these tables, and the salt of the accounts' digests
    stepwell_quota   account, model, saved, state: one row a target; `model` is empty for what the
                     targets of an account share, and `*:free` for what its free models do

`account` is a digest that only somebody who has the account's key can make. `saved` is Unix time in
seconds. `state` is JSON, and all times within it are seconds before or after `saved`.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, Float, MetaData, Table, Text, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

VERSION: Final = 1

# Each has its own INSERT ... ON CONFLICT, written alike.
_INSERTS: Final[Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

# The names begin with ours, because a PostgreSQL database may hold a host's tables, too.
_METADATA: Final = MetaData()
META: Final = Table(
    "stepwell_meta",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
QUOTA: Final = Table(
    "stepwell_quota",
    _METADATA,
    Column("account", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("saved", Float(53), nullable=False),
    Column("state", Text, nullable=False),
)


class ForeignVersion(Exception):
    """The tables were made by another version of stepwell, which knows what we do not."""


async def create(connection: AsyncConnection) -> None:
    """Make what is missing."""
    for table in (META, QUOTA):
        await connection.execute(CreateTable(table, if_not_exists=True))
    insert = _INSERTS[connection.dialect.name]
    given = [
        {"name": "version", "value": str(VERSION)},
        {"name": "salt", "value": secrets.token_hex(16)},
    ]
    # Of several processes that start at once the first one's salt holds.
    await connection.execute(insert(META).on_conflict_do_nothing(), given)
    await connection.commit()


async def salt_of(connection: AsyncConnection) -> bytes:
    """Return the database's salt.

    Raises:
        ForeignVersion: Its tables are of another version.
    """
    rows = await connection.execute(select(META.c.name, META.c.value))
    found = {row.name: row.value for row in rows}
    version = found.get("version", "?")
    if version != str(VERSION):
        raise ForeignVersion(
            f"its tables are of version {version}, and this stepwell knows version {VERSION}; "
            "install a newer stepwell, or name another database"
        )
    return bytes.fromhex(found["salt"])


async def load(connection: AsyncConnection, since: float) -> Sequence[Any]:
    """Return the rows saved since a Unix time, and delete older ones."""
    await connection.execute(delete(QUOTA).where(QUOTA.c.saved < since))
    await connection.commit()
    return (await connection.execute(select(QUOTA))).all()


async def save(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows in place of those that stand there: the last writer wins, row by row."""
    # In one order, so that two processes never wait for each other's rows.
    ordered = sorted(rows, key=lambda row: (row["account"], row["model"]))
    await connection.execute(upsert(connection.dialect.name), ordered)
    await connection.commit()


def upsert(dialect: str) -> sqlite.Insert | postgresql.Insert:
    """Return the statement that writes a row, whether it is there already or not."""
    insert = _INSERTS[dialect](QUOTA)
    return insert.on_conflict_do_update(
        index_elements=[QUOTA.c.account, QUOTA.c.model],
        set_={"saved": insert.excluded.saved, "state": insert.excluded.state},
    )
