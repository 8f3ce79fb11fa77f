"""The worker's connections to PostgreSQL: some store runs, others answer HTTP requests, one announces the worker."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from mode import Service
from psycopg import AsyncConnection, Error
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from worker.epoch import Epoch
from worker.pipeline.binary import register_arrays
from worker.pipeline.retry import to_worker_error
from worker.settings import Settings
from worker.sql import queries

WRITER_NAME: Final = "referrals-writer"
READER_NAME: Final = "referrals-reader"
ANNOUNCER_NAME: Final = "referrals-announcer"
# longer than the server grants a statement of the session
_ANNOUNCING_S: Final = 6.0
# a pool doubles its pause between attempts until this has passed, then starts over: it also bounds the pause
_RECONNECT_S: Final = 5.0

_log: Final = structlog.get_logger("referrals")


class Database(Service):
    """
    Three pools on the worker's loop, opened without waiting: PostgreSQL may be down at any time.

    A connection that saw any error is closed, never reused: what it was doing is unknown, and a session opened on a
    primary that was demoted since stays read-only for as long as it lives.
    """

    abstract = False

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._writing_count = 0

    @property
    def is_storing(self) -> bool:
        """Whether runs are being stored at this moment."""
        return self._writing_count > 0

    async def on_start(self) -> None:
        """Open the pools on the running loop."""
        settings = self._settings
        self._writers = self._new_pool(WRITER_NAME, settings.database_connections, _configure_writer)
        self._readers = self._new_pool(READER_NAME, settings.reader_connections, self._configure_reader)
        self._announcers = self._new_pool(ANNOUNCER_NAME, 1, _configure_announcer)
        for pool in (self._writers, self._readers, self._announcers):
            await pool.open(wait=False)

    async def on_stop(self) -> None:
        """Close the pools."""
        for pool in (self._writers, self._readers, self._announcers):
            await pool.close()

    @asynccontextmanager
    async def writing(self, epoch: Epoch) -> AsyncIterator[AsyncConnection]:
        """
        Lend a connection that stores runs, in autocommit mode.

        Its socket is closed when the epoch ends, or when the block takes longer than `transaction_timeout_s`.

        Raises:
            StoreUnavailableError: no connection in time, or the block failed in a way that a retry may mend.
            StoreRefusedError: the block failed in a way that neither a retry nor a reject would mend.
        """
        self._writing_count += 1
        try:
            async with self._lend(self._writers, self._settings.transaction_timeout_s) as conn:
                with epoch.ending(lambda: sever(conn)):
                    yield conn
        finally:
            self._writing_count -= 1

    async def end_blockers(self, conn: AsyncConnection, topic: str, partition: int) -> None:
        """
        End the sessions of other workers that hold a partition's position.

        A worker that was stopped in the middle of a COPY holds it without an end: no timeout of the server's applies
        there. Ending a healthy one does no harm, it tries again and the position decides.

        Args:
            conn: out of a transaction.
        """
        where = {"topic": topic, "partition": partition, "application": WRITER_NAME}
        for _ended, application, state in await (await conn.execute(queries["end_blockers"], where)).fetchall():
            _log.warning(
                "ended the session of another worker, which holds the position",
                partition=f"{topic}[{partition}]", application=application, state=state,
            )  # fmt: skip

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """
        Lend a read-only connection, in autocommit mode, whose statements end after `read_timeout_s`.

        Raises:
            StoreUnavailableError: no connection in time, or the block failed in a way that a retry may mend.
        """
        # the server's own limit does not help when the server, or the way to it, is gone
        async with self._lend(self._readers, self._settings.read_timeout_s + 1) as conn:
            yield conn

    @asynccontextmanager
    async def announcing(self) -> AsyncIterator[AsyncConnection]:
        """
        Lend the connection that announces this worker: neither runs nor requests wait for it, or make it wait.

        Raises:
            StoreUnavailableError: no connection in time, or the block failed in a way that a retry may mend.
        """
        async with self._lend(self._announcers, _ANNOUNCING_S) as conn:
            yield conn

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[AsyncConnection]:
        """
        Lend a connection, as `reading` does, whose one transaction may write: for a few rows that somebody changes.

        Raises:
            StoreUnavailableError: as `reading`; the change may or may not have happened.
        """
        async with self.reading() as conn, conn.transaction():
            await conn.execute(queries["allow_change"])
            yield conn

    @asynccontextmanager
    async def _lend(self, pool: AsyncConnectionPool, limit_s: float) -> AsyncIterator[AsyncConnection]:
        """Lend a connection whose socket is closed when the block takes longer than `limit_s`."""
        try:
            conn = await pool.getconn()
        except Error as error:
            raise to_worker_error(error) from error
        deadline = asyncio.get_running_loop().call_later(limit_s, sever, conn)
        try:
            try:
                yield conn
            finally:
                deadline.cancel()
        except Error as error:
            await conn.close()
            raise to_worker_error(error) from error
        except BaseException:
            await conn.close()
            raise
        finally:
            await pool.putconn(conn)

    def _new_pool(
        self, name: str, size: int, configure: Callable[[AsyncConnection], Awaitable[None]]
    ) -> AsyncConnectionPool:
        settings = self._settings
        return AsyncConnectionPool(
            make_conninfo(
                settings.database_url,
                application_name=f"{name}-{socket.gethostname()}-{os.getpid()}"[:63],
                connect_timeout=max(2, round(settings.connect_timeout_s)),
            ),
            kwargs={"autocommit": True},
            configure=configure,
            min_size=size,
            max_size=size,
            timeout=settings.connect_timeout_s,
            reconnect_timeout=_RECONNECT_S,
            name=name,
            open=False,
        )

    async def _configure_reader(self, conn: AsyncConnection) -> None:
        await conn.execute(queries["configure_reader"], [f"{round(self._settings.read_timeout_s * 1000)}ms"])


async def _configure_announcer(conn: AsyncConnection) -> None:
    await conn.execute(queries["configure_announcer"])


async def _configure_writer(conn: AsyncConnection) -> None:
    register_arrays(conn)
    await conn.execute(queries["configure_writer"])
    await conn.execute(queries["create_touched"])


def sever(conn: AsyncConnection) -> None:
    """
    End a connection at once, whoever waits on it: they get psycopg's OperationalError.

    The socket is shut down, not closed: its number stays taken until psycopg lets go of it, so the event loop cannot
    confuse it with a newer one.
    """
    if conn.closed:
        return
    with socket.socket(fileno=os.dup(conn.fileno())) as duplicate:
        try:
            duplicate.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster
