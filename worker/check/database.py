"""The database: whether it is there, takes writes, has the schema, and lets this role do what a worker does."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row

from worker.check.finding import Finding, Level
from worker.database import sever
from worker.errors import SchemaError, StoreUnavailableError
from worker.migrate import MIGRATIONS, check_schema
from worker.settings import Settings
from worker.sql import queries
from worker.startup import connect

_ASKED_FOR_S: Final = 5.0
_TESTED_POSTGRES: Final = 18


class _Server(NamedTuple):
    """What PostgreSQL says of itself, and of the role that asks."""

    version: str
    database: str
    role: str
    is_standby: bool
    is_read_only: bool
    may_create_temporary: bool


@dataclass(frozen=True)
class StoredPositions:
    """What the stored positions say; `unchecked` is why they could not be read."""

    unchecked: str | None
    foreign_topic: str | None = None
    partition_counts: list[int] = field(default_factory=list)


async def check_database(settings: Settings) -> tuple[list[Finding], StoredPositions]:
    """Check the database, for about 10 s at most, and return what its positions say as well."""
    subject = f"PostgreSQL {where(settings.database_url)}"
    impatient = settings.model_copy(update={"connect_timeout_s": min(settings.connect_timeout_s, _ASKED_FOR_S)})
    try:
        async with await connect(impatient) as conn:
            deadline = asyncio.get_running_loop().call_later(_ASKED_FOR_S, sever, conn)
            try:
                return await _ask_database(conn, subject, settings)
            finally:
                deadline.cancel()
    except (StoreUnavailableError, psycopg.Error) as error:
        fault = Finding(
            Level.FAIL, subject, " ".join(str(error).split()),
            "start PostgreSQL, or correct host, user, password and database in REFERRALS_DATABASE_URL",
        )  # fmt: skip
        unchecked = "PostgreSQL does not answer"
        found = [Finding(Level.NOT_CHECKED, it, unchecked) for it in ("writing", "schema", "privileges")]
        return [fault, *found], StoredPositions(unchecked)


def where(database_url: str) -> str:
    """Return user, host and database of a URL, as in `user@host:5432/name`, and nothing that may be secret."""
    parts = conninfo_to_dict(database_url)
    user, host, port, name = (parts.get(key) for key in ("user", "host", "port", "dbname"))
    return f"{f'{user}@' if user else ''}{host or 'localhost'}{f':{port}' if port else ''}/{name or ''}"


async def _ask_database(
    conn: psycopg.AsyncConnection, subject: str, settings: Settings
) -> tuple[list[Finding], StoredPositions]:
    async with conn.cursor(row_factory=class_row(_Server)) as cursor:
        await cursor.execute(queries["read_server"])
        (server,) = await cursor.fetchall()
    schema = await _check_schema(conn)
    lacking = [privilege for (privilege,) in await (await conn.execute(queries["find_missing_privileges"])).fetchall()]
    is_ready = schema.level is Level.OK
    findings = [
        _judge_version(subject, server.version),
        _judge_writing(server),
        schema,
        *_judge_privileges(server, lacking, is_ready=is_ready),
    ]
    if not is_ready:
        return findings, StoredPositions("the schema is not there, or not of this version")
    if "select on referral_positions" in lacking:
        return findings, StoredPositions("the role may not read them")
    return findings, await _read_positions(conn, settings)


def _judge_version(subject: str, version: str) -> Finding:
    if int(re.split(r"\D", version)[0]) < _TESTED_POSTGRES:
        return Finding(
            Level.WARN, subject, f"answers, version {version}",
            f"this worker is tested with PostgreSQL {_TESTED_POSTGRES}: plan an upgrade, or run the tests with yours",
        )  # fmt: skip
    return Finding(Level.OK, subject, f"answers, version {version}")


def _judge_writing(server: _Server) -> Finding:
    if server.is_standby:
        return Finding(
            Level.FAIL, "writing", "the server is a standby: nothing can be stored",
            "name the primary in REFERRALS_DATABASE_URL, or all hosts and target_session_attrs=read-write",
        )  # fmt: skip
    if server.is_read_only:
        return Finding(
            Level.FAIL, "writing", f"sessions of role {server.role} are read-only: nothing can be stored",
            f'find where default_transaction_read_only is set; run `alter role "{server.role}" reset '
            "default_transaction_read_only`, or the same of the database",
        )  # fmt: skip
    return Finding(Level.OK, "writing", "the server is a primary and takes writes")


async def _check_schema(conn: psycopg.AsyncConnection) -> Finding:
    try:
        await check_schema(conn)
    except SchemaError as error:
        said, _, remedy = str(error).rpartition(": ")
        return Finding(Level.FAIL, "schema", said, remedy)
    except psycopg.errors.InsufficientPrivilege as error:
        return Finding(Level.NOT_CHECKED, "schema", str(error))
    return Finding(Level.OK, "schema", f"has version {MIGRATIONS[-1].version}")


def _judge_privileges(server: _Server, lacking: list[str], *, is_ready: bool) -> Iterator[Finding]:
    subject = "privileges"
    if not server.may_create_temporary:
        yield Finding(
            Level.FAIL, subject, f"role {server.role} may not create temporary tables",
            f'run `grant temporary on database "{server.database}" to "{server.role}"`',
        )  # fmt: skip
    if lacking:
        yield Finding(
            Level.FAIL, subject, f"role {server.role} lacks {', '.join(lacking)}",
            "as the owner of the tables run `grant select, insert, update on all tables in schema public to "
            f'"{server.role}"; grant delete on referral_rejections, referral_workers to "{server.role}"`',
        )  # fmt: skip
    elif not is_ready:
        yield Finding(Level.NOT_CHECKED, subject, "the tables are not there, or not of this version")
    elif server.may_create_temporary:
        yield Finding(Level.OK, subject, f"role {server.role} has all that a worker needs")


async def _read_positions(conn: psycopg.AsyncConnection, settings: Settings) -> StoredPositions:
    parameters = {"topic": settings.usages_topic}
    foreign = await (await conn.execute(queries["read_foreign_topic"], parameters)).fetchone()
    counts = await (await conn.execute(queries["read_partition_counts"], parameters)).fetchall()
    return StoredPositions(None, foreign[0] if foreign else None, [count for (count,) in counts])
