"""The web application over a real database, with a table and a health that tests set by hand."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg import sql
from psycopg.types.json import Jsonb

from worker.database import Database
from worker.metrics import Metrics
from worker.pipeline.decode import Decoder
from worker.pipeline.record import Message
from worker.publishing.intake import UsageIntake
from worker.rejections import Rejections, Republisher
from worker.runs.progress import Progress
from worker.runs.table import HeldCounts
from worker.settings import Settings
from worker.web.app import create_web
from worker.web.auth import Access
from worker.web.overview import OverviewReader
from worker.web.parts import Publishers, Readers
from worker.web.queries import Reader
from worker.web.stats import StatsReader

PARTITIONS = 4


@dataclass
class HandTable:
    """Holds the codes that a test puts in."""

    held: dict[str, HeldCounts] = field(default_factory=dict)

    def stats_of(self, code_uuid: str) -> HeldCounts | None:
        """Return what a test put in for this code."""
        return self.held.get(code_uuid)


@dataclass
class HandHealth:
    """Says what a test sets."""

    failure: str | None = None
    reasons: list[str] = field(default_factory=list)

    def alive(self) -> str | None:
        """Return the failure set."""
        return self.failure

    def ready(self) -> list[str]:
        """Return the reasons set."""
        return self.reasons


class Row(NamedTuple):
    """A usage as it is stored."""

    uuid: str
    code_uuid: str
    used_by_uuid: str
    date_used: datetime
    first_use: bool


@dataclass
class HandTopic:
    """Keeps what is sent to the usages topic, in place of a broker; `refusal` is raised instead."""

    messages: list[Message] = field(default_factory=list)
    refusal: Exception | None = None

    async def send(self, message: Message) -> None:
        """Keep a message."""
        if self.refusal:
            raise self.refusal
        self.messages.append(message)


def new_uuid() -> str:
    """Return a fresh UUID as text."""
    return str(uuid4())


class Rows:
    """The stored rows, written and asked without the code under test."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn

    def store(self, *rows: Row) -> None:
        """Store usages, and the statistics of all codes and hours anew."""
        with self.conn.transaction():
            self.conn.cursor().executemany(
                "insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, first_use,"
                " kafka_partition, kafka_offset) values (%s, %s, %s, %s, %s, 0, 0)",
                rows,
            )
            self.conn.execute("delete from referral_code_stats")
            self.conn.execute(
                "with latest as ("
                " select code_uuid, used_by_uuid, count(*) as uses, max(date_used) as date_used,"
                " row_number() over (partition by code_uuid order by max(date_used) desc, used_by_uuid desc) as place"
                " from referral_usages group by code_uuid, used_by_uuid"
                ") insert into referral_code_stats (code_uuid, total_uses, unique_users, last_used, kafka_partition,"
                " recent_users, recent_dates)"
                " select code_uuid, sum(uses), count(*), max(date_used), 0,"
                " array_agg(used_by_uuid order by place) filter (where place <= 5),"
                " array_agg(date_used order by place) filter (where place <= 5)"
                " from latest group by code_uuid"
            )
            self.conn.execute("delete from referral_hours")
            self.conn.execute(
                "insert into referral_hours (kafka_partition, hour, uses, first_uses)"
                " select kafka_partition, date_trunc('hour', date_used, 'UTC'), count(*),"
                " count(*) filter (where first_use) from referral_usages group by 1, 2"
            )

    def reject(
        self,
        value: bytes | None = b"[]",
        *,
        reason: str = "not_an_object",
        detail: str = "the value is JSON, but not an object",
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes | None]] = (),
        rejected_at: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC),
    ) -> str:
        """Keep a reject, whose record was `referral-usages[3]@42`, and return its id."""
        id_ = new_uuid()
        said = [[name, None if header is None else base64.b64encode(header).decode()] for name, header in headers]
        self.conn.execute(
            "insert into referral_rejections (id, reason, detail, value, value_bytes, key, headers, kafka_topic,"
            " kafka_partition, kafka_offset, kafka_timestamp, rejected_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, 'referral-usages', 3, 42, '2026-03-01T12:00Z', %s)",
            [id_, reason, detail, value, len(value or b""), key, json.dumps(said), rejected_at],
        )
        return id_

    def ask(self, statement: str, *params: object) -> list[tuple]:
        """Return what SQL says."""
        return self.conn.execute(sql.SQL(statement), params).fetchall()

    def fill(self, count: int, code_uuid: str, used_by_uuid: str, start: datetime) -> None:
        """Store so many usages of a code by a user, a second apart, without statistics."""
        self.conn.execute(
            "insert into referral_usages"
            " (uuid, code_uuid, used_by_uuid, date_used, first_use, kafka_partition, kafka_offset)"
            " select gen_random_uuid(), %s, %s, %s + n * interval '1 second', n = 0, 0, n"
            " from generate_series(0, %s - 1) as n",
            [code_uuid, used_by_uuid, start, count],
        )
        # the server does so by itself, but later
        self.conn.execute("analyze referral_usages")


