"""
PostgreSQL's binary formats: rows for COPY, and arrays as parameters.

Source: the chapter on COPY of PostgreSQL's manual, and `array_send` in its source for arrays.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from worker.pipeline.statistics import NEVER_US, RECENT_MAX, Columns, Halves, Statistics, count_recent, to_halves
from worker.pipeline.usages import Usages

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01T00:00Z in microseconds since 1970
_UUID_OID: Final = 2950
_UUID_ARRAY_OID: Final = 2951
_TIMESTAMPTZ_OID: Final = 1184
_ARRAY_HEADER: Final = Struct(">iiiii")  # dimensions, has nulls, element type, length, lower bound
_UUID_SIZE: Final = b"\0\0\0\x10"

# as numpy has them
_INTEGER: Final = np.dtype(">i4")
_BIGINT: Final = np.dtype(">i8")
_BOOLEAN: Final = np.dtype("?")
_UUID: Final = np.dtype((">u8", (2,)))

Rows = NDArray[Any]
"""Rows of a COPY that are of one length, each with the number and the sizes of its fields."""


def _row_type(**columns: np.dtype[Any]) -> np.dtype[Any]:
    fields: list[tuple[str, np.dtype[Any]]] = [("field count", np.dtype(">i2"))]
    for name, kind in columns.items():
        fields += [(f"{name} size", _INTEGER), (name, kind)]
    return np.dtype(fields)


def _array_type(element: np.dtype[Any], length: int) -> np.dtype[Any]:
    header = [(name, _INTEGER) for name in ("dimensions", "has nulls", "element type", "length", "lower bound")]
    return np.dtype([*header, ("elements", _element_type(element), (length,))])


def _element_type(element: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype([("size", _INTEGER), ("value", element)])


_USAGE_ROW: Final = _row_type(
    uuid=_UUID, code=_UUID, user=_UUID, date_used=_BIGINT, offset=_BIGINT, partition=_INTEGER, first_use=_BOOLEAN
)
# by how many recent users there are
_COUNTS_ROWS: Final = [
    _row_type(
        code=_UUID, total_uses=_BIGINT, unique_users=_BIGINT, last_used=_BIGINT, partition=_INTEGER,
        recent_users=_array_type(_UUID, length), recent_dates=_array_type(_BIGINT, length),
    )
    for length in range(RECENT_MAX + 1)
]  # fmt: skip
_HOME_ROW: Final = _row_type(code=_UUID, partition=_INTEGER)


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


def copy_data(*rows: Rows) -> bytes:
    """Return the data of a COPY from its rows."""
    return b"".join((_HEADER, *(each.tobytes() for each in rows), _TRAILER))


def usage_rows(usages: Usages, first_uses: Sequence[bool], partition: int) -> Rows:
    """Return rows for `copy_usages`; `first_uses` has one for each usage."""
    rows = _new_rows(_USAGE_ROW, len(usages))
    rows["uuid"] = to_halves(usages.uuids)
    rows["code"] = to_halves(usages.codes)
    rows["user"] = to_halves(usages.users)
    rows["date_used"] = usages.dates_us
    rows["date_used"] -= _POSTGRES_EPOCH_US
    rows["offset"] = usages.offsets
    rows["partition"] = partition
    rows["first_use"] = first_uses
    return rows


def sort_rows(rows: Rows, column: str) -> Rows:
    """Return rows in the order of a column of UUIDs."""
    high, low = rows[column].T
    return rows[np.lexsort((low, high))]


def counts_rows(stats: Statistics, partition: int) -> list[Rows]:
    """Return rows for `copy_touched`, of each number of recent users those of its codes in their order."""
    codes, columns = to_halves(list(stats)), stats.columns
    high, low = codes.T
    order = np.lexsort((low, high))
    recent_counts = count_recent(columns.recent_dates_us)[order]
    places = [order[recent_counts == length] for length in range(RECENT_MAX + 1)]
    return [_counts_rows(codes[each], columns.pick(each), length, partition) for length, each in enumerate(places)]


def _counts_rows(codes: Halves, columns: Columns, recent_count: int, partition: int) -> Rows:
    rows = _new_rows(_COUNTS_ROWS[recent_count], len(codes))
    rows["code"] = codes
    rows["total_uses"] = columns.total_uses
    rows["unique_users"] = columns.unique_users
    rows["last_used"] = columns.last_used_us - _POSTGRES_EPOCH_US
    rows["partition"] = partition
    _put(rows["recent_users"], _UUID_OID, columns.recent_users[:, :recent_count])
    _put(rows["recent_dates"], _TIMESTAMPTZ_OID, columns.recent_dates_us[:, :recent_count] - _POSTGRES_EPOCH_US)
    return rows


def home_rows(codes: Sequence[bytes], partitions: Sequence[int]) -> Rows:
    """Return rows for `copy_homes`: codes, and the partition that each hashes to."""
    rows = _new_rows(_HOME_ROW, len(codes))
    rows["code"] = to_halves(codes)
    rows["partition"] = partitions
    return rows


def _new_rows(row_type: np.dtype[Any], count: int) -> Rows:
    rows = np.empty(count, row_type)
    names = row_type.names or ()
    rows["field count"] = len(names) // 2
    for size, name in zip(names[1::2], names[2::2], strict=True):
        rows[size] = row_type[name].itemsize
    return rows


def _put(arrays: Rows, element_oid: int, values: NDArray[Any]) -> None:
    arrays["dimensions"], arrays["has nulls"], arrays["lower bound"] = 1, 0, 1
    arrays["element type"] = element_oid
    elements = arrays["elements"]
    arrays["length"] = elements.shape[1]
    elements["size"] = elements.dtype["value"].itemsize
    elements["value"] = values


def read_counts(rows: Sequence[tuple[bytes, int, int, int, bytes, bytes]]) -> Statistics:
    """Return statistics from rows of `read_partition_stats`, at least one."""
    codes, total_uses, unique_users, last_used_us, users, dates = zip(*rows, strict=True)
    columns = Columns.never_used(len(rows))
    columns.total_uses[:], columns.unique_users[:], columns.last_used_us[:] = total_uses, unique_users, last_used_us
    columns.recent_users[:] = _read_elements(users, _UUID)["value"]
    read = _read_elements(dates, _BIGINT)
    columns.recent_dates_us[:] = np.where(read["size"] > 0, read["value"] + _POSTGRES_EPOCH_US, NEVER_US)
    return Statistics(codes, columns)


def _read_elements(sent: Sequence[bytes], element: np.dtype[Any]) -> Rows:
    """Return size and value of the elements of arrays from `array_send`: (len(sent), 5), the size 0 behind the last."""
    element_type = _element_type(element)
    first, bound = _ARRAY_HEADER.size, RECENT_MAX * element_type.itemsize
    padded = b"".join([each[first : first + bound].ljust(bound, b"\0") for each in sent])
    return np.frombuffer(padded, element_type).reshape(-1, RECENT_MAX)
