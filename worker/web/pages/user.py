"""The page of a user: each code with its first and last use, and the history with filters, files of what is shown."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from worker.web.pages.filters import UserFilters
from worker.web.params import PageQuery
from worker.web.paths import UserUuid
from worker.web.queries import Reader
from worker.web.rendering import Address, Templates

_CODES_LISTED: Final = 20


def create_user_page(reader: Reader, templates: Templates) -> APIRouter:
    """Return the route of a user's page."""
    page = APIRouter()

    @page.get("/users/{used_by_uuid}")
    async def show_user(used_by_uuid: UserUuid, query: Annotated[UserFilters, Query()]) -> Response:
        history, codes = await asyncio.gather(
            reader.user_usages(used_by_uuid, query.part),
            reader.user_codes(used_by_uuid, PageQuery(limit=_CODES_LISTED, cursor=query.codes_cursor)),
        )
        return templates.page(
            "user.html",
            used_by_uuid=used_by_uuid,
            history=history,
            codes=codes,
            query=query,
            address=Address(f"/users/{used_by_uuid}", query.given),
            file=lambda form: Address(f"/api/v1/users/{used_by_uuid}/usages.{form}", query.exported)(),
        )

    return page
