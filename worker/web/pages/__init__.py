"""The pages for people: complete HTML that works without scripts, nothing from another host; event data is text."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from worker.rejections import Rejections, Republisher
from worker.web.auth import Access
from worker.web.overview import OverviewReader
from worker.web.pages.code import create_code_page
from worker.web.pages.docs import create_docs_page
from worker.web.pages.overview import create_overview_page
from worker.web.pages.rejections import create_rejection_pages
from worker.web.pages.search import create_search
from worker.web.pages.user import create_user_page
from worker.web.pages.workers import create_workers_page
from worker.web.queries import Reader
from worker.web.rendering import Templates
from worker.web.stats import StatsReader


def create_pages(
    reader: Reader,
    stats_reader: StatsReader,
    overview_reader: OverviewReader,
    rejections: Rejections,
    republisher: Republisher,
    access: Access,
    templates: Templates,
    openapi: Callable[[], dict[str, Any]],
) -> APIRouter:
    """Return the routes of the pages."""
    pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    pages.include_router(create_overview_page(overview_reader, reader, templates))
    pages.include_router(create_search(reader, templates))
    pages.include_router(create_code_page(stats_reader, reader, templates))
    pages.include_router(create_user_page(reader, templates))
    pages.include_router(create_rejection_pages(rejections, republisher, access, templates))
    pages.include_router(create_workers_page(overview_reader, templates))
    pages.include_router(create_docs_page(templates, openapi))
    return pages
