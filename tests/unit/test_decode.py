"""The contract of the usage event: every row of its table, every sentence under it, every reason to reject."""

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
from factories import (
    CODE,
    FUTURE_MAX_S,
    NOW_MS,
    NOW_S,
    NOW_US,
    TOPIC,
    USER,
    KafkaRecord,
    decode_one,
    event_text,
    event_value,
    new_decoder,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import Reason, UsageEvent
from schemas.fields import UUID_PATTERN
from worker.pipeline.decode import NAMESPACE, Decoder, Reject
from worker.pipeline.rejects import dead_letter
from worker.pipeline.usages import Usage, Usages

LIMIT_BYTES = 64 * 1024
DEEPEST = 200
MOST_DIGITS = 4300


def reason_of(value: bytes | None, **record) -> Reason:
    item = decode_one(KafkaRecord(value, **record))
    assert isinstance(item, Reject), f"taken as {item}"
    return item.reason


def usage_of(value: bytes | None, **record) -> Usage:
    item = decode_one(KafkaRecord(value, **record))
    assert isinstance(item, Usage), f"rejected: {item.reason}, {item.detail}"
    return item


def date_us_of(text: str) -> int:
    return usage_of(event_value(date_used=text)).date_us


def us(text: str) -> int:
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1)


def padded(size: int) -> bytes:
    """Return a valid event of so many bytes, filled up in an unknown field."""
    bare = event_text('"x":""')
    return event_text(f'"x":"{"a" * (size - len(bare))}"')


def test_decode_takes_the_least_event():
    """An event of the two required fields is a usage of that code by that user, dated by its record."""
    taken = usage_of(event_value(), offset=7, timestamp=NOW_MS - 5)
    assert taken.code == UUID(CODE).bytes
    assert taken.user == UUID(USER).bytes
    assert taken.date_us == (NOW_MS - 5) * 1000
    assert taken.offset == 7


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, Reason.EMPTY, id="null"),
        pytest.param(b"", Reason.EMPTY, id="no bytes"),
        pytest.param(b" \n", Reason.NOT_JSON, id="white space"),
        pytest.param(b"\xff\xfe\xfd", Reason.NOT_JSON, id="not utf-8"),
        pytest.param(event_value().decode().encode("utf-16"), Reason.NOT_JSON, id="utf-16"),
        pytest.param(event_value().decode().encode("utf-32"), Reason.NOT_JSON, id="utf-32"),
        pytest.param(event_text('"x":"').removesuffix(b"}") + b'\xff"}', Reason.NOT_JSON, id="not utf-8 in unknown"),
        pytest.param(event_text('"x').removesuffix(b"}") + b'\xc0\xaf":1}', Reason.NOT_JSON, id="not utf-8 in a name"),
        pytest.param(b"\xef\xbb\xbf" + event_value(), Reason.NOT_JSON, id="a BOM"),
        pytest.param(event_value()[:-1], Reason.NOT_JSON, id="cut off"),
        pytest.param(event_value() + event_value(), Reason.NOT_JSON, id="two objects"),
        pytest.param(event_value() + b"\0", Reason.NOT_JSON, id="NUL behind"),
        pytest.param(event_value().replace(b'"', b"'"), Reason.NOT_JSON, id="single quotes"),
        pytest.param(event_text('"x":1,'), Reason.NOT_JSON, id="trailing comma"),
        pytest.param(event_text('"x":"\n"'), Reason.NOT_JSON, id="bare control character"),
        pytest.param(event_text(r'"x":"\ud800"'), Reason.NOT_JSON, id="lone surrogate in unknown"),
        pytest.param(event_text(r'"\udc00":1'), Reason.NOT_JSON, id="lone surrogate in a name"),
        pytest.param(event_text(r'"event_id":"\ud83d"'), Reason.NOT_JSON, id="lone surrogate in event_id"),
        pytest.param(b"[" * 1000, Reason.NOT_JSON, id="deep, open"),
        pytest.param(b"[" * 1000 + b"]" * 1000, Reason.NOT_JSON, id="deep, closed"),
        pytest.param(b'{"a":' * 1000 + b"1" + b"}" * 1000, Reason.NOT_JSON, id="deep objects"),
        pytest.param(
            event_text(f'"x":{"[" * (DEEPEST + 1)}{"]" * (DEEPEST + 1)}'), Reason.NOT_JSON, id="deep in unknown"
        ),
        pytest.param(event_text(f'"x":{"9" * (MOST_DIGITS + 1)}'), Reason.NOT_JSON, id="huge number in unknown"),
        pytest.param(event_text(f'"event_id":-{"9" * 60_000}'), Reason.NOT_JSON, id="huge number in event_id"),
        pytest.param(json.dumps([json.loads(event_value())]).encode(), Reason.NOT_AN_OBJECT, id="array"),
        pytest.param(b"[]", Reason.NOT_AN_OBJECT, id="empty array"),
        pytest.param(b"null", Reason.NOT_AN_OBJECT, id="json null"),
        pytest.param(b"true", Reason.NOT_AN_OBJECT, id="true"),
        pytest.param(b"1", Reason.NOT_AN_OBJECT, id="number"),
        pytest.param(b"NaN", Reason.NOT_AN_OBJECT, id="NaN"),
        pytest.param(json.dumps(event_value().decode()).encode(), Reason.NOT_AN_OBJECT, id="text holding an event"),
        pytest.param(b"{}", Reason.MISSING_FIELD, id="empty object"),
    ],
)
def test_decode_rejects_what_is_no_json_object(value, reason):
    """A value that is not one UTF-8 JSON object is rejected for what it is instead."""
    assert reason_of(value) is reason


