"""A connection for operators' commands that hold statistics against rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, Error

from worker.migrate import check_schema
from worker.pipeline.retry import to_worker_error
from worker.settings import Settings
from worker.sql import queries
from worker.startup import connect, refuse_foreign_topic, wait_for


@asynccontextmanager
async def mending(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """
    Lend a connection, in autocommit mode, that has the tables of `worker.mend`.

    Raises:
        NotThereError: PostgreSQL was not there within `start_timeout_s`.
        SchemaError: the database needs other migrations.
        TopicMismatchError: the database holds the positions of another topic.
        StoreUnavailableError: the block failed in a way that another try may mend; nothing is changed.
    """
    conn = await wait_for("PostgreSQL", lambda: connect(settings), settings.start_timeout_s)
    async with conn:
        try:
            await check_schema(conn)
            await refuse_foreign_topic(conn, settings.usages_topic)
            await prepare(conn)
            yield conn
        except Error as error:
            raise to_worker_error(error) from error


async def prepare(conn: AsyncConnection) -> None:
    """Make the temporary tables that a comparison fills; needs the right to make temporary tables."""
    for name in (
        "configure_mender", "create_counted", "create_homes", "create_compared", "create_counted_hours",
        "create_wrong_hours",
    ):  # fmt: skip
        await conn.execute(queries[name])
