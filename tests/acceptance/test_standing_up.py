"""What a worker finds when it stands up: another topic, a hole in it, a position that is held."""

import json
import re
import signal
from collections.abc import Callable
from uuid import UUID

import psycopg
import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from fix_kafka import read_topic
from fix_worker import Fault, System, WorkerProcess
from oracle import stored_uuids
from publisher import identity, make_events
from waiting import wait_until

from schemas import UsageEvent
from worker.database import WRITER_NAME
from worker.exit_codes import EXIT_FAILURE

TIMEOUT_S = 20


def stop(worker: WorkerProcess) -> None:
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def create_anew(admin: AdminClient, topic: str, partitions: int) -> None:
    """Delete a topic and create it under the same name, as soon as the broker lets go of the old one."""
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)

    def is_created() -> bool:
        try:
            admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(TIMEOUT_S)
        except KafkaException:
            return False
        return True

    wait_until("the topic is created anew", is_created)


@pytest.mark.parametrize("count", [0, 300, 3_000], ids=["empty", "shorter", "longer"])
def test_topic_created_anew_while_workers_are_away_stops_the_start(
    system: System, admin: AdminClient, count: int
) -> None:
    """A topic that ends before the position, or has another record before it, is not read: the command is named."""
    worker = system.start_worker()
    system.publisher.publish(make_events(1_000, codes=50, users=50))
    system.wait_drained()
    stop(worker)
    create_anew(admin, system.topic, system.partitions)
    system.publisher.publish(make_events(count, codes=50, users=50, seed=2))
    positions = system.positions()
    worker = system.start_worker()
    assert worker.wait() == EXIT_FAILURE
    assert "referrals repair --topic-recreated" in worker.text()
    assert system.positions() == positions
    assert system.row_count() == 1_000


def test_topic_created_anew_under_a_worker_stops_it(system: System, admin: AdminClient) -> None:
    """A topic that is deleted and created while a worker reads it is never read from its beginning."""
    worker = system.start_worker()
    system.publisher.publish(make_events(1_000, codes=50, users=50))
    system.wait_drained()
    create_anew(admin, system.topic, system.partitions)
    system.publisher.publish(make_events(300, codes=50, users=50, seed=2))
    assert worker.wait() == EXIT_FAILURE
    assert "referrals repair --topic-recreated" in worker.text()
    assert system.row_count() == 1_000


def test_recovery_that_ends_in_silence_ends_the_process(system: System) -> None:
    """A worker whose recovery Faust gave up, on a broker that was slow, says so and makes room for a new process."""
    worker = system.start_worker(Fault("recovery"), stall_timeout_s=1)
    assert worker.wait() == EXIT_FAILURE
    assert "Faust's recovery has not come to an end" in worker.text()
    assert "partition loaded" not in worker.text()
    system.publisher.publish(make_events(300, codes=20, users=20))
    system.start_worker().wait_ready()
    system.wait_drained()
    system.assert_exact()


def remove_unread(system: System, admin: AdminClient, count: int) -> set[UUID]:
    """Have Kafka remove records of each partition that are not stored yet, as retention does; return their usages."""
    lost: set[UUID] = set()
    starts = {partition: position + count for partition, position in system.positions().items()}
    for message in read_topic(system.kafka, system.topic, system.partitions):
        if message.offset() < starts[message.partition()] and message.offset() >= starts[message.partition()] - count:
            lost.add(identity(UsageEvent.model_validate(json.loads(message.value()))))
    removals = [TopicPartition(system.topic, partition, start) for partition, start in starts.items()]
    for future in admin.delete_records(removals).values():
        future.result(TIMEOUT_S)
    return lost


def reported(worker: WorkerProcess) -> list[int]:
    """Return the sizes of the gaps that a worker has reported."""
    return [int(re.search(r"count=(\d+)", line)[1]) for line in worker.text().splitlines() if "events are lost" in line]


def test_unread_events_that_kafka_removed_are_reported_once(system: System, admin: AdminClient) -> None:
    """What retention took before it was read is said with its size, once, and reading goes on behind it."""
    worker = system.start_worker()
    system.publisher.publish(make_events(400, codes=200, users=50))
    system.wait_drained()
    stop(worker)
    system.publisher.publish(make_events(2_000, codes=200, users=50, seed=2))
    system.publisher.acknowledged -= remove_unread(system, admin, 20)
    worker = system.start_worker()
    system.wait_drained()
    system.assert_exact()
    assert reported(worker) == [20] * system.partitions
    stop(worker)
    worker = system.start_worker()
    worker.wait_ready()
    assert reported(worker) == []


def test_unread_events_that_kafka_removes_under_a_worker_are_reported(system: System, admin: AdminClient) -> None:
    """A worker that retention overtakes, because its database was locked, says so and goes on."""
    worker = system.start_worker()
    system.publisher.publish(make_events(400, codes=200, users=50))
    system.wait_drained()
    with system.positions_locked():
        worker.send(signal.SIGSTOP)
        system.publisher.publish(make_events(2_000, codes=200, users=50, seed=2))
        removed = remove_unread(system, admin, 20)
        worker.send(signal.SIGCONT)
    system.wait_drained()
    # what was on its way to the worker when it was removed is stored
    missing = system.publisher.acknowledged - stored_uuids(system.conn)
    assert missing <= removed
    assert sum(reported(worker)) == len(missing) > 0
    system.publisher.acknowledged -= missing
    system.assert_exact()
    assert worker.exit_code is None


def test_topic_that_grows_stops_workers(system: System, admin: AdminClient) -> None:
    """More partitions than positions know of are never stored: workers stop and name the commands, starts as well."""
    worker = system.start_worker()
    system.publisher.publish(make_events(1_000, codes=50, users=50))
    system.wait_drained()
    admin.create_partitions([NewPartitions(system.topic, system.partitions + 2)])[system.topic].result(TIMEOUT_S)
    system.publisher.publish(make_events(1_000, codes=50, users=50, seed=2))
    assert worker.wait() == EXIT_FAILURE
    again = system.start_worker()
    assert again.wait() == EXIT_FAILURE
    assert "referrals repair" in worker.text()
    assert "referrals topics grow" in worker.text()
    assert "referrals topics grow" in again.text()
    stored = system.conn.execute("select partition, partition_count from referral_positions order by 1").fetchall()
    assert stored == [(partition, system.partitions) for partition in range(system.partitions)]


def hold_idle(conn: psycopg.Connection) -> None:
    conn.execute("select from referral_positions for update")


def hold_in_copy(conn: psycopg.Connection) -> None:
    conn.execute("select from referral_positions for update")
    conn.pgconn.exec_(b"copy referral_usages from stdin")


@pytest.mark.parametrize("hold", [hold_idle, hold_in_copy], ids=["idle in transaction", "inside COPY"])
def test_session_of_a_frozen_worker_is_ended(system: System, hold: Callable[[psycopg.Connection], None]) -> None:
    """A position held by a worker that does not go on is freed by the partition's owner, without anybody's help."""
    worker = system.start_worker()
    worker.wait_ready()
    # no timeout of the server's frees what it holds: it stands for a worker that is stopped
    frozen = psycopg.connect(system.database_url, application_name=f"{WRITER_NAME}-elsewhere-1")
    try:
        hold(frozen)
        system.publisher.publish(make_events(1_000, codes=50, users=50))
        system.wait_drained()
    finally:
        frozen.close()
    assert "ended the session of another worker" in worker.text()
    system.assert_exact()
