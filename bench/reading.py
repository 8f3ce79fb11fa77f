"""
How long readers wait: answers of the API and the pages, over a history of millions of usages.

`python -m bench.reading --help` says what can be asked of it; README.md says what the figures mean.
"""

import argparse
import http.client
import json
import os
import shlex
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import psycopg
from rich.console import Console
from rich.table import Table

from bench.report import machine, quote, save, versions
from bench.services import Services, running_services
from bench.sql import statement
from sandbox.errors import SandboxError
from sandbox.interrupts import Interrupts
from sandbox.ports import LOOPBACK
from sandbox.referrals import PREFIX, Worker
from worker.pipeline.reroute import partition_of

NAME: Final = "reading"
DATABASE: Final = "reading"
PARTITION_COUNT: Final = 4
DAYS: Final = 90
CODE_COUNT: Final = 10_000
USER_COUNT: Final = 200_000
READER_COUNT: Final = 4
PAGES_BACK: Final = 1000
REQUEST_TIMEOUT_S: Final = 60.0
HEADINGS: Final = ("answer", "p50, ms", "p99, ms", "slowest, ms")
EXIT_FAILURE: Final = 1
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Waited:
    """
    How long readers waited for one kind of answer, in milliseconds.

    Args:
        answer: what was asked for.
    """

    answer: str
    p50_ms: float
    p99_ms: float
    slowest_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """All of a run."""

    date: str
    command: str
    usage_count: int
    popular_count: int
    code_count: int
    user_count: int
    request_count: int
    reader_count: int
    machine: str
    load_before: float
    versions: dict[str, str]
    waited: list[Waited]


class AnswerError(SandboxError):
    """The worker answered with something else than what was asked for."""


class Client:
    """A reader with a connection of its own for each thread, as browsers and services have."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def get(self, path: str) -> bytes:
        """
        Return the body of an answer.

        Raises:
            AnswerError: its status is not 200.
        """
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=REQUEST_TIMEOUT_S)
        self._local.connection.request("GET", path)
        response = self._local.connection.getresponse()
        body: bytes = response.read()
        if response.status != http.HTTPStatus.OK:
            raise AnswerError(f"GET {path} was answered {response.status}: {body[:200]!r}", "see the worker's log")
        return body

    def wait_ms(self, path: str) -> float:
        """Return how long an answer took, its last byte included."""
        begin_s = time.perf_counter()
        self.get(path)
        return (time.perf_counter() - begin_s) * 1000


def run(usage_count: int, request_count: int, console: Console, interrupts: Interrupts) -> Result:
    """
    Fill a database, start a worker over it and ask it; nothing that was started runs afterwards.

    Raises:
        SandboxError: a server or the worker failed, or an answer was wrong.
    """
    load_before = os.getloadavg()[0]
    with running_services() as services:
        console.print(f"storing {usage_count:,} usages ...")
        popular_count = _store_history(services, usage_count)
        environment = {
            "BOOTSTRAP_SERVERS": services.kafka.bootstrap_servers,
            "DATABASE_URL": services.postgres.url(DATABASE),
            "PARTITIONS": str(PARTITION_COUNT),
        }
        worker = Worker(1, services.folder, {PREFIX + name: value for name, value in environment.items()})
        try:
            worker.start()
            client = Client(worker.port)
            waited = []
            for answer, path in _questions(client):
                waited.append(_measure(client, answer, path, request_count))
                console.print(_said(waited[-1]), highlight=False)
        finally:
            interrupts.begin_stop()
            worker.stop()
        return Result(
            date=datetime.now(UTC).date().isoformat(),
            command=shlex.join(["python", "-m", "bench.reading", *sys.argv[1:]]),
            usage_count=usage_count,
            popular_count=popular_count,
            code_count=CODE_COUNT,
            user_count=USER_COUNT,
            request_count=request_count,
            reader_count=READER_COUNT,
            machine=machine(),
            load_before=round(load_before, 1),
            versions=versions(services.postgres_version()),
            waited=waited,
        )


def _store_history(services: Services, usage_count: int) -> int:
    """Store usages and statistics by SQL, as a worker would have left them, and return the most used code's uses."""
    services.create_database(DATABASE)
    with psycopg.connect(services.postgres.url(DATABASE), autocommit=True) as conn:
        conn.execute("create temporary table bench_codes (number integer primary key, uuid uuid, partition integer)")
        codes = [str(uuid4()) for _ in range(CODE_COUNT)]
        with conn.cursor().copy("copy bench_codes from stdin") as copy:
            for number, code in enumerate(codes):
                copy.write_row((number, code, partition_of(code, PARTITION_COUNT)))
        conn.execute(
            statement("history"), {"count": usage_count, "days": DAYS, "codes": CODE_COUNT, "users": USER_COUNT}
        )
        conn.execute(statement("history_statistics"))
        conn.execute(statement("history_hours"))
        conn.execute("vacuum analyze")
        row = conn.execute("select max(total_uses) from referral_code_stats").fetchone()
    return int(row[0]) if row else 0


