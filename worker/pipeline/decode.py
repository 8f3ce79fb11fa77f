"""
Step 1: each record becomes a usage or a reject, on its own bytes and never by an exception.

Joining the values of a run into one document would be faster, and would let a crafted record shift into its
neighbours.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from schemas import Reason
from schemas.usage import VALUE_MAX_BYTES
from worker.errors import RecordRejectedError
from worker.pipeline.explain import explain, unfit
from worker.pipeline.origin import Origin
from worker.pipeline.read import NotUuidsError, Read, is_uuid, judge, looks_like_uuid, pack_uuids, read
from worker.pipeline.record import Record
from worker.pipeline.usages import Usages

NAMESPACE: Final = UUID("6f2a1c1e-5d0b-5b7e-9a53-0d6d2f6f7c11")
"""Namespace of the UUIDv5 that an `event_id` becomes when it is not a UUID itself."""

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DATE_MIN_US: Final = -62_135_596_800_000_000  # 0001-01-01T00:00Z: what UTC can express
_DATE_MAX_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z


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
            return self._decode(records, now_us, read, looks_like_uuid)
        except NotUuidsError:
            return self._decode(records, now_us, judge, is_uuid)

    def _decode(
        self,
        records: Sequence[Record],
        now_us: int,
        reads: Callable[[bytes], Read],
        identifies: Callable[[str], object],
    ) -> Decoded:
        """
        Decode records as they are read.

        Raises:
            NotUuidsError: one of them is no UUID, although `reads` or `identifies` takes it for one.
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
                    raise unfit(value)
                code_uuid, used_by_uuid, date_used, event_id = reads(value)
                # few records carry headers, and a record without them is its own origin
                origin = Origin.of(record) if record.headers else record
                if date_used is None:
                    date_us = _date_of_record(origin.timestamp, now_us, latest_us)
                else:
                    date_us = (date_used - _UNIX_EPOCH) // _MICROSECOND
                    if not 0 <= date_us <= latest_us:
                        judge(value)  # what is wrong with its form is said first
                        raise self._refuse_date(date_used, date_us, now_us)
            except ValidationError as error:
                rejects.append(self.reject(record, *explain(error)))
            except RecordRejectedError as error:
                rejects.append(self.reject(record, error.reason, error.detail))
            else:
                if event_id is None:
                    identities[len(offsets)] = self._identity_of_record(origin)
                    event_id = code_uuid  # stands in for it
                elif not identifies(event_id):
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
    packed = pack_uuids(texts)
    uuids, codes, users = ([packed[at : at + 16] for at in range(first, len(packed), 48)] for first in (0, 16, 32))
    for place, identity in identities.items():
        uuids[place] = identity
    return Usages(uuids, codes, users, dates_us, offsets)


def _date_of_record(timestamp_ms: int | None, now_us: int, latest_us: int) -> int:
    # the producer's clock may be wrong: that is no fault of the event, so it is kept and dated now
    timestamp_us = -1 if timestamp_ms is None else timestamp_ms * 1000
    return timestamp_us if 0 <= timestamp_us <= latest_us else now_us


def _topic_bits(topic: str) -> int:
    return int.from_bytes(hashlib.sha256(topic.encode()).digest()[:8], "big") >> 2


def _identity_of_event(code_uuid: str, event_id: str) -> bytes:
    # uuid.uuid5 without the detour over its objects
    name = NAMESPACE.bytes + f"{code_uuid.lower()}/{event_id}".encode()
    digest = bytearray(hashlib.sha1(name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)
