"""
The limit: what PostgreSQL takes from one connection that has nothing else to do.

The events are made and packed into COPY's binary format beforehand. Then chunk after chunk goes into the indexed table,
each in a transaction: no Kafka, no decoding, no staging, no conflicts, no statistics.

Run as `python -m bench.contenders.postgres_alone EVENT_COUNT DATABASE_URL`, on a database with the worker's schema;
ends with SIGTERM.
"""

import signal
import struct
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

import psycopg

from bench.events import make_events
from schemas import UsageEvent

CHUNK_COUNT: Final = 5000
# what the worker sets for its own connections
CONFIGURE: Final = "set synchronous_commit = on"
COPY: Final = """
copy referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use)
from stdin (format binary)
"""
# source: "Binary Format" in the PostgreSQL documentation's chapter on COPY; the extension area is empty
HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"
# the number of fields, then each field after its length in bytes
ROW: Final = struct.Struct("!h i16s i16s i16s iq iq ii i?")
POSTGRES_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def pack(number: int, event: UsageEvent) -> bytes:
    """Return the row of the event with this number; partition and first use are made up."""
    uuid, code, user = (UUID(text).bytes for text in (event.event_id, event.code_uuid, event.used_by_uuid))
    date_us = (event.date_used - POSTGRES_EPOCH) // MICROSECOND
    return ROW.pack(7, 16, uuid, 16, code, 16, user, 8, date_us, 8, number, 4, 0, 1, False)


def make_chunks(event_count: int) -> Iterator[bytes]:
    """Make the benchmark's events, in chunks that COPY takes."""
    rows = (pack(number, event) for number, event in enumerate(make_events(event_count)))
    while chunk := b"".join(islice(rows, CHUNK_COUNT)):
        yield HEADER + chunk + TRAILER


def store(conn: psycopg.Connection, chunks: Iterable[bytes]) -> None:
    """
    Store each chunk in a transaction.

    Raises:
        psycopg.Error: this chunk and those after it are not stored.
    """
    for chunk in chunks:
        with conn.transaction(), conn.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.write(chunk)


def main() -> None:
    """Make the chunks, store them, and wait for SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    event_count, database_url = sys.argv[1:]
    chunks = list(make_chunks(int(event_count)))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(CONFIGURE)
        store(conn, chunks)
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
