"""Statistics of a code from whoever has them: the table of this worker, else PostgreSQL."""

from typing import Protocol

from schemas.stats import CodeStats
from worker.runs.table import HeldCounts
from worker.web.queries import Reader


class HeldStats(Protocol):
    """This worker's table of the partitions that it holds; in tests, one without Kafka."""

    def stats_of(self, code_uuid: str) -> HeldCounts | None:
        """Return a code's committed statistics; None when its partition is not held here, or not loaded yet."""


class StatsReader:
    """Answers from the table at once, else from PostgreSQL; never a zero because neither could answer."""

    def __init__(self, table: HeldStats, reader: Reader) -> None:
        self._table = table
        self._reader = reader

    async def stats(self, code_uuid: str) -> CodeStats:
        """
        Return the statistics of a code, and where they come from.

        Args:
            code_uuid: in lower case.
        Raises:
            StoreUnavailableError: the table does not hold the code, and PostgreSQL is down or slow.
        """
        held = self._table.stats_of(code_uuid)
        if held is None:
            return await self._reader.code_stats(code_uuid)
        return CodeStats(
            code_uuid=code_uuid,
            total_uses=held.total_uses,
            unique_users=held.unique_users,
            last_used=held.last_used,
            recent_users=held.recent_users,
            source="table",
        )
