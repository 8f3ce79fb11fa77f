"""
What a caller is told when a request fails: one `Failure`, shown as an RFC 9457 problem or as a page.

Never the server's own words: they may name hosts and users of the database.
"""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from schemas import Reason
from worker.errors import BrokerUnavailableError, RecordRejectedError, UnavailableError, UnconfirmedError

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5  # the longest pause of the reader pool between two attempts to connect

_log: Final = structlog.get_logger("referrals")


class ParameterProblem(BaseModel):
    """One parameter that is not of its form."""

    parameter: str
    location: str = Field(description="path or query", serialization_alias="in")
    detail: str = Field(description="what is wrong with it, and what it should be")


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str = Field(description="the HTTP status in words")
    status: int
    detail: str = Field(description="what failed and what to do about it")
    errors: list[ParameterProblem] = Field(default=[], description="each parameter that is not of its form (422)")
    reason: Reason | None = Field(None, description="why workers would reject the event (422)")


@dataclass(frozen=True)
class Failure:
    """Why a request failed, for whoever shows it."""

    status: HTTPStatus
    detail: str
    errors: list[ParameterProblem] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    reason: Reason | None = None


def explain(request: Request, error: Exception) -> Failure:
    """Return what to tell about an error that ended a request; an outage is logged here."""
    match error:
        case RequestValidationError():
            return _explain_parameters(error)
        case HTTPException():
            return _explain_http(request, error)
        case RecordRejectedError():
            return Failure(HTTPStatus.UNPROCESSABLE_ENTITY, error.detail, reason=error.reason)
        case UnconfirmedError():
            _log.warning("event not acknowledged: Kafka is unavailable", error=str(error.__cause__))
            return Failure(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": str(RETRY_AFTER_S)})
        case UnavailableError():
            return _explain_outage(request, error)
        case _:
            # logged by uvicorn, to which Starlette hands it on after the answer
            return Failure(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a fault of the server; its log says more")


def problem_response(failure: Failure) -> Response:
    """Return a failure as `application/problem+json`."""
    problem = Problem(
        title=failure.status.phrase,
        status=failure.status,
        detail=failure.detail,
        errors=failure.errors,
        reason=failure.reason,
    )
    absent = {name for name in ("errors", "reason") if not getattr(failure, name)}
    body = problem.model_dump_json(by_alias=True, exclude=absent)
    return Response(body, failure.status, failure.headers, media_type=PROBLEM_TYPE)


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, object]]:
    """Return what OpenAPI shows for the problems that a call can answer with."""
    schema = Problem.model_json_schema(by_alias=True, mode="serialization", ref_template="#/components/schemas/{model}")
    # every call gets its own copy, so the parts that it refers to have to be inside
    parts = schema.pop("$defs")
    schema["properties"]["reason"]["anyOf"][0] = parts["Reason"]
    schema["properties"]["errors"]["items"] = parts["ParameterProblem"]
    return {
        status.value: {"description": status.phrase, "content": {PROBLEM_TYPE: {"schema": schema}}}
        for status in statuses
    }


def _explain_outage(request: Request, error: UnavailableError) -> Failure:
    what, failed = ("Kafka", "take messages") if isinstance(error, BrokerUnavailableError) else ("PostgreSQL", "answer")
    _log.warning(f"request not answered: {what} is unavailable", path=request.url.path, error=str(error))
    return Failure(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"{what} does not {failed} now; try again in {RETRY_AFTER_S} s",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _explain_http(request: Request, error: HTTPException) -> Failure:
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.NOT_FOUND and error.detail == status.phrase:
        detail = f"there is nothing at {request.url.path!r}; /docs lists what there is"
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible here; use {headers.get('allow', headers.get('Allow', 'GET'))}"
    else:
        detail = str(error.detail)
    return Failure(status, detail, headers=headers)


def _explain_parameters(error: RequestValidationError) -> Failure:
    problems = []
    for found in error.errors():
        location, name = str(found["loc"][0]), str(found["loc"][1])
        detail = found["msg"]
        if found["type"] == "extra_forbidden":
            detail = "this call has no such parameter; /docs lists its parameters"
        problems.append(ParameterProblem(parameter=name, location=location, detail=detail))
    detail = "; ".join(f"{problem.parameter}: {problem.detail}" for problem in problems)
    return Failure(HTTPStatus.UNPROCESSABLE_ENTITY, detail, problems)
