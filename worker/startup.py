"""What must be there before a worker starts: Kafka with its topics, PostgreSQL with its schema."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import psycopg
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from worker.errors import (
    BrokerUnavailableError,
    NotThereError,
    StoreUnavailableError,
    TopicMismatchError,
    UnavailableError,
)
from worker.migrate import check_schema
from worker.pipeline.retry import Backoff, Verdict, classify
from worker.runs.app import changelog_topic
from worker.settings import Settings
from worker.sql import queries

_ASKED_FOR_S: Final = 5.0

_log: Final = structlog.get_logger("referrals")
T = TypeVar("T")


async def start_up(settings: Settings) -> int:
    """
    Wait for Kafka and PostgreSQL, create missing topics, and return the number of the usages topic's partitions.

    Raises:
        NotThereError: one of them was not there within `start_timeout_s`; the last error is in its words.
        SchemaError: the database needs other migrations.
        TopicMismatchError: the database holds the positions of another topic.
    """
    await wait_for("PostgreSQL", lambda: _check_database(settings), settings.start_timeout_s)
    return await wait_for(
        f"Kafka at {settings.bootstrap_servers}", lambda: ensure_topics(settings), settings.start_timeout_s
    )


async def wait_for(what: str, attempt: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """
    Call `attempt` until it succeeds.

    Raises:
        NotThereError: it did not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    backoff = Backoff(max_s=2)
    while True:
        try:
            return await attempt()
        except UnavailableError as error:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise NotThereError(f"{what} is not there after {timeout_s:g} s: {error}") from error
            _log.warning(f"waiting for {what}", error=str(error), giving_up_in_s=round(left_s))
            await asyncio.sleep(min(backoff.next_pause_s(), left_s))


async def connect(settings: Settings) -> psycopg.AsyncConnection:
    """
    Open one connection to PostgreSQL, in autocommit mode.

    Raises:
        StoreUnavailableError: PostgreSQL is not there, or does not let us in; in its own words.
    """
    try:
        return await psycopg.AsyncConnection.connect(
            settings.database_url,
            autocommit=True,
            connect_timeout=max(2, round(settings.connect_timeout_s)),
            application_name="referrals",
        )
    except psycopg.Error as error:
        raise StoreUnavailableError(" ".join(str(error).split())) from error


async def _check_database(settings: Settings) -> None:
    async with await connect(settings) as conn:
        try:
            await check_schema(conn)
            row = await (await conn.execute(queries["read_foreign_topic"], {"topic": settings.usages_topic})).fetchone()
        except psycopg.Error as error:
            if classify(error) is Verdict.RETRY:
                raise StoreUnavailableError(str(error)) from error
            raise
    if row is not None:
        raise TopicMismatchError(
            f"the database holds the positions of topic {row[0]!r}, not of {settings.usages_topic!r}: "
            f"set REFERRALS_USAGES_TOPIC to {row[0]!r}, or REFERRALS_DATABASE_URL to a database of its own"
        )


async def ensure_topics(settings: Settings) -> int:
    """
    Create the topics that are missing, and return the number of the usages topic's partitions.

    Raises:
        BrokerUnavailableError: Kafka is not there.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers, request_timeout_ms=int(_ASKED_FOR_S * 1000)
    )
    try:
        async with asyncio.timeout(2 * _ASKED_FOR_S):
            await admin.start()
            existing = set(await admin.list_topics())
            for topic in {settings.usages_topic, settings.rejected_topic} - existing:
                await _create_topic(admin, topic, settings.partitions, settings.replication_factor)
            (description,) = await admin.describe_topics([settings.usages_topic])
            if description["error_code"]:
                raise for_code(description["error_code"])(settings.usages_topic)
            partition_count = len(description["partitions"])
            # Faust would create this one itself, but never with the broker's own number of replicas
            if (changelog := changelog_topic(settings.app_id)) not in existing:
                await _create_topic(admin, changelog, partition_count, settings.replication_factor)
            return partition_count
    except (KafkaError, TimeoutError, OSError) as error:
        raise BrokerUnavailableError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
    finally:
        await admin.close()


async def _create_topic(admin: AIOKafkaAdminClient, topic: str, partitions: int, replication_factor: int) -> None:
    # aiokafka takes the broker's default, -1, only beside an (empty) assignment of replicas
    assignments: dict[int, list[int]] | None = {} if replication_factor == -1 else None
    response = await admin.create_topics([NewTopic(topic, partitions, replication_factor, assignments)])
    for _name, code, *message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another worker was faster
            raise error(f"topic {topic!r} not created: {message}")
    _log.info("topic created", topic=topic, partitions=partitions)
