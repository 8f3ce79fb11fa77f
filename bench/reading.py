"""
How long readers wait: answers of the API and the pages, over a history of millions of usages.

`python -m bench.reading --help` says what can be asked of it; README.md says what the figures mean.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import psycopg
from rich.console import Console

from bench.command import attempt, positive
from bench.history import DAYS, History, store_history
from bench.readers import READER_COUNT, WAIT_HEADINGS, Client, Waited
from bench.report import circumstances, machine, make_table, quote, save, to_markdown, versions
from bench.services import Services, running_services
from sandbox.interrupts import Interrupts
from sandbox.referrals import PREFIX, Worker

NAME: Final = "reading"
DATABASE: Final = "reading"
PARTITION_COUNT: Final = 4
CODE_COUNT: Final = 10_000
USER_COUNT: Final = 200_000
PAGES_BACK: Final = 1000
HEADINGS: Final = ("answer", *WAIT_HEADINGS)


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
                console.print(str(waited[-1]), highlight=False)
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
    """Store usages, a fifth of them of one code, and return the uses of that code."""
    services.create_database(DATABASE)
    history = History(usage_count, CODE_COUNT, USER_COUNT, PARTITION_COUNT, datetime.now(UTC), popular_every=5)
    with psycopg.connect(services.postgres.url(DATABASE), autocommit=True) as conn:
        store_history(conn, history)
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
        return Waited.of(answer, list(readers.map(client.wait_ms, [path] * request_count)))


def _markdown(result: Result) -> str:
    rows = [waited.cells() for waited in result.waited]
    said = [
        f"- {result.usage_count:,} usages within {DAYS} days, {result.popular_count:,} of them of the code asked for",
        f"- {result.code_count:,} codes, {result.user_count:,} users",
        f"- {result.request_count} requests each, by {result.reader_count} readers at once",
        *circumstances(result, "broker, database, worker and readers"),
    ]
    return to_markdown(HEADINGS, rows, said)


def main() -> int:
    """Run the measurement and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--usages", type=positive, default=5_000_000, metavar="N", help="usages stored (5,000,000)")
    parser.add_argument("--requests", type=positive, default=400, metavar="N", help="requests of each kind (400)")
    parser.add_argument("--write", action="store_true", help="write results/reading.json and the table in README.md")
    options = parser.parse_args()
    console = Console()

    def work() -> None:
        result = run(options.usages, options.requests, console, Interrupts())
        title = f"{result.usage_count:,} usages, {result.popular_count:,} of one code"
        console.print(make_table(title, HEADINGS, [waited.cells() for waited in result.waited]))
        if options.write:
            for path in (save(NAME, asdict(result)), quote(NAME, _markdown(result))):
                console.print(f"written: {path.name}")

    return attempt(work, console)


if __name__ == "__main__":
    sys.exit(main())
