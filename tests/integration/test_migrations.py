"""Migrations on a real database: the sum of them is the schema, each is applied once, and a wrong version is told."""

import asyncio
import uuid
from importlib.resources import files

import psycopg
import pytest

from worker import sql
from worker.errors import SchemaError
from worker.migrate import MIGRATIONS, check_schema, migrate, schema_version

# what makes two schemas one: columns, constraints, indexes and the options of tables, in words of the server itself
DUMPS = (
    """
    select table_name, ordinal_position, column_name, data_type, udt_name, is_nullable, column_default,
           character_maximum_length, numeric_precision, datetime_precision, collation_name, is_identity, is_generated
    from information_schema.columns where table_schema = 'public'
    """,
    """
    select conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), condeferrable, convalidated
    from pg_constraint where connamespace = 'public'::regnamespace
    """,
    "select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'",
    "select relname, relkind, relpersistence, reloptions from pg_class where relnamespace = 'public'::regnamespace",
    """
    select proname, pg_get_function_identity_arguments(oid), prosrc
    from pg_proc where pronamespace = 'public'::regnamespace
    """,
    "select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
    "select typname, typtype from pg_type where typnamespace = 'public'::regnamespace",
    "select table_name, view_definition from information_schema.views where table_schema = 'public'",
)


@pytest.fixture
def empty_database(postgres):
    """Return the addresses of databases without anything in them, dropped after the test."""
    names = []

    def create() -> str:
        names.append(f"test_{uuid.uuid4().hex}")
        postgres.create_database(names[-1])
        return postgres.url(names[-1])

    yield create
    for name in names:
        postgres.drop_database(name)


def dump(url: str) -> list[list[tuple]]:
    """Return everything that a schema consists of, in a fixed order."""
    with psycopg.connect(url, autocommit=True) as conn:
        return [sorted(conn.execute(statement).fetchall(), key=repr) for statement in DUMPS]


async def connect(url: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


async def test_schema_file_equals_the_migrations_summed(empty_database):
    """The schema as it stands in one file and the migrations in their order build the same database."""
    migrated, written = empty_database(), empty_database()
    async with await connect(migrated) as conn:
        await migrate(conn)
    with psycopg.connect(written, autocommit=True) as conn:
        conn.execute(files(sql).joinpath("schema.sql").read_bytes())
    found = dump(migrated)
    assert found == dump(written)
    assert ("referral_usages", "referral_usages_pkey") in {row[:2] for row in found[2]}


def test_migrations_are_numbered_from_1_without_gaps():
    """Versions are 1, 2, 3 and so on, so that no migration is left behind by a later one."""
    assert [migration.version for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


async def test_migrate_applies_all_to_an_empty_database(empty_database):
    """An empty database gets every migration, in order, and is then the one that this version needs."""
    async with await connect(empty_database()) as conn:
        assert await schema_version(conn) == 0
        assert await migrate(conn) == MIGRATIONS
        assert await schema_version(conn) == MIGRATIONS[-1].version
        await check_schema(conn)


async def test_migrate_does_nothing_the_second_time(empty_database):
    """A migrated database is left as it is, with its rows."""
    url = empty_database()
    async with await connect(url) as conn:
        await migrate(conn)
        await conn.execute(
            "insert into referral_positions (topic, partition, partition_count, next_offset) values ('a', 0, 1, 7)"
        )
        before = dump(url)
        applied = await (await conn.execute("select version, name, applied_at from referral_migrations")).fetchall()
        assert await migrate(conn) == []
        again = await (await conn.execute("select version, name, applied_at from referral_migrations")).fetchall()
        positions = await (await conn.execute("select next_offset from referral_positions")).fetchall()
    assert dump(url) == before
    assert again == applied
    assert positions == [(7,)]


async def test_migrate_works_once_when_several_start_at_once(empty_database):
    """Of several workers that start at one moment one applies each migration; the others wait and find it done."""
    url = empty_database()
    connections = [await connect(url) for _ in range(4)]
    results = await asyncio.gather(*(migrate(conn) for conn in connections))
    for conn in connections:
        await conn.close()
    assert sorted(results, key=len) == [[], [], [], MIGRATIONS]


async def test_migrate_leaves_nothing_when_a_migration_fails(empty_database):
    """A migration that cannot be applied takes all of its call back."""
    url = empty_database()
    with psycopg.connect(url, autocommit=True) as blocker:
        blocker.execute("create table referral_rejections (id integer)")
    before = dump(url)
    async with await connect(url) as conn:
        with pytest.raises(psycopg.errors.DuplicateTable):
            await migrate(conn)
        assert await schema_version(conn) == 0
    assert dump(url) == before


async def test_check_schema_names_the_command_when_the_schema_is_older(empty_database):
    """A database that was never migrated stops the worker with the command that mends it."""
    async with await connect(empty_database()) as conn:
        with pytest.raises(SchemaError, match=r"version 0, this worker needs \d+: run `referrals migrate`"):
            await check_schema(conn)


async def test_check_schema_asks_for_a_newer_worker_when_the_schema_is_newer(database_url):
    """A database that a newer worker has migrated stops an older one."""
    newer = MIGRATIONS[-1].version + 1
    async with await connect(database_url) as conn:
        await conn.execute("insert into referral_migrations (version, name) values (%s, 'later')", [newer])
        with pytest.raises(SchemaError, match=rf"version {newer}, .*install a newer worker"):
            await check_schema(conn)
        assert await migrate(conn) == []
