"""An event before it is on a topic, and whether a worker would take it."""

import json
from collections.abc import Mapping

from worker.errors import RecordRejectedError
from worker.pipeline.decode import Decoder
from worker.pipeline.record import Record
from worker.pipeline.usages import Usage


def judge(decoder: Decoder, value: bytes) -> Usage:
    """
    Return the usage that a worker would make of a value; its uuid holds only when the event has an `event_id`.

    Raises:
        RecordRejectedError: a worker would reject it, for this reason and with these words.
    """
    # it has no place and no time yet
    usages, rejects = decoder.decode([Record("", 0, 0, None, None, value)])
    if rejects:
        raise RecordRejectedError(rejects[0].reason, rejects[0].detail)
    return usages[0]


def to_value(fields: Mapping[str, str]) -> bytes:
    """Return the JSON of fields given as texts; bytes in them that are no UTF-8 stay as they are, to be judged."""
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogateescape")
