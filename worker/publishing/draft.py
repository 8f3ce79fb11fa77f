"""An event before it is on a topic, and whether a worker would take it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.errors import RecordRejectedError
from worker.pipeline.decode import Decoder, Reject, Usage


@dataclass(slots=True)
class Draft:
    """A value as the decoder reads records: it has no place and no time yet."""

    value: bytes | None
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp: int | None = None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


def judge(decoder: Decoder, value: bytes) -> Usage:
    """
    Return the usage that a worker would make of a value; its uuid holds only when the event has an `event_id`.

    Raises:
        RecordRejectedError: a worker would reject it, for this reason and with these words.
    """
    (item,) = decoder.decode([Draft(value)])
    if isinstance(item, Reject):
        raise RecordRejectedError(item.reason, item.detail)
    return item


def to_value(fields: Mapping[str, str]) -> bytes:
    """Return the JSON of fields given as texts; bytes in them that are no UTF-8 stay as they are, to be judged."""
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogateescape")
