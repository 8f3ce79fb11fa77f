"""A real Kafka for the run, and topics of their own for each test."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from waiting import wait_until

from sandbox.kafka import Kafka, new_cluster

_TIMEOUT_S = 20
# a broker that is new makes the topic of groups when the first one comes
_NO_COORDINATOR_YET = {
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.GROUP_ID_NOT_FOUND,
    KafkaError._TIMED_OUT,
}
# and one that was started again leads partitions a moment later than it answers,
# as it knows of a topic a moment later than its making is confirmed
_NO_LEADER_YET = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


class Cluster:
    """Three brokers, each with a replica of everything; two must have what is acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.brokers = [Kafka(folder / f"kafka-{node.number}", node=node) for node in new_cluster(3)]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def start(self) -> None:
        """Start all at once: none serves before most of them do."""
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            list(pool.map(Kafka.start, self.brokers))

    def stop(self) -> None:
        """End all of them; in order the last ones could not, without the others."""
        for broker in self.brokers:
            broker.kill()

    def replicas_in_sync(self, topic: str) -> int:
        """Return how many replicas every partition of a topic has in sync at least; 0 if nobody knows the topic yet."""
        client = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        partitions = client.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
        return min((len(partition.isrs) for partition in partitions.values()), default=0)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The broker; its folder goes with the run, its jars stay with the checkout."""
    folder = Path(tempfile.mkdtemp(prefix="referrals-kafka-"))
    broker = Kafka(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def admin(kafka: Kafka) -> AdminClient:
    """A client that creates topics and describes groups."""
    return AdminClient({"bootstrap.servers": kafka.bootstrap_servers})


@pytest.fixture
def new_topic(admin: AdminClient) -> Iterator[Callable[[int], str]]:
    """Create a topic of so many partitions under a name of its own, and delete it after the test."""
    created: list[str] = []

    def create(partitions: int) -> str:
        name = f"usages-{uuid.uuid4().hex[:12]}"
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(_TIMEOUT_S)
        created.append(name)
        return name

    yield create
    if created:
        for future in admin.delete_topics(created).values():
            future.result(_TIMEOUT_S)


def end_offsets(kafka: Kafka | Cluster, topic: str, partitions: int) -> dict[int, int]:
    """Return the end of each partition, as committed transactions leave it."""
    wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
    return wait_until(f"{topic} has its leaders", lambda: _ends(kafka, wanted))


def _ends(kafka: Kafka | Cluster, wanted: list[TopicPartition]) -> dict[int, int] | None:
    """Return the end of each partition; None while one of them has no leader."""
    # a new one each time: a client that once was told of no leader does not ask again for minutes
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "ends"})
    try:
        return {tp.partition: consumer.get_watermark_offsets(tp, timeout=_TIMEOUT_S)[1] for tp in wanted}
    except KafkaException as error:
        if error.args[0].code() in _NO_LEADER_YET:
            return None
        raise
    finally:
        consumer.close()


def committed_offsets(kafka: Kafka | Cluster, group: str, topic: str, partitions: int) -> dict[int, int]:
    """Return the offset that a group has committed of each partition, 0 where it has not."""
    # never subscribes, so it is no member of the group
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    try:
        wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
        return {tp.partition: max(tp.offset, 0) for tp in consumer.committed(wanted, timeout=_TIMEOUT_S)}
    finally:
        consumer.close()


def read_topic(kafka: Kafka, topic: str, partitions: int) -> list:
    """Return all messages of a topic."""
    ends = end_offsets(kafka, topic, partitions)
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "enable.partition.eof": False}
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        wanted = sum(ends.values())
        messages = []
        while len(messages) < wanted:
            message = consumer.poll(_TIMEOUT_S)
            assert message is not None, f"only {len(messages)} of {wanted} messages of {topic} could be read"
            assert message.error() is None, message.error()
            messages.append(message)
        return messages
    finally:
        consumer.close()


def members(admin: AdminClient, group: str) -> dict[str, set[int]]:
    """Return the partitions of each member of a consumer group, by client id; empty while it rebalances."""
    try:
        description = admin.describe_consumer_groups([group], request_timeout=_TIMEOUT_S / 4)[group].result(_TIMEOUT_S)
    except TimeoutError:  # the client waits for a coordinator for longer than it was told
        return {}
    except KafkaException as error:
        if error.args[0].code() in _NO_COORDINATOR_YET:
            return {}
        raise
    if description.state.name != "STABLE":
        return {}
    return {
        member.client_id: {tp.partition for tp in member.assignment.topic_partitions if "changelog" not in tp.topic}
        for member in description.members
    }