def _questions(client: Client) -> Iterator[tuple[str, str]]:
    """Yield what is asked for, and its path."""
    overview = json.loads(client.get("/api/v1/overview"))
    code = overview["top_codes"][0]["code_uuid"]
    user = json.loads(client.get(f"/api/v1/codes/{code}/usages?limit=1"))["items"][0]["used_by_uuid"]
    usages = f"/api/v1/codes/{code}/usages"
    yield "statistics of the code", f"/api/v1/codes/{code}/stats"
    yield "its history, page 1", usages
    yield f"its history, page {PAGES_BACK:,}", _page_back(client, usages)
    yield f"its timeline, {DAYS} days by day", f"/api/v1/codes/{code}/timeline?bucket=day&from={_days_ago(DAYS)}"
    yield "history of a user", f"/api/v1/users/{user}/usages"
    yield "codes of a user", f"/api/v1/users/{user}/codes"
    yield "overview", "/api/v1/overview"
    yield f"timeline of all codes, {DAYS} days by day", f"/api/v1/overview/timeline?bucket=day&from={_days_ago(DAYS)}"
    yield "page: overview", "/"
    yield "page: the code", f"/codes/{code}"
    yield "page: the code, 30 days", f"/codes/{code}?period=30d"
    yield "page: a user", f"/users/{user}"


def _page_back(client: Client, path: str) -> str:
    page = path
    for _ in range(PAGES_BACK - 1):
        page = f"{path}?cursor={json.loads(client.get(page))['next_cursor']}"
    return page


def _days_ago(days: int) -> str:
    date = datetime.fromtimestamp(time.time() - days * 86_400, UTC)
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")


def _measure(client: Client, answer: str, path: str, request_count: int) -> Waited:
    with ThreadPoolExecutor(READER_COUNT) as readers:
        waits = sorted(readers.map(client.wait_ms, [path] * request_count))
    quantiles = statistics.quantiles(waits, n=100, method="inclusive")
    return Waited(answer, round(quantiles[49], 1), round(quantiles[98], 1), round(waits[-1], 1))


def _cells(waited: Waited) -> tuple[str, ...]:
    return (waited.answer, f"{waited.p50_ms:,.1f}", f"{waited.p99_ms:,.1f}", f"{waited.slowest_ms:,.1f}")


def _said(waited: Waited) -> str:
    return f"{waited.answer}: p50 {waited.p50_ms:,.1f} ms, p99 {waited.p99_ms:,.1f} ms"


def _to_table(result: Result) -> Table:
    table = Table(title=f"{result.usage_count:,} usages, {result.popular_count:,} of one code")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for waited in result.waited:
        table.add_row(*_cells(waited))
    return table


def _markdown(result: Result) -> str:
    lines = [HEADINGS, ("---",) + ("--:",) * (len(HEADINGS) - 1), *map(_cells, result.waited)]
    said = [
        f"- {result.usage_count:,} usages within {DAYS} days, {result.popular_count:,} of them of the code asked for",
        f"- {result.code_count:,} codes, {result.user_count:,} users",
        f"- {result.request_count} requests each, by {result.reader_count} readers at once",
        f"- machine: {result.machine}, for broker, database, worker and readers; load before: {result.load_before}",
        f"- versions: {', '.join(f'{name} {number}' for name, number in result.versions.items())}",
        f"- taken on {result.date} by `{result.command}`",
    ]
    return "\n".join(["", *(f"| {' | '.join(cells)} |" for cells in lines), "", *said, "", ""])


def _positive(text: str) -> int:
    number = int(text.replace(",", "").replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return number


def main() -> int:
    """Run the measurement and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--usages", type=_positive, default=5_000_000, metavar="N", help="usages stored (5,000,000)")
    parser.add_argument("--requests", type=_positive, default=400, metavar="N", help="requests of each kind (400)")
    parser.add_argument("--write", action="store_true", help="write results/reading.json and the table in README.md")
    options = parser.parse_args()
    console = Console()
    try:
        result = run(options.usages, options.requests, console, Interrupts())
    except SandboxError as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        console.print("interrupted: everything is stopped, nothing was written")
        return EXIT_INTERRUPTED
    console.print(_to_table(result))
    if options.write:
        for path in (save(NAME, asdict(result)), quote(NAME, _markdown(result))):
            console.print(f"written: {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
