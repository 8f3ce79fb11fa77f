"""The JSON API under /api/v1: maps what readers answer to HTTP, and nothing else."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from schemas.stats import CodeStats, UsageHistory, UserCode
from worker.web.params import CodeHistoryQuery, CodeUuid, HistoryQuery, UserUuid
from worker.web.problems import described
from worker.web.queries import Reader
from worker.web.stats import StatsReader


def create_api(reader: Reader, stats_reader: StatsReader) -> APIRouter:
    """Return the routes of the API."""
    api = APIRouter(
        prefix="/api/v1", responses=described(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)
    )

    @api.get("/codes/{code_uuid}/stats", tags=["codes"])
    async def read_code_stats(code_uuid: CodeUuid) -> CodeStats:
        """Statistics of a code; zeros for one that was never used."""
        return await stats_reader.stats(code_uuid)

    @api.get("/codes/{code_uuid}/usages", tags=["codes"])
    async def read_code_usages(code_uuid: CodeUuid, query: Annotated[CodeHistoryQuery, Query()]) -> UsageHistory:
        """The history of a code, latest first."""
        return await reader.code_usages(code_uuid, query, query.used_by)

    @api.get("/users/{used_by_uuid}/usages", tags=["users"])
    async def read_user_usages(used_by_uuid: UserUuid, query: Annotated[HistoryQuery, Query()]) -> UsageHistory:
        """The history of a user, latest first."""
        return await reader.user_usages(used_by_uuid, query)

    @api.get("/users/{used_by_uuid}/codes/{code_uuid}", tags=["users"])
    async def read_user_code(used_by_uuid: UserUuid, code_uuid: CodeUuid) -> UserCode:
        """Whether a user has used a code, how often and when."""
        return await reader.user_code(used_by_uuid, code_uuid)

    return api
