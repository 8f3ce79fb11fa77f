"""The web application: API, pages and probes put together, and one way for every error out of it."""

from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from worker.errors import RecordRejectedError, UnavailableError
from worker.metrics import Metrics
from worker.web.api import create_api
from worker.web.auth import Access, Guard
from worker.web.headers import AnswerHeaders, add_headers, is_for_machines
from worker.web.pages import create_pages
from worker.web.parts import Publishers, Readers
from worker.web.probes import Health, create_probes
from worker.web.problems import Failure, explain, problem_response
from worker.web.rendering import Templates
from worker.web.revalidation import Revalidation

_STATIC: Final = Path(__file__).parent / "static"


def create_web(
    readers: Readers, publishers: Publishers, *, health: Health, metrics: Metrics, access: Access, version: str
) -> FastAPI:
    """
    Return the application that a worker serves.

    Args:
        health: asked by the probes, which never wait.
        metrics: of this worker.
        access: what is asked of those who call.
        version: shown on the pages and in the OpenAPI document.
    """
    web = FastAPI(
        title="Referral usages",
        description="Who used which referral code, and when. Times are UTC, histories are ordered latest first.",
        version=version,
        openapi_url="/openapi.json",
        docs_url=None,  # FastAPI's page loads its scripts from another host; `pages` has one without any
        redoc_url=None,
        redirect_slashes=False,
    )
    templates = Templates(version)
    web.include_router(create_api(readers, publishers))
    web.include_router(create_probes(health, metrics))
    web.include_router(create_pages(readers, publishers.rejections, access, templates, web.openapi))
    web.mount("/static", StaticFiles(directory=_STATIC), name="static")

    def answer_failure(path: str, failure: Failure) -> Response:
        return problem_response(failure) if is_for_machines(path) else templates.failure(failure)

    # the one added last is the outermost: refusals have the headers too
    web.add_middleware(Revalidation)
    web.add_middleware(Guard, access=access, answer=answer_failure)
    web.add_middleware(AnswerHeaders)

    async def answer_error(request: Request, error: Exception) -> Response:
        response = answer_failure(request.url.path, explain(request, error))
        # an answer to an unexpected error does not pass through the middleware
        add_headers(request.url.path, response.headers)
        return response

    ours = (RecordRejectedError, UnavailableError)
    for kind in (HTTPException, RequestValidationError, *ours, Exception):
        web.add_exception_handler(kind, answer_error)
    return web
