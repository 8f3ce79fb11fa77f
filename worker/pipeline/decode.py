"""
Step 1: each record becomes a usage or a reject, on its own bytes and never by an exception.

Joining the values of a run into one document would be faster, and would let a crafted record shift into its
neighbours.
"""

import hashlib
import re
import time
from binascii import unhexlify
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator, core_schema

from schemas import Reason, UsageEvent
from schemas.fields import UUID_PATTERN
from schemas.usage import VALUE_MAX_BYTES
from worker.errors import RecordRejectedError
from worker.pipeline.origin import Origin
from worker.pipeline.record import Record

NAMESPACE: Final = UUID("6f2a1c1e-5d0b-5b7e-9a53-0d6d2f6f7c11")
"""Namespace of the UUIDv5 that an `event_id` becomes when it is not a UUID itself."""

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DATE_MIN_US: Final = -62_135_596_800_000_000  # 0001-01-01T00:00Z: what UTC can express
_DATE_MAX_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_QUOTED_MAX_CHARS: Final = 60


def _validator() -> SchemaValidator:
    """Return what validates as `UsageEvent` does, into a dictionary: an object would cost half as much again."""
    fields = {}
    for name, field in UsageEvent.model_fields.items():
        annotation: Any = Annotated[field.annotation, field]
        schema = TypeAdapter(annotation).core_schema
        fields[name] = core_schema.typed_dict_field(schema, required=field.is_required())
    return SchemaValidator(core_schema.typed_dict_schema(fields))


_validate: Final = _validator().validate_json
_is_uuid: Final = re.compile(UUID_PATTERN).fullmatch


class Usage(NamedTuple):
    """A usage ready to be stored; the UUIDs are 16 bytes each, the date is microseconds since 1970."""

    uuid: bytes
    code: bytes
    user: bytes
    date_us: int
    offset: int


# of a tuple, and without the checks of its class's own constructor
_new_usage: Final = partial(tuple.__new__, Usage)


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that can never be stored, and why; `id` is the identity of a usage without `event_id`."""

    id: UUID
    reason: Reason
    detail: str
    record: Record


class Decoded(NamedTuple):
    """Each record is one of both, in the order of the records."""

    usages: list[Usage]
    rejects: list[Reject]


class Decoder:
    """
    Decodes the records of one topic.

    Args:
        topic: its name, part of the identity of usages without `event_id`.
        future_max_s: how far a date may be ahead of the clock, in seconds.
        clock: returns the present in seconds since 1970.
    """

    def __init__(self, topic: str, *, future_max_s: float, clock: Callable[[], float] = time.time) -> None:
        self._topic = topic
        self._topic_bits = _topic_bits(topic)
        self._future_max_us = round(future_max_s * 1_000_000)
        self._clock = clock

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Return a usage or a reject for each record; all are judged at one moment."""
        now_us = int(self._clock() * 1_000_000)
        latest_us = now_us + self._future_max_us
        ids: list[str] = []  # of each usage three texts, which have 32 hexadecimal digits each, and maybe hyphens
        dates_us: list[int] = []
        offsets: list[int] = []
        rejects: list[Reject] = []
        # calls would cost a third of the time: what nearly every record needs stands here
        for record in records:
            value = record.value
            try:
                if not value or len(value) > VALUE_MAX_BYTES:
                    raise _unfit(value)
                event = _validate(value)
                # few records carry headers, and a record without them is its own origin
                origin = Origin.of(record) if record.headers else record
                date_used = event.get("date_used")
                if date_used is None:
                    date_us = _date_of_record(origin.timestamp, now_us, latest_us)
                else:
                    date_us = (date_used - _UNIX_EPOCH) // _MICROSECOND
                    if not 0 <= date_us <= latest_us:
                        raise self._refuse_date(date_used, date_us, now_us)
                code_uuid = event["code_uuid"]
                event_id = event.get("event_id")
                if event_id is None:
                    uuid = self._identity_of_record(origin).hex()
                elif len(event_id) == 36 and _is_uuid(event_id):
                    uuid = event_id
                else:
                    uuid = _identity_of_event(code_uuid, event_id)
            except ValidationError as error:
                rejects.append(self.reject(record, *_explain(error)))
            except RecordRejectedError as error:
                rejects.append(self.reject(record, error.reason, error.detail))
            else:
                ids += (uuid, code_uuid, event["used_by_uuid"])
                dates_us.append(date_us)
                offsets.append(record.offset)
        return Decoded(_usages(ids, dates_us, offsets), rejects)

    def reject(self, record: Record, reason: Reason, detail: str) -> Reject:
        """Return the reject of a record for a reason found later."""
        return Reject(self.id_of_reject(record), reason, detail, record)

    def id_of_reject(self, record: Record) -> UUID:
        """Return the id that the reject of a record has, whether it is one or not; its copies have the same."""
        return UUID(bytes=self._identity_of_record(Origin.of(record)))

    def _refuse_date(self, date_used: datetime, date_us: int, now_us: int) -> RecordRejectedError:
        said = date_used.isoformat()
        if not _DATE_MIN_US <= date_us <= _DATE_MAX_US:
            return RecordRejectedError(Reason.INVALID_DATE, f"date_used {said} is outside the calendar in UTC")
        if date_us < 0:
            return RecordRejectedError(Reason.DATE_TOO_OLD, f"date_used {said} is before 1970")
        ahead_s = (date_us - now_us) / 1_000_000
        return RecordRejectedError(
            Reason.DATE_IN_FUTURE,
            f"date_used {said} is {ahead_s:.0f} s ahead of the worker's clock; "
            f"at most {self._future_max_us / 1_000_000:g} s are taken",
        )

    def _identity_of_record(self, origin: Record | Origin) -> bytes:
        timestamp_ms = origin.timestamp or 0
        topic_bits = self._topic_bits if origin.topic == self._topic else _topic_bits(origin.topic)
        bits = (
            ((max(timestamp_ms, 0) & 0xFFFF_FFFF_FFFF) << 80)
            | (7 << 76)
            | ((origin.partition & 0xFFF) << 64)
            | (2 << 62)
            | ((origin.offset ^ topic_bits) & 0x3FFF_FFFF_FFFF_FFFF)
        )
        return bits.to_bytes(16, "big")


