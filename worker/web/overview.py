"""The overview and the workers: one set of queries of one moment, shared among all requests."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import class_row
from pydantic import BaseModel

from schemas.stats import TopCode, Usage
from schemas.workers import Overview, PartitionCounts, PartitionProgress, Worker, Workers
from worker.database import Database
from worker.sql import queries
from worker.web.shared import Shared

LISTED: Final = 8

Model = TypeVar("Model", bound=BaseModel)


class _AnnouncedPartition(PartitionProgress):
    stored_up_to: datetime | None


class _AnnouncedWorker(Worker):
    partitions: list[_AnnouncedPartition]  # type: ignore[assignment]  # with more fields than readers get


class _Totals(BaseModel):
    total_uses: int
    codes: int
    first_uses: int
    rejected: int


class Freshness(NamedTuple):
    """How far all partitions together are; None unless each of them is live."""

    live: int
    lag: int | None
    stored_up_to: datetime | None


@dataclass(frozen=True)
class Everything:
    """What the queries found, all of it of one moment."""

    overview: Overview
    workers: Workers


class OverviewReader:
    """
    Answers from committed rows, read at most once a second and a tenth of the time.

    Args:
        partition_count: of the usages topic.
    """

    def __init__(self, database: Database, partition_count: int) -> None:
        self._database = database
        self._partition_count = partition_count
        self._shared = Shared(self._fetch)

    async def read(self) -> Everything:
        """
        Return overview and workers.

        Raises:
            StoreUnavailableError: PostgreSQL is down or slow.
        """
        return await self._shared.get()

    async def _fetch(self) -> Everything:
        # the statistics are read three times, for three orders: none has an index, which every usage would pay for
        async with self._database.reading() as conn, conn.pipeline(), conn.transaction():
            await conn.execute(queries["read_snapshot"])
            # all are asked at once: beside a backlog, each answer that is waited for waits for its turn behind runs
            asked_totals = await _ask(conn, "read_totals", _Totals)
            asked_codes = await _ask(conn, "read_top_codes", TopCode)
            asked_usages = await _ask(conn, "read_recent_usages", Usage)
            asked_workers = await _ask(conn, "read_workers", _AnnouncedWorker)
            (totals,) = await asked_totals.fetchall()
            top_codes = await asked_codes.fetchall()
            recent_usages = await asked_usages.fetchall()
            announced = await asked_workers.fetchall()
        live, lag, stored_up_to = freshness(announced, self._partition_count)
        return Everything(
            Overview(
                **dict(totals),
                top_codes=top_codes,
                recent_usages=recent_usages,
                lag=lag,
                partitions=PartitionCounts(total=self._partition_count, live=live),
                workers=len(announced),
                stored_up_to=stored_up_to,
            ),
            Workers(items=[Worker.model_validate(worker.model_dump()) for worker in announced]),
        )


def freshness(workers: list[_AnnouncedWorker], partition_count: int) -> Freshness:
    """Return how far all partitions are; where two workers announce one, what is worse counts."""
    known = [each for worker in workers for each in worker.partitions if each.lag is not None]
    lags: dict[int, int] = {}
    for each in known:
        lags[each.partition] = max(lags.get(each.partition, 0), each.lag or 0)
    if len(lags) < partition_count:
        return Freshness(len(lags), None, None)
    dates = [each.stored_up_to for each in known]
    return Freshness(len(lags), sum(lags.values()), None if None in dates else min(filter(None, dates)))


async def _ask(conn: AsyncConnection, name: str, model: type[Model]) -> AsyncCursor[Model]:
    return await conn.cursor(row_factory=class_row(model)).execute(queries[name], {"count": LISTED})
