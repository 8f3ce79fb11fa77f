"""
A reject on its way back: its raw bytes published again, and recognized when they arrive.

A retry is sent first and noted on the reject's row second. Its number travels in a header, so that whatever dies
between, the row says what happened: the run that stores the record deletes the row, the run that rejects it again
writes the number into it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncCursor
from pydantic import ValidationError

from schemas import UsageEvent
from schemas.rejection import HEADER_PREFIX
from worker.pipeline.origin import Origin
from worker.pipeline.record import Message, Record, sendable_key
from worker.pipeline.reroute import partition_of
from worker.sql import queries

RETRY_HEADER: Final = HEADER_PREFIX + "retry"
"""Holds the number of the attempt, from 1."""

# a producer refuses messages above 1,000,000 bytes; the rest is left for what surrounds the bytes of a record
MESSAGE_MAX_BYTES: Final = 990_000
_HEADER_OVERHEAD_BYTES: Final = 10

# 9 digits fit into the row's integer, whoever forged them
_is_attempt: Final = re.compile(rb"[1-9][0-9]{0,8}").fullmatch


class Retried(NamedTuple):
    """What a record that a retry has published says of its reject."""

    id: UUID
    value: bytes | None


def attempt_of(record: Record) -> int | None:
    """Return which attempt to store a reject this record is; None for a record that no retry has published."""
    for name, value in record.headers:
        if name == RETRY_HEADER and _is_attempt(value or b""):
            return int(value or b"")
    return None


def find_retried(records: Iterable[Record], id_of_reject: Callable[[Record], UUID]) -> dict[int, Retried]:
    """Return the records that retries have published, by their offsets."""
    return {
        record.offset: Retried(id_of_reject(record), record.value)
        for record in records
        if attempt_of(record) is not None
    }


async def delete_retried(cursor: AsyncCursor, retried: Iterable[Retried]) -> None:
    """
    Delete the rows of rejects that are stored now, or are duplicates of what is.

    The value is compared as well as the id, which headers made: whoever forges them deletes nothing but a reject whose
    very bytes are stored.
    """
    # two copies of a reject may arrive on two partitions: one order of ids keeps their transactions from a deadlock
    in_order = sorted(set(retried), key=attrgetter("id"))
    await cursor.executemany(queries["delete_retried"], [reject._asdict() for reject in in_order])


def copy_for_retry(record: Record, attempt: int, partition_count: int) -> Message:
    """
    Return the message that publishes a reject again: value, key and headers as they were, and where it was first.

    It goes to the partition of its code when it has one, else wherever its key leads.
    """
    origin = Origin.of(record)
    headers = [(name, value) for name, value in record.headers if name != RETRY_HEADER]
    if origin == (record.topic, record.partition, record.offset, record.timestamp):
        headers += origin.headers()
    headers.append((RETRY_HEADER, str(attempt).encode()))
    key = sendable_key(record.key, record.value)
    return Message(record.topic, _home(record.value, partition_count), key, record.value, headers)


def is_too_large(message: Message) -> bool:
    """Whether Kafka would not take a message, as few topics take more than a producer sends by default."""
    return len(message.key or b"") + len(message.value or b"") + _headers_bytes(message.headers) > MESSAGE_MAX_BYTES


def _headers_bytes(headers: Sequence[tuple[str, bytes | None]]) -> int:
    return sum(len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES for name, value in headers)


def _home(value: bytes | None, partition_count: int) -> int | None:
    try:
        code_uuid = UsageEvent.model_validate_json(value or b"").code_uuid
    except ValidationError:
        return None
    return partition_of(code_uuid, partition_count)
