"""What is written about a reject: the copy for the dead-letter topic."""

import pytest
from factories import NOW_MS, TOPIC, KafkaRecord, decode_one, event_value, new_decoder
from hypothesis import given
from hypothesis import strategies as st

from schemas import Reason
from worker.pipeline.rejects import COPIED_KEY_MAX_BYTES, COPIED_VALUE_MAX_BYTES, dead_letter

MESSAGE_MAX_BYTES = 1_000_000


def copy_of(record: KafkaRecord):
    return dead_letter(decode_one(record), "rejected")


def said(message) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers}


def test_dead_letter_says_why_and_whence():
    """The copy has the raw value and key, and headers for id, reason, detail and coordinates."""
    record = KafkaRecord(b"\xff\0", offset=42, partition=3, timestamp=NOW_MS, key=b"\xfe\0", headers=(("a", b"b"),))
    reject = decode_one(record)
    message = dead_letter(reject, "rejected")
    assert (message.topic, message.key, message.value) == ("rejected", b"\xfe\0", b"\xff\0")
    assert said(message) == {
        "referrals-id": str(reject.id),
        "referrals-reason": "not_json",
        "referrals-detail": reject.detail,
        "referrals-topic": TOPIC,
        "referrals-partition": "3",
        "referrals-offset": "42",
        "referrals-timestamp": str(NOW_MS),
        "referrals-value-bytes": "2",
    }


def test_dead_letter_of_a_null_value_is_null():
    """A null value stays null, and its length is 0."""
    message = copy_of(KafkaRecord(None, key=b"k"))
    assert (message.key, message.value) == (b"k", None)
    assert said(message)["referrals-value-bytes"] == "0"


@pytest.mark.parametrize("key", [None, b"k" * (COPIED_KEY_MAX_BYTES + 1)], ids=["null", "too large"])
def test_dead_letter_of_nulls_has_an_empty_key(key):
    """A producer sends no record without key and value: the copy's key is empty, and the worker goes on."""
    message = copy_of(KafkaRecord(None, key=key))
    assert (message.key, message.value) == (b"", None)


def test_dead_letter_says_no_timestamp_when_the_record_has_none():
    """A record without timestamp has no such header."""
    assert "referrals-timestamp" not in said(copy_of(KafkaRecord(None, timestamp=None)))


def test_dead_letter_is_cut_when_the_value_is_too_large_for_the_producer():
    """The copy of a huge value is its start; its whole length stands in a header."""
    value = bytes(range(256)) * 4000
    message = copy_of(KafkaRecord(value))
    assert message.value == value[:COPIED_VALUE_MAX_BYTES]
    assert said(message)["referrals-value-bytes"] == "1024000"


def test_dead_letter_has_no_key_when_the_key_is_large():
    """A key that would not fit beside a large value is left out; one at the limit stays."""
    assert copy_of(KafkaRecord(b"v", key=b"k" * COPIED_KEY_MAX_BYTES)).key == b"k" * COPIED_KEY_MAX_BYTES
    assert copy_of(KafkaRecord(b"v", key=b"k" * (COPIED_KEY_MAX_BYTES + 1))).key is None


def test_dead_letter_fits_into_a_message_whatever_the_record_holds():
    """The largest copy is below what a producer takes."""
    record = KafkaRecord(b"v" * 5_000_000, key=b"k" * COPIED_KEY_MAX_BYTES, headers=(("h", b"x" * 500_000),))
    message = dead_letter(new_decoder().reject(record, Reason.TOO_LARGE, "\U000e0001" * 10_000), "rejected")
    size = len(message.key) + len(message.value) + sum(len(name) + len(value) for name, value in message.headers)
    assert size < MESSAGE_MAX_BYTES - 1000


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("a" * 10_000, id="long"),
        pytest.param("\n" * 10_000, id="line ends"),
        pytest.param("\0" * 10_000, id="NUL"),
        pytest.param("\u00e9" * 10_000, id="accents"),
        pytest.param("\u00e9\n" * 10_000, id="accents and line ends"),
        pytest.param("\U000e0001" * 10_000, id="unprintable beyond the BMP"),
        pytest.param("\ud800" * 10_000, id="lone surrogates"),
    ],
)
def test_reject_detail_is_short_and_printable(words):
    """Whatever the database said about a row, at most 500 printable characters of it are written."""
    reject = new_decoder().reject(KafkaRecord(event_value()), Reason.REFUSED_BY_DATABASE, words)
    detail = said(dead_letter(reject, "rejected"))["referrals-detail"]
    assert detail.isprintable()
    assert len(detail) <= 500


@given(st.text(max_size=100))
def test_reject_detail_keeps_printable_words(words):
    """Words that can be printed are written as they are."""
    reject = new_decoder().reject(KafkaRecord(event_value()), Reason.REFUSED_BY_DATABASE, words)
    detail = said(dead_letter(reject, "rejected"))["referrals-detail"]
    assert detail.isprintable()
    if words.isprintable():
        assert detail == words
