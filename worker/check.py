"""
What an operator can have checked before workers start: each thing is fine, doubtful or wrong, with what to do.

Nothing here changes anything, and no check waits for another one's success unless it cannot do without.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

import psycopg
from aiokafka import codec
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row

from worker.database import sever
from worker.errors import BrokerUnavailableError, SchemaError, StoreUnavailableError
from worker.migrate import MIGRATIONS, check_schema
from worker.runs.app import changelog_topic
from worker.settings import Settings
from worker.sql import queries
from worker.startup import connect
from worker.topics import Topic, describe, differences, kafka_admin, topic_names

_ASKED_FOR_S: Final = 5.0
_TESTED_POSTGRES: Final = 18
_CODECS: Final = {
    "gzip": codec.has_gzip,
    "snappy": codec.has_snappy,
    "lz4": codec.has_lz4,
    "zstd": codec.has_zstd,
}


class Level(Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """What one check found; `remedy` is what to do, empty when there is nothing to do."""

    level: Level
    subject: str
    detail: str
    remedy: str = ""


@dataclass
class _Kafka:
    """What Kafka said, once it was asked."""

    brokers: int = 0
    topics: dict[str, Topic] = field(default_factory=dict)
    failure: str | None = None


class _Server(NamedTuple):
    """What PostgreSQL says of itself, and of the role that asks."""

    version: str
    database: str
    role: str
    is_standby: bool
    is_read_only: bool
    may_create_temporary: bool


@dataclass(frozen=True)
class _Stored:
    """What the stored positions say; `unchecked` is why they could not be read."""

    unchecked: str | None
    foreign_topic: str | None = None
    partition_counts: list[int] = field(default_factory=list)


def find_wrong_settings(lines: list[str]) -> list[Finding]:
    """Return the findings of settings that could not be read: nothing that needs them can be checked."""
    unchecked = ["Kafka", "topics", "PostgreSQL", "writing", "schema", "privileges", "positions"]
    return [
        *(Finding(Level.FAIL, "settings", line, "correct the variable; docs/settings.md lists all") for line in lines),
        *check_codecs(),
        *(Finding(Level.NOT_CHECKED, subject, "the settings are wrong") for subject in unchecked),
    ]


async def check_all(settings: Settings) -> list[Finding]:
    """
    Check everything that a worker with these settings needs, in about 10 s when nothing answers.

    Returns:
        one finding for each thing, or several for a thing with several faults, in an order that reads well.
    """
    kafka, (database, stored) = await asyncio.gather(_ask_kafka(settings), _check_database(settings))
    return [
        Finding(Level.OK, "settings", "all are valid"),
        *check_codecs(),
        *_check_broker(kafka, settings),
        *_check_topics(kafka, settings),
        *database,
        *_check_positions(stored, kafka, settings),
    ]


def check_codecs() -> Iterator[Finding]:
    """Check that batches of every compression can be read: one that cannot stalls its partition."""
    for name, is_there in _CODECS.items():
        if is_there():
            yield Finding(Level.OK, f"codec {name}", "can be read")
        else:
            yield Finding(
                Level.FAIL, f"codec {name}", "cannot be read: topics that use it would stall",
                "run `pip install 'aiokafka[lz4,snappy,zstd]'`",
            )  # fmt: skip


async def _ask_kafka(settings: Settings) -> _Kafka:
    found = _Kafka()
    try:
        async with kafka_admin(settings) as admin:
            found.brokers = len((await admin.describe_cluster())["brokers"])
            found.topics = await describe(admin, topic_names(settings))
    except BrokerUnavailableError as error:
        found.failure = str(error)
    return found


def _check_broker(kafka: _Kafka, settings: Settings) -> Iterator[Finding]:
    subject = f"Kafka at {settings.bootstrap_servers}"
    if kafka.failure is None:
        yield Finding(Level.OK, subject, f"answers, brokers: {kafka.brokers}")
    else:
        yield Finding(
            Level.FAIL, subject, kafka.failure,
            "start Kafka, or correct REFERRALS_BOOTSTRAP_SERVERS; the addresses that its brokers advertise must be "
            "reachable from here as well",
        )  # fmt: skip


def _check_topics(kafka: _Kafka, settings: Settings) -> Iterator[Finding]:
    if kafka.failure is not None:
        yield Finding(Level.NOT_CHECKED, "topics", "Kafka does not answer")
        return
    yield from check_topics(kafka.topics, settings)


def check_topics(found: Mapping[str, Topic], settings: Settings) -> Iterator[Finding]:
    """Check the topics that Kafka has: against the settings, and for what may lose events."""
    faults = [
        Finding(Level.FAIL if it.is_fatal else Level.WARN, f"topic {it.topic}", it.detail, it.remedy)
        for it in differences(found, settings)
    ]
    # nothing is ever in the changelog topic, so nothing of it can be lost
    for topic in found.values():
        if topic.name != changelog_topic(settings.app_id):
            faults += _check_durability(topic, settings)
    yield from faults
    for topic in found.values():
        subject = f"topic {topic.name}"
        if subject not in {fault.subject for fault in faults}:
            yield Finding(Level.OK, subject, f"{topic.partitions} partitions, {topic.replicas} replicas")


def _check_durability(topic: Topic, settings: Settings) -> Iterator[Finding]:
    subject = f"topic {topic.name}"
    in_sync = int(topic.configs["min.insync.replicas"])
    command = f"`kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter --topic {topic.name} "
    if in_sync > topic.replicas:
        yield Finding(
            Level.FAIL, subject, f"has {topic.replicas} replicas, min.insync.replicas is {in_sync}: takes no event",
            f"run {command}--add-config min.insync.replicas={max(1, topic.replicas - 1)}`",
        )  # fmt: skip
    elif topic.replicas == 1:
        yield Finding(
            Level.WARN, subject, "has 1 replica: its events are lost with its broker",
            "in production give it 3 with kafka-reassign-partitions.sh; REFERRALS_REPLICATION_FACTOR is for new topics",
        )  # fmt: skip
    elif in_sync == 1:
        yield Finding(
            Level.WARN, subject, "min.insync.replicas is 1: an acknowledged event can be lost with one broker",
            f"run {command}--add-config min.insync.replicas={max(2, topic.replicas - 1)}`",
        )  # fmt: skip
    elif in_sync == topic.replicas:
        yield Finding(
            Level.WARN, subject, f"min.insync.replicas is {in_sync}, of all: one broker away stops publishing",
            f"give it {in_sync + 1} replicas, with kafka-reassign-partitions.sh",
        )  # fmt: skip


async def _check_database(settings: Settings) -> tuple[list[Finding], _Stored]:
    subject = f"PostgreSQL {where(settings.database_url)}"
    impatient = settings.model_copy(update={"connect_timeout_s": min(settings.connect_timeout_s, _ASKED_FOR_S)})
    try:
        async with await connect(impatient) as conn:
            deadline = asyncio.get_running_loop().call_later(_ASKED_FOR_S, sever, conn)
            try:
                return await _ask_database(conn, subject, settings)
            finally:
                deadline.cancel()
    except (StoreUnavailableError, psycopg.OperationalError) as error:
        fault = Finding(
            Level.FAIL, subject, " ".join(str(error).split()),
            "start PostgreSQL, or correct host, user, password and database in REFERRALS_DATABASE_URL",
        )  # fmt: skip
        unchecked = "PostgreSQL does not answer"
        found = [Finding(Level.NOT_CHECKED, it, unchecked) for it in ("writing", "schema", "privileges")]
        return [fault, *found], _Stored(unchecked)


def where(database_url: str) -> str:
    """Return user, host and database of a URL, as in `user@host:5432/name`, and nothing that may be secret."""
    parts = conninfo_to_dict(database_url)
    user, host, port, name = (parts.get(key) for key in ("user", "host", "port", "dbname"))
    return f"{f'{user}@' if user else ''}{host or 'localhost'}{f':{port}' if port else ''}/{name or ''}"


async def _ask_database(
    conn: psycopg.AsyncConnection, subject: str, settings: Settings
) -> tuple[list[Finding], _Stored]:
    async with conn.cursor(row_factory=class_row(_Server)) as cursor:
        await cursor.execute(queries["read_server"])
        (server,) = await cursor.fetchall()
    schema = await _check_schema(conn)
    lacking = [privilege for (privilege,) in await (await conn.execute(queries["find_missing_privileges"])).fetchall()]
    is_ready = schema.level is Level.OK
    findings = [
        _judge_version(subject, server.version),
        _judge_writing(server),
        schema,
        *_judge_privileges(server, lacking, is_ready=is_ready),
    ]
    if not is_ready:
        return findings, _Stored("the schema is not there, or not of this version")
    if "select on referral_positions" in lacking:
        return findings, _Stored("the role may not read them")
    return findings, await _read_positions(conn, settings)


def _judge_version(subject: str, version: str) -> Finding:
    if int(re.split(r"\D", version)[0]) < _TESTED_POSTGRES:
        return Finding(
            Level.WARN, subject, f"answers, version {version}",
            f"this worker is tested with PostgreSQL {_TESTED_POSTGRES}: plan an upgrade, or run the tests with yours",
        )  # fmt: skip
    return Finding(Level.OK, subject, f"answers, version {version}")


def _judge_writing(server: _Server) -> Finding:
    if server.is_standby:
        return Finding(
            Level.FAIL, "writing", "the server is a standby: nothing can be stored",
            "name the primary in REFERRALS_DATABASE_URL, or all hosts and target_session_attrs=read-write",
        )  # fmt: skip
    if server.is_read_only:
        return Finding(
            Level.FAIL, "writing", f"sessions of role {server.role} are read-only: nothing can be stored",
            f'find where default_transaction_read_only is set; run `alter role "{server.role}" reset '
            "default_transaction_read_only`, or the same of the database",
        )  # fmt: skip
    return Finding(Level.OK, "writing", "the server is a primary and takes writes")


async def _check_schema(conn: psycopg.AsyncConnection) -> Finding:
    try:
        await check_schema(conn)
    except SchemaError as error:
        said, _, remedy = str(error).rpartition(": ")
        return Finding(Level.FAIL, "schema", said, remedy)
    except psycopg.errors.InsufficientPrivilege as error:
        return Finding(Level.NOT_CHECKED, "schema", str(error))
    return Finding(Level.OK, "schema", f"has version {MIGRATIONS[-1].version}")


def _judge_privileges(server: _Server, lacking: list[str], *, is_ready: bool) -> Iterator[Finding]:
    subject = "privileges"
    if not server.may_create_temporary:
        yield Finding(
            Level.FAIL, subject, f"role {server.role} may not create temporary tables",
            f'run `grant temporary on database "{server.database}" to "{server.role}"`',
        )  # fmt: skip
    if lacking:
        yield Finding(
            Level.FAIL, subject, f"role {server.role} lacks {', '.join(lacking)}",
            "as the owner of the tables run `grant select, insert, update on all tables in schema public to "
            f'"{server.role}"`',
        )  # fmt: skip
    elif not is_ready:
        yield Finding(Level.NOT_CHECKED, subject, "the tables are not there, or not of this version")
    elif server.may_create_temporary:
        yield Finding(Level.OK, subject, f"role {server.role} has all that a worker needs")


async def _read_positions(conn: psycopg.AsyncConnection, settings: Settings) -> _Stored:
    parameters = {"topic": settings.usages_topic}
    foreign = await (await conn.execute(queries["read_foreign_topic"], parameters)).fetchone()
    counts = await (await conn.execute(queries["read_partition_counts"], parameters)).fetchall()
    return _Stored(None, foreign[0] if foreign else None, [count for (count,) in counts])


def _check_positions(stored: _Stored, kafka: _Kafka, settings: Settings) -> Iterator[Finding]:
    subject = "positions"
    if stored.unchecked is not None:
        yield Finding(Level.NOT_CHECKED, subject, stored.unchecked)
        return
    if stored.foreign_topic is not None:
        yield Finding(
            Level.FAIL, subject,
            f"the database holds those of topic {stored.foreign_topic!r}, not of {settings.usages_topic!r}",
            f"set REFERRALS_USAGES_TOPIC={stored.foreign_topic}, or REFERRALS_DATABASE_URL to a database of its own",
        )  # fmt: skip
    elif kafka.failure is not None:
        yield Finding(Level.NOT_CHECKED, subject, "against the topic's partitions: Kafka does not answer")
    elif not stored.partition_counts:
        yield Finding(Level.OK, subject, "none is stored yet")
    elif settings.usages_topic not in kafka.topics:
        yield Finding(
            Level.FAIL, subject, f"are stored, but topic {settings.usages_topic!r} is missing",
            "find out where it went; REFERRALS_BOOTSTRAP_SERVERS may name another Kafka",
        )  # fmt: skip
    else:
        yield _judge_partition_count(stored.partition_counts, kafka.topics[settings.usages_topic])


def _judge_partition_count(stored: list[int], usages: Topic) -> Finding:
    subject = "positions"
    if stored == [usages.partitions]:
        return Finding(Level.OK, subject, f"belong to {usages.partitions} partitions, as the topic has")
    said = f"were stored with {' and '.join(map(str, stored))} partitions, {usages.name} has {usages.partitions}"
    if max(stored) > usages.partitions:
        return Finding(
            Level.FAIL, subject, said,
            "the topic was created anew: stop all workers and run `referrals repair --topic-recreated`",
        )  # fmt: skip
    return Finding(
        Level.FAIL, subject, said,
        "stop all workers and run `referrals repair`; docs/running.md, growing the number of partitions",
    )  # fmt: skip
