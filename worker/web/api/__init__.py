"""The JSON API under /api/v1, one file for each kind of thing asked about: maps answers to HTTP, and nothing else."""

from http import HTTPStatus

from fastapi import APIRouter

from worker.web.api.codes import create_codes
from worker.web.api.overview import create_overview
from worker.web.api.publishing import create_publishing
from worker.web.api.rejections import create_rejections
from worker.web.api.usages import create_usages
from worker.web.api.users import create_users
from worker.web.parts import Publishers, Readers
from worker.web.problems import described


def create_api(readers: Readers, publishers: Publishers) -> APIRouter:
    """Return the routes of the API."""
    api = APIRouter(
        prefix="/api/v1", responses=described(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)
    )
    api.include_router(create_codes(readers.usages, readers.stats))
    api.include_router(create_users(readers.usages))
    api.include_router(create_publishing(publishers.usages))
    api.include_router(create_usages(readers.usages))
    api.include_router(create_overview(readers.overview, readers.usages))
    api.include_router(create_rejections(readers.rejections, publishers.rejections))
    return api
