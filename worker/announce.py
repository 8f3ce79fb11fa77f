"""The worker announces itself in PostgreSQL, which is how every worker shows all of them."""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import structlog
from mode import Service

from worker.database import Database
from worker.errors import UnavailableError, UrlTakenError, WorkerError
from worker.runs.progress import Progress
from worker.sql import queries

INTERVAL_S: Final = 2.0
# another process under our URL was seen within this: it is at work, or was killed a moment ago
_FRESH_S: Final = 6.0
# a row that stays fresh for longer than a killed process could keep it is of one that lives
_TAKEN_S: Final = 10.0
_WITHDRAW_S: Final = 2.0

_log: Final = structlog.get_logger("referrals")


class Announcer(Service):
    """
    Writes the worker's row every 2 s, and deletes it at a stop.

    The worker works on whatever becomes of this; only another worker that lives under the same URL ends it.

    Args:
        url: names the worker; no other may have it.
        topic: of usages.
        progress: how far each partition is that is being read, by the monotonic clock.
        rate: usages stored a second.
        fail: called with what must end the process.
    """

    abstract = False

    def __init__(
        self,
        database: Database,
        *,
        url: str,
        version: str,
        topic: str,
        progress: Callable[[float], list[Progress]],
        rate: Callable[[], float],
        fail: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self._database = database
        self._identity = {"url": url, "instance": uuid4(), "version": version, "topic": topic}
        self._progress = progress
        self._rate = rate
        self._fail = fail
        self._started_s = time.monotonic()
        self._taken_since_s: float | None = None
        self._is_out = False  # of touch with PostgreSQL

    async def on_stop(self) -> None:
        """Delete the row, unless PostgreSQL does not answer: it ages by itself."""
        try:
            async with asyncio.timeout(_WITHDRAW_S), self._database.announcing() as conn:
                await conn.execute(queries["withdraw_worker"], self._identity)
        except (WorkerError, TimeoutError) as error:
            _log.info("the worker's row stays behind; others ignore it after 10 s", error=repr(error))

    @Service.task
    async def _announce_regularly(self) -> None:
        is_first = True
        while not self.should_stop:
            try:
                is_ours = await self._announce(is_first=is_first)
            except UnavailableError as error:
                self._note_outage(error)
            except WorkerError as error:
                self._fail(error)
                return
            else:
                is_first = self._is_out = False
                if not self._may_go_on(is_ours=is_ours):
                    return
            await self.sleep(INTERVAL_S)

    async def _announce(self, *, is_first: bool) -> bool:
        """Write the row and return whether it is ours."""
        async with self._database.announcing() as conn:
            if is_first:
                await conn.execute(queries["forget_workers"])
            now_s = time.monotonic()
            progress = self._progress(now_s)
            cursor = await conn.execute(
                queries["announce_worker"],
                {
                    **self._identity,
                    "uptime_s": now_s - self._started_s,
                    "fresh_s": _FRESH_S,
                    "rate": self._rate(),
                    "partitions": [each.partition for each in progress],
                    "positions": [each.position for each in progress],
                    "lags": [each.lag for each in progress],
                    "ages_s": [each.age_s for each in progress],
                },
            )
            return await cursor.fetchone() is not None

    def _note_outage(self, error: UnavailableError) -> None:
        if not self._is_out:
            self._is_out = True
            _log.warning("not announced to other workers until PostgreSQL answers again", error=str(error))

    def _may_go_on(self, *, is_ours: bool) -> bool:
        now_s = time.monotonic()
        if is_ours:
            self._taken_since_s = None
            return True
        if self._taken_since_s is None:
            self._taken_since_s = now_s
        if now_s - self._taken_since_s < _TAKEN_S:
            return True
        self._fail(
            UrlTakenError(
                f"another worker is at work as {self._identity['url']}: give each worker a URL of its own, by "
                "REFERRALS_WEB_PORT or, where several have the same host and port, by REFERRALS_WEB_URL"
            )
        )
        return False
