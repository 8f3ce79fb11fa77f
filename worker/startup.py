"""What must be there before a worker starts: Kafka with its topics, PostgreSQL with its schema."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import psycopg
import structlog

from worker.errors import NotThereError, StoreUnavailableError, TopicMismatchError, UnavailableError
from worker.migrate import check_schema
from worker.pipeline.retry import Backoff, Verdict, classify
from worker.settings import Settings
from worker.sql import queries
from worker.topics import ensure_topics

_log: Final = structlog.get_logger("referrals")
T = TypeVar("T")


async def start_up(settings: Settings) -> int:
    """
    Wait for Kafka and PostgreSQL, create missing topics, and return the number of the usages topic's partitions.

    Raises:
        NotThereError: one of them was not there within `start_timeout_s`; the last error is in its words.
        SchemaError: the database needs other migrations.
        TopicMismatchError: the database holds the positions of another topic, or the topics do not fit each other.
    """
    await wait_for("PostgreSQL", lambda: check_database(settings), settings.start_timeout_s)
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


async def check_database(settings: Settings) -> None:
    """
    Check that PostgreSQL is there, with the schema of this version and the positions of no other topic.

    Raises:
        StoreUnavailableError: it is not there.
        SchemaError: it needs other migrations.
        TopicMismatchError: it holds the positions of another topic.
    """
    async with await connect(settings) as conn:
        try:
            await check_schema(conn)
            await refuse_foreign_topic(conn, settings.usages_topic)
        except psycopg.Error as error:
            if classify(error) is Verdict.RETRY:
                raise StoreUnavailableError(str(error)) from error
            raise


async def refuse_foreign_topic(conn: psycopg.AsyncConnection, topic: str) -> None:
    """
    Check that the database belongs to this usages topic, or to none yet.

    Raises:
        TopicMismatchError: it holds the positions of another one.
    """
    row = await (await conn.execute(queries["read_foreign_topic"], {"topic": topic})).fetchone()
    if row is not None:
        raise TopicMismatchError(
            f"the database holds the positions of topic {row[0]!r}, not of {topic!r}: "
            f"set REFERRALS_USAGES_TOPIC to {row[0]!r}, or REFERRALS_DATABASE_URL to a database of its own"
        )
