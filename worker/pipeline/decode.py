"""
Step 1: each record becomes a usage or a reject, on its own bytes and never by an exception.

Joining the values of a run into one document would be faster, and would let a crafted record shift into its
neighbours.

`UsageEvent` is the judge of what an event is. It is asked only where there is doubt: for nearly every record pydantic
reads texts of the right lengths, whose UUIDs are then checked all at once and whose dates are parsed by Python. What
these take, the judge would take as well, with the same result; what they do not, it decides.
"""

import hashlib
import re
import time
from binascii import unhexlify
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, SchemaValidator, core_schema

from schemas import Reason, UsageEvent
from schemas.fields import EVENT_ID_MAX_CHARS, UUID_CHARS, UUID_PATTERN
from schemas.usage import VALUE_MAX_BYTES
from worker.errors import RecordRejectedError
from worker.pipeline.origin import Origin
from worker.pipeline.record import Record
from worker.pipeline.usages import Usages

NAMESPACE: Final = UUID("6f2a1c1e-5d0b-5b7e-9a53-0d6d2f6f7c11")
"""Namespace of the UUIDv5 that an `event_id` becomes when it is not a UUID itself."""

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DATE_MIN_US: Final = -62_135_596_800_000_000  # 0001-01-01T00:00Z: what UTC can express
_DATE_MAX_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_QUOTED_MAX_CHARS: Final = 60
_UUID_HYPHENS: Final = (8, 13, 18, 23)
# nearly every date looks like this, and Python reads these as pydantic does: a day of 24 hours, an offset of 60 minutes
# or a date without seconds are left to pydantic
_PLAIN_DATE_PATTERN: Final = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?"
    "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
)


def _validator(schema_of: Callable[[str, FieldInfo], CoreSchema]) -> Callable[[bytes], dict[str, Any]]:
    """Return what validates JSON into a dictionary of the event's fields: an object would cost half as much again."""
    fields = {
        name: core_schema.typed_dict_field(schema_of(name, field), required=field.is_required())
        for name, field in UsageEvent.model_fields.items()
    }
    return SchemaValidator(core_schema.typed_dict_schema(fields)).validate_json


def _schema_of_event(_name: str, field: FieldInfo) -> CoreSchema:
    annotation: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotation).core_schema


def _schema_of_texts(name: str, field: FieldInfo) -> CoreSchema:
    return _TEXTS[name] if field.is_required() else core_schema.nullable_schema(_TEXTS[name])


_TEXTS: Final[Mapping[str, CoreSchema]] = {
    "code_uuid": core_schema.str_schema(min_length=UUID_CHARS, max_length=UUID_CHARS, strict=True),
    "used_by_uuid": core_schema.str_schema(min_length=UUID_CHARS, max_length=UUID_CHARS, strict=True),
    "date_used": core_schema.str_schema(pattern=_PLAIN_DATE_PATTERN, strict=True),
    "event_id": core_schema.str_schema(pattern="^[^\\x00]+$", max_length=EVENT_ID_MAX_CHARS, strict=True),
}
_validate_event: Final = _validator(_schema_of_event)
_validate_texts: Final = _validator(_schema_of_texts)
_is_uuid: Final = re.compile(UUID_PATTERN).fullmatch
_parse_date: Final = datetime.fromisoformat

_Read = tuple[str, str, datetime | None, str | None]
"""Code, user, date and event id of one event; the UUIDs as text, each of 36 characters."""


def _read(value: bytes) -> _Read:
    """Read an event whose UUIDs are still to be checked, or let the judge read it."""
    try:
        event = _validate_texts(value)
        date_used = event.get("date_used")
        if date_used is not None:
            date_used = _parse_date(date_used)
    except ValueError:
        return _judge(value)
    return event["code_uuid"], event["used_by_uuid"], date_used, event.get("event_id")


def _judge(value: bytes) -> _Read:
    """
    Read an event as `UsageEvent` does.

    Raises:
        pydantic.ValidationError: it is none.
    """
    event = _validate_event(value)
    return event["code_uuid"], event["used_by_uuid"], event.get("date_used"), event.get("event_id")


