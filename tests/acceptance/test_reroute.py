"""Producers that partition in other ways, or not at all."""

import signal
from collections.abc import Callable

from fix_worker import System
from publisher import Publisher, identity, make_events
from waiting import wait_until

from schemas import UsageEvent


def test_events_on_any_partition_are_counted_once(new_system: Callable[..., System]) -> None:
    """Right key, another partitioner and no key, mixed, and a worker killed: every worker's answers are exact."""
    system = new_system(6)
    workers = [system.start_worker() for _ in range(3)]
    system.wait_shared(*workers)
    events = make_events(12_000, codes=100, users=300, repeated=0.02)
    other = Publisher(system.kafka.bootstrap_servers, system.topic, partitioner="consistent_random")
    try:
        system.publisher.publish(events[:2_000])
        other.publish(events[2_000:6_000])
        workers[0].send(signal.SIGKILL)
        workers.append(system.start_worker())
        system.publisher.publish(events[6_000:10_000], has_keys=False)
        other.publish(events[10_000:])
    finally:
        other.close()
    system.publisher.acknowledged |= other.acknowledged
    # records sent on are records too: positions reach the ends only when none is left on its way
    wait_until("every usage is stored", lambda: system.row_count() == len({identity(event) for event in events}))
    system.wait_shared(*workers[1:])
    system.wait_drained()
    system.assert_exact()
    assert any("do not hash to" in worker.text() for worker in workers)
    assert all(worker.text().count("do not hash to") <= 1 for worker in workers)
    assert sum(worker.metric("referrals_records_rerouted_total") for worker in workers[1:]) > 0


def test_event_without_event_id_keeps_its_identity_when_sent_on(system: System) -> None:
    """A misrouted record's uuid and date are those of the record that the producer published."""
    system.start_worker().wait_ready()
    event = make_events(1, codes=1, users=1)[0]
    plain = UsageEvent(code_uuid=event.code_uuid, used_by_uuid=event.used_by_uuid)
    # one copy for each partition, so all but one are misrouted
    for partition in range(system.partitions):
        system.publisher.publish_raw(
            plain.value(), None, partition=partition, timestamp=1_700_000_000_000, headers=[("trace", b"\xff")]
        )
    wait_until("all are stored", lambda: system.row_count() == system.partitions)
    rows = system.conn.execute("select uuid, extract(epoch from date_used)::bigint from referral_usages").fetchall()
    assert {date for _, date in rows} == {1_700_000_000}
    # UUIDv7 layout: 48 bits of the first record's timestamp, 12 of its partition
    assert {(uuid.int >> 80, (uuid.int >> 64) & 0xFFF) for uuid, _ in rows} == {
        (1_700_000_000_000, partition) for partition in range(system.partitions)
    }
    system.wait_drained()
    statistics = system.conn.execute("select total_uses, unique_users from referral_code_stats").fetchall()
    assert statistics == [(system.partitions, 1)]
