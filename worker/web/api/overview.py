"""What the API says of everything stored, and of the workers."""

from typing import Annotated

from fastapi import APIRouter, Query

from schemas.stats import Timeline
from schemas.workers import Overview, Workers
from worker.web.overview import OverviewReader
from worker.web.params import TimelineQuery
from worker.web.queries import Reader


def create_overview(overview_reader: OverviewReader, reader: Reader) -> APIRouter:
    """Return the routes /overview, /overview/timeline and /workers."""
    overview = APIRouter(tags=["overview"])

    @overview.get("/overview")
    async def read_overview() -> Overview:
        """Totals, the most used codes, the latest usages, and how fresh all of it is; at least a second apart."""
        return (await overview_reader.read()).overview

    @overview.get("/overview/timeline")
    async def read_timeline(query: Annotated[TimelineQuery, Query()]) -> Timeline:
        """The usages of all codes by hour or day of UTC; hours count whole, those of `from` and `to` too."""
        return await reader.timeline(query)

    @overview.get("/workers")
    async def read_workers() -> Workers:
        """The workers seen within the last 10 s, and the partitions that each of them reads."""
        return (await overview_reader.read()).workers

    return overview