def test_decode_takes_a_value_of_64_kib():
    """A value of exactly 64 KiB is still an event."""
    value = padded(LIMIT_BYTES)
    assert len(value) == LIMIT_BYTES
    usage_of(value)


@pytest.mark.parametrize("size", [LIMIT_BYTES + 1, 70 * 1024, 900_000])
def test_decode_rejects_a_value_when_it_is_larger_than_64_kib(size):
    """One byte above 64 KiB is too large, however good the event is."""
    assert reason_of(padded(size)) is Reason.TOO_LARGE


def test_decode_says_too_large_before_not_json():
    """A large value is not parsed: its size is the reason."""
    assert reason_of(b"\xff" * (LIMIT_BYTES + 1)) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "member",
    [
        '"x":NaN',
        '"x":-Infinity',
        '"x":1e999',
        '"x":null',
        r'"x":"\u0000"',
        f'"x":{"9" * MOST_DIGITS}',
        f'"x":{"[" * (DEEPEST - 2)}{"]" * (DEEPEST - 2)}',
        '"usage_limit":{"code_uuid":5}',
        '"Code_UUID":5',
        '"":1',
    ],
    ids=lambda member: member[:24],
)
def test_decode_ignores_unknown_fields(member):
    """Fields that the worker does not know are ignored, whatever JSON they hold."""
    assert usage_of(event_text(member)) == usage_of(event_value())


@pytest.mark.parametrize("space", [b" ", b"\n", b"\t", b"\r\n"], ids=repr)
def test_decode_takes_white_space_around_the_object(space):
    """White space of JSON before and after the object does not matter."""
    assert usage_of(space + event_value() + space) == usage_of(event_value())


@pytest.mark.parametrize("field", ["code_uuid", "used_by_uuid"])
def test_decode_takes_the_last_of_duplicate_keys(field):
    """When a field occurs twice the last one counts, and the first is not even looked at."""
    other = "2290a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1d"
    first_bad = event_text(f'"{field}":"{other}"').replace(f'"{field}":"'.encode(), f'"{field}":5,"x":"'.encode(), 1)
    taken = usage_of(first_bad)
    assert (taken.code if field == "code_uuid" else taken.user) == UUID(other).bytes
    assert reason_of(event_text(f'"{field}":""')) is Reason.INVALID_UUID


