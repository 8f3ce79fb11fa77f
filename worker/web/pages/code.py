"""The page of a code: its statistics, its uses over time, its history with filters, files of what is shown."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from worker.errors import StoreUnavailableError
from worker.web.charts import draw
from worker.web.pages.filters import CodeFilters, Period
from worker.web.paths import CodeUuid
from worker.web.problems import explain
from worker.web.queries import Reader
from worker.web.rendering import Address, Templates
from worker.web.revalidation import not_modified, tag_of
from worker.web.stats import StatsReader


def create_code_page(stats_reader: StatsReader, reader: Reader, templates: Templates) -> APIRouter:
    """Return the route of a code's page."""
    page = APIRouter()

    @page.get("/codes/{code_uuid}")
    async def show_code(request: Request, code_uuid: CodeUuid, query: Annotated[CodeFilters, Query()]) -> Response:
        stats = await stats_reader.stats(code_uuid)
        span = query.span(datetime.now(UTC))
        # every row of the code is counted in its statistics: who has the page of these needs no other query
        tag = tag_of(templates.version, stats, query, span)
        known = not_modified(request, tag)
        if known is not None:
            return known
        failure = history = chart = of_user = None
        try:
            history, timeline, of_user = await asyncio.gather(
                reader.code_usages(code_uuid, query.part, query.used_by),
                reader.code_timeline(code_uuid, span),
                reader.user_code(query.used_by, code_uuid) if query.used_by else asyncio.sleep(0),
            )
            chart = draw(timeline.items, span.width)
        except StoreUnavailableError as error:
            failure = explain(request, error)
        response = templates.page(
            "code.html",
            failure=failure,
            stats=stats,
            history=history,
            chart=chart,
            of_user=of_user,
            query=query,
            span=span,
            periods=Period,
            address=Address(f"/codes/{code_uuid}", query.given),
            file=lambda form: Address(f"/api/v1/codes/{code_uuid}/usages.{form}", query.exported)(),
        )
        if failure is None:
            response.headers["ETag"] = tag
        return response

    return page
