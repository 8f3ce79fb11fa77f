"""What the API says of a user."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from schemas.stats import UsageHistory, UsedCodes, UserCode
from worker.web.api.files import CSV, JSON, FileForm, history_file
from worker.web.params import CodeUuid, HistoryQuery, PageQuery, SpanQuery, UserUuid
from worker.web.queries import Reader


def create_users(reader: Reader) -> APIRouter:
    """Return the routes under /users."""
    users = APIRouter(prefix="/users/{used_by_uuid}", tags=["users"])

    @users.get("/usages")
    async def read_user_usages(used_by_uuid: UserUuid, query: Annotated[HistoryQuery, Query()]) -> UsageHistory:
        """The history of a user, latest first."""
        return await reader.user_usages(used_by_uuid, query)

    async def usages_file(request: Request, form: FileForm, used_by_uuid: str, query: SpanQuery) -> Response:
        return await history_file(
            request,
            form,
            f"usages-by-user-{used_by_uuid}",
            query,
            lambda page: reader.user_usages(used_by_uuid, page),
        )

    @users.get("/usages.csv", response_class=Response, responses=CSV.described)
    async def export_user_usages_as_csv(
        request: Request, used_by_uuid: UserUuid, query: Annotated[SpanQuery, Query()]
    ) -> Response:
        """The whole history of a user as CSV (RFC 4180, UTF-8), latest first."""
        return await usages_file(request, CSV, used_by_uuid, query)

    @users.get("/usages.json", response_class=Response, responses=JSON.described)
    async def export_user_usages_as_json(
        request: Request, used_by_uuid: UserUuid, query: Annotated[SpanQuery, Query()]
    ) -> Response:
        """The whole history of a user as one JSON array, latest first."""
        return await usages_file(request, JSON, used_by_uuid, query)

    @users.get("/codes")
    async def read_user_codes(used_by_uuid: UserUuid, query: Annotated[PageQuery, Query()]) -> UsedCodes:
        """The codes that a user has used, the one used last first; one used meanwhile moves to the front."""
        return await reader.user_codes(used_by_uuid, query)

    @users.get("/codes/{code_uuid}")
    async def read_user_code(used_by_uuid: UserUuid, code_uuid: CodeUuid) -> UserCode:
        """Whether a user has used a code, how often and when."""
        return await reader.user_code(used_by_uuid, code_uuid)

    return users
