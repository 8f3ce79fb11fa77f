"""Parameters of the HTTP calls: their types, and what callers are told about one that is not of its form."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

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
    WithJsonSchema,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError

from schemas.fields import DATE_PATTERN, UUID_PATTERN, AwareDate, UuidText
from schemas.stats import CODE_EXAMPLE, USER_EXAMPLE
from worker.web.cursor import Position, read_cursor, write_cursor

LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 50
BUCKETS_MAX: Final = 2000
UUID_EXAMPLE: Final = CODE_EXAMPLE
_EXAMPLE_DATE: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
# a bound that is not given: no stored usage is outside of these
EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)

_UUID_FORM: Final = f"not a UUID of 36 characters with hyphens, such as {UUID_EXAMPLE}"
_DATE_FORM: Final = "not an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"
_PLUS_HINT: Final = "; a + in a query string means a space: write it as %2B"
_QUOTED_MAX_CHARS: Final = 80


def refuse(value: object, reason: str) -> PydanticCustomError:
    """Return the error of a value that is not of its form; `reason` follows 'is'."""
    quoted = repr(value) if len(str(value)) <= _QUOTED_MAX_CHARS else repr(str(value)[:_QUOTED_MAX_CHARS]) + "..."
    # as context, because pydantic would take braces in a message for its own
    return PydanticCustomError("parameter", "{explanation}", {"explanation": f"{quoted} is {reason}"})


def explaining(reason: Callable[[object], str]) -> WrapValidator:
    """Return the validator that says what a value should be, in place of pydantic's words."""

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise refuse(value, reason(value)) from None

    return WrapValidator(validate)


def _explain_date(value: object) -> str:
    *start, offset = str(value).rsplit(" ", 1)
    is_plus_lost = bool(start) and re.fullmatch(DATE_PATTERN, f"{start[0]}+{offset}") is not None
    return _DATE_FORM + (_PLUS_HINT if is_plus_lost else "")


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise refuse(value.isoformat(), "outside of the years 1 to 9999 in UTC") from None


def _check_limit(value: object) -> object:
    # pydantic would take '5.0', ' 5' and '1_0' as well
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,4}", value, re.ASCII):
        raise refuse(value, f"not a whole number from 1 to {LIMIT_MAX}")
    return value


def _check_cursor(value: str) -> str:
    try:
        read_cursor(value)
    except ValueError:
        raise refuse(value, "not a cursor; take next_cursor of the page before, or none for the first page") from None
    return value


# what OpenAPI shows of parameters that may be absent, but are never null: a query string has no null
_TEXT_UUID: Final = WithJsonSchema({"type": "string", "pattern": UUID_PATTERN, "examples": [USER_EXAMPLE]})
_TEXT_FROM: Final = WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-01T00:00:00Z"]})
_TEXT_TO: Final = WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-02-01T00:00:00+01:00"]})
_TEXT_CURSOR: Final = WithJsonSchema(
    {"type": "string", "format": "cursor", "examples": [write_cursor(Position.at(_EXAMPLE_DATE))]}
)

UuidParam = Annotated[UuidText, explaining(lambda _value: _UUID_FORM)]
UsedBy = Annotated[UuidParam | None, _TEXT_UUID, Field(description="only usages by this user")]
DateParam = Annotated[AwareDate, explaining(_explain_date), AfterValidator(_to_utc)]
Limit = Annotated[
    int,
    Field(ge=1, le=LIMIT_MAX),
    explaining(lambda _value: f"not a whole number from 1 to {LIMIT_MAX}"),
    BeforeValidator(_check_limit),
]
Cursor = Annotated[str, AfterValidator(_check_cursor)]
CursorParam = Annotated[Cursor | None, _TEXT_CURSOR]

_UUID: Final = TypeAdapter[str](UuidText)


def read_uuid(text: str) -> str | None:
    """Return a UUID that a person typed, in any case and with spaces around it; None when it is none."""
    try:
        return _UUID.validate_python(text.strip())
    except ValidationError:
        return None


