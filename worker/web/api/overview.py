"""What the API says of everything stored, and of the workers."""

from fastapi import APIRouter

from schemas.workers import Overview, Workers
from worker.web.overview import OverviewReader


def create_overview(reader: OverviewReader) -> APIRouter:
    """Return the routes /overview and /workers."""
    overview = APIRouter(tags=["overview"])

    @overview.get("/overview")
    async def read_overview() -> Overview:
        """Totals, the most used codes, the latest usages, and how fresh all of it is; at least a second apart."""
        return (await reader.read()).overview

    @overview.get("/workers")
    async def read_workers() -> Workers:
        """The workers seen within the last 10 s, and the partitions that each of them reads."""
        return (await reader.read()).workers

    return overview
