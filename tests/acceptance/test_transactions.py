"""Offsets that hold no records for us: what transactional producers leave behind."""

import time

from confluent_kafka import Producer
from fix_worker import System
from oracle import assert_statistics_equal_rows, stored_uuids
from publisher import identity, make_events
from waiting import wait_until

# longer than a busy machine takes for a run
STALL_TIMEOUT_S = 5


def test_aborted_transactions_do_not_count(system: System) -> None:
    """Events of an aborted transaction are never stored; its markers hold nobody up, nor look stalled."""
    worker = system.start_worker(stall_timeout_s=STALL_TIMEOUT_S)
    worker.wait_ready()
    kept, aborted, last = (make_events(300, codes=5, users=20, seed=seed) for seed in (1, 2, 3))
    producer = Producer(
        {
            "bootstrap.servers": system.kafka.bootstrap_servers,
            "partitioner": "murmur2_random",
            "transactional.id": f"test-{system.topic}",
        }
    )
    producer.init_transactions(30)
    for events, is_kept in ((kept, True), (aborted, False)):
        producer.begin_transaction()
        for event in events:
            producer.produce(system.topic, event.value(), event.key())
        producer.flush(30)
        if is_kept:
            producer.commit_transaction(30)
            system.publisher.acknowledged |= {identity(event) for event in events}
        else:
            producer.abort_transaction(30)
    wait_until("the committed events are stored", lambda: system.row_count() == len(kept))
    # the ends are markers, which no worker stores
    wait_until("nothing waits", lambda: worker.get("/api/v1/overview")[1]["lag"] == 0)
    assert any(system.positions()[partition] < end for partition, end in system.ends().items())
    # nothing tells that a watchdog has kept silent; a stall would be in the log, which is read at the end
    time.sleep(2 * STALL_TIMEOUT_S)
    system.publisher.publish(last)
    # not the positions: a marker at the end of a partition is past what there is to deliver
    wait_until("all committed events are stored", lambda: stored_uuids(system.conn) >= system.publisher.acknowledged)
    system.publisher.assert_stored(system.conn)
    assert_statistics_equal_rows(system.conn)
    assert worker.get("/livez") == (200, {"status": "ok", "reasons": []})
    assert "stalled" not in worker.text()