def _looks_like_uuid(text: str) -> bool:
    return len(text) == UUID_CHARS and text[8] == "-"


class _NotUuidsError(Exception):
    """Of texts that have the length of a UUID, some are none."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that can never be stored, and why; `id` is the identity of a usage without `event_id`."""

    id: UUID
    reason: Reason
    detail: str
    record: Record


class Decoded(NamedTuple):
    """Each record is one of both, in the order of the records."""

    usages: Usages
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
        try:
            return self._decode(records, now_us, _read, _looks_like_uuid)
        except _NotUuidsError:
            return self._decode(records, now_us, _judge, _is_uuid)

    def _decode(
        self, records: Sequence[Record], now_us: int, read: Callable[[bytes], _Read], is_uuid: Callable[[str], object]
    ) -> Decoded:
        """
        Decode records as they are read.

        Raises:
            _NotUuidsError: one of them is no UUID, although `read` or `is_uuid` takes it for one.
        """
        latest_us = now_us + self._future_max_us
        ids: list[str] = []  # of each usage three texts of 36 characters each
        identities: dict[int, bytes] = {}  # of usages without such an event id, by their places
        dates_us: list[int] = []
        offsets: list[int] = []
        rejects: list[Reject] = []
        # calls would cost a third of the time: what nearly every record needs stands here
        for record in records:
            value = record.value
            try:
                if not value or len(value) > VALUE_MAX_BYTES:
                    raise _unfit(value)
                code_uuid, used_by_uuid, date_used, event_id = read(value)
                # few records carry headers, and a record without them is its own origin
                origin = Origin.of(record) if record.headers else record
                if date_used is None:
                    date_us = _date_of_record(origin.timestamp, now_us, latest_us)
                else:
                    date_us = (date_used - _UNIX_EPOCH) // _MICROSECOND
                    if not 0 <= date_us <= latest_us:
                        _judge(value)  # what is wrong with its form is said first
                        raise self._refuse_date(date_used, date_us, now_us)
            except ValidationError as error:
                rejects.append(self.reject(record, *_explain(error)))
            except RecordRejectedError as error:
                rejects.append(self.reject(record, error.reason, error.detail))
            else:
                if event_id is None:
                    identities[len(offsets)] = self._identity_of_record(origin)
                    event_id = code_uuid  # stands in for it
                elif not is_uuid(event_id):
                    identities[len(offsets)] = _identity_of_event(code_uuid, event_id)
                    event_id = code_uuid
                ids += (event_id, code_uuid, used_by_uuid)
                dates_us.append(date_us)
                offsets.append(record.offset)
        return Decoded(_usages(ids, identities, dates_us, offsets), rejects)

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


def _usages(texts: Sequence[str], identities: Mapping[int, bytes], dates_us: list[int], offsets: list[int]) -> Usages:
    packed = _pack(texts)
    uuids, codes, users = ([packed[at : at + 16] for at in range(first, len(packed), 48)] for first in (0, 16, 32))
    for place, identity in identities.items():
        uuids[place] = identity
    return Usages(uuids, codes, users, dates_us, offsets)


def _pack(texts: Sequence[str]) -> bytes:
    """
    Return 16 bytes for each text of 36 characters, all at once: one by one costs three times as much.

    No text can shift its neighbours, since each has its length, and its hyphens in their places.

    Raises:
        _NotUuidsError: not every text is a UUID.
    """
    joined = "".join(texts)
    digits = joined.replace("-", "")
    hyphens = "-" * len(texts)
    if len(digits) != 32 * len(texts) or any(joined[place::UUID_CHARS] != hyphens for place in _UUID_HYPHENS):
        raise _NotUuidsError
    try:
        return unhexlify(digits)
    except ValueError:
        raise _NotUuidsError from None


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


def _identity_of_event(code_uuid: str, event_id: str) -> bytes:
    # uuid.uuid5 without the detour over its objects
    name = NAMESPACE.bytes + f"{code_uuid.lower()}/{event_id}".encode()
    digest = bytearray(hashlib.sha1(name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)


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
