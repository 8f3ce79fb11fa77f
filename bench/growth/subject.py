"""The worker under measurement: over a database and a topic of its own, asked through its log and its process."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.events import Backlog, create_topic
from bench.history import History, store_history
from bench.measure import REMEDY, NotExactError
from bench.services import Services
from bench.sql import fetch_row
from sandbox.errors import ProcessTimeoutError
from sandbox.referrals import PREFIX, Worker

SLOWEST_EVENTS_PER_S: Final = 2_000
FILLED_DEADLINE_S: Final = 900.0
DRAINED_LEAST_S: Final = 60.0
LOOK_AGAIN_S: Final = 0.05
# checking sorts all pairs
CHECK_MEMORY: Final = "1GB"

Say = Callable[[str], None]
"""Tells the person who waits what is under way."""


class Subject:
    """
    One database, one topic whose positions start at 0, and at most one worker over both.

    Args:
        name: of the database, the topic and the group; also tells its files from those of others.
        number: from 1 on, of the worker.
    """

    def __init__(self, services: Services, name: str, number: int, partition_count: int) -> None:
        self.name = name
        self._services = services
        self._number = number
        self._partition_count = partition_count
        services.create_database(name)
        create_topic(services.kafka.bootstrap_servers, name, partition_count)
        self.conn = psycopg.connect(services.postgres.url(name), autocommit=True)
        self.worker = self._new_worker({})

    def store(self, history: History) -> None:
        """Store a history below the topic's events, and leave the server nothing to write of it."""
        store_history(self.conn, history)
        self.conn.execute("checkpoint")

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """
        Start a worker, by its default settings but for these, and return once it is ready.

        Raises:
            SandboxError: it did not become ready.
        """
        self.worker = self._new_worker(settings or {})
        self.worker.start()

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return what the worker has logged under a name since it was started."""
        lines = self.worker.log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = (json.loads(line) for line in lines if line.startswith("{"))
        return [each for each in found if each["event"] == event]

    def wait_filled(self) -> float:
        """
        Wait until the worker tells first uses by filters, and return the seconds that filling them took.

        Raises:
            SandboxError: it ended, or had not filled them after `FILLED_DEADLINE_S`.
        """
        deadline = time.monotonic() + FILLED_DEADLINE_S
        while not (filled := self.said("filters filled")):
            self._wait(deadline, "has not filled its filters")
        return sum(each["seconds"] for each in filled)

    def wait_stored(self, backlog: Backlog) -> None:
        """
        Wait until the last events of a backlog are stored.

        Raises:
            SandboxError: the worker ended, or took too long.
        """
        deadline = time.monotonic() + DRAINED_LEAST_S + backlog.event_count / SLOWEST_EVENTS_PER_S
        while fetch_row(self.conn, "progress", last_ids=backlog.last_ids)[1] < len(backlog.last_ids):
            self._wait(deadline, "has not stored the backlog")

    def check_statistics(self) -> None:
        """
        Compare all statistics with all rows.

        Raises:
            NotExactError: some are wrong.
        """
        self.conn.execute("select set_config('work_mem', %s, false)", (CHECK_MEMORY,))
        (wrong_count,) = fetch_row(self.conn, "wrong_statistics")
        if wrong_count:
            raise NotExactError(f"{self.name}: the statistics of {wrong_count} codes are not those of the rows", REMEDY)

    def close(self) -> None:
        """Stop the worker and drop the database; what was not started is no error."""
        self.worker.stop()
        self.conn.close()
        self._services.postgres.drop_database(self.name)

    def _wait(self, deadline: float, what: str) -> None:
        self.worker.check()
        if time.monotonic() > deadline:
            raise ProcessTimeoutError(f"{self.name}: the worker {what} in time", f"its log is {self.worker.log}")
        time.sleep(LOOK_AGAIN_S)

    def _new_worker(self, settings: Mapping[str, str]) -> Worker:
        own = {
            "BOOTSTRAP_SERVERS": self._services.kafka.bootstrap_servers,
            "DATABASE_URL": self._services.postgres.url(self.name),
            "APP_ID": self.name,
            "USAGES_TOPIC": self.name,
            "REJECTED_TOPIC": f"{self.name}-rejected",
            "PARTITIONS": str(self._partition_count),
            "LOG_FORMAT": "json",
        }
        folder = self._services.folder / self.name
        folder.mkdir(exist_ok=True)
        return Worker(self._number, folder, {PREFIX + name: value for name, value in (own | settings).items()})


def peak_memory_bytes(pid: int) -> int:
    """Return the most memory that a process has held at once, as Linux counts it."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
