"""Bad records among good ones, on their way through a real worker."""

from fix_kafka import read_topic
from fix_worker import System
from publisher import make_events

from schemas import Reason

BAD: dict[Reason, bytes | None] = {
    Reason.EMPTY: None,
    Reason.NOT_JSON: b"\xef\xbb\xbf{}",
    Reason.NOT_AN_OBJECT: b"[1, 2]",
    Reason.MISSING_FIELD: b'{"used_by_uuid": "0190d0a0-1111-4222-8333-444455556666"}',
    Reason.INVALID_UUID: b'{"code_uuid": "<b>=1+1\\u0000", "used_by_uuid": "0190d0a0-1111-4222-8333-444455556666"}',
    Reason.TOO_LARGE: b'{"x": "' + b"\xff" * 70_000 + b'"}',
}


def test_bad_records_are_kept_and_good_ones_around_them_stored(system: System) -> None:
    """Each bad record ends as one reject, in the table whole and on the dead-letter topic with its raw bytes."""
    system.start_worker().wait_ready()
    events = make_events(len(BAD), codes=3, users=3)
    for event, (reason, value) in zip(events, BAD.items(), strict=True):
        system.publisher.publish([event])
        system.publisher.publish_bad(
            value, b"\x00key\xff", partition=0, headers=[("why", reason.encode()), ("n", None)]
        )
    system.wait_drained()
    system.assert_exact()

    rows = system.conn.execute(
        "select id::text, reason, value, value_bytes, key, headers->0->>0, kafka_topic, kafka_partition, kafka_offset"
        " from referral_rejections"
    ).fetchall()
    assert {Reason(row[1]): row[2] for row in rows} == BAD
    assert len(rows) == len(BAD)
    assert {row[4:8] for row in rows} == {(b"\x00key\xff", "why", system.topic, 0)}
    assert all(row[3] == len(row[2] or b"") for row in rows)

    copies = {}
    for message in read_topic(system.kafka, system.rejected_topic, system.partitions):
        headers = {name: value.decode() for name, value in message.headers()}
        copies[headers["referrals-id"]] = (
            headers["referrals-reason"],
            message.value(),
            int(headers["referrals-value-bytes"]),
            message.key(),
            headers["referrals-topic"],
            int(headers["referrals-partition"]),
            int(headers["referrals-offset"]),
        )
    assert copies == {row[0]: (*row[1:5], *row[6:9]) for row in rows}


def test_row_that_the_database_refuses_becomes_a_reject(system: System) -> None:
    """A constraint of the operator's own turns the rows it refuses into rejects, and stops nothing."""
    events = make_events(1_000, codes=10, users=50)
    blocked = events[137].used_by_uuid
    system.conn.execute(f"alter table referral_usages add constraint no_fraud check (used_by_uuid <> '{blocked}')")
    system.start_worker().wait_ready()
    system.publisher.publish(events)
    system.wait_drained()
    refused = [event for event in events if event.used_by_uuid == blocked]
    values = {row[0] for row in system.conn.execute("select value from referral_rejections")}
    assert values == {event.value() for event in refused}
    reasons = system.conn.execute("select distinct reason, detail from referral_rejections").fetchall()
    assert len(reasons) == 1
    assert reasons[0][0] == Reason.REFUSED_BY_DATABASE
    assert "no_fraud" in reasons[0][1]
    system.publisher.refuse(refused)
    system.assert_exact()
