"""The pages for people: complete HTML, no scripts, nothing from another host; event data is text everywhere."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.errors import StoreUnavailableError
from worker.web.overview import OverviewReader
from worker.web.params import UUID_EXAMPLE, CodeUuid, CursorParam, HistoryQuery, read_uuid
from worker.web.problems import Failure, explain
from worker.web.queries import Reader
from worker.web.stats import StatsReader

_SEARCH_MAX_CHARS: Final = 200


class Templates:
    """The HTML templates, whose values are escaped and must all be given."""

    def __init__(self, version: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(utc=_utc, iso=_iso)
        self._environment.globals.update(version=version, uuid_example=UUID_EXAMPLE)

    def page(self, name: str, status: HTTPStatus = HTTPStatus.OK, **values: object) -> HTMLResponse:
        """Return a page; `search` is what its search box holds."""
        values.setdefault("search", "")
        return HTMLResponse(self._environment.get_template(name).render(values), status)

    def failure(self, failure: Failure) -> HTMLResponse:
        """Return the page of a request that failed."""
        response = self.page("failure.html", failure.status, failure=failure)
        response.headers.update(failure.headers)
        return response


def create_pages(
    reader: Reader,
    stats_reader: StatsReader,
    overview_reader: OverviewReader,
    templates: Templates,
    openapi: Callable[[], dict[str, Any]],
) -> APIRouter:
    """Return the routes of the pages."""
    pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    async def start_page(request: Request, search: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
        failure = None
        everything = None
        try:
            everything = await overview_reader.read()
        except StoreUnavailableError as error:
            # the search box still works: a code held by this worker's table has its statistics
            failure = explain(request, error)
            status = failure.status
        response = templates.page(
            "start.html", status, everything=everything, search=search, is_search_wrong=bool(search)
        )
        response.headers.update(failure.headers if failure else {})
        return response

    @pages.get("/")
    async def show_start(request: Request) -> Response:
        return await start_page(request)

    @pages.get("/search")
    async def search(request: Request, q: str = "") -> Response:
        code_uuid = read_uuid(q)
        if code_uuid is not None:
            return RedirectResponse(f"/codes/{code_uuid}", HTTPStatus.SEE_OTHER)
        if not q.strip():
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        return await start_page(request, q[:_SEARCH_MAX_CHARS], HTTPStatus.UNPROCESSABLE_ENTITY)

    @pages.get("/codes/{code_uuid}")
    async def show_code(request: Request, code_uuid: CodeUuid, cursor: CursorParam = None) -> Response:
        stats = await stats_reader.stats(code_uuid)
        failure = None
        history = None
        try:
            history = await reader.code_usages(code_uuid, HistoryQuery(cursor=cursor))
        except StoreUnavailableError as error:
            failure = explain(request, error)
        response = templates.page(
            "code.html",
            failure.status if failure else HTTPStatus.OK,
            stats=stats,
            history=history,
            is_first_page=cursor is None,
        )
        response.headers.update(failure.headers if failure else {})
        return response

    @pages.get("/docs")
    async def show_docs() -> Response:
        return templates.page("docs.html", api=openapi())

    return pages


def _utc(date: datetime) -> str:
    return date.strftime("%Y-%m-%d %H:%M:%S UTC")


def _iso(date: datetime) -> str:
    return date.isoformat().replace("+00:00", "Z")
