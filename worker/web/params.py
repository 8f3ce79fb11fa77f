"""Parameters of the HTTP calls: their types, and what callers are told about one that is not of its form."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError

from schemas.fields import DATE_PATTERN, AwareDate, UuidText
from worker.web.cursor import Position, read_cursor

LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 50
UUID_EXAMPLE: Final = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
# a bound that is not given: no stored usage is outside of these
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)

_UUID_FORM: Final = f"not a UUID of 36 characters with hyphens, such as {UUID_EXAMPLE}"
_DATE_FORM: Final = "not an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"
_PLUS_HINT: Final = "; a + in a query string means a space: write it as %2B"
_QUOTED_MAX_CHARS: Final = 80


def _refuse(value: object, reason: str) -> PydanticCustomError:
    quoted = repr(value) if len(str(value)) <= _QUOTED_MAX_CHARS else repr(str(value)[:_QUOTED_MAX_CHARS]) + "..."
    # as context, because pydantic would take braces in a message for its own
    return PydanticCustomError("parameter", "{explanation}", {"explanation": f"{quoted} is {reason}"})


def _explaining(reason: Callable[[object], str]) -> WrapValidator:
    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise _refuse(value, reason(value)) from None

    return WrapValidator(validate)


def _explain_date(value: object) -> str:
    *start, offset = str(value).rsplit(" ", 1)
    is_plus_lost = bool(start) and re.fullmatch(DATE_PATTERN, f"{start[0]}+{offset}") is not None
    return _DATE_FORM + (_PLUS_HINT if is_plus_lost else "")


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _refuse(value.isoformat(), "outside of the years 1 to 9999 in UTC") from None


def _check_limit(value: object) -> object:
    # pydantic would take '5.0', ' 5' and '1_0' as well
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,4}", value, re.ASCII):
        raise _refuse(value, f"not a whole number from 1 to {LIMIT_MAX}")
    return value


def _check_cursor(value: str) -> str:
    try:
        read_cursor(value)
    except ValueError:
        raise _refuse(value, "not a cursor; take next_cursor of the page before, or none for the first page") from None
    return value


UuidParam = Annotated[UuidText, _explaining(lambda _value: _UUID_FORM)]
CodeUuid = Annotated[UuidParam, Path(description="the referral code, in any case", examples=[UUID_EXAMPLE])]
UserUuid = Annotated[UuidParam, Path(description="the user, in any case", examples=[UUID_EXAMPLE])]
DateParam = Annotated[AwareDate, _explaining(_explain_date)]
Limit = Annotated[
    int,
    Field(ge=1, le=LIMIT_MAX),
    _explaining(lambda _value: f"not a whole number from 1 to {LIMIT_MAX}"),
    BeforeValidator(_check_limit),
]
Cursor = Annotated[str, AfterValidator(_check_cursor)]
CursorParam = Annotated[Cursor | None, Query(alias="cursor")]

_UUID: Final = TypeAdapter[str](UuidText)


def read_uuid(text: str) -> str | None:
    """Return a UUID that a person typed, in any case and with spaces around it; None when it is none."""
    try:
        return _UUID.validate_python(text.strip())
    except ValidationError:
        return None


class HistoryQuery(BaseModel):
    """Which part of a history; an unknown parameter is refused, as a misspelt filter would show too much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_: DateParam | None = Field(None, alias="from", description="earliest date_used, inclusive")
    to: DateParam | None = Field(None, description="latest date_used, exclusive")
    limit: Limit = Field(LIMIT_DEFAULT, description="usages on a page")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the page before")

    @field_validator("from_", "to")
    @classmethod
    def _check_calendar(cls, value: datetime | None) -> datetime | None:
        return None if value is None else _to_utc(value)

    @field_validator("to")
    @classmethod
    def _check_order(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        earliest: Any = info.data.get("from_")
        if value is not None and earliest is not None and value < earliest:
            raise _refuse(value.isoformat(), "before `from`, so nothing lies between them; swap the two")
        return value

    @property
    def start(self) -> datetime:
        """The earliest date_used wanted."""
        return self.from_ or _EARLIEST

    @property
    def before(self) -> Position:
        """The place after which the page starts: the cursor's, or that of `to` when it is further on."""
        end = Position.at(self.to or _LATEST)
        return end if self.cursor is None else min(end, read_cursor(self.cursor))


class CodeHistoryQuery(HistoryQuery):
    """Which part of a code's history."""

    used_by: UuidParam | None = Field(None, description="only usages by this user")
