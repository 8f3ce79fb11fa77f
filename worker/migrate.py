"""Numbered migrations: `worker/sql/migrations/NNNN_name.sql`, applied in order, each once."""

from importlib.resources import files
from typing import Final, NamedTuple

from psycopg import AsyncConnection

from worker import sql
from worker.errors import SchemaError
from worker.sql import queries


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    statements: bytes


def _read() -> list[Migration]:
    found = []
    for file in files(sql).joinpath("migrations").iterdir():
        version, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(version), name, file.read_bytes()))
    return sorted(found)


MIGRATIONS: Final = _read()


async def migrate(conn: AsyncConnection) -> list[Migration]:
    """
    Bring the schema to this version's state, in one transaction, and return the migrations that were applied.

    Several processes may call it at once; one works and the others find nothing left to do.
    """
    applied = []
    async with conn.transaction():
        await conn.execute(queries["lock_migrations"])
        current = await schema_version(conn)
        for migration in MIGRATIONS:
            if migration.version > current:
                await conn.execute(migration.statements)
                await conn.execute(queries["note_migration"], {"version": migration.version, "name": migration.name})
                applied.append(migration)
    return applied


async def schema_version(conn: AsyncConnection) -> int:
    """Return the version of the newest migration applied, 0 for none."""
    row = await (await conn.execute(queries["has_migrations"])).fetchone()
    if row is None or not row[0]:
        return 0
    row = await (await conn.execute(queries["read_schema_version"])).fetchone()
    return row[0] or 0 if row else 0


async def check_schema(conn: AsyncConnection) -> None:
    """
    Check that the schema is the one this version needs.

    Raises:
        SchemaError: it is older (run the migrations) or newer (run a newer worker).
    """
    current, needed = await schema_version(conn), MIGRATIONS[-1].version
    if current < needed:
        raise SchemaError(
            f"the database schema has version {current}, this worker needs {needed}: run `referrals migrate`"
        )
    if current > needed:
        raise SchemaError(
            f"the database schema has version {current}, this worker knows {needed} at most: install a newer worker"
        )
