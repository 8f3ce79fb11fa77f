"""The overview: totals and how fresh they are, uses over time, top codes, latest usages, workers."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from worker.errors import StoreUnavailableError
from worker.web.charts import draw
from worker.web.overview import OverviewReader
from worker.web.pages.filters import ChartFilters, Period
from worker.web.problems import explain
from worker.web.queries import Reader
from worker.web.rendering import Address, Templates

_PERIODS: Final = (Period.DAY, Period.WEEK, Period.MONTH)


def create_overview_page(overview_reader: OverviewReader, reader: Reader, templates: Templates) -> APIRouter:
    """Return the route / of the start page."""
    page = APIRouter()

    @page.get("/")
    async def show_overview(request: Request, query: Annotated[ChartFilters, Query()]) -> Response:
        span = query.span(datetime.now(UTC))
        failure = everything = chart = None
        try:
            everything, timeline = await asyncio.gather(overview_reader.read(), reader.timeline(span))
            chart = draw(timeline.items, span.width)
        except StoreUnavailableError as error:
            # the search box still works: a code held by this worker's table has its statistics
            failure = explain(request, error)
        return templates.page(
            "overview.html",
            failure=failure,
            everything=everything,
            chart=chart,
            query=query,
            span=span,
            periods=_PERIODS,
            address=Address("/", query.given),
        )

    return page
