"""Rejects for those who look at them, and the way back for those that may be stored by now."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.rows import class_row, dict_row

from schemas.rejection import PREVIEW_MAX_BYTES, ReasonCount, ReasonCounts, Rejection, RejectionSummary
from worker.database import Database
from worker.errors import BrokerUnavailableError
from worker.pipeline.record import Record, Send
from worker.pipeline.republish import copy_for_retry, is_too_large
from worker.pipeline.reroute import send_all
from worker.sql import queries

# whole rejects that are in memory at once: Kafka's records have at most 1 MB unless its operator says otherwise
BATCH_COUNT: Final = 50
_SEND_S: Final = 15.0
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Place(NamedTuple):
    """A place among rejects, which are ordered by `rejected_at` descending, then `id` descending."""

    rejected_at: datetime
    id: UUID


LATEST: Final = Place(datetime.max.replace(tzinfo=UTC), UUID(int=0))
"""The place before all rejects."""


class Page(NamedTuple):
    """A page of rejects, and the place after which the next one starts; None on the last one."""

    items: list[RejectionSummary]
    next_place: Place | None


class Rejections:
    """
    The rows of rejects.

    Every method raises StoreUnavailableError when PostgreSQL is down or slow.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, reason: str | None, after: Place, count: int) -> Page:
        """Return up to `count` rejects after a place, of one reason when it is given."""
        name = "read_rejections" if reason is None else "read_rejections_of_reason"
        params = {
            "reason": reason,
            "before": after.rejected_at,
            "before_id": after.id,
            "preview_bytes": PREVIEW_MAX_BYTES,
            "count": count + 1,  # one more tells whether there is another page
        }
        async with self._database.reading() as conn, conn.cursor(row_factory=class_row(RejectionSummary)) as cursor:
            await cursor.execute(queries[name], params)
            rows = await cursor.fetchall()
        items = rows[:count]
        last = items[-1] if len(rows) > count else None
        return Page(items, Place(last.rejected_at, UUID(last.id)) if last else None)

    async def whole(self, ids: Sequence[UUID]) -> list[Rejection]:
        """Return rejects with all of their bytes; those that are not there are left out. For `BATCH_COUNT` at most."""
        async with self._database.reading() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(queries["read_whole_rejections"], {"ids": list(ids)})
            return [_rejection(row) for row in await cursor.fetchall()]

    async def counts(self) -> ReasonCounts:
        """Return how many rejects there are of each reason."""
        async with self._database.reading() as conn, conn.cursor(row_factory=class_row(ReasonCount)) as cursor:
            await cursor.execute(queries["count_rejections"])
            items = await cursor.fetchall()
        return ReasonCounts(total=sum(item.count for item in items), items=items)

    async def mark_retried(self, attempts: Mapping[UUID, int]) -> None:
        """Note on rejects, by their ids, the numbers of the attempts that were published."""
        # in one order, as the runs that store them, so that no two transactions wait for each other
        marks = [{"id": id_, "attempt": attempt} for id_, attempt in sorted(attempts.items())]
        async with self._database.changing() as conn, conn.cursor() as cursor:
            await cursor.executemany(queries["mark_retried"], marks)


class Republished(NamedTuple):
    """Which attempt each reject is at now, by its id, and those that Kafka would not take."""

    attempts: dict[UUID, int]
    too_large: list[UUID]


class Republisher:
    """
    Publishes rejects again, as the records they were.

    Sent first and noted second: whatever dies between, no row says that something was published that was not, and what
    was published tells its number itself when it is rejected again. Publishing the same reject twice is harmless: the
    second copy is a duplicate, or is rejected on the same row.

    Args:
        partition_count: of the usages topic.
    """

    def __init__(self, rejections: Rejections, partition_count: int, send: Send) -> None:
        self._rejections = rejections
        self._partition_count = partition_count
        self._send = send

    async def republish(self, ids: Sequence[UUID]) -> Republished:
        """
        Publish rejects, `BATCH_COUNT` at most, and return which; an id without a row is in neither part of the answer.

        Raises:
            BrokerUnavailableError: some were not acknowledged; none of this call is noted, so try again.
            StoreUnavailableError: the rows were not read, so nothing is published, or not noted.
        """
        rejections = await self._rejections.whole(ids)
        attempts = {UUID(rejection.id): rejection.attempts + 1 for rejection in rejections}
        messages = {
            UUID(rejection.id): copy_for_retry(_record(rejection), attempts[UUID(rejection.id)], self._partition_count)
            for rejection in rejections
        }
        too_large = [id_ for id_, message in messages.items() if is_too_large(message)]
        for id_ in too_large:
            del messages[id_], attempts[id_]
        try:
            async with asyncio.timeout(_SEND_S):
                await send_all(list(messages.values()), self._send)
        except TimeoutError as error:
            raise BrokerUnavailableError(f"Kafka did not acknowledge rejects within {_SEND_S:g} s") from error
        if attempts:
            await self._rejections.mark_retried(attempts)
        return Republished(attempts, too_large)

    async def republish_page(self, reason: str | None, after: Place, count: int) -> tuple[Republished, Place | None]:
        """
        Publish up to `count` rejects after a place, of one reason when it is given, and return where to go on.

        What is rejected again meanwhile moves before the place: going on until the end ends.
        """
        done = Republished({}, [])
        place: Place | None = after
        while place is not None and count > 0:
            items, place = await self._rejections.page(reason, place, min(count, BATCH_COUNT))
            count -= len(items)
            attempts, too_large = await self.republish([UUID(item.id) for item in items])
            done.attempts.update(attempts)
            done.too_large.extend(too_large)
        return done, place


def _record(rejection: Rejection) -> Record:
    """Return a reject as the record it was; its identity, which its row holds, stays the same."""
    date = rejection.kafka_timestamp
    # no date holds a timestamp after the year 9999, but the identity begins with it: 0 for none
    timestamp = (UUID(rejection.id).int >> 80 or None) if date is None else (date - _UNIX_EPOCH) // _MILLISECOND
    return Record(
        rejection.kafka_topic,
        rejection.kafka_partition,
        rejection.kafka_offset,
        timestamp,
        rejection.key,
        rejection.value,
        [(header.name, header.value) for header in rejection.headers],
    )


def _rejection(row: dict[str, Any]) -> Rejection:
    headers = [
        {"name": name, "value": None if value is None else base64.b64decode(value)} for name, value in row["headers"]
    ]
    return Rejection.model_validate({**row, "headers": headers})
