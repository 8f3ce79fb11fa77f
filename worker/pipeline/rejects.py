"""Rejects on their way: the row that is the truth, and the copy for the dead-letter topic, sent before it commits."""

import base64
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from psycopg import AsyncCursor

from schemas.rejection import HEADER_PREFIX
from worker.pipeline.decode import Reject
from worker.pipeline.record import Message, Record, sendable_key
from worker.pipeline.republish import attempt_of
from worker.sql import queries
from worker.text import printable

# a producer refuses messages above 1,000,000 bytes; the rest of them is left for key and headers
COPIED_VALUE_MAX_BYTES: Final = 900_000
COPIED_KEY_MAX_BYTES: Final = 64 * 1024
_DETAIL_MAX_CHARS: Final = 500
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def dead_letter(reject: Reject, topic: str) -> Message:
    """Return the copy of a reject for the dead-letter topic: its raw value, and headers that say why and whence."""
    record = reject.record
    value = record.value
    said = {
        "id": str(reject.id),
        "reason": reject.reason.value,
        "detail": printable(reject.detail)[:_DETAIL_MAX_CHARS],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "value-bytes": str(len(value or b"")),
    }
    if record.timestamp is not None:
        said["timestamp"] = str(record.timestamp)
    key = None if record.key is None or len(record.key) > COPIED_KEY_MAX_BYTES else record.key
    return Message(
        topic,
        partition=None,
        key=sendable_key(key, value),
        value=None if value is None else value[:COPIED_VALUE_MAX_BYTES],
        headers=[(HEADER_PREFIX + name, text.encode()) for name, text in said.items()],
    )


async def write_rejects(cursor: AsyncCursor, rejects: Iterable[Reject]) -> None:
    """
    Insert the rows of rejects, whole: value, key and headers can hold any bytes.

    A reject that a retry has published goes back to the row it came from.
    """
    rows = [_row(reject) for reject in rejects]
    await cursor.executemany(queries["write_reject"], [row for row in rows if not row["attempt"]])
    await cursor.executemany(
        queries["write_reject_again"], sorted((row for row in rows if row["attempt"]), key=itemgetter("id"))
    )


def _row(reject: Reject) -> dict[str, Any]:
    record = reject.record
    return {
        "id": reject.id,
        "reason": reject.reason.value,
        "detail": printable(reject.detail)[:_DETAIL_MAX_CHARS],
        "value": record.value,
        "value_bytes": len(record.value or b""),
        "key": record.key,
        "headers": _headers_json(record),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": _timestamp(record.timestamp),
        "attempt": attempt_of(record),
    }


def _headers_json(record: Record) -> str:
    return json.dumps(
        [
            [printable(name), None if value is None else base64.b64encode(value).decode()]
            for name, value in record.headers
        ]
    )


def _timestamp(timestamp_ms: int | None) -> datetime | None:
    if timestamp_ms is None or timestamp_ms < 0:
        return None
    try:
        return _UNIX_EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return None  # a producer's clock beyond the year 9999: the record's identity still holds it
