"""The page that describes the API."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from worker.web.rendering import Templates


def create_docs_page(templates: Templates, openapi: Callable[[], dict[str, Any]]) -> APIRouter:
    """Return the route /docs; `openapi` returns the document that it shows."""
    page = APIRouter()

    @page.get("/docs")
    async def show_docs() -> Response:
        return templates.page("docs.html", api=openapi())

    return page
