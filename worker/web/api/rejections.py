"""What the API says of rejects, and how it publishes them again."""

from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from schemas.rejection import (
    Reason,
    ReasonCounts,
    Rejection,
    RejectionPage,
    RetriedRejection,
    RetriedRejections,
)
from worker.rejections import Place, Rejections, Republisher
from worker.web.params import LIMIT_DEFAULT, UUID_EXAMPLE, CursorParam, Limit, UuidParam
from worker.web.places import read_place, write_place
from worker.web.problems import described

# published within one request: about a second's work
RETRIED_MAX_COUNT: Final = 1000
GONE: Final = "no reject has this id: it never had one, or its record is stored by now"
_TOO_LARGE: Final = (
    "the record is too large to be published again, so it stays as it is; its value is above 64 KiB and would be "
    "rejected again: let the producer publish a smaller one"
)

RejectionId = Annotated[UuidParam, Path(description="the reject, in any case", examples=[UUID_EXAMPLE])]


class RetryQuery(BaseModel):
    """Which rejects."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason | None = Field(
        None, description="only rejects of this reason", examples=[Reason.REFUSED_BY_DATABASE]
    )
    cursor: CursorParam = Field(None, description="`next_cursor` of the answer before")

    @property
    def place(self) -> Place:
        """The place after which to go on."""
        return read_place(self.cursor)


class RejectionsQuery(RetryQuery):
    """Which page of rejects."""

    limit: Limit = Field(LIMIT_DEFAULT, description="rejects on a page", examples=[LIMIT_DEFAULT])


def create_rejections(rejections: Rejections, republisher: Republisher) -> APIRouter:
    """Return the routes under /rejections."""
    router = APIRouter(prefix="/rejections", tags=["rejections"])

    @router.get("")
    async def read_rejections(query: Annotated[RejectionsQuery, Query()]) -> RejectionPage:
        """Records that could not be stored, the latest first; of each value its start."""
        items, next_place = await rejections.page(query.reason, query.place, query.limit)
        return RejectionPage(items=items, next_cursor=write_place(next_place))

    @router.get("/reasons")
    async def count_rejections() -> ReasonCounts:
        """How many rejects there are of each reason."""
        return await rejections.counts()

    @router.post("/retry", status_code=HTTPStatus.ACCEPTED)
    async def retry_rejections(query: Annotated[RetryQuery, Query()]) -> RetriedRejections:
        """Publish all rejects again, or those of a reason: 1,000 in one call, which says where the next goes on."""
        done, next_place = await republisher.republish_page(query.reason, query.place, RETRIED_MAX_COUNT)
        return RetriedRejections(
            retried=len(done.attempts), too_large=len(done.too_large), next_cursor=write_place(next_place)
        )

    @router.get("/{id}", responses=described(HTTPStatus.NOT_FOUND))
    async def read_rejection(id: RejectionId) -> Rejection:  # noqa: A002 - the parameter's name is the contract's
        """A reject with all of its bytes."""
        found = await rejections.whole([UUID(id)])
        if not found:
            raise HTTPException(HTTPStatus.NOT_FOUND, GONE)
        return found[0]

    @router.post("/{id}/retry", status_code=HTTPStatus.ACCEPTED, responses=described(HTTPStatus.NOT_FOUND))
    async def retry_rejection(id: RejectionId) -> RetriedRejection:  # noqa: A002
        """Publish a reject again, as the record it was; it is stored, or rejected again on the same row."""
        attempts, too_large = await republisher.republish([UUID(id)])
        if too_large:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, _TOO_LARGE)
        if not attempts:
            raise HTTPException(HTTPStatus.NOT_FOUND, GONE)
        return RetriedRejection(id=id, attempt=attempts[UUID(id)])

    return router
