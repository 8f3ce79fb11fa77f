"""What the API says of a code."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from schemas.stats import CodeStats, Timeline, UsageHistory
from worker.web.api.files import FileForm, add_files, history_file
from worker.web.histories import code_history, user_history
from worker.web.params import CodeHistoryQuery, CodeSpanQuery, TimelineQuery
from worker.web.paths import CodeUuid
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

    async def export_code_usages(
        form: FileForm, request: Request, code_uuid: CodeUuid, query: Annotated[CodeSpanQuery, Query()]
    ) -> Response:
        if query.used_by is None:
            pages = code_history(reader, code_uuid, query)
        else:
            pages = user_history(reader, query.used_by, query, code_uuid)
        return await history_file(request, form, f"usages-of-code-{code_uuid}", pages)

    add_files(codes, "/usages", export_code_usages, of="code")

    @codes.get("/timeline")
    async def read_code_timeline(code_uuid: CodeUuid, query: Annotated[TimelineQuery, Query()]) -> Timeline:
        """The usages of a code by hour or day of UTC, empty ones included; 422 for more than 2,000 of them."""
        return await reader.code_timeline(code_uuid, query)

    return codes
