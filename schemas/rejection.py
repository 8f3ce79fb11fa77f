"""Rejects: records that can never be stored, kept with their reason and where they came from."""

import base64
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, Field, JsonValue, PlainSerializer, WithJsonSchema

from schemas.fields import UuidText
from schemas.stats import CURSOR_EXAMPLE, UtcDate, example

HEADER_PREFIX: Final = "referrals-"
"""Every header that the worker adds to the dead-letter topic's copy starts with this."""

PREVIEW_MAX_BYTES: Final = 200
"""As much of a value is in a list of rejects; the whole of it is with the one."""


class Reason(StrEnum):
    """Why a record can never be stored."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_UUID = "invalid_uuid"
    INVALID_DATE = "invalid_date"
    DATE_IN_FUTURE = "date_in_future"
    DATE_TOO_OLD = "date_too_old"
    INVALID_EVENT_ID = "invalid_event_id"
    REFUSED_BY_DATABASE = "refused_by_database"
    UNREADABLE = "unreadable"


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


Base64 = Annotated[
    bytes,
    PlainSerializer(_to_base64, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Any bytes; in JSON as base64."""


_EXAMPLE: Final[dict[str, JsonValue]] = {
    "id": "019c14a1-8c00-7003-b1d2-5c3c8f0e6a2a",
    "reason": "missing_field",
    "detail": "used_by_uuid is missing",
    "value_bytes": 13,
    "kafka_topic": "referral-usages",
    "kafka_partition": 3,
    "kafka_offset": 42,
    "kafka_timestamp": "2026-01-31T12:00:00Z",
    "rejected_at": "2026-01-31T12:00:00.25Z",
    "retried_at": None,
    "attempts": 0,
    "waiting": False,
}
_EXAMPLE_VALUE: Final = "eyJjb2RlX3V1aWQiOg=="
_SUMMARY_EXAMPLE: Final = {**_EXAMPLE, "preview": _EXAMPLE_VALUE}


class _RejectionFields(BaseModel):
    """What both views of a reject have."""

    id: UuidText = Field(description="the identity of the record, the same whenever it is rejected")
    reason: str = Field(description="why the record was rejected, one of the reasons in docs/data.md")
    detail: str = Field(description="what is wrong with the record, in printable words")
    value_bytes: int = Field(ge=0, description="length of the value in bytes")
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    kafka_timestamp: UtcDate | None = Field(description="of the record; null when it has none")
    rejected_at: UtcDate = Field(description="when the record was rejected, the last time of several")
    retried_at: UtcDate | None = Field(description="when it was published again, the last time of several")
    attempts: int = Field(ge=0, description="how often it was published again")
    waiting: bool = Field(description="published again, and neither stored nor rejected since")


class RejectionSummary(_RejectionFields):
    """A reject among others: all but its bytes, of which it shows the start."""

    model_config = example(**_SUMMARY_EXAMPLE)

    preview: Base64 | None = Field(description=f"the first {PREVIEW_MAX_BYTES} bytes of the value; null when it is")


class RejectionHeader(BaseModel):
    """A header of a record; its value is null when the record's is."""

    name: str
    value: Base64 | None


class Rejection(_RejectionFields):
    """A reject, whole."""

    model_config = example(
        **_EXAMPLE,
        value=_EXAMPLE_VALUE,
        key="N2YwYzhkOWU=",
        headers=[{"name": "trace", "value": "AP8="}, {"name": "empty", "value": None}],
    )

    value: Base64 | None
    key: Base64 | None
    headers: list[RejectionHeader] = Field(description="in their order; unprintable characters of names are escaped")


class RejectionPage(BaseModel):
    """A page of rejects, the latest first."""

    model_config = example(items=[_SUMMARY_EXAMPLE], next_cursor=CURSOR_EXAMPLE)

    items: list[RejectionSummary]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last one")


class ReasonCount(BaseModel):
    """The rejects of one reason."""

    reason: str
    count: int = Field(ge=1)
    latest: UtcDate = Field(description="when the latest of them was rejected")


class ReasonCounts(BaseModel):
    """All rejects by reason, the most frequent first."""

    model_config = example(
        total=1, items=[{"reason": _EXAMPLE["reason"], "count": 1, "latest": _EXAMPLE["rejected_at"]}]
    )

    total: int = Field(ge=0)
    items: list[ReasonCount]


class RetriedRejection(BaseModel):
    """A reject that was published again; its row tells what becomes of it."""

    model_config = example(id=_EXAMPLE["id"], attempt=1)

    id: UuidText
    attempt: int = Field(ge=1, description="how often it was published again, this time included")


class RetriedRejections(BaseModel):
    """Rejects that were published again, a bounded number at a time."""

    model_config = example(retried=1000, too_large=0, next_cursor=CURSOR_EXAMPLE)

    retried: int = Field(ge=0, description="published again")
    too_large: int = Field(ge=0, description="left as they are, because Kafka would not take them")
    next_cursor: str | None = Field(description="pass as `cursor` to go on; null when all that match were published")
