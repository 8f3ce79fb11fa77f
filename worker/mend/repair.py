"""Repairing: statistics, first uses and positions made anew from the rows and the topic as it is."""

from collections.abc import Awaitable, Callable, Sequence

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from worker.database import WRITER_NAME
from worker.errors import InUseError
from worker.mend.compare import Findings, Progress, compare
from worker.mend.topic import Position
from worker.sql import queries


async def repair(
    conn: AsyncConnection,
    topic: str,
    partition_count: int,
    progress: Progress,
    *,
    read_members: Callable[[], Awaitable[Sequence[str]]],
    restarts: bool = False,
) -> Findings:
    """
    Mend everything that `verify` finds, in one transaction, and return what was wrong.

    1. Lock: no run can be stored until the end.
    2. Look for workers: one that runs holds statistics in memory, and would write them over what is mended here. The
       lock comes first, so a worker that starts after the look loads what is mended.
    3. Compare, in a snapshot taken under the lock.
    4. Mend first uses, statistics, hours, whose first uses may be others now, and positions.

    Args:
        conn: prepared by `worker.mend.session`, in autocommit mode.
        partition_count: of the topic now.
        read_members: returns the names of the consumer group's members.
        restarts: the topic was created anew, so every position goes back to 0.
    Raises:
        InUseError: workers run, or hold the positions; nothing is changed.
    """
    where = {"topic": topic, "partition_count": partition_count}
    try:
        async with conn.transaction():
            await conn.execute(queries["write_mending_snapshot"])
            await conn.execute(queries["lock_all_positions"])
            if writers := [*await _read_writers(conn), *await read_members()]:
                raise _refused(writers)
            found = await compare(conn, topic, partition_count, progress)
            progress("mending", 0, 0)
            if found.wrong_codes:
                mended = await conn.execute(queries["mend_first_uses"])
                if mended.rowcount:
                    await conn.execute(queries["forget_hours"])
                    await conn.execute(queries["count_hours"])
                await conn.execute(queries["drop_superfluous"])
                await conn.execute(queries["mend_stats"])
            await conn.execute(queries["drop_superfluous_hours"])
            await conn.execute(queries["mend_hours"])
            if restarts:
                await conn.execute(queries["drop_positions"], where)
                await conn.execute(queries["restart_positions"], where)
            await conn.execute(queries["mend_partition_counts"], where)
    except LockNotAvailable as error:
        raise _refused(await _read_writers(conn)) from error
    return found


async def read_positions(conn: AsyncConnection, topic: str) -> list[Position]:
    """Return the stored positions of a topic by partition."""
    rows = await conn.execute(queries["list_positions"], {"topic": topic})
    return [Position(*row) for row in await rows.fetchall()]


async def _read_writers(conn: AsyncConnection) -> list[str]:
    writers = await conn.execute(queries["read_writers"], {"writer": WRITER_NAME})
    return [name for (name,) in await writers.fetchall()]


def _refused(writers: Sequence[str]) -> InUseError:
    return InUseError(
        f"workers run ({', '.join(writers) or 'of unknown names'}), and would write over what is mended. Stop all of "
        "them, then try again; one that was killed leaves the group after REFERRALS_SESSION_TIMEOUT_S"
    )