class _Query(BaseModel):
    """Parameters of a call; an unknown one is refused, as a misspelt filter would show too much."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SpanQuery(_Query):
    """Which usages by their date."""

    from_: Annotated[DateParam | None, _TEXT_FROM] = Field(
        None, alias="from", description="earliest date_used, inclusive"
    )
    to: Annotated[DateParam | None, _TEXT_TO] = Field(None, description="latest date_used, exclusive")

    @field_validator("to")
    @classmethod
    def _check_order(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        earliest: Any = info.data.get("from_")
        if value is not None and earliest is not None and value < earliest:
            raise refuse(value.isoformat(), "before `from`, so nothing lies between them; swap the two")
        return value

    @property
    def start(self) -> datetime:
        """The earliest date_used wanted."""
        return self.from_ or EARLIEST

    @property
    def end(self) -> Position:
        """The place that all usages wanted come after."""
        return Position.at(self.to or LATEST)


class CodeSpanQuery(SpanQuery):
    """Which usages of a code."""

    used_by: UsedBy = None


class PageQuery(_Query):
    """Which part of a list."""

    limit: Limit = Field(LIMIT_DEFAULT, description="items on a page", examples=[LIMIT_DEFAULT])
    cursor: CursorParam = Field(None, description="`next_cursor` of the page before")

    @property
    def before(self) -> Position:
        """The place after which the page starts."""
        return Position.at(LATEST) if self.cursor is None else read_cursor(self.cursor)


class HistoryQuery(PageQuery, SpanQuery):
    """Which part of a history."""

    @property
    def before(self) -> Position:
        """The place after which the page starts: the cursor's, or that of `to` when it is further on."""
        return min(self.end, super().before)


class CodeHistoryQuery(HistoryQuery):
    """Which part of a code's history."""

    used_by: UsedBy = None


class Bucket(StrEnum):
    """How long the buckets of a timeline are, which begin when hours and days of UTC do."""

    HOUR = "hour"
    DAY = "day"

    @property
    def width(self) -> timedelta:
        """The length of one bucket."""
        return timedelta(hours=1) if self is Bucket.HOUR else timedelta(days=1)

    @property
    def default_span(self) -> timedelta:
        """The time before `to` that is shown when no `from` is given."""
        return timedelta(hours=24) if self is Bucket.HOUR else timedelta(days=30)


class TimelineQuery(SpanQuery):
    """Which usages of a code, and in what buckets they are counted."""

    from_: Annotated[DateParam | None, _TEXT_FROM] = Field(
        None,
        alias="from",
        description="earliest date_used, inclusive; default: 30 days before `to`, 24 hours with buckets of one",
    )
    to: Annotated[DateParam, _TEXT_TO] = Field(
        default_factory=lambda: datetime.now(UTC),
        validate_default=True,
        description="latest date_used, exclusive; default: now",
    )
    # after the two that its check needs
    bucket: Bucket = Field(Bucket.DAY, validate_default=True, description="length of a bucket", examples=["day"])

    @field_validator("bucket")
    @classmethod
    def _check_count(cls, bucket: Bucket, info: ValidationInfo) -> Bucket:
        earliest, latest = info.data.get("from_"), info.data.get("to")
        if earliest is None or latest is None:
            return bucket
        count = -((_floor(earliest, bucket.width) - latest) // bucket.width)
        if count > BUCKETS_MAX:
            remedy = "choose a later `from` or an earlier `to`"
            if bucket is Bucket.HOUR:
                remedy += ", or buckets of a day"
            raise refuse(
                bucket.value, f"too short for this span: {count:,} buckets, at most {BUCKETS_MAX:,} are shown; {remedy}"
            )
        return bucket

    @property
    def start(self) -> datetime:
        """The earliest date_used wanted."""
        if self.from_ is not None:
            return self.from_
        return self.to - min(self.bucket.default_span, self.to - EARLIEST)

    @property
    def width(self) -> timedelta:
        """The length of a bucket."""
        return self.bucket.width

    @property
    def first_bucket(self) -> datetime:
        """Where the bucket of the earliest date_used begins."""
        return _floor(self.start, self.width)


def _floor(date: datetime, width: timedelta) -> datetime:
    # the first day of the calendar begins a bucket, so none begins before it
    return date - (date - EARLIEST) % width
