"""The identity of a usage, with vectors computed outside of this project and by formulas of the test's own."""

import hashlib
import uuid

import pytest
from factories import CODE, NOW_MS, TOPIC, USER, KafkaRecord, decode_one, event_value, new_decoder
from hypothesis import given
from hypothesis import strategies as st

from schemas import Reason
from worker.pipeline.decode import Reject

NAMESPACE = uuid.UUID("6f2a1c1e-5d0b-5b7e-9a53-0d6d2f6f7c11")


def identity_of(value: bytes | None, **record) -> uuid.UUID:
    item = decode_one(KafkaRecord(value, **record))
    return item.id if isinstance(item, Reject) else uuid.UUID(bytes=item.uuid)


def version_7_of(topic: str, partition: int, offset: int, timestamp_ms: int) -> uuid.UUID:
    """Return the identity of a record by the contract's words: bits as text, put side by side."""
    topic_bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(topic.encode()).digest())[:62]
    offset_bits = f"{offset:062b}"
    mixed = "".join(str(int(a != b)) for a, b in zip(topic_bits, offset_bits, strict=True))
    return uuid.UUID(int=int(f"{timestamp_ms:048b}" + "0111" + f"{partition % 4096:012b}" + "10" + mixed, 2))


VECTORS = [
    ("referral-usages", 0, 0, 0, "00000000-0000-7000-b677-8484cfdfff8d"),
    ("referral-usages", 0, 0, None, "00000000-0000-7000-b677-8484cfdfff8d"),
    ("referral-usages", 0, 0, -1, "00000000-0000-7000-b677-8484cfdfff8d"),
    ("referral-usages", 3, 42, 1790000000000, "01a0c450-6c00-7003-b677-8484cfdfffa7"),
    ("referral-usages", 4095, 1, 1790000000000, "01a0c450-6c00-7fff-b677-8484cfdfff8c"),
    ("referral-usages", 4096, 1, 1790000000000, "01a0c450-6c00-7000-b677-8484cfdfff8c"),
    ("usages", 7, 4611686018427387903, 281474976710655, "ffffffff-ffff-7007-8992-f4115c9e4749"),
]


@pytest.mark.parametrize(("topic", "partition", "offset", "timestamp", "expected"), VECTORS)
def test_identity_of_a_record_follows_its_coordinates(topic, partition, offset, timestamp, expected):
    """Without `event_id` the identity is a UUIDv7 layout of timestamp, partition, offset and topic."""
    found = identity_of(event_value(), topic=topic, partition=partition, offset=offset, timestamp=timestamp)
    assert str(found) == expected
    assert found == version_7_of(topic, partition, offset, max(timestamp or 0, 0))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)


EVENT_ID_VECTORS = [
    ("0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b", "order 7", "f3b08e4b-0f2f-56e2-a447-ef916b26ba58"),
    ("0190A1B2-7C3D-7E4F-8A5B-6C7D8E9F0A1B", "order 7", "f3b08e4b-0f2f-56e2-a447-ef916b26ba58"),
    ("1190a1b2-7c3d-4e4f-9a5b-6c7d8e9f0a1c", "order 7", "e6e7e40d-b8ff-5a17-8951-8732bf5764c8"),
    ("0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b", "\xe9\U0001f600", "73b0e1aa-4ed2-520a-85cb-1a00494e7d0c"),
    ("0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b", "a" * 255, "be5c8555-3d20-58fe-ac5c-57446307af89"),
    ("0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b", "/", "ab85231d-176c-5b93-be01-729611162214"),
]


@pytest.mark.parametrize(("code", "event_id", "expected"), EVENT_ID_VECTORS)
def test_identity_of_an_event_id_is_version_5_of_code_and_event_id(code, event_id, expected):
    """An `event_id` that is no UUID becomes the UUIDv5 of `<code in lower case>/<event_id>` under the namespace."""
    found = identity_of(event_value(code_uuid=code, event_id=event_id))
    assert str(found) == expected
    assert found == uuid.uuid5(NAMESPACE, f"{code.lower()}/{event_id}")


