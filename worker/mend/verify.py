"""Verifying: whether the statistics are what the rows say, beside workers that go on."""

from psycopg import AsyncConnection

from worker.mend.compare import Findings, Progress, compare
from worker.sql import queries


async def verify(conn: AsyncConnection, topic: str, partition_count: int, progress: Progress) -> Findings:
    """
    Compare statistics and rows in one snapshot, and change nothing.

    Safe beside workers: rows, statistics and positions are committed together, so a snapshot holds all of a run or
    nothing of it.

    Args:
        conn: prepared by `worker.mend.session`, in autocommit mode.
        partition_count: of the topic now.
    """
    async with conn.transaction():
        await conn.execute(queries["read_mending_snapshot"])
        return await compare(conn, topic, partition_count, progress)