@pytest.mark.parametrize("field", ["code_uuid", "used_by_uuid"])
def test_decode_rejects_an_event_when_a_required_field_is_absent(field):
    """An event without its code or its user misses a field, and the detail names it."""
    fields = json.loads(event_value())
    del fields[field]
    item = decode_one(KafkaRecord(json.dumps(fields).encode()))
    assert (item.reason, item.detail) == (Reason.MISSING_FIELD, f"{field} is missing")


@pytest.mark.parametrize("field", ["code_uuid", "used_by_uuid"])
def test_decode_rejects_an_event_when_a_required_field_is_null(field):
    """A required field that is null is missing, and the detail names it."""
    item = decode_one(KafkaRecord(event_value(**{field: None})))
    assert (item.reason, item.detail) == (Reason.MISSING_FIELD, f"{field} is null")


@pytest.mark.parametrize("field", ["date_used", "event_id"])
def test_decode_takes_null_as_absent_for_an_optional_field(field):
    """A null `date_used` or `event_id` is the same as none."""
    assert usage_of(event_value(**{field: None})) == usage_of(event_value())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"code_uuid": None, "used_by_uuid": "x", "date_used": "x", "event_id": ""}, Reason.MISSING_FIELD),
        ({"used_by_uuid": "x", "date_used": "x", "event_id": ""}, Reason.INVALID_UUID),
        ({"date_used": "x", "event_id": ""}, Reason.INVALID_DATE),
        ({"event_id": ""}, Reason.INVALID_EVENT_ID),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, dict) else None,
)
def test_decode_names_every_bad_field_when_there_are_several(fields, reason):
    """Of several faults the first in the order missing, UUID, date, event id is the reason; the detail names all."""
    item = decode_one(KafkaRecord(event_value(**fields)))
    assert item.reason is reason
    for field in fields:
        assert field in item.detail


FULL_WIDTH_ZERO = "\uff10"


@pytest.mark.parametrize("field", ["code_uuid", "used_by_uuid"])
@pytest.mark.parametrize(
    "given_uuid",
    [
        pytest.param("urn:uuid:" + CODE, id="urn"),
        pytest.param("{" + CODE + "}", id="braces"),
        pytest.param(CODE.replace("-", ""), id="no hyphens"),
        pytest.param(CODE[:-1], id="35 characters"),
        pytest.param(CODE + "0", id="37 characters"),
        pytest.param(CODE + "\n", id="trailing newline"),
        pytest.param(" " + CODE, id="leading space"),
        pytest.param(CODE[:-1] + "\n", id="newline as the 36th"),
        pytest.param(CODE[:-1] + "g", id="not hexadecimal"),
        pytest.param(FULL_WIDTH_ZERO + CODE[1:], id="full-width digit"),
        pytest.param(CODE.replace("-", "\u2010"), id="typographic hyphens"),
        pytest.param(CODE.replace("-", "_"), id="underscores"),
        pytest.param(CODE[:7] + "-" + CODE[7] + CODE[9:], id="hyphen moved"),
        pytest.param(CODE[:-1] + "\0", id="NUL"),
        pytest.param("", id="empty"),
        pytest.param(UUID(CODE).int, id="number"),
        pytest.param(1, id="small number"),
        pytest.param(1.5, id="fraction"),
        pytest.param(True, id="true"),
        pytest.param([CODE], id="array"),
        pytest.param({"uuid": CODE}, id="object"),
    ],
)
def test_decode_rejects_a_uuid_in_any_other_spelling(field, given_uuid):
    """A code or user that is not 36 characters with hyphens is an invalid UUID, and the detail names the field."""
    item = decode_one(KafkaRecord(event_value(**{field: given_uuid})))
    assert isinstance(item, Reject)
    assert item.reason is Reason.INVALID_UUID
    assert item.detail.startswith(field + " ")


