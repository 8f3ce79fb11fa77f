"""What the API says of a user."""

from typing import Annotated

from fastapi import APIRouter, Query

from schemas.stats import UsageHistory, UserCode
from worker.web.params import CodeUuid, HistoryQuery, UserUuid
from worker.web.queries import Reader


def create_users(reader: Reader) -> APIRouter:
    """Return the routes under /users."""
    users = APIRouter(prefix="/users/{used_by_uuid}", tags=["users"])

    @users.get("/usages")
    async def read_user_usages(used_by_uuid: UserUuid, query: Annotated[HistoryQuery, Query()]) -> UsageHistory:
        """The history of a user, latest first."""
        return await reader.user_usages(used_by_uuid, query)

    @users.get("/codes/{code_uuid}")
    async def read_user_code(used_by_uuid: UserUuid, code_uuid: CodeUuid) -> UserCode:
        """Whether a user has used a code, how often and when."""
        return await reader.user_code(used_by_uuid, code_uuid)

    return users
