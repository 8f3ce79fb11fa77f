"""What readers ask of PostgreSQL: one named statement each, answered as models of `schemas.stats`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

from psycopg.rows import class_row
from pydantic import BaseModel

from schemas.stats import (
    CodeStats,
    StoredUsage,
    Timeline,
    TimelineBucket,
    Usage,
    UsageHistory,
    UsedCode,
    UsedCodes,
    UserCode,
)
from worker.database import Database
from worker.sql import queries
from worker.web.cursor import Position, write_cursor
from worker.web.params import PageQuery

Model = TypeVar("Model", bound=BaseModel)


class _StoredStats(BaseModel):
    total_uses: int
    unique_users: int
    last_used: datetime
    recent_users: list[object]


class _UserCodeRow(BaseModel):
    uses: int
    first_used: datetime | None
    last_used: datetime | None


class HistoryPage(Protocol):
    """Which part of a history is asked for."""

    @property
    def start(self) -> datetime:
        """The earliest date_used wanted."""

    @property
    def before(self) -> Position:
        """The place after which the page starts."""

    @property
    def limit(self) -> int:
        """The most usages wanted."""


@dataclass(frozen=True)
class Part:
    """The part of a history that a page shows, or that a file takes at a time."""

    start: datetime
    before: Position
    limit: int


class Buckets(Protocol):
    """What a timeline counts: buckets of one width, the first of which may begin before the span does."""

    @property
    def first_bucket(self) -> datetime:
        """Where the first bucket begins."""

    @property
    def width(self) -> timedelta:
        """The length of a bucket."""

    @property
    def start(self) -> datetime:
        """The earliest date_used wanted."""

    @property
    def to(self) -> datetime:
        """The latest date_used wanted, exclusive."""


class KnownAs(BaseModel):
    """What a UUID is known as."""

    code: bool
    user: bool


class Reader:
    """
    Answers from committed rows.

    Every method waits for a connection and its statement as long as `Database.reading` does, and raises
    StoreUnavailableError when PostgreSQL is down or slow: never an answer that only looks like zero.
    """

    def __init__(self, database: Database, usages_topic: str) -> None:
        self._database = database
        self._usages_topic = usages_topic

    async def code_stats(self, code_uuid: str) -> CodeStats:
        """Return the statistics of a code; zeros when no usage of it is stored."""
        rows = await self._fetch("read_code_stats", {"code_uuid": code_uuid}, _StoredStats)
        if not rows:
            return CodeStats(
                code_uuid=code_uuid, total_uses=0, unique_users=0, last_used=None, recent_users=[], source="database"
            )
        return CodeStats.model_validate({"code_uuid": code_uuid, "source": "database", **dict(rows[0])})

    async def code_usages(self, code_uuid: str, query: HistoryPage, used_by: str | None = None) -> UsageHistory:
        """Return a page of a code's history, of one user when `used_by` is given."""
        if used_by is None:
            return await self._history("read_code_usages", {"code_uuid": code_uuid}, query)
        return await self._history("read_code_usages_of_user", {"code_uuid": code_uuid, "used_by_uuid": used_by}, query)

    async def code_timeline(self, code_uuid: str, query: Buckets) -> Timeline:
        """Return the usages of a code by bucket."""
        params = {"code_uuid": code_uuid, **_bounds(query)}
        return Timeline(items=await self._fetch("read_code_timeline", params, TimelineBucket))

    async def timeline(self, query: Buckets) -> Timeline:
        """Return the usages of all codes by bucket, of whole hours: those in which the span begins and ends too."""
        return Timeline(items=await self._fetch("read_timeline", _bounds(query), TimelineBucket))

    async def known_as(self, uuid: str) -> KnownAs:
        """Return whether a UUID is that of a code, of a user, of both or of neither, among the usages stored."""
        (found,) = await self._fetch("read_known_as", {"uuid": uuid}, KnownAs)
        return found

    async def usage(self, uuid: str) -> StoredUsage | None:
        """Return one usage with where it was stored from; None when it is not stored."""
        rows = await self._fetch("read_usage", {"uuid": uuid, "topic": self._usages_topic}, StoredUsage)
        return rows[0] if rows else None

    async def user_usages(self, used_by_uuid: str, query: HistoryPage) -> UsageHistory:
        """Return a page of a user's history."""
        return await self._history("read_user_usages", {"used_by_uuid": used_by_uuid}, query)

    async def user_usage_uuids(self, used_by_uuid: str, query: HistoryPage, code_uuid: str | None = None) -> bytes:
        """Return the UUIDs of a page of a user's history, of one code when it is given: 16 bytes each, in order."""
        name, params = "read_user_usage_uuids", {"used_by_uuid": used_by_uuid}
        if code_uuid is not None:
            name, params = "read_user_usage_uuids_of_code", {**params, "code_uuid": code_uuid}
        async with self._database.reading() as conn, conn.cursor(binary=True) as cursor:
            await cursor.execute(queries[name], {**params, **_page(query, query.limit)})
            (uuids,) = await cursor.fetchone() or (b"",)
            return bytes(uuids)

    async def usages(self, uuids: Sequence[UUID]) -> list[Usage]:
        """Return these usages, latest first; one that is not stored is left out."""
        return await self._fetch("read_usages", {"uuids": uuids}, Usage)

    async def user_codes(self, used_by_uuid: str, query: PageQuery) -> UsedCodes:
        """Return a page of the codes that a user has used."""
        before, before_uuid = query.before
        params = {
            "used_by_uuid": used_by_uuid,
            "before": before,
            "before_uuid": before_uuid,
            "count": query.limit + 1,
        }
        found = await self._fetch("read_user_codes", params, UsedCode)
        items, next_cursor = _cut(found, query.limit, lambda code: Position(code.last_used, code.code_uuid))
        return UsedCodes(items=items, next_cursor=next_cursor)

    async def user_code(self, used_by_uuid: str, code_uuid: str) -> UserCode:
        """Return whether a user has used a code, how often and when."""
        params = {"used_by_uuid": used_by_uuid, "code_uuid": code_uuid}
        (row,) = await self._fetch("read_user_code", params, _UserCodeRow)
        return UserCode(used=row.uses > 0, uses=row.uses, first_used=row.first_used, last_used=row.last_used)

    async def _history(self, name: str, params: Mapping[str, object], query: HistoryPage) -> UsageHistory:
        # one more than the page holds tells whether there is another
        found = await self._fetch(name, {**params, **_page(query, query.limit + 1)}, Usage)
        items, next_cursor = _cut(found, query.limit, lambda usage: Position(usage.date_used, usage.uuid))
        return UsageHistory(items=items, next_cursor=next_cursor)

    async def _fetch(self, name: str, params: Mapping[str, object], model: type[Model]) -> list[Model]:
        async with self._database.reading() as conn, conn.cursor(row_factory=class_row(model)) as cursor:
            await cursor.execute(queries[name], params)
            return await cursor.fetchall()


def _bounds(query: Buckets) -> dict[str, object]:
    return {"first_bucket": query.first_bucket, "width": query.width, "start": query.start, "to": query.to}


def _page(query: HistoryPage, count: int) -> dict[str, object]:
    before, before_uuid = query.before
    return {"start": query.start, "before": before, "before_uuid": before_uuid, "count": count}


def _cut(found: list[Model], limit: int, place: Callable[[Model], Position]) -> tuple[list[Model], str | None]:
    """Return the page and the cursor of the next one, of up to `limit` + 1 items found."""
    items = found[:limit]
    return items, None if len(found) <= limit else write_cursor(place(items[-1]))
