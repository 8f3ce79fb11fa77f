"""
The filters of the partitions that a worker holds: made when a partition is loaded, filled in the background.

Filling reads the pairs in the order of an index, a page at a time, each in a snapshot of its own: one snapshot over all
of it would keep PostgreSQL from clearing away old versions of the statistics, which every run replaces. Pages are read
after the filter was made, and it is fed with what is committed since, so it misses nothing.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog
from mode import Service
from mode.utils.locks import Event

from worker.database import Database
from worker.errors import StoreUnavailableError
from worker.pipeline.first_use import PairFilter
from worker.pipeline.retry import Backoff
from worker.pipeline.statistics import Statistics
from worker.sql import queries

# while runs are stored, filling takes at most this share of one connection's time: they go first
_SHARE: Final = 0.2
_RETRY_MAX_S: Final = 5.0
_BEFORE_ALL: Final = bytes(32)

_log: Final = structlog.get_logger("referrals")


class Filters(Service):
    """
    Makes filters and fills them.

    Args:
        max_bytes: memory that a partition's filter may take.
        page_rows: read at once, which takes some milliseconds.
    """

    abstract = False

    def __init__(self, database: Database, max_bytes: int, *, page_rows: int = 5000) -> None:
        super().__init__()
        self._database = database
        self._max_bytes = max_bytes
        self._page_rows = page_rows
        self._filters: dict[int, PairFilter] = {}
        self._wanted = Event()

    def open(self, partition: int, stats: Statistics) -> PairFilter:
        """Return the filter of a partition just loaded; it is good for as long as nobody else stores there."""
        pair_filter = self._filters[partition] = PairFilter(stats.pair_count, self._max_bytes)
        self._wanted.set()
        return pair_filter

    def close(self, partition: int) -> None:
        """Forget a partition's filter; one that is not there is no error."""
        self._filters.pop(partition, None)

    @Service.task
    async def _fill(self) -> None:
        while not self.should_stop:
            filling = {number: each for number, each in self._filters.items() if each.is_filling}
            if filling:
                await self._fill_all(filling)
            else:
                self._wanted.clear()
                await self.wait(self._wanted, timeout=_RETRY_MAX_S)

    async def _fill_all(self, filling: Mapping[int, PairFilter]) -> None:
        """Scan all pairs once, for all filters that wait for it now."""
        started_at_s = time.monotonic()
        pair_count = 0
        last_pair = _BEFORE_ALL
        backoff = Backoff(_RETRY_MAX_S)
        is_last = False
        while not is_last and not self.should_stop:
            page_at_s = time.monotonic()
            try:
                page = await self._read_page(last_pair)
            except StoreUnavailableError:
                await self.sleep(backoff.next_pause_s())  # runs say what is wrong
                continue
            backoff = Backoff(_RETRY_MAX_S)
            pairs: defaultdict[int, list[bytes]] = defaultdict(list)
            for partition, pair in page:
                pairs[partition].append(pair)
            for partition, pair_filter in filling.items():
                pair_filter.fill(pairs[partition])
            pair_count += len(page)
            is_last = len(page) < self._page_rows
            if not is_last:
                last_pair = page[-1][1]
                page_s = time.monotonic() - page_at_s
                await self.sleep(page_s * (1 / _SHARE - 1) if self._database.is_storing else 0)
        if is_last:
            for pair_filter in filling.values():
                pair_filter.finish()
            _log.info(
                "filters filled", partitions=sorted(filling), pairs=pair_count,
                size_bytes=sum(each.size_bytes for each in filling.values()),
                seconds=round(time.monotonic() - started_at_s, 1),
            )  # fmt: skip

    async def _read_page(self, last_pair: bytes) -> list[tuple[int, bytes]]:
        """Return the next (partition, pair) rows; fewer than a page when they are the last."""
        code, user = UUID(bytes=last_pair[:16]), UUID(bytes=last_pair[16:])
        async with self._database.reading() as conn, conn.cursor(binary=True) as cursor:
            await cursor.execute(queries["read_pairs"], {"code": code, "user": user, "count": self._page_rows})
            return await cursor.fetchall()
