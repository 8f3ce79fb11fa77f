"""The pages of rejects: the list by reason, each one whole, and the forms that publish them again."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from schemas.rejection import RejectionSummary
from worker.errors import BrokerUnavailableError, UnavailableError
from worker.rejections import Rejections, Republisher
from worker.web.api.rejections import GONE, RETRIED_MAX_COUNT, RejectionId
from worker.web.auth import Access
from worker.web.pages.filters import Filters
from worker.web.params import LIMIT_DEFAULT, Cursor
from worker.web.places import read_place, write_place
from worker.web.raw import Piece, Raw, to_pieces
from worker.web.rendering import Address, Templates
from worker.web.revalidation import not_modified, tag_of

_PATH: Final = "/rejections"


class Outcome(StrEnum):
    """What became of a form, for the page that its sender is led to."""

    PUBLISHED = "published"
    TOO_LARGE = "too_large"
    KAFKA_AWAY = "kafka_away"
    POSTGRES_AWAY = "postgres_away"

    @classmethod
    def of(cls, error: UnavailableError) -> "Outcome":
        """Return what to say about an outage."""
        return cls.KAFKA_AWAY if isinstance(error, BrokerUnavailableError) else cls.POSTGRES_AWAY


class RetryFilters(Filters):
    """Which rejects; of a reason that only a newer worker knows, too."""

    reason: Annotated[str, Field(pattern="^[a-z_]{1,40}$")] | None = None
    cursor: Cursor | None = None


class RejectionFilters(RetryFilters):
    """Which page of rejects, and what became of the form that led here."""

    outcome: Outcome | None = None
    retried: int = Field(0, ge=0, le=RETRIED_MAX_COUNT)
    too_large: int = Field(0, ge=0, le=RETRIED_MAX_COUNT)
    rest: Cursor | None = None


class OutcomeFilters(Filters):
    """What became of the form that led here."""

    outcome: Outcome | None = None


def create_rejection_pages(
    rejections: Rejections, republisher: Republisher, access: Access, templates: Templates
) -> APIRouter:
    """Return the routes under /rejections."""
    pages = APIRouter(prefix=_PATH)

    @pages.get("")
    async def show_rejections(request: Request, query: Annotated[RejectionFilters, Query()]) -> Response:
        counts = await rejections.counts()
        items, next_place = await rejections.page(query.reason, read_place(query.cursor), LIMIT_DEFAULT)
        chosen = {"reason": query.reason} if query.reason else {}
        return templates.page(
            "rejections.html",
            counts=counts,
            matching=sum(each.count for each in counts.items if query.reason in {None, each.reason}),
            items=items,
            next_cursor=write_place(next_place),
            query=query,
            start_of=_start_of,
            refusal=access.refuse_change(request.headers),
            address=Address(_PATH, chosen),
            retry=Address(f"{_PATH}/retry", chosen),
            retried_max=RETRIED_MAX_COUNT,
        )

    @pages.post("/retry")
    async def retry_rejections(query: Annotated[RetryFilters, Query()]) -> Response:
        back = Address(_PATH, {"reason": query.reason})
        try:
            done, next_place = await republisher.republish_page(
                query.reason, read_place(query.cursor), RETRIED_MAX_COUNT
            )
        except UnavailableError as error:
            return _see(back(outcome=Outcome.of(error)))
        return _see(
            back(
                outcome=Outcome.PUBLISHED,
                retried=len(done.attempts),
                too_large=len(done.too_large) or None,
                rest=write_place(next_place),
            )
        )

    @pages.get("/{id}")
    async def show_rejection(
        request: Request,
        id: RejectionId,  # noqa: A002 - the name is that of the API
        query: Annotated[OutcomeFilters, Query()],
    ) -> Response:
        found = await rejections.whole([UUID(id)])
        if not found:
            # who has just published it again is told what that means, and that is no error
            status = HTTPStatus.OK if query.outcome is Outcome.PUBLISHED else HTTPStatus.NOT_FOUND
            return templates.page("rejection.html", status, rejection=None, id=id, query=query)
        (rejection,) = found
        refusal = access.refuse_change(request.headers)
        # its bytes never change
        tag = tag_of(templates.version, rejection.detail, rejection.rejected_at, rejection.retried_at, query, refusal)
        response = not_modified(request, tag) or templates.page(
            "rejection.html",
            rejection=rejection,
            raw=Raw.of(rejection.value) if rejection.value else None,
            pieces=to_pieces,
            query=query,
            refusal=refusal,
        )
        response.headers["ETag"] = tag
        return response

    @pages.get("/{id}/value")
    async def read_value(id: RejectionId) -> Response:  # noqa: A002
        found = await rejections.whole([UUID(id)])
        if not found:
            raise HTTPException(HTTPStatus.NOT_FOUND, GONE)
        name = f'attachment; filename="{id}.bin"'
        return Response(
            found[0].value or b"", media_type="application/octet-stream", headers={"Content-Disposition": name}
        )

    @pages.post("/{id}/retry")
    async def retry_rejection(id: RejectionId) -> Response:  # noqa: A002
        try:
            _attempts, too_large = await republisher.republish([UUID(id)])
            outcome = Outcome.TOO_LARGE if too_large else Outcome.PUBLISHED
        except UnavailableError as error:
            outcome = Outcome.of(error)
        return _see(f"{_PATH}/{id}?outcome={outcome}")

    return pages


def _start_of(rejection: RejectionSummary) -> list[Piece]:
    preview = rejection.preview or b""
    return to_pieces(preview, is_cut=len(preview) < rejection.value_bytes)


def _see(address: str) -> Response:
    # the answer to a form is another page, so that loading it again does not send the form again
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)
