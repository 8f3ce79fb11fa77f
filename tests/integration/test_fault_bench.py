"""The fault bench itself: what it must find, it finds."""

import threading
import uuid
from collections.abc import Iterable
from itertools import islice

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from fix_faults import Case, NewCase, Sampler
from fix_kafka import end_offsets
from fix_worker import System
from publisher import make_events
from waiting import wait_until

from sandbox.kafka import Kafka
from schemas import UsageEvent


def test_offset_committed_past_the_position_is_found(system: System) -> None:
    """An offset that the group has committed although the record before it is not stored is a finding."""
    consumer = Consumer({"bootstrap.servers": system.kafka.bootstrap_servers, "group.id": system.app_id})
    sampler = Sampler(system)
    sampler.start()
    try:
        wait_until("offsets are sampled", lambda: sampler.count)
        assert not sampler.findings
        consumer.commit(offsets=[TopicPartition(system.topic, 2, 5)], asynchronous=False)
        assert "[2]: offset 5 was committed, the position is 0" in wait_until("it is found", lambda: sampler.findings)
    finally:
        sampler.stop()
        consumer.close()


def test_case_without_records_does_not_pass(system: System, new_case: NewCase) -> None:
    """A fault in an idle system proves nothing, so there cannot be one."""
    case: Case = new_case(system)
    with pytest.raises(AssertionError, match="records are left to store"):
        case.strike()
    system.publisher.publish(make_events(100, codes=5, users=10))
    case.strike()
    case.heal()
    system.start_worker().wait_ready()
    with pytest.raises(AssertionError, match="only 100 records"):
        case.conclude()


def test_load_behind_its_pace_takes_its_acknowledgements(system: System) -> None:
    """On a busy machine a load is always late; what is acknowledged meanwhile must not fill its producer's queue."""
    count = 120_000  # the queue holds 100,000
    system.publisher.publish(make_events(count, codes=5, users=10), per_second=1e9)
    assert len(system.publisher.acknowledged) == sum(system.ends().values()) == count


def test_load_that_fails_is_what_its_case_tells(
    system: System, new_case: NewCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a case waits for never comes once its load has failed, and would be taken for a fault of the worker."""
    publish = system.publisher.publish

    def publish_some(records: Iterable[UsageEvent | bytes], per_second: float) -> None:
        publish(islice(records, 1_000), per_second)
        raise BufferError("queue full")

    monkeypatch.setattr(system.publisher, "publish", publish_some)
    system.start_worker().wait_ready()
    case = new_case(system)
    with pytest.raises(BufferError, match="queue full") as raised, case.load(1_000):
        wait_until("two thousand are stored", lambda: case.stored > 2_000, 3)
    assert "two thousand are stored" in str(raised.value.__context__)


def test_ends_are_those_of_a_topic_that_the_broker_does_not_know_yet(kafka: Kafka, admin: AdminClient) -> None:
    """A broker confirms that a topic is made a moment before it knows of it."""
    topic = f"later-{uuid.uuid4().hex[:12]}"
    making = threading.Timer(0.5, admin.create_topics, [[NewTopic(topic, 3, 1)]])
    making.start()
    try:
        assert end_offsets(kafka, topic, 3) == {0: 0, 1: 0, 2: 0}
    finally:
        making.join()
        admin.delete_topics([topic])[topic].result(20)