def announce(
    rows: Rows, url: str, *partitions: tuple[int, int | None, datetime | None], age_s: float = 0.0, rate: float = 12.5
) -> None:
    """Write a worker's row: each partition is (number, lag, until when what was published is stored)."""
    progress = [
        {"partition": number, "position": 100, "lag": lag, "stored_up_to": up_to and up_to.isoformat()}
        for number, lag, up_to in partitions
    ]
    rows.conn.execute(
        "insert into referral_workers values (%s, gen_random_uuid(), '1.2.3', '2026-03-01T12:00Z',"
        " now() - make_interval(secs => %s), %s, %s)",
        [url, age_s, rate, Jsonb(progress)],
    )


@pytest.fixture
def rows(sql: psycopg.Connection) -> Rows:
    """The rows of the test's database."""
    return Rows(sql)


@pytest.fixture
def table() -> HandTable:
    """A worker's table that holds nothing yet."""
    return HandTable()


@pytest.fixture
def health() -> HandHealth:
    """A worker without complaints."""
    return HandHealth()


# a busy machine is no outage, and a test of an outage waits no longer than it must
PATIENCE_S = 60
impatient = pytest.mark.parametrize("patience_s", [1], ids=["impatient"])


@pytest.fixture
def patience_s() -> float:
    """How long PostgreSQL may take to answer a request."""
    return PATIENCE_S


def new_database(url: str, patience_s: float = PATIENCE_S) -> Database:
    """Return connections for readers that give up after `patience_s`."""
    return Database(
        Settings(database_url=url, connect_timeout_s=patience_s, read_timeout_s=patience_s, reader_connections=2)
    )


def new_app(
    database: Database, table: HandTable, health: HandHealth, topic: HandTopic, access: Access | None = None
) -> FastAPI:
    """Return the web application as a worker makes it."""
    reader = Reader(database, "referral-usages")
    rejections = Rejections(database)
    intake = UsageIntake("referral-usages", 8, decoder=Decoder("referral-usages", future_max_s=300), send=topic.send)
    return create_web(
        Readers(reader, StatsReader(table, reader), OverviewReader(database, PARTITIONS), rejections),
        Publishers(intake, Republisher(rejections, 8, topic.send)),
        health=health,
        metrics=Metrics("1.2.3", lambda _now_s: [Progress(0, 41, 1, 0.5), Progress(3, 7, None, None)]),
        access=access or Access(),
        version="1.2.3",
    )


@pytest.fixture
def topic() -> HandTopic:
    """A usages topic that takes everything."""
    return HandTopic()


@pytest.fixture
def access() -> Access:
    """What is asked of those who call: nothing, unless a test's own fixture says otherwise."""
    return Access()


@pytest.fixture
async def web_app(
    database_url: str, table: HandTable, health: HandHealth, topic: HandTopic, access: Access, patience_s: float
) -> AsyncIterator[FastAPI]:
    """The web application, whose requests reach the test's database."""
    async with new_database(database_url, patience_s) as database:
        yield new_app(database, table, health, topic, access)


@pytest.fixture
async def web(web_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the web application."""
    # as a server does, answer an unexpected error instead of raising it here
    transport = httpx.ASGITransport(web_app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        yield client


async def answer_in_time(web: httpx.AsyncClient, path: str) -> httpx.Response:
    """Return an answer that is none of an outage, from an impatient application too."""
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await web.get(path)).status_code == 503:
            pass
    return answer