@pytest.mark.parametrize("field", ["code_uuid", "used_by_uuid"])
@pytest.mark.parametrize(
    "given_uuid",
    [
        pytest.param(CODE.upper(), id="upper case"),
        pytest.param(CODE.swapcase().title(), id="mixed case"),
        pytest.param("00000000-0000-0000-0000-000000000000", id="nil"),
        pytest.param("ffffffff-ffff-ffff-ffff-ffffffffffff", id="max"),
        pytest.param("c232ab00-9414-11ec-b3c8-9f6bdeced846", id="version 1"),
        pytest.param("5df41881-3aed-3515-88a7-2f4a814cf09e", id="version 3"),
        pytest.param("919108f7-52d1-4320-9bac-f847db4148a8", id="version 4"),
        pytest.param("12345678-1234-f234-c234-123456789abc", id="no version, another variant"),
    ],
)
def test_decode_takes_a_uuid_of_any_version_in_any_case(field, given_uuid):
    """Any version and any case of the 36-character form is the same UUID."""
    taken = usage_of(event_value(**{field: given_uuid}))
    assert (taken.code if field == "code_uuid" else taken.user) == UUID(given_uuid).bytes


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31 12:00+02:00", "2026-01-31T10:00:00+00:00"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00+00:00"),
        ("2026-01-31T12:00:00-0330", "2026-01-31T15:30:00+00:00"),
        ("2026-01-31T12:00:00+0000", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00-00:00", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T00:00:00+23:59", "2026-01-30T00:01:00+00:00"),
        ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500000+00:00"),
        ("2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:00.000001+00:00"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456+00:00"),
        ("2024-02-29T00:00Z", "2024-02-29T00:00:00+00:00"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"),
        ("1970-01-01T05:00:00+05:00", "1970-01-01T00:00:00+00:00"),
        ("1969-12-31T19:00:00-05:00", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_decode_takes_rfc_3339_times_with_an_offset(text, same):
    """`T` or space, seconds and their fraction optional, `Z`, `+hh:mm` or `+hhmm`: the same moment, to microseconds."""
    assert date_us_of(text) == us(same)


@pytest.mark.parametrize(
    "given_date",
    [
        pytest.param(1_769_860_800, id="number"),
        pytest.param(1_769_860_800.5, id="fraction"),
        pytest.param(0, id="zero"),
        pytest.param(True, id="true"),
        pytest.param("1769860800", id="numeric string"),
        pytest.param("1769860800000", id="numeric string of milliseconds"),
        pytest.param("2026-01-31", id="date alone"),
        pytest.param("12:00:00Z", id="time alone"),
        pytest.param("2026-01-31T12:00:00", id="no offset"),
        pytest.param("2026-01-31 12:00", id="no seconds and no offset"),
        pytest.param("2026-01-31T12Z", id="no minutes"),
        pytest.param("2026-01-31T12:00:00,5Z", id="comma fraction"),
        pytest.param("2026-01-31T12:00:00.Z", id="point without fraction"),
        pytest.param("2026-01-31T12:00.5Z", id="fraction of a minute"),
        pytest.param("2026-01-31t12:00:00Z", id="lower-case t"),
        pytest.param("2026-01-31T12:00:00z", id="lower-case z"),
        pytest.param("2026-01-31_12:00:00Z", id="underscore"),
        pytest.param("2026-01-31  12:00:00Z", id="two spaces"),
        pytest.param("2026-01-31T12:00:00 Z", id="space before the offset"),
        pytest.param("2026-01-31T12:00:00 UTC", id="zone by name"),
        pytest.param("2026-01-31T12:00:00+05", id="offset of hours"),
        pytest.param("2026-01-31T12:00:00+5:00", id="offset of one digit"),
        pytest.param("2026-01-31T12:00:00+05:00:30", id="offset with seconds"),
        pytest.param("2026-01-31T12:00:00\u221205:00", id="typographic minus"),
        pytest.param("2026-01-31T12:00:00+24:00", id="offset of a day"),
        pytest.param("2026-01-31T12:00:00+12:60", id="offset of 60 minutes"),
        pytest.param("2026-01-31T12:00:00Z\n", id="trailing newline"),
        pytest.param(" 2026-01-31T12:00:00Z", id="leading space"),
        pytest.param("20260131T120000Z", id="basic format"),
        pytest.param("2026-1-31T12:00:00Z", id="month of one digit"),
        pytest.param("2026-W05-6T12:00:00Z", id="week date"),
        pytest.param("12026-01-31T12:00:00Z", id="year of five digits"),
        pytest.param("+2026-01-31T12:00:00Z", id="signed year"),
        pytest.param("\uff12026-01-31T12:00:00Z", id="full-width digit"),
        pytest.param("Sat, 31 Jan 2026 12:00:00 GMT", id="RFC 2822"),
        pytest.param("now", id="word"),
        pytest.param("", id="empty"),
        pytest.param(["2026-01-31T12:00:00Z"], id="array"),
        pytest.param({}, id="object"),
        pytest.param("2026-02-30T00:00:00Z", id="February 30"),
        pytest.param("2026-02-29T00:00:00Z", id="February 29 of no leap year"),
        pytest.param("2026-00-10T00:00:00Z", id="month 0"),
        pytest.param("2026-13-10T00:00:00Z", id="month 13"),
        pytest.param("2026-01-31T24:00:00Z", id="hour 24"),
        pytest.param("2026-01-31T12:60:00Z", id="minute 60"),
        pytest.param("2016-12-31T23:59:60Z", id="leap second"),
        pytest.param("0000-01-01T00:00:00Z", id="year 0"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before the calendar in UTC"),
        pytest.param("0001-01-01T00:00+14:00", id="before the calendar in UTC, no seconds"),
        pytest.param("0001-01-01T00:00+00:01", id="a minute before the calendar in UTC"),
        pytest.param("9999-12-31T23:59:59-14:00", id="after the calendar in UTC"),
        pytest.param("9999-12-31T23:59:59.999999-00:01", id="a minute after the calendar in UTC"),
    ],
)
def test_decode_rejects_a_date_in_any_other_form(given_date):
    """Numbers, numeric strings, dates without time or offset, and days that are none are invalid dates."""
    item = decode_one(KafkaRecord(event_value(date_used=given_date)))
    assert isinstance(item, Reject)
    assert item.reason is Reason.INVALID_DATE
    assert item.detail.startswith("date_used ")


@pytest.mark.parametrize(
    "text",
    [
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:59:59+01:00",
        "1900-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T14:00:00+14:00",
    ],
)
def test_decode_rejects_a_date_before_1970(text):
    """A moment before 1970 in UTC is too old."""
    assert reason_of(event_value(date_used=text)) is Reason.DATE_TOO_OLD


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59.999999Z", "9999-12-31T09:59:59-14:00", "2100-01-01T00:00Z"])
def test_decode_rejects_a_date_far_in_the_future(text):
    """A far moment that UTC can still express is in the future, not invalid."""
    assert reason_of(event_value(date_used=text)) is Reason.DATE_IN_FUTURE


def test_decode_takes_a_date_exactly_as_far_ahead_as_allowed():
    """300 s ahead of the worker's clock is taken, as it stands; a microsecond more is in the future."""
    latest = datetime.fromtimestamp(NOW_S + FUTURE_MAX_S, UTC)
    assert date_us_of(latest.isoformat()) == NOW_US + FUTURE_MAX_S * 1_000_000
    above = latest + timedelta(microseconds=1)
    assert reason_of(event_value(date_used=above.isoformat())) is Reason.DATE_IN_FUTURE


@pytest.mark.parametrize(
    ("timestamp", "date_us"),
    [
        pytest.param(None, NOW_US, id="absent"),
        pytest.param(-1, NOW_US, id="negative, as Kafka says absent"),
        pytest.param(0, 0, id="1970"),
        pytest.param(NOW_MS - 1, NOW_US - 1000, id="past"),
        pytest.param(NOW_MS + FUTURE_MAX_S * 1000, NOW_US + FUTURE_MAX_S * 1_000_000, id="as far ahead as allowed"),
        pytest.param(NOW_MS + FUTURE_MAX_S * 1000 + 1, NOW_US, id="too far ahead"),
        pytest.param(2**63 - 1, NOW_US, id="the largest"),
        pytest.param(-(2**63), NOW_US, id="the least"),
    ],
)
def test_decode_dates_an_event_without_date_by_its_record(timestamp, date_us):
    """Without `date_used` the record's timestamp counts, and the time of processing where that is absent or too far."""
    assert usage_of(event_value(), timestamp=timestamp).date_us == date_us


def test_decode_prefers_the_events_date_over_the_records():
    """A `date_used` counts whatever timestamp the record has."""
    taken = usage_of(event_value(date_used="2026-01-31T12:00Z"), timestamp=NOW_MS + 10**9)
    assert taken.date_us == us("2026-01-31T12:00:00+00:00")


def test_decode_judges_all_records_at_one_moment():
    """The clock is read once for a run, so records of one run are dated alike."""
    ticks = iter([NOW_S, NOW_S + 10, NOW_S + 20])
    decoder = Decoder(TOPIC, future_max_s=FUTURE_MAX_S, clock=lambda: next(ticks))
    decoded = decoder.decode([KafkaRecord(event_value(), offset, timestamp=None) for offset in range(3)])
    assert [usage.date_us for usage in decoded.usages] == [NOW_US] * 3


@pytest.mark.parametrize(
    "event_id",
    ["a", "a" * 255, "\U0001f600" * 255, " ", "\n", "null", "order 7/1", "é\u202e\u0301", "\x7f\x01"],
    ids=lambda event_id: f"{len(event_id)} {event_id[:6]!a}",
)
def test_decode_takes_an_event_id_of_1_to_255_characters(event_id):
    """Any text of 1 to 255 characters (not bytes) identifies a usage."""
    assert usage_of(event_value(event_id=event_id)).uuid != usage_of(event_value()).uuid


@pytest.mark.parametrize(
    "event_id",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * 256, id="256 characters"),
        pytest.param("\0", id="NUL"),
        pytest.param("a\0b", id="NUL within"),
        pytest.param("a" * 254 + "\0", id="NUL at the end"),
        pytest.param(5, id="number"),
        pytest.param(1.5, id="fraction"),
        pytest.param(False, id="false"),
        pytest.param(["a"], id="array"),
        pytest.param({"a": 1}, id="object"),
    ],
)
def test_decode_rejects_any_other_event_id(event_id):
    """Empty, too long, with NUL or not a text: an invalid event id, and the detail names the field."""
    item = decode_one(KafkaRecord(event_value(event_id=event_id)))
    assert isinstance(item, Reject)
    assert item.reason is Reason.INVALID_EVENT_ID
    assert item.detail.startswith("event_id ")


def test_decode_gives_each_record_its_own_verdict():
    """Bad records among good ones change nothing about their neighbours, and the order stays."""
    good, unbalanced = event_value(), [b"],[", b'{"code_uuid":"', event_value()[:-1], b"}", b",", b'"']
    values = [value for bad in [None, *unbalanced] for value in (bad, good)]
    usages, rejects = new_decoder().decode([KafkaRecord(value, offset) for offset, value in enumerate(values)])
    assert [reject.record.offset for reject in rejects] == list(range(0, 14, 2))
    assert [usage.offset for usage in usages] == list(range(1, 14, 2))
    assert {(usage.code, usage.user) for usage in usages} == {(UUID(CODE).bytes, UUID(USER).bytes)}


def altered(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts, some with another character in one place, or with characters moved from one place to another."""

    def put(text: str, place: int, character: str) -> str:
        return text[:place] + character + text[place + len(character) :]

    def swap(text: str, first: int, second: int) -> str:
        return put(put(text, first, text[second : second + 1]), second, text[first : first + 1])

    places = st.integers(0, 35)
    characters = st.sampled_from("-0aFgZ:.+ T_\0\u0661é€") | st.characters(codec="utf-8")
    return texts | st.builds(put, texts, places, characters) | st.builds(swap, texts, places, places)


uuid_texts = st.uuids().map(str) | st.uuids().map(lambda value: str(value).upper())
date_texts = st.from_regex(
    r"(19|20|00|99)[0-9]{2}-(0[0-9]|1[0-3])-[0-3][0-9][Tt ]"
    r"([01][0-9]|2[0-4]):[0-6][0-9](:[0-6][0-9]([.,][0-9]{1,12})?)?"
    r"([Zz]|[+-](0[0-9]|1[0-9]|2[0-4]):?[0-6][0-9])?",
    fullmatch=True,
)
plain_dates = st.integers(-(10**14), NOW_US + 10**14).map(
    lambda date_us: (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=date_us)).isoformat()
)
plain_dates |= plain_dates.map(lambda text: text.replace("+00:00", "Z"))


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(
        st.tuples(
            altered(uuid_texts), altered(uuid_texts),
            st.none() | altered(plain_dates) | date_texts, st.none() | altered(uuid_texts) | st.text(max_size=40),
        ),
        max_size=4,
    )
)  # fmt: skip
@example([(CODE.replace("-", "x", 1), USER, None, None), (CODE, USER, None, None)])
@example([(CODE, USER, None, "evt_" + "0" * 32)])
@example([(CODE, USER, None, "12345678-not-a-uuid-but-of-its-length"[:36])])
@example([(CODE[:-1] + "\u0661", USER, None, None)])
@example([(CODE[1:], USER + "0", None, None)])
@example([(CODE.replace("-", "") + "----", USER, None, None)])
@example([(CODE, USER, "2025-01-31T12:00:00.123456789Z", None)])
@example([(CODE, USER, "2025-01-31T24:00:00Z", None)])
@example([(CODE.replace("-", "x", 1), USER, "2099-01-31T12:00:00Z", None)])
@example([(CODE, USER, "0000-01-31T12:00:00Z", None)])
def test_decode_takes_what_the_model_takes(given_fields):
    """However the decoder reads an event, it takes what `UsageEvent` takes, and understands it alike."""
    names = ("code_uuid", "used_by_uuid", "date_used", "event_id")
    values = [
        json.dumps({name: text for name, text in zip(names, texts, strict=True) if text is not None}).encode()
        for texts in given_fields
    ]
    usages, rejects = new_decoder().decode([KafkaRecord(value, offset) for offset, value in enumerate(values)])
    taken = {usage.offset: usage for usage in usages}
    assert taken.keys().isdisjoint(rejected := {reject.record.offset: reject.reason for reject in rejects})
    for offset, value in enumerate(values):
        try:
            event = UsageEvent.model_validate_json(value)
        except ValidationError:
            assert rejected[offset] not in {Reason.DATE_TOO_OLD, Reason.DATE_IN_FUTURE}
            continue
        if event.date_used is not None:
            date_us = (event.date_used - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            if not 0 <= date_us <= NOW_US + FUTURE_MAX_S * 1_000_000:
                assert offset in rejected
                continue
            assert taken[offset].date_us == date_us
        assert taken[offset].code == UUID(event.code_uuid).bytes
        assert taken[offset].user == UUID(event.used_by_uuid).bytes
        assert taken[offset].uuid == identity_of(event, offset)


def identity_of(event: UsageEvent, offset: int) -> bytes:
    """Return what an event with an event id must be known by; of one without, what the decoder says of it alone."""
    if event.event_id is None:
        return usage_of(event_value(), offset=offset).uuid
    if re.fullmatch(UUID_PATTERN, event.event_id):
        return UUID(event.event_id).bytes
    return uuid5(NAMESPACE, f"{event.code_uuid}/{event.event_id}").bytes


def test_decode_returns_nothing_for_no_records():
    """A run without records has no verdicts."""
    assert new_decoder().decode([]) == (Usages(), [])


def said_of(item: Reject) -> dict[str, str]:
    """Return the headers that the worker writes about a reject."""
    return {name.removeprefix("referrals-"): value.decode() for name, value in dead_letter(item, "rejected").headers}


SECRET = "hunter2-" * 100


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(event_value(code_uuid=SECRET), id="code_uuid"),
        pytest.param(event_value(code_uuid=[SECRET] * 50), id="array"),
        pytest.param(event_value(code_uuid={SECRET: SECRET}), id="object"),
        pytest.param(event_value(date_used=SECRET), id="date_used"),
        pytest.param(event_value(event_id=SECRET), id="event_id"),
        pytest.param(event_value(code_uuid=SECRET, used_by_uuid=SECRET, date_used=SECRET, event_id=SECRET), id="all"),
        pytest.param(event_text(f'"code_uuid":{"9" * MOST_DIGITS}'), id="number"),
        pytest.param(SECRET.encode(), id="no json"),
        pytest.param(json.dumps(SECRET).encode(), id="text"),
        pytest.param(SECRET.encode() * 100, id="large"),
    ],
)
def test_reject_detail_dumps_no_payload(value):
    """A detail quotes the start of what is wrong with a field, 60 characters at most, never the value."""
    detail = said_of(decode_one(KafkaRecord(value)))["detail"]
    assert 0 < len(detail) <= 500
    assert detail.count("hunter2-") <= 4 * 60 // len("hunter2-")
    assert "9" * 61 not in detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "code_uuid": st.just(CODE) | st.uuids().map(str) | json_values,
        "used_by_uuid": st.just(USER) | st.uuids().map(lambda value: value.hex) | json_values,
        "date_used": st.datetimes().map(lambda date: date.isoformat() + "Z") | json_values,
        "event_id": st.text(max_size=300) | json_values,
        "x": json_values,
    },
)
values = (
    st.none()
    | st.binary(max_size=200)
    | fields.map(lambda given_fields: json.dumps(given_fields).encode())
    | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
header_names = st.text(max_size=10) | st.sampled_from(
    [f"referrals-origin-{part}" for part in ("topic", "partition", "offset", "timestamp")]
)
records = st.builds(
    KafkaRecord,
    value=values,
    offset=st.integers(0, 2**63 - 1),
    partition=st.integers(0, 2**31 - 1),
    timestamp=st.none() | st.integers(-(2**63), 2**63 - 1),
    key=st.none() | st.binary(max_size=40),
    headers=st.lists(
        st.tuples(header_names, st.none() | st.binary(max_size=20) | st.integers().map(lambda n: str(n).encode())),
        max_size=5,
    ).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(records, max_size=4))
@example([KafkaRecord(event_text(f'"code_uuid":[{"9" * MOST_DIGITS}]'))])
@example([KafkaRecord(event_value(event_id="\u2028\u202e\x1b[31m"))])
@example([KafkaRecord(event_value(code_uuid="\u2028\u202e\x1b[31m"))])
def test_decode_never_raises(given_records):
    """Whatever a record holds, it is a usage that can be stored or a reject whose written words are short and plain."""
    usages, rejects = new_decoder().decode(given_records)
    assert len(usages) + len(rejects) == len(given_records)
    items = [decode_one(record) for record in given_records]
    assert sorted([*usages, *rejects], key=str) == sorted(items, key=str)
    for record, item in zip(given_records, items, strict=True):
        if isinstance(item, Usage):
            assert {len(item.uuid), len(item.code), len(item.user)} == {16}
            assert 0 <= item.date_us <= NOW_US + FUTURE_MAX_S * 1_000_000
            assert item.offset == record.offset
        else:
            detail = said_of(item)["detail"]
            assert detail.isprintable()
            assert 0 < len(detail) <= 500
            assert item.record == record
