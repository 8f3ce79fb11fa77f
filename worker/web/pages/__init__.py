"""The pages for people: complete HTML that works without scripts, nothing from another host; event data is text."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from worker.rejections import Republisher
from worker.web.auth import Access
from worker.web.pages.code import create_code_page
from worker.web.pages.docs import create_docs_page
from worker.web.pages.overview import create_overview_page
from worker.web.pages.rejections import create_rejection_pages
from worker.web.pages.search import create_search
from worker.web.pages.user import create_user_page
from worker.web.pages.workers import create_workers_page
from worker.web.parts import Readers
from worker.web.rendering import Templates


def create_pages(
    readers: Readers,
    republisher: Republisher,
    access: Access,
    templates: Templates,
    openapi: Callable[[], dict[str, Any]],
) -> APIRouter:
    """Return the routes of the pages."""
    pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    pages.include_router(create_overview_page(readers.overview, readers.usages, templates))
    pages.include_router(create_search(readers.usages, templates))
    pages.include_router(create_code_page(readers.stats, readers.usages, templates))
    pages.include_router(create_user_page(readers.usages, templates))
    pages.include_router(create_rejection_pages(readers.rejections, republisher, access, templates))
    pages.include_router(create_workers_page(readers.overview, templates))
    pages.include_router(create_docs_page(templates, openapi))
    return pages
