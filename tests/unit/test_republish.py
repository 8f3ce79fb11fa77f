"""A retry: the message that publishes a reject again, and how it is recognized."""

import pytest
from factories import CODE, NOW_MS, TOPIC, KafkaRecord, event_value, new_decoder
from hypothesis import given
from hypothesis import strategies as st

from worker.pipeline.origin import Origin
from worker.pipeline.republish import RETRY_HEADER, attempt_of, copy_for_retry, find_retried, is_too_large
from worker.pipeline.reroute import copy_for_partition, partition_of

records = st.builds(
    KafkaRecord,
    value=st.none() | st.binary(max_size=50),
    offset=st.integers(0, 2**63 - 1),
    partition=st.integers(0, 5000),
    topic=st.sampled_from([TOPIC, "other"]),
    timestamp=st.none() | st.integers(-1, 2**48 - 1),
    key=st.none() | st.binary(max_size=50),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["a", "", "referrals-origin-topic", "referrals-origin-offset", RETRY_HEADER]),
            st.none() | st.binary(max_size=5),
        ),
        max_size=4,
    ).map(tuple),
)


def as_read(message, *, partition=3, offset=7_000):
    """Return a message as the record that a worker reads later."""
    return KafkaRecord(message.value, offset, partition, message.topic, NOW_MS, message.key, tuple(message.headers))


@given(records, st.integers(1, 999_999_999))
def test_copy_for_retry_is_the_same_record(record, attempt):
    """Whatever a record holds, its retry has its value, key and identity, and is recognized with its number."""
    decoder = new_decoder()
    again = as_read(copy_for_retry(record, attempt, 8))
    is_null = record.value is None and record.key is None
    assert (again.value, again.key) == (record.value, b"" if is_null else record.key)
    assert decoder.id_of_reject(again) == decoder.id_of_reject(record)
    assert attempt_of(again) == attempt
    assert find_retried([record, again], decoder.id_of_reject)[again.offset] == (
        decoder.id_of_reject(record),
        record.value,
    )


@given(records)
def test_copy_of_a_retry_is_the_same_record(record):
    """A retry that is rejected and retried again, and sent on to another partition between, keeps its identity."""
    decoder = new_decoder()
    again = as_read(copy_for_retry(record, 1, 8))
    moved = as_read(copy_for_partition(again, b"c" * 16, 5), partition=5, offset=9_000)
    third = as_read(copy_for_retry(moved, 2, 8), offset=9_001)
    assert Origin.of(third) == Origin.of(again)
    assert decoder.id_of_reject(third) == decoder.id_of_reject(record)
    assert attempt_of(moved) == 1
    assert attempt_of(third) == 2


def test_copy_for_retry_keeps_headers_in_their_order():
    """The producer's headers come first and unchanged, then ours; an earlier number is gone."""
    record = KafkaRecord(b"x", headers=(("a", b"\0"), (RETRY_HEADER, b"4"), ("a", None)))
    headers = copy_for_retry(record, 5, 8).headers
    assert headers[:2] == [("a", b"\0"), ("a", None)]
    assert [name for name, _ in headers[2:]] == [
        "referrals-origin-topic",
        "referrals-origin-partition",
        "referrals-origin-offset",
        "referrals-origin-timestamp",
        RETRY_HEADER,
    ]


def test_copy_for_retry_goes_to_the_partition_of_its_code():
    """A record with a code goes where its code belongs, another one wherever its key leads."""
    assert copy_for_retry(KafkaRecord(event_value()), 1, 8).partition == partition_of(CODE, 8)
    assert copy_for_retry(KafkaRecord(event_value(date_used="2099-01-01T00:00Z")), 1, 8).partition is not None
    assert copy_for_retry(KafkaRecord(b"\xff"), 1, 8).partition is None
    assert copy_for_retry(KafkaRecord(None), 1, 8).partition is None


@pytest.mark.parametrize("value", [None, b"", b"0", b"-1", b"+1", b" 1", b"01", b"1.0", b"1234567890", b"\xd9\xa1"])
def test_attempt_of_takes_nothing_but_a_number(value):
    """A header that no retry of ours writes is none, and no number is larger than the row holds."""
    assert attempt_of(KafkaRecord(b"", headers=((RETRY_HEADER, value),))) is None


def test_find_retried_looks_at_no_record_without_headers():
    """What costs something is done for records with headers alone."""

    def id_of_reject(_record):
        raise AssertionError("asked for")

    assert find_retried([KafkaRecord(event_value(), offset) for offset in range(3)], id_of_reject) == {}
    assert find_retried([KafkaRecord(b"", headers=(("a", b"b"),))], id_of_reject) == {}


def test_too_large_is_what_a_producer_refuses():
    """Value, key and headers together decide; 64 KiB are far below."""
    assert not is_too_large(copy_for_retry(KafkaRecord(b"v" * 980_000), 1, 8))
    assert is_too_large(copy_for_retry(KafkaRecord(b"v" * 990_001), 1, 8))
    assert is_too_large(
        copy_for_retry(KafkaRecord(b"v" * 600_000, key=b"k" * 200_000, headers=(("h", b"h" * 200_000),)), 1, 8)
    )
