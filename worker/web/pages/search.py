"""The search: from the UUID of a code or a user straight to its page."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from worker.errors import StoreUnavailableError
from worker.web.params import read_uuid
from worker.web.problems import explain
from worker.web.queries import Reader
from worker.web.rendering import Templates

_SHOWN_MAX_CHARS: Final = 200


def create_search(reader: Reader, templates: Templates) -> APIRouter:
    """Return the route /search."""
    page = APIRouter()

    @page.get("/search")
    async def search(request: Request, q: str = "") -> Response:
        if not q.strip():
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        uuid = read_uuid(q)
        if uuid is None:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            return templates.page("search.html", status, search=q[:_SHOWN_MAX_CHARS], uuid=None, known=None)
        try:
            known = await reader.known_as(uuid)
        except StoreUnavailableError as error:
            # a page of a code that this worker's table holds is there all the same
            return templates.page("search.html", failure=explain(request, error), search=q, uuid=uuid, known=None)
        if known.code != known.user:
            return RedirectResponse(f"/{'codes' if known.code else 'users'}/{uuid}", HTTPStatus.SEE_OTHER)
        return templates.page("search.html", search=q, uuid=uuid, known=known)

    return page
