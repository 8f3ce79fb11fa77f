"""One contender against one backlog: started, watched until the last event is stored, stopped and checked."""

import time
from typing import Final, NamedTuple

import psycopg

from bench.contenders.contender import Contender, Task
from bench.cpu import cpu_s
from bench.events import Backlog
from bench.services import Services
from bench.sql import fetch_row
from sandbox.errors import SandboxError
from sandbox.process import Process

FIRST_ROW_DEADLINE_S: Final = 60.0
SLOWEST_EVENTS_PER_S: Final = 200
STOP_BOUND_S: Final = 40.0
REMEDY: Final = "no figure was written; mend this and run the whole comparison again"


class NotExactError(SandboxError):
    """What was published is not what was stored: figures of it mean nothing."""


class CpuPerEvent(NamedTuple):
    """User and system time for each event, in microseconds, while a contender drained its topic."""

    contender: float
    database: float
    broker: float


class Measurement(NamedTuple):
    """
    What one contender did in one round.

    Args:
        event_count: events in its topic.
        events_per_s: events stored after the first transaction, by the time from its commit to the last one's.
        drain_s: that time.
        total_s: from the start of the process to the commit of the last row.
        cpu_us: from the first row to the last; None where /proc is not there.
        transaction_count: transactions that stored rows.
    """

    round: int
    contender: str
    event_count: int
    events_per_s: float
    drain_s: float
    total_s: float
    cpu_us: CpuPerEvent | None
    transaction_count: int


def measure(contender: Contender, backlog: Backlog, services: Services, round_number: int) -> Measurement:
    """
    Let a contender empty the topic into a fresh database, from a fresh consumer group.

    Raises:
        NotExactError: rows or statistics are not what they must be.
        ProcessEndedError, ProcessTimeoutError: it failed; its last lines are in the message.
    """
    name = f"{contender.slug}-{round_number}"
    services.create_database(name)
    database_url = services.postgres.url(name)
    task = Task(
        bootstrap_servers=services.kafka.bootstrap_servers,
        topic=backlog.topic,
        event_count=backlog.event_count,
        group=name,
        database_url=database_url,
        database_tcp_url=services.postgres.tcp_url(name),
        folder=services.folder,
    )
    try:
        with psycopg.connect(database_url, autocommit=True) as conn:
            started_at_s = time.time()
            used_s = _run(contender, contender.start(task), backlog, services, conn)
            _check(contender, backlog, conn)
            transaction_count, later_row_count, drain_s, ended_at_s = fetch_row(conn, "commits", since=0)
    finally:
        services.postgres.drop_database(name)
    return Measurement(
        round=round_number,
        contender=contender.name,
        event_count=backlog.event_count,
        events_per_s=later_row_count / drain_s,
        drain_s=drain_s,
        total_s=ended_at_s - started_at_s,
        cpu_us=used_s and CpuPerEvent(*(seconds / later_row_count * 1_000_000 for seconds in used_s)),
        transaction_count=transaction_count,
    )


def _run(
    contender: Contender, process: Process, backlog: Backlog, services: Services, conn: psycopg.Connection
) -> list[float] | None:
    """
    Watch a process until everything is stored, and stop it.

    Returns:
        CPU seconds of contender, database and broker from the first row to the last; None where they are not known.
    """
    pids = (process.pid, services.postgres.pid, services.kafka.pid)

    def has_first() -> bool:
        return bool(fetch_row(conn, "progress", last_ids=backlog.last_ids)[0])

    def has_last() -> bool:
        return bool(fetch_row(conn, "progress", last_ids=backlog.last_ids)[1] == len(backlog.last_ids))

    def used_s() -> list[float] | None:
        read = [cpu_s(pid) for pid in pids if pid is not None]
        known = [seconds for seconds in read if seconds is not None]
        return known if len(known) == len(pids) else None

    try:
        process.wait_until(has_first, deadline_s=FIRST_ROW_DEADLINE_S, remedy=REMEDY)
        at_first = used_s()
        drain_deadline_s = FIRST_ROW_DEADLINE_S + backlog.event_count / SLOWEST_EVENTS_PER_S
        process.wait_until(has_last, deadline_s=drain_deadline_s, remedy=REMEDY)
        at_last = used_s()
    finally:
        process.stop(bound_s=STOP_BOUND_S)
    if process.returncode != contender.stop_code:
        # it failed, or was killed because it did not end: the same process must not look like a good one
        process.check(REMEDY)
    if at_first is None or at_last is None:
        return None
    return [last - first for first, last in zip(at_first, at_last, strict=True)]


def _check(contender: Contender, backlog: Backlog, conn: psycopg.Connection) -> None:
    row_count, digest = fetch_row(conn, "digest", since=0)
    if (row_count, digest) != (backlog.event_count, backlog.digest):
        what = f"{contender.name}: {row_count} rows for {backlog.event_count} events, or rows that differ from them"
        raise NotExactError(what, REMEDY)
    if contender.has_statistics and (wrong_count := fetch_row(conn, "wrong_statistics")[0]):
        what = f"{contender.name}: the statistics of {wrong_count} codes are not those of the rows"
        raise NotExactError(what, REMEDY)
