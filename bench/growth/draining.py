"""A backlog that a running worker drains: published out of its sight, and released at once."""

from collections.abc import Iterable
from typing import NamedTuple

from bench.cpu import cpu_s
from bench.events import publish_all
from bench.growth.subject import Subject
from bench.measure import REMEDY, NotExactError
from bench.publishing import Publisher
from bench.services import Services
from bench.sql import fetch_row
from schemas import UsageEvent


class CpuPerEvent(NamedTuple):
    """User and system time for each event, in microseconds; 0 where /proc is not there."""

    worker: float
    broker: float
    database: float


class Drained(NamedTuple):
    """
    What a worker did with a backlog.

    Args:
        events_per_s: events stored after the first transaction, by the time from its commit to the last one's.
        cpu_us: from the release to the last row.
    """

    event_count: int
    events_per_s: float
    drain_s: float
    cpu_us: CpuPerEvent


def drain(subject: Subject, services: Services, events: Iterable[UsageEvent]) -> Drained:
    """
    Let a worker that is ready drain events, and compare what it stored with them.

    Raises:
        SandboxError: the broker or the worker failed, or the rows are not those of the events.
    """
    publisher = Publisher(
        services.kafka.bootstrap_servers, subject.name, linger_ms=20, transactional_id=f"{subject.name}-backlog"
    )
    publisher.begin()
    backlog = publish_all(publisher, subject.name, events)
    (since,) = fetch_row(subject.conn, "present")
    pids = (subject.worker.pid, services.kafka.pid, services.postgres.pid)
    before = [cpu_s(pid or 0) or 0.0 for pid in pids]
    publisher.commit()
    subject.wait_stored(backlog)
    after = [cpu_s(pid or 0) or 0.0 for pid in pids]
    costs = [(late - early) / backlog.event_count * 1_000_000 for early, late in zip(before, after, strict=True)]
    row_count, digest = fetch_row(subject.conn, "digest", since=since)
    if (row_count, digest) != (backlog.event_count, backlog.digest):
        what = f"{subject.name}: {row_count} rows for {backlog.event_count} events, or rows that differ from them"
        raise NotExactError(what, REMEDY)
    _transaction_count, later_row_count, drain_s, _ended_at_s = fetch_row(subject.conn, "commits", since=since)
    return Drained(backlog.event_count, later_row_count / drain_s, drain_s, CpuPerEvent(*costs))
