"""Where a record was first published: headers that a copy of it carries, so that it stays the same usage."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from schemas.rejection import HEADER_PREFIX
from worker.pipeline.record import Record

_PREFIX: Final = HEADER_PREFIX + "origin-"
_TIMESTAMP_ABSENT: Final = "none"


class Origin(NamedTuple):
    """Coordinates of the record that a producer published; `timestamp` in milliseconds, None when absent."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return what the record's headers say; without them, or with others than ours, the record is the first."""
        if record.headers:
            origin = cls._from_headers(record.headers)
            if origin is not None:
                return origin
        return cls(record.topic, record.partition, record.offset, record.timestamp)

    @classmethod
    def is_carried_by(cls, record: Record) -> bool:
        """Whether the record is a copy: no producer chose its partition."""
        return cls._from_headers(record.headers) is not None

    @classmethod
    def _from_headers(cls, headers: Sequence[tuple[str, bytes | None]]) -> Self | None:
        said = {name.removeprefix(_PREFIX): value for name, value in headers if name.startswith(_PREFIX)}
        try:
            topic, partition, offset, timestamp = (
                (said[name] or b"").decode() for name in ("topic", "partition", "offset", "timestamp")
            )
            return cls(topic, int(partition), int(offset), None if timestamp == _TIMESTAMP_ABSENT else int(timestamp))
        except (KeyError, ValueError):
            return None

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the headers that a copy of the record carries."""
        said = {
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "timestamp": _TIMESTAMP_ABSENT if self.timestamp is None else str(self.timestamp),
        }
        return [(_PREFIX + name, text.encode()) for name, text in said.items()]
