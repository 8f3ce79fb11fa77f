"""The servers of a run: one Kafka and one PostgreSQL in a scratch folder, for all contenders alike."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from sandbox.jars import JARS_FOLDER
from sandbox.kafka import Kafka
from sandbox.postgres import Postgres
from sandbox.referrals import PREFIX, migrate

# as PostgreSQL comes, fsync included, but for commits that carry their time: it is what rates are computed from
POSTGRES_SETTINGS: Final = {"track_commit_timestamp": "on"}
TEMPLATE_DATABASE: Final = "template_referrals"
MAINTENANCE_DATABASE: Final = "postgres"


@dataclass(frozen=True, slots=True)
class Services:
    """Running servers; `folder` is for the contenders' own files and logs."""

    kafka: Kafka
    postgres: Postgres
    folder: Path

    def create_database(self, name: str) -> None:
        """Create a database with the worker's schema and no rows, and leave nothing to write of what was before."""
        self.postgres.create_database(name, template=TEMPLATE_DATABASE)
        with psycopg.connect(self.postgres.url(MAINTENANCE_DATABASE), autocommit=True) as conn:
            conn.execute("checkpoint")

    def postgres_version(self) -> str:
        """Return the server's version."""
        with psycopg.connect(self.postgres.url(MAINTENANCE_DATABASE)) as conn:
            return conn.info.parameter_status("server_version") or ""


@contextmanager
def running_services(settings: Mapping[str, str] | None = None) -> Iterator[Services]:
    """
    Start the servers in a new folder; afterwards neither they nor the folder are there.

    The folder lies beside the demo's, on the project's own disk: /tmp is memory on some machines, and costs no fsync.

    Args:
        settings: more settings of PostgreSQL.
    Raises:
        SandboxError: one of them did not start.
    """
    JARS_FOLDER.parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=JARS_FOLDER.parent))
    postgres = Postgres(folder / "postgres", has_tcp=True, settings=POSTGRES_SETTINGS | dict(settings or {}))
    services = Services(Kafka(folder / "kafka"), postgres, folder)
    try:
        services.kafka.start()
        services.postgres.start()
        services.postgres.create_database(TEMPLATE_DATABASE)
        migrate({f"{PREFIX}DATABASE_URL": services.postgres.url(TEMPLATE_DATABASE)})
        yield services
    finally:
        services.postgres.stop()
        services.kafka.stop()
        shutil.rmtree(folder, ignore_errors=True)