def _usages(ids: Sequence[str], dates_us: Sequence[int], offsets: Sequence[int]) -> list[Usage]:
    # all at once costs half of one by one; no text can shift its neighbours, since each was validated to its length
    packed = unhexlify("".join(ids).replace("-", ""))
    uuids, codes, users = ([packed[at : at + 16] for at in range(first, len(packed), 48)] for first in (0, 16, 32))
    return list(map(_new_usage, zip(uuids, codes, users, dates_us, offsets, strict=True)))


def _date_of_record(timestamp_ms: int | None, now_us: int, latest_us: int) -> int:
    # the producer's clock may be wrong: that is no fault of the event, so it is kept and dated now
    timestamp_us = -1 if timestamp_ms is None else timestamp_ms * 1000
    return timestamp_us if 0 <= timestamp_us <= latest_us else now_us


def _unfit(value: bytes | None) -> RecordRejectedError:
    if value:
        return too_large(len(value))
    return RecordRejectedError(Reason.EMPTY, "the value is null" if value is None else "the value has no bytes")


def too_large(value_bytes: int) -> RecordRejectedError:
    """Return why a value of so many bytes is rejected, for those who refuse it before they have read it."""
    return RecordRejectedError(
        Reason.TOO_LARGE, f"the value has {value_bytes} bytes; at most {VALUE_MAX_BYTES} are taken"
    )


def _topic_bits(topic: str) -> int:
    return int.from_bytes(hashlib.sha256(topic.encode()).digest()[:8], "big") >> 2


def _identity_of_event(code_uuid: str, event_id: str) -> str:
    # uuid.uuid5 without the detour over its objects
    name = NAMESPACE.bytes + f"{code_uuid}/{event_id}".encode()
    digest = bytearray(hashlib.sha1(name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


_REASON_OF_FIELD: Final = {
    "code_uuid": Reason.INVALID_UUID,
    "used_by_uuid": Reason.INVALID_UUID,
    "date_used": Reason.INVALID_DATE,
    "event_id": Reason.INVALID_EVENT_ID,
}
_FORM_OF_FIELD: Final = {
    "code_uuid": "is not a UUID of 36 characters with hyphens",
    "used_by_uuid": "is not a UUID of 36 characters with hyphens",
    "date_used": "is not an RFC 3339 time with an offset, as in 2026-01-31T12:00:00Z",
    "event_id": "is not a text of 1 to 255 characters without NUL",
}
# of several faults, the one that says most about the producer is the reason; the detail names all
_PRECEDENCE: Final = (Reason.MISSING_FIELD, Reason.INVALID_UUID, Reason.INVALID_DATE, Reason.INVALID_EVENT_ID)


def _explain(error: ValidationError) -> tuple[Reason, str]:
    problems = error.errors(include_url=False, include_context=False)
    kind = problems[0]["type"]
    if kind == "json_invalid":
        return Reason.NOT_JSON, problems[0]["msg"]
    if kind == "dict_type":
        return Reason.NOT_AN_OBJECT, "the value is JSON, but not an object"
    found = [_explain_field(problem) for problem in problems]
    reason = min((reason for reason, _ in found), key=_PRECEDENCE.index)
    return reason, "; ".join(detail for _, detail in found)


def _explain_field(problem: ErrorDetails) -> tuple[Reason, str]:
    field = str(problem["loc"][0])
    given: Any = problem["input"]
    if problem["type"] == "missing":
        return Reason.MISSING_FIELD, f"{field} is missing"
    if given is None:
        return Reason.MISSING_FIELD, f"{field} is null"
    quoted = repr(given)
    if len(quoted) > _QUOTED_MAX_CHARS:
        quoted = quoted[:_QUOTED_MAX_CHARS] + "…"
    return _REASON_OF_FIELD[field], f"{field} {quoted} {_FORM_OF_FIELD[field]}"
