"""
A code's recent users, as PostgreSQL's arrays have them.

For each of a million codes two pieces of bytes take half the memory of objects for users and dates, and a row for COPY
takes them as they are. Each element has its size before it; dates count from 2000.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

RECENT_MAX: Final = 5
POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01T00:00Z in microseconds since 1970."""

Recent = tuple[tuple[int, bytes], ...]
"""(latest date_used in microseconds since 1970, user) of up to five distinct users, greatest first."""

USER_BYTES: Final = 20
DATE_BYTES: Final = 12
_OTHER_USERS_BYTES: Final = USER_BYTES * (RECENT_MAX - 1)
_OTHER_DATES_BYTES: Final = DATE_BYTES * (RECENT_MAX - 1)
_USER_SIZE: Final = b"\0\0\0\x10"
_users: Final = [Struct("4x16s" * count) for count in range(RECENT_MAX + 1)]
_dates: Final = [Struct(">" + "4xq" * count) for count in range(RECENT_MAX + 1)]
_date: Final = Struct(">iq")
_add_epoch: Final = POSTGRES_EPOCH_US.__add__


def pack(recent: Sequence[tuple[int, bytes]]) -> tuple[bytes, bytes]:
    """Return the elements of both arrays, users and dates."""
    users = [_USER_SIZE + user for _date_us, user in recent]
    dates = [_date.pack(8, date_us - POSTGRES_EPOCH_US) for date_us, _user in recent]
    return b"".join(users), b"".join(dates)


def unpack(users: bytes, dates: bytes) -> list[tuple[int, bytes]]:
    """Return what was packed."""
    count = len(dates) // DATE_BYTES
    return list(zip(map(_add_epoch, _dates[count].unpack(dates)), _users[count].unpack(users), strict=True))


def put_first(date_us: int, user: bytes, users: bytes, dates: bytes) -> tuple[bytes, bytes]:
    """Return both arrays with another user in front of the others, of which the last one may drop out."""
    return (
        _USER_SIZE + user + users[:_OTHER_USERS_BYTES],
        _date.pack(8, date_us - POSTGRES_EPOCH_US) + dates[:_OTHER_DATES_BYTES],
    )
