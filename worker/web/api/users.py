"""What the API says of a user."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from schemas.stats import UsageHistory, UsedCodes, UserCode
from worker.web.api.files import FileForm, add_files, history_file
from worker.web.histories import user_history
from worker.web.params import HistoryQuery, PageQuery, SpanQuery
from worker.web.paths import CodeUuid, UserUuid
from worker.web.queries import Reader


def create_users(reader: Reader) -> APIRouter:
    """Return the routes under /users."""
    users = APIRouter(prefix="/users/{used_by_uuid}", tags=["users"])

    @users.get("/usages")
    async def read_user_usages(used_by_uuid: UserUuid, query: Annotated[HistoryQuery, Query()]) -> UsageHistory:
        """The history of a user, latest first."""
        return await reader.user_usages(used_by_uuid, query)

    async def export_user_usages(
        form: FileForm, request: Request, used_by_uuid: UserUuid, query: Annotated[SpanQuery, Query()]
    ) -> Response:
        pages = user_history(reader, used_by_uuid, query)
        return await history_file(request, form, f"usages-by-user-{used_by_uuid}", pages)

    add_files(users, "/usages", export_user_usages, of="user")

    @users.get("/codes")
    async def read_user_codes(used_by_uuid: UserUuid, query: Annotated[PageQuery, Query()]) -> UsedCodes:
        """The codes that a user has used, the one used last first; one used meanwhile moves to the front."""
        return await reader.user_codes(used_by_uuid, query)

    @users.get("/codes/{code_uuid}")
    async def read_user_code(used_by_uuid: UserUuid, code_uuid: CodeUuid) -> UserCode:
        """Whether a user has used a code, how often and when."""
        return await reader.user_code(used_by_uuid, code_uuid)

    return users
