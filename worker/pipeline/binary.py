"""
PostgreSQL's binary formats: rows for COPY, and arrays as parameters.

Source: the chapter on COPY of PostgreSQL's manual, and `array_send` in its source for arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from struct import Struct
from typing import Final

from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from worker.pipeline.count import Counts
from worker.pipeline.recent import DATE_BYTES, POSTGRES_EPOCH_US, RECENT_MAX, USER_BYTES
from worker.pipeline.usages import Usages

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_UUID_OID: Final = 2950
_UUID_ARRAY_OID: Final = 2951
_TIMESTAMPTZ_OID: Final = 1184
_SIZE: Final = Struct(">i")
_ARRAY_HEADER: Final = Struct(">iiiii")  # dimensions, has nulls, element type, length, lower bound
_UUID_SIZE: Final = b"\0\0\0\x10"
_INT8_SIZE: Final = b"\0\0\0\x08"

# what all rows of a run have alike goes in as one piece
_ROW_BEGIN: Final = Struct(">hi").pack(7, 16)  # seven fields, and the size of the first
_USAGE_PLACE: Final = Struct(">iii")  # the partition, and the size of what follows
_pack_usage: Final = Struct(">6s16s4s16s4s16s4sq4sq12s?").pack
_COUNTS_PLACE: Final = Struct(">ii")
_pack_counts: Final = Struct(">6s16s4sq4sq4sq").pack
_less_epoch: Final = (-POSTGRES_EPOCH_US).__add__


class UuidArray(bytes):
    """A `uuid[]` parameter in the server's binary format; build it with `uuid_array`."""

    __slots__ = ()


class _UuidArrayDumper(Dumper):
    format = Format.BINARY
    oid = _UUID_ARRAY_OID

    def dump(self, obj: UuidArray) -> UuidArray:
        return obj


def register_arrays(conn: AsyncConnection) -> None:
    """Teach a connection to take `UuidArray` parameters."""
    conn.adapters.register_dumper(UuidArray, _UuidArrayDumper)


def uuid_array(uuids: Sequence[bytes]) -> UuidArray:
    """Return a parameter for a `uuid[]`, from UUIDs of 16 bytes each."""
    if not uuids:
        return UuidArray(Struct(">iii").pack(0, 0, _UUID_OID))
    header = _ARRAY_HEADER.pack(1, 0, _UUID_OID, len(uuids), 1)
    return UuidArray(header + _UUID_SIZE + _UUID_SIZE.join(uuids))


def copy_data(rows: Iterable[bytes]) -> bytes:
    """Return the data of a COPY from its rows."""
    return b"".join([_HEADER, *rows, _TRAILER])


def usage_rows(usages: Usages, first_uses: Iterable[bool], partition: int) -> list[bytes]:
    """Return rows for `copy_usages`, which begin with the usage's uuid; `first_uses` has one for each usage."""
    begin, uuid_size, int8_size = repeat(_ROW_BEGIN), repeat(_UUID_SIZE), repeat(_INT8_SIZE)
    dates_us = map(_less_epoch, usages.dates_us)
    place = repeat(_USAGE_PLACE.pack(4, partition, 1))
    fields = (
        begin, usages.uuids, uuid_size, usages.codes, uuid_size, usages.users,
        int8_size, dates_us, int8_size, usages.offsets, place, first_uses,
    )  # fmt: skip
    return list(map(_pack_usage, *fields))


def counts_rows(touched: Mapping[bytes, Counts], partition: int) -> list[bytes]:
    """Return rows for `copy_touched`, which begin with the code, from statistics by code."""
    size, epoch = _INT8_SIZE, POSTGRES_EPOCH_US
    place = _COUNTS_PLACE.pack(4, partition)
    # what comes before the elements of either array, by their number
    users_begins = [place + _array_begin(_UUID_OID, count, USER_BYTES) for count in range(RECENT_MAX + 1)]
    dates_begins = [_array_begin(_TIMESTAMPTZ_OID, count, DATE_BYTES) for count in range(RECENT_MAX + 1)]
    rows = []
    for code, (total_uses, unique_users, last_used_us, users, dates) in touched.items():
        numbers = _pack_counts(_ROW_BEGIN, code, size, total_uses, size, unique_users, size, last_used_us - epoch)
        count = len(dates) // DATE_BYTES
        rows.append(b"".join((numbers, users_begins[count], users, dates_begins[count], dates)))
    return rows


def _array_begin(element_oid: int, count: int, element_bytes: int) -> bytes:
    return _SIZE.pack(_ARRAY_HEADER.size + count * element_bytes) + _ARRAY_HEADER.pack(1, 0, element_oid, count, 1)


def read_array(sent: bytes) -> bytes:
    """Return the elements of an array, each behind its size, from what `array_send` gives."""
    return sent[_ARRAY_HEADER.size :]
