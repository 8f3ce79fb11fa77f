"""What readers get: statistics and timelines of a code, usages, histories, and which codes a user has used."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from schemas.fields import UuidText

RECENT_USERS_MAX: Final = 5
"""Most users that a code's statistics name."""

CODE_EXAMPLE: Final = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
USER_EXAMPLE: Final = "0d4f6a52-8c1e-4f7b-a3d2-6e5b4c3a2f10"
USAGE_EXAMPLE: Final = "019c13f0-6a00-7003-8a5b-6c7d8e9f0a1b"
DATE_EXAMPLE: Final = "2026-01-31T12:00:00.250000Z"
CURSOR_EXAMPLE: Final = "AAZJrdRNAJABnBPwagBwA4pbbH2OnwobY4OM"
USAGE: Final[dict[str, Any]] = {
    "uuid": USAGE_EXAMPLE,
    "code_uuid": CODE_EXAMPLE,
    "used_by_uuid": USER_EXAMPLE,
    "date_used": DATE_EXAMPLE,
    "first_use": True,
}


def example(**fields: Any) -> ConfigDict:
    """Return what shows these fields as a model's example in the API's description."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def _to_utc(date: datetime) -> datetime:
    return date.astimezone(UTC)


UtcDate = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A time in UTC, whatever offset it came with: in JSON with `Z`, its microseconds kept."""


class CodeStats(BaseModel):
    """Statistics of one code; a code without usages has 0, 0, null and an empty list."""

    model_config = example(
        code_uuid=CODE_EXAMPLE,
        total_uses=3,
        unique_users=1,
        last_used=DATE_EXAMPLE,
        recent_users=[USER_EXAMPLE],
        source="table",
    )

    code_uuid: UuidText
    total_uses: int = Field(ge=0)
    unique_users: int = Field(ge=0)
    last_used: UtcDate | None = Field(description="the latest date_used")
    recent_users: list[UuidText] = Field(
        max_length=RECENT_USERS_MAX, description="distinct users, latest date_used first"
    )
    source: Literal["table", "database"] = Field(description="this worker's own table, or PostgreSQL")


class TopCode(BaseModel):
    """A code among others: its statistics without the users."""

    code_uuid: UuidText
    total_uses: int = Field(ge=1)
    unique_users: int = Field(ge=1)
    last_used: UtcDate = Field(description="the latest date_used")


class Usage(BaseModel):
    """One stored usage."""

    model_config = example(**USAGE)

    uuid: UuidText
    code_uuid: UuidText
    used_by_uuid: UuidText
    date_used: UtcDate
    first_use: bool = Field(description="the first usage of this code by this user")


class StoredUsage(Usage):
    """One stored usage, and the record that it was stored from."""

    model_config = example(**USAGE, topic="referral-usages", partition=3, offset=4711)

    topic: str = Field(description="the Kafka topic of the record")
    partition: int = Field(ge=0, description="its partition, the one that the code hashes to")
    offset: int = Field(ge=0, description="its offset; of the copy, when the record came on another partition")


class UsageHistory(BaseModel):
    """A page of usages, the latest `date_used` first."""

    model_config = example(items=[USAGE], next_cursor=CURSOR_EXAMPLE)

    items: list[Usage]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last one")


class UserCode(BaseModel):
    """Whether a user has used a code, and when."""

    model_config = example(used=True, uses=3, first_used="2026-01-30T08:15:00Z", last_used=DATE_EXAMPLE)

    used: bool
    uses: int = Field(ge=0)
    first_used: UtcDate | None
    last_used: UtcDate | None


class UsedCode(BaseModel):
    """A code that a user has used, how often and when."""

    code_uuid: UuidText
    uses: int = Field(ge=1)
    first_used: UtcDate
    last_used: UtcDate


class UsedCodes(BaseModel):
    """A page of the codes that a user has used, the latest `last_used` first."""

    model_config = example(
        items=[{"code_uuid": CODE_EXAMPLE, "uses": 3, "first_used": "2026-01-30T08:15:00Z", "last_used": DATE_EXAMPLE}],
        next_cursor=None,
    )

    items: list[UsedCode]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last one")


class TimelineBucket(BaseModel):
    """The usages of an hour or a day."""

    start: UtcDate = Field(description="when the bucket begins; it ends when the next one does")
    uses: int = Field(ge=0)
    first_uses: int = Field(ge=0, description="those that were the first of the code by their user")


class Timeline(BaseModel):
    """The usages of a code by hour or day, earliest first, without gaps."""

    model_config = example(
        items=[
            {"start": "2026-01-30T00:00:00Z", "uses": 2, "first_uses": 1},
            {"start": "2026-01-31T00:00:00Z", "uses": 0, "first_uses": 0},
        ]
    )

    items: list[TimelineBucket]
