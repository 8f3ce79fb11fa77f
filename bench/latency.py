"""
How long people and programs wait: for an event to show, for answers while a backlog is drained, for a worker to start.

`python -m bench.latency --help` says what can be asked of it; README.md says what the figures mean.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Final

import psycopg
from rich.console import Console

from bench.command import attempt
from bench.draining import ASKED_PER_S, Draining, measure_draining
from bench.events import CODE_COUNT, PARTITION_COUNT, load_backlog
from bench.measure import NotExactError
from bench.readers import READER_COUNT, WAIT_HEADINGS, Client
from bench.report import circumstances, machine, make_table, quote, save, to_markdown, versions
from bench.restarting import measure_restart
from bench.services import running_services
from bench.sql import fetch_row
from bench.visibility import Visibility, measure_visibility
from sandbox.interrupts import Interrupts
from sandbox.referrals import PREFIX, Worker

NAME: Final = "latency"
DATABASE: Final = "latency"
TOPIC: Final = "referral-usages"
RATES_PER_S: Final = (100, 1_000, 10_000)
HEADINGS: Final = ("wait", *WAIT_HEADINGS)


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    backlog_count: int
    duration_s: int
    restart_count: int


WHOLE: Final = Options(2_000_000, 30, 5)
QUICK: Final = Options(400_000, 8, 2)


@dataclass(frozen=True, slots=True)
class Result:
    """All of a run; `restarts_s` are the seconds from a process's start to its first commit."""

    date: str
    command: str
    backlog_count: int
    code_count: int
    partition_count: int
    duration_s: int
    machine: str
    load_before: float
    versions: dict[str, str]
    draining: Draining
    visibility: list[Visibility]
    restarts_s: list[float]


def run(options: Options, console: Console, interrupts: Interrupts) -> Result:
    """
    Let one worker drain a backlog, then follow producers, then start again; nothing that was started runs afterwards.

    Raises:
        SandboxError: a server or the worker failed, an answer was wrong, or not everything was stored.
    """
    load_before = os.getloadavg()[0]
    with running_services() as services:
        servers = services.kafka.bootstrap_servers
        console.print(f"loading {options.backlog_count:,} events into {PARTITION_COUNT} partitions ...")
        backlog = load_backlog(servers, TOPIC, options.backlog_count)
        services.create_database(DATABASE)
        database_url = services.postgres.url(DATABASE)
        environment = {"BOOTSTRAP_SERVERS": servers, "DATABASE_URL": database_url}
        worker = Worker(1, services.folder, {PREFIX + name: value for name, value in environment.items()})
        try:
            with psycopg.connect(database_url, autocommit=True) as conn:
                draining = measure_draining(worker, backlog, conn)
                console.print(f"drained at {draining.events_per_s:,.0f} events/s", highlight=False)
                for waited in draining.waited:
                    console.print(str(waited), highlight=False)
                client = Client(worker.port)
                visibility = []
                for rate in RATES_PER_S:
                    visibility.append(
                        measure_visibility(client, servers, TOPIC, per_second=rate, duration_s=options.duration_s)
                    )
                    console.print(str(visibility[-1].waited), highlight=False)
                restarts_s = [measure_restart(worker, servers, TOPIC, conn) for _ in range(options.restart_count)]
                published_count = options.backlog_count + options.restart_count
                published_count += sum(each.event_count for each in visibility)
                _check(conn, published_count)
        finally:
            interrupts.begin_stop()
            worker.stop()
        return Result(
            date=datetime.now(UTC).date().isoformat(),
            command=shlex.join(["python", "-m", "bench.latency", *sys.argv[1:]]),
            backlog_count=options.backlog_count,
            code_count=CODE_COUNT,
            partition_count=PARTITION_COUNT,
            duration_s=options.duration_s,
            machine=machine(),
            load_before=round(load_before, 1),
            versions=versions(services.postgres_version()),
            draining=draining,
            visibility=visibility,
            restarts_s=restarts_s,
        )


def _check(conn: psycopg.Connection, published_count: int) -> None:
    row_count, _digest = fetch_row(conn, "digest", since=0)
    (wrong_count,) = fetch_row(conn, "wrong_statistics")
    if row_count != published_count or wrong_count:
        what = f"{row_count} rows for {published_count} events, and the statistics of {wrong_count} codes are wrong"
        raise NotExactError(what, "no figure was written; see the worker's log")


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    for each in result.visibility:
        yield (f"acknowledged to visible, {each.waited.answer}", *each.waited.cells()[1:])
    for waited in result.draining.waited:
        yield (f"while draining, {waited.answer}", *waited.cells()[1:])


def _said(result: Result) -> list[str]:
    draining = result.draining
    asked_every = [f"{each.asked_every.p50_ms:.1f} ({each.asked_every.p99_ms:.1f})" for each in result.visibility]
    samples = [f"{each.sample_count:,}" for each in result.visibility]
    restarts = ", ".join(f"{seconds:.1f}" for seconds in result.restarts_s)
    return [
        (
            f"- from the start of a process to its first commit, {len(result.restarts_s)} times: "
            f"{median(result.restarts_s):.1f} s ({restarts})"
        ),
        (
            f"- visible: {result.duration_s} s at each rate, {', '.join(samples)} events asked about, each every "
            f"{', '.join(asked_every)} ms (p99)"
        ),
        (
            f"- draining: {result.backlog_count:,} events at {draining.events_per_s:,.0f} events/s in "
            f"{draining.drain_s:.1f} s, {draining.answer_count:,} answers to {READER_COUNT} readers, who ask "
            f"{ASKED_PER_S} questions a second"
        ),
        f"- {result.code_count:,} codes, {result.partition_count} partitions, 1 worker",
        *circumstances(result, "broker, database, worker, producer and readers"),
    ]


def main() -> int:
    """Run the measurement and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: under two minutes")
    parser.add_argument("--write", action="store_true", help="write results/latency.json and the table in README.md")
    given = parser.parse_args()
    console = Console()

    def work() -> None:
        result = run(QUICK if given.quick else WHOLE, console, Interrupts())
        console.print(make_table("how long is waited", HEADINGS, _rows(result)))
        for line in _said(result):
            console.print(line, highlight=False, markup=False)
        if given.write:
            markdown = to_markdown(HEADINGS, list(_rows(result)), _said(result))
            for path in (save(NAME, asdict(result)), quote(NAME, markdown)):
                console.print(f"written: {path.name}")

    return attempt(work, console)


if __name__ == "__main__":
    sys.exit(main())
