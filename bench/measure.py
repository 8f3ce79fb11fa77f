"""One contender against one backlog: started, watched until the last event is stored, stopped and checked."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from bench.contenders import Contender, Task
from bench.events import Backlog
from bench.services import Services
from bench.sql import statement
from sandbox.errors import SandboxError
from sandbox.process import Process

FIRST_ROW_DEADLINE_S: Final = 60.0
SLOWEST_EVENTS_PER_S: Final = 500
STOP_BOUND_S: Final = 40.0
REMEDY: Final = "no figure was written; mend this and run the whole comparison again"


class NotExactError(SandboxError):
    """A contender did not store what was published: its rate means nothing."""


class Measurement(NamedTuple):
    """
    What one contender did in one round.

    Args:
        events_per_s: events stored after the first transaction, by the time from its commit to the last one's.
        drain_s: that time.
        total_s: from the start of the process to the commit of the last row.
        cpu_us_per_event: user and system time of the process in that time; None where /proc is not there.
        transaction_count: transactions that stored rows.
    """

    round: int
    contender: str
    events_per_s: float
    drain_s: float
    total_s: float
    cpu_us_per_event: float | None
    transaction_count: int


def measure(contender: Contender, backlog: Backlog, services: Services, round_number: int) -> Measurement:
    """
    Let a contender empty the topic into a fresh database, from a fresh consumer group.

    Raises:
        NotExactError: rows or statistics are not what they must be.
        ProcessEndedError, ProcessTimeoutError: it failed; its last lines are in the message.
    """
    name = f"{contender.name}-{round_number}".replace(" ", "-")
    services.create_database(name)
    database_url = services.postgres.url(name)
    task = Task(services.kafka.bootstrap_servers, backlog.topic, name, database_url, services.folder)
    try:
        with psycopg.connect(database_url, autocommit=True) as conn:
            started_at_s = time.time()
            cpu_s = _run(contender.start(task), backlog, conn)
            _check(contender, backlog, conn)
            transaction_count, later_row_count, drain_s, ended_at_s = _row(conn, "commits")
    finally:
        services.postgres.drop_database(name)
    return Measurement(
        round_number,
        contender.name,
        later_row_count / drain_s,
        drain_s,
        ended_at_s - started_at_s,
        None if cpu_s is None else cpu_s / later_row_count * 1_000_000,
        transaction_count,
    )


def _run(process: Process, backlog: Backlog, conn: psycopg.Connection) -> float | None:
    """Watch a process until everything is stored, stop it, and return its CPU seconds from the first row on."""

    def has_first() -> bool:
        return bool(_row(conn, "progress", last_ids=backlog.last_ids)[0])

    def has_last() -> bool:
        return bool(_row(conn, "progress", last_ids=backlog.last_ids)[1] == len(backlog.last_ids))

    try:
        process.wait_until(has_first, deadline_s=FIRST_ROW_DEADLINE_S, remedy=REMEDY)
        cpu_at_first_s = _cpu_s(process.pid)
        drain_deadline_s = FIRST_ROW_DEADLINE_S + backlog.event_count / SLOWEST_EVENTS_PER_S
        process.wait_until(has_last, deadline_s=drain_deadline_s, remedy=REMEDY)
        cpu_at_last_s = _cpu_s(process.pid)
    finally:
        process.stop(bound_s=STOP_BOUND_S)
    if process.returncode != 0:
        # it failed, or was killed because it did not end: the same process must not look like a good one
        process.check(REMEDY)
    return None if cpu_at_first_s is None or cpu_at_last_s is None else cpu_at_last_s - cpu_at_first_s


def _check(contender: Contender, backlog: Backlog, conn: psycopg.Connection) -> None:
    row_count, digest = _row(conn, "digest")
    if (row_count, digest) != (backlog.event_count, backlog.digest):
        what = f"{contender.name}: {row_count} rows for {backlog.event_count} events, or rows that differ from them"
        raise NotExactError(what, REMEDY)
    if contender.has_statistics and (wrong_count := _row(conn, "wrong_statistics")[0]):
        what = f"{contender.name}: the statistics of {wrong_count} codes are not those of the rows"
        raise NotExactError(what, REMEDY)


def _row(conn: psycopg.Connection, name: str, **parameters: object) -> tuple[Any, ...]:
    row = conn.execute(statement(name), parameters or None).fetchone()
    return row or ()


def _cpu_s(pid: int) -> float | None:
    # absent on macOS; then there is no figure rather than another one
    with suppress(OSError):
        # "pid (name) state ...", and the name may hold anything; user and system time are fields 14 and 15
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None
