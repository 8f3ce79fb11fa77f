"""
PostgreSQL's binary formats: rows for COPY, and arrays as parameters.

Source: the chapter on COPY of PostgreSQL's manual, and `array_send` in its source for arrays.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from struct import Struct
from typing import Final

from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from worker.pipeline.count import Counts
from worker.pipeline.usages import Usages

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01T00:00Z in microseconds since 1970
_UUID_OID: Final = 2950
_UUID_ARRAY_OID: Final = 2951
_TIMESTAMPTZ_OID: Final = 1184
_ARRAY_HEADER: Final = Struct(">iiiii")  # dimensions, has nulls, element type, length, lower bound
_UUID_SIZE: Final = b"\0\0\0\x10"
_INT8_SIZE: Final = b"\0\0\0\x08"

# what all rows of a run have alike goes in as one piece
_USAGE_BEGIN: Final = Struct(">hi").pack(7, 16)
_USAGE_PLACE: Final = Struct(">iii")  # the partition, and the size of what follows
_pack_usage: Final = Struct(">6s16s4s16s4s16s4sq4sq12s?").pack
# one layout for each length of recent users
_pack_counts: Final = [
    Struct(">hi16siqiqiqii" + "iiiiii" + "i16s" * users + "iiiiii" + "iq" * users).pack for users in range(6)
]
_add_epoch: Final = _POSTGRES_EPOCH_US.__add__
_less_epoch: Final = (-_POSTGRES_EPOCH_US).__add__
# elements of arrays of each length, behind a header of 20 bytes
_unpack_users: Final = [Struct(">20x" + "4x16s" * size).unpack for size in range(6)]
_unpack_dates: Final = [Struct(">20x" + "4xq" * size).unpack for size in range(6)]


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
    begin, uuid_size, int8_size = repeat(_USAGE_BEGIN), repeat(_UUID_SIZE), repeat(_INT8_SIZE)
    dates_us = map(_less_epoch, usages.dates_us)
    place = repeat(_USAGE_PLACE.pack(4, partition, 1))
    fields = (
        begin, usages.uuids, uuid_size, usages.codes, uuid_size, usages.users,
        int8_size, dates_us, int8_size, usages.offsets, place, first_uses,
    )  # fmt: skip
    return list(map(_pack_usage, *fields))


def counts_rows(touched: Iterable[tuple[bytes, Counts]], partition: int) -> list[bytes]:
    """Return rows for `copy_touched`: code, uses, users, last used, partition, recent users and dates."""
    epoch = _POSTGRES_EPOCH_US
    rows = []
    for code, (total_uses, unique_users, last_used_us, recent) in touched:
        size = len(recent)
        users: list[object] = []
        dates: list[int] = []
        for date_us, user in recent:
            users += (16, user)
            dates += (8, date_us - epoch)
        rows.append(
            _pack_counts[size](
                7,
                16,
                code,
                8,
                total_uses,
                8,
                unique_users,
                8,
                last_used_us - epoch,
                4,
                partition,
                20 + 20 * size,
                1,
                0,
                _UUID_OID,
                size,
                1,
                *users,
                20 + 12 * size,
                1,
                0,
                _TIMESTAMPTZ_OID,
                size,
                1,
                *dates,
            )  # fmt: skip - a line for each part of the row
        )
    return rows


def read_recent(users: bytes, dates: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return (date in microseconds since 1970, user) pairs from what `array_send` gives for both arrays."""
    size = (len(users) - 20) // 20
    if size < 1:
        return ()
    # for each of a million codes: `strict` alone would cost as much as all the rest
    return tuple(zip(map(_add_epoch, _unpack_dates[size](dates)), _unpack_users[size](users)))  # noqa: B905 - the above
