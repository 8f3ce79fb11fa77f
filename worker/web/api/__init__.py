"""The JSON API under /api/v1, one file for each kind of thing asked about: maps answers to HTTP, and nothing else."""

from http import HTTPStatus

from fastapi import APIRouter

from worker.publishing.intake import UsageIntake
from worker.rejections import Rejections, Republisher
from worker.web.api.codes import create_codes
from worker.web.api.overview import create_overview
from worker.web.api.publishing import create_publishing
from worker.web.api.rejections import create_rejections
from worker.web.api.usages import create_usages
from worker.web.api.users import create_users
from worker.web.overview import OverviewReader
from worker.web.problems import described
from worker.web.queries import Reader
from worker.web.stats import StatsReader


def create_api(
    reader: Reader,
    stats_reader: StatsReader,
    intake: UsageIntake,
    overview: OverviewReader,
    rejections: Rejections,
    republisher: Republisher,
) -> APIRouter:
    """Return the routes of the API."""
    api = APIRouter(
        prefix="/api/v1", responses=described(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)
    )
    api.include_router(create_codes(reader, stats_reader))
    api.include_router(create_users(reader))
    api.include_router(create_publishing(intake))
    api.include_router(create_usages(reader))
    api.include_router(create_overview(overview, reader))
    api.include_router(create_rejections(rejections, republisher))
    return api
