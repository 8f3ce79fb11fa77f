"""What pages are asked for in their address: the period of a chart, the days and the user of a history, its page."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from worker.web.cursor import Position, read_cursor
from worker.web.params import EARLIEST, LATEST, LIMIT_DEFAULT, Bucket, Cursor, UuidParam, explaining, refuse
from worker.web.queries import Part

BARS_MAX: Final = 200
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
# longer buckets for spans of years; the last one is enough for every date there is
_WIDTHS_DAYS: Final = (1, 7, 28, 364, 3_640, 36_400)
_OPEN_SPAN: Final = 30 * _DAY  # shown when one end of the days is left open
_DAY_LATEST: Final = date.max - _DAY  # so that the day after it exists
_DAY_FORM: Final = "not a day such as 2026-01-31"


class Period(StrEnum):
    """How far back from now a chart begins."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"

    @property
    def span(self) -> timedelta:
        """Its length."""
        return timedelta(hours=24) if self is Period.DAY else int(self.value.removesuffix("d")) * _DAY

    @property
    def text(self) -> str:
        """Its name on a page."""
        return "24 hours" if self is Period.DAY else f"{self.span // _DAY} days"


@dataclass(frozen=True)
class Span:
    """What a chart shows: buckets of one width from `start`, which begins the first, until `to`."""

    start: datetime
    to: datetime
    width: timedelta

    @property
    def first_bucket(self) -> datetime:
        """Where the first bucket begins."""
        return self.start

    @property
    def buckets(self) -> list[Bucket]:
        """The buckets among which a reader may choose, none when there is no choice."""
        return [Bucket.HOUR, Bucket.DAY] if 2 * _DAY <= self.to - self.start <= BARS_MAX * _HOUR else []

    @property
    def bucket(self) -> Bucket:
        """The bucket that it has, of those."""
        return Bucket.HOUR if self.width == _HOUR else Bucket.DAY


def _check_day(value: object) -> object:
    # pydantic would take seconds since 1970 as well
    if isinstance(value, str) and not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
        raise refuse(value, _DAY_FORM)
    return value


Day = Annotated[date, Field(le=_DAY_LATEST), explaining(lambda _value: _DAY_FORM), BeforeValidator(_check_day)]


class Filters(BaseModel):
    """What a page is asked for; an unknown parameter is refused, as a misspelt filter would show too much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks(cls, fields: dict[str, Any]) -> dict[str, Any]:
        # a form sends what nobody filled in, and a person pastes with spaces around
        stripped = {name: text.strip() if isinstance(text, str) else text for name, text in fields.items()}
        return {name: text for name, text in stripped.items() if text != ""}

    @property
    def given(self) -> dict[str, object]:
        """What was asked for, as an address holds it."""
        return self.model_dump(mode="json", exclude_unset=True)


class ChartFilters(Filters):
    """Which period a chart shows."""

    period: Period = Period.WEEK
    bucket: Bucket | None = None

    def span(self, now: datetime) -> Span:
        """Return what the chart shows at this moment, the bucket of which is the last one."""
        width = self._width(self.period.span)
        to = _ceil(now, width)
        return Span(to - self.period.span, to, width)

    def _width(self, span: timedelta) -> timedelta:
        if self.bucket is not Bucket.DAY and span <= BARS_MAX * _HOUR:
            return _HOUR
        return next(days * _DAY for days in _WIDTHS_DAYS if span <= BARS_MAX * days * _DAY)


class HistoryFilters(Filters):
    """Which part of a history is shown."""

    first_day: Day | None = None
    last_day: Day | None = None
    cursor: Cursor | None = None

    @field_validator("last_day")
    @classmethod
    def _check_order(cls, value: date | None, info: ValidationInfo) -> date | None:
        first: date | None = info.data.get("first_day")
        if value is not None and first is not None and value < first:
            raise refuse(value.isoformat(), "before the first day, so nothing lies between them; swap the two")
        return value

    @property
    def has_days(self) -> bool:
        """Whether any day is given."""
        return self.first_day is not None or self.last_day is not None

    @property
    def start(self) -> datetime | None:
        """The earliest date_used wanted."""
        return _midnight(self.first_day) if self.first_day else None

    @property
    def to(self) -> datetime | None:
        """The latest date_used wanted, exclusive: the last day is shown whole."""
        return _midnight(self.last_day) + _DAY if self.last_day else None

    @property
    def part(self) -> Part:
        """The part of the history."""
        end = Position.at(self.to or LATEST)
        before = end if self.cursor is None else min(end, read_cursor(self.cursor))
        return Part(self.start or EARLIEST, before, LIMIT_DEFAULT)

    @property
    def exported(self) -> dict[str, object]:
        """What a file is asked for with, to hold the whole history of which the page shows a part."""
        bounds = {"from": self.start, "to": self.to}
        return {name: bound.isoformat().replace("+00:00", "Z") for name, bound in bounds.items() if bound is not None}


class CodeFilters(ChartFilters, HistoryFilters):
    """What a code's page shows; days are those of the chart as well."""

    used_by: UuidParam | None = None

    @property
    def exported(self) -> dict[str, object]:
        """As of all histories, and the user."""
        return {**super().exported, **({"used_by": self.used_by} if self.used_by else {})}

    def span(self, now: datetime) -> Span:
        """Return what the chart shows: the days, whole, or the period when none are given."""
        if not self.has_days:
            return super().span(now)
        start, to = self.start, self.to
        if to is None:
            to = max(_ceil(now, _DAY), (start or EARLIEST) + _DAY)
        if start is None:
            start = to - min(_OPEN_SPAN, to - EARLIEST)
        return Span(start, to, self._width(to - start))


class UserFilters(HistoryFilters):
    """What a user's page shows."""

    codes_cursor: Cursor | None = None


def _ceil(moment: datetime, width: timedelta) -> datetime:
    return moment + (EARLIEST - moment) % width


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
