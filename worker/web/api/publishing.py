"""Publishing by HTTP: one usage event to the usages topic."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from schemas import Reason, UsageEvent
from schemas.fields import UuidText
from schemas.stats import USAGE_EXAMPLE
from schemas.usage import VALUE_MAX_BYTES
from worker.errors import RecordRejectedError
from worker.publishing.intake import UsageIntake
from worker.web.problems import described

_JSON: Final = "application/json"
_BODY_S: Final = 10.0  # for a few hundred bytes
_OPENAPI: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {
                "schema": UsageEvent.model_json_schema() | {"description": "One use of a referral code by a user."},
                "example": {
                    "code_uuid": "7f0c8d9e-3b1a-4c62-9d55-0a1b2c3d4e5f",
                    "used_by_uuid": "0d4f6a52-8c1e-4f7b-a3d2-6e5b4c3a2f10",
                    "date_used": "2026-01-31T12:00:00Z",
                    "event_id": "order 4711",
                },
            }
        },
    }
}


class PublishedUsage(BaseModel):
    """A usage that Kafka has acknowledged; workers store it soon."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"uuid": USAGE_EXAMPLE, "event_id": "order 4711"}]})

    uuid: UuidText = Field(description="of the usage, once it is stored")
    event_id: str = Field(description="the event's own, or the one made for it: to publish it again counts once")


def create_publishing(intake: UsageIntake) -> APIRouter:
    """Return the route that publishes."""
    publishing = APIRouter(tags=["publishing"])

    @publishing.post(
        "/usages",
        status_code=HTTPStatus.ACCEPTED,
        responses=described(HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        openapi_extra=_OPENAPI,
    )
    async def publish_usage(request: Request) -> PublishedUsage:
        """
        Publish a usage event; the answer comes when Kafka has acknowledged it.

        An event that workers would reject gets 422 with the reject's `reason`. After 503 the event may have been
        published nevertheless: send it again with the same `event_id`, and it counts once.
        """
        # also keeps out the forms of other sites, which cannot send this type without asking
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send the event as {_JSON}")
        uuid, event_id = await intake.publish(await _read_body(request))
        return PublishedUsage(uuid=str(uuid), event_id=event_id)

    return publishing


async def _read_body(request: Request) -> bytes:
    """
    Return the body of a request.

    Raises:
        RecordRejectedError: it is larger than an event may be; the rest of it was not read.
        HTTPException: it did not come whole, or not in time.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > VALUE_MAX_BYTES:
                    raise RecordRejectedError(
                        Reason.TOO_LARGE, f"the value has more than {VALUE_MAX_BYTES} bytes; at most these are taken"
                    )
    except TimeoutError as error:
        raise HTTPException(
            HTTPStatus.REQUEST_TIMEOUT, f"the event did not arrive whole within {_BODY_S:g} s", {"Connection": "close"}
        ) from error
    except ClientDisconnect as error:
        # nobody reads this
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the event did not arrive whole") from error
    return bytes(body)
