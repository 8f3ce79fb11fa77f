"""What readers get: statistics of a code, usages, histories, and whether a user has used a code."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from schemas.fields import UuidText

RECENT_USERS_MAX: Final = 5
"""Most users that a code's statistics name."""


def _to_utc(date: datetime) -> datetime:
    return date.astimezone(UTC)


UtcDate = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A time in UTC, whatever offset it came with: in JSON with `Z`, its microseconds kept."""


class CodeStats(BaseModel):
    """Statistics of one code; a code without usages has 0, 0, null and an empty list."""

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

    uuid: UuidText
    code_uuid: UuidText
    used_by_uuid: UuidText
    date_used: UtcDate
    first_use: bool = Field(description="the first usage of this code by this user")


class UsageHistory(BaseModel):
    """A page of usages, the latest `date_used` first."""

    items: list[Usage]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last one")


class UserCode(BaseModel):
    """Whether a user has used a code, and when."""

    used: bool
    uses: int = Field(ge=0)
    first_used: UtcDate | None
    last_used: UtcDate | None
