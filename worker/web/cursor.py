"""Cursors: the place in a history after which the next page starts, as text that callers hand back unread."""

import base64
import hashlib
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# date_used in microseconds since 1970, uuid, and enough of their digest to tell a made-up or cut cursor from ours
_FORMAT: Final = struct.Struct(">q16s3s")
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{36}", re.ASCII)  # 27 bytes: base64 without padding
_NIL: Final = str(UUID(int=0))


class Position(NamedTuple):
    """A place in a history, which is ordered by date_used descending, then uuid descending."""

    date_used: datetime
    uuid: str

    @classmethod
    def at(cls, date: datetime) -> "Position":
        """Return the place that all usages before `date` come after: no uuid is below the nil one."""
        return cls(date, _NIL)


def write_cursor(position: Position) -> str:
    """Return the cursor of a usage's place: the next page starts after it, whatever arrives meanwhile."""
    micros = (position.date_used - _EPOCH) // _MICROSECOND
    uuid = UUID(position.uuid).bytes
    return base64.urlsafe_b64encode(_FORMAT.pack(micros, uuid, _digest(micros, uuid))).decode()


def read_cursor(text: str) -> Position:
    """
    Return the place that `write_cursor` wrote.

    Raises:
        ValueError: the text is not one of our cursors.
    """
    if not _TEXT.fullmatch(text):
        raise ValueError("not a cursor")
    micros, uuid, digest = _FORMAT.unpack(base64.urlsafe_b64decode(text))
    if digest != _digest(micros, uuid):
        raise ValueError("not a cursor")
    return Position(_EPOCH + micros * _MICROSECOND, str(UUID(bytes=uuid)))


def _digest(micros: int, uuid: bytes) -> bytes:
    return hashlib.sha256(b"%d/%b" % (micros, uuid)).digest()[:3]