@pytest.mark.parametrize(
    "event_id",
    [
        "919108f7-52d1-4320-9bac-f847db4148a8",
        "919108F7-52D1-4320-9BAC-F847DB4148A8",
        "919108f7-52D1-4320-9bac-f847DB4148a8",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    ],
)
def test_identity_is_the_event_id_itself_when_it_is_a_uuid(event_id):
    """A UUID of 36 characters in any case is the identity, whatever code it is used with."""
    assert identity_of(event_value(event_id=event_id)) == uuid.UUID(event_id)
    assert identity_of(event_value(event_id=event_id, code_uuid=USER)) == uuid.UUID(event_id)


@pytest.mark.parametrize(
    "event_id",
    [
        "919108f752d143209bacf847db4148a8",
        "{919108f7-52d1-4320-9bac-f847db4148a8}",
        "urn:uuid:919108f7-52d1-4320-9bac-f847db4148a8",
        "919108f7-52d1-4320-9bac-f847db4148a8\n",
        "919108f7-52d1-4320-9bac-f847db4148a",
        "919108f7-52d1-4320-9bac-f847db4148a\n",
        "\uff1919108f7-52d1-4320-9bac-f847db4148a8",
    ],
    ids=ascii,
)
def test_identity_is_version_5_when_the_event_id_is_a_uuid_in_another_spelling(event_id):
    """Other spellings of a UUID are texts like any other."""
    assert identity_of(event_value(event_id=event_id)) == uuid.uuid5(NAMESPACE, f"{CODE}/{event_id}")


def test_identity_of_an_event_id_does_not_depend_on_the_record():
    """The same code and `event_id` in another record, at another time, by another user is the same usage."""
    first = identity_of(event_value(event_id="order 7"), partition=1, offset=5, timestamp=1)
    again = event_value(event_id="order 7", used_by_uuid=CODE, date_used="2026-01-31T12:00Z", code_uuid=CODE.upper())
    assert identity_of(again, topic="other", partition=2, offset=9, timestamp=2) == first


def test_identity_of_an_event_id_depends_on_the_code():
    """The same `event_id` with another code is another usage."""
    assert identity_of(event_value(event_id="order 7")) != identity_of(event_value(event_id="order 7", code_uuid=USER))


coordinates = st.tuples(
    st.sampled_from([TOPIC, "usages", "a" * 200]),
    st.integers(0, 4095),
    st.integers(0, 2**62 - 1),
    st.integers(0, 2**48 - 1),
)


@given(coordinates)
def test_identity_of_a_record_is_the_formulas(record):
    """For any coordinates the identity is the one that the contract's bits give."""
    topic, partition, offset, timestamp = record
    assert identity_of(
        event_value(), topic=topic, partition=partition, offset=offset, timestamp=timestamp
    ) == version_7_of(topic, partition, offset, timestamp)


@given(coordinates, coordinates)
def test_identity_of_a_record_differs_when_a_coordinate_differs(one, other):
    """The same record yields the same identity every time, a record of other coordinates another one."""
    found = [
        identity_of(event_value(), topic=topic, partition=partition, offset=offset, timestamp=timestamp)
        for topic, partition, offset, timestamp in (one, one, other)
    ]
    assert found[0] == found[1]
    assert (found[0] == found[2]) == (one == other)


@pytest.mark.parametrize("field", ["topic", "partition", "offset", "timestamp"])
def test_identity_of_a_record_differs_when_one_coordinate_differs(field):
    """Topic, partition, offset and timestamp each make another identity."""
    record = {"topic": TOPIC, "partition": 3, "offset": 42, "timestamp": NOW_MS}
    changed = {**record, field: "other" if field == "topic" else record[field] + 1}
    assert identity_of(event_value(), **record) != identity_of(event_value(), **changed)


def test_identity_of_a_reject_is_that_of_its_record():
    """A reject has the identity that its record would have without `event_id`, even when the event has one."""
    where = {"partition": 3, "offset": 42, "timestamp": NOW_MS}
    expected = version_7_of(TOPIC, 3, 42, NOW_MS)
    assert identity_of(None, **where) == expected
    assert identity_of(event_value(event_id="order 7", code_uuid="x"), **where) == expected
    later = new_decoder().reject(
        KafkaRecord(event_value(event_id="order 7"), **where), Reason.REFUSED_BY_DATABASE, "refused"
    )
    assert later.id == expected
