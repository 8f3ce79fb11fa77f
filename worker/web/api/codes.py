"""What the API says of a code."""

from typing import Annotated

from fastapi import APIRouter, Query

from schemas.stats import CodeStats, UsageHistory
from worker.web.params import CodeHistoryQuery, CodeUuid
from worker.web.queries import Reader
from worker.web.stats import StatsReader


def create_codes(reader: Reader, stats_reader: StatsReader) -> APIRouter:
    """Return the routes under /codes."""
    codes = APIRouter(prefix="/codes/{code_uuid}", tags=["codes"])

    @codes.get("/stats")
    async def read_code_stats(code_uuid: CodeUuid) -> CodeStats:
        """Statistics of a code; zeros for one that was never used."""
        return await stats_reader.stats(code_uuid)

    @codes.get("/usages")
    async def read_code_usages(code_uuid: CodeUuid, query: Annotated[CodeHistoryQuery, Query()]) -> UsageHistory:
        """The history of a code, latest first."""
        return await reader.code_usages(code_uuid, query, query.used_by)

    return codes
