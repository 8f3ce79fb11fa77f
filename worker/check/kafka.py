"""The brokers and the topics: whether a worker can read, and whether events are safe there."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.check.finding import Finding, Level
from worker.errors import BrokerUnavailableError
from worker.settings import Settings
from worker.topics import TopicDescription, changelog_topic, describe, differences, kafka_admin, topic_names


@dataclass
class KafkaSays:
    """What Kafka said, once it was asked."""

    brokers: int = 0
    topics: dict[str, TopicDescription] = field(default_factory=dict)
    failure: str | None = None


async def ask_kafka(settings: Settings) -> KafkaSays:
    """Ask Kafka once, for about 10 s at most."""
    found = KafkaSays()
    try:
        async with kafka_admin(settings) as admin:
            found.brokers = len((await admin.describe_cluster())["brokers"])
            found.topics = await describe(admin, topic_names(settings))
    except BrokerUnavailableError as error:
        found.failure = str(error)
    return found


def check_broker(kafka: KafkaSays, settings: Settings) -> Finding:
    """Check that Kafka answered."""
    subject = f"Kafka at {settings.bootstrap_servers}"
    if kafka.failure is None:
        return Finding(Level.OK, subject, f"answers, brokers: {kafka.brokers}")
    return Finding(
        Level.FAIL, subject, kafka.failure,
        "start Kafka, or correct REFERRALS_BOOTSTRAP_SERVERS; the addresses that its brokers advertise must be "
        "reachable from here as well",
    )  # fmt: skip


def check_topics(kafka: KafkaSays, settings: Settings) -> Iterator[Finding]:
    """Check the topics that Kafka has: against the settings, and for what may lose events."""
    if kafka.failure is not None:
        yield Finding(Level.NOT_CHECKED, "topics", "Kafka does not answer")
        return
    found = kafka.topics
    faults = [
        Finding(Level.FAIL if it.is_fatal else Level.WARN, f"topic {it.topic}", it.detail, it.remedy)
        for it in differences(found, settings)
    ]
    # nothing is ever in the changelog topic, so nothing of it can be lost
    for topic in found.values():
        if topic.name != changelog_topic(settings.app_id):
            faults += _check_durability(topic, settings)
    yield from faults
    for topic in found.values():
        subject = f"topic {topic.name}"
        if subject not in {fault.subject for fault in faults}:
            yield Finding(Level.OK, subject, f"{topic.partitions} partitions, {topic.replicas} replicas")


def _check_durability(topic: TopicDescription, settings: Settings) -> Iterator[Finding]:
    subject = f"topic {topic.name}"
    in_sync = int(topic.configs["min.insync.replicas"])
    command = f"`kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter --topic {topic.name} "
    if in_sync > topic.replicas:
        yield Finding(
            Level.FAIL, subject, f"has {topic.replicas} replicas, min.insync.replicas is {in_sync}: takes no event",
            f"run {command}--add-config min.insync.replicas={max(1, topic.replicas - 1)}`",
        )  # fmt: skip
    elif topic.replicas == 1:
        yield Finding(
            Level.WARN, subject, "has 1 replica: its events are lost with its broker",
            "in production give it 3 with kafka-reassign-partitions.sh; REFERRALS_REPLICATION_FACTOR is for new topics",
        )  # fmt: skip
    elif in_sync == 1:
        yield Finding(
            Level.WARN, subject, "min.insync.replicas is 1: an acknowledged event can be lost with one broker",
            f"run {command}--add-config min.insync.replicas={max(2, topic.replicas - 1)}`",
        )  # fmt: skip
    elif in_sync == topic.replicas:
        yield Finding(
            Level.WARN, subject, f"min.insync.replicas is {in_sync}, of all: one broker away stops publishing",
            f"give it {in_sync + 1} replicas, with kafka-reassign-partitions.sh",
        )  # fmt: skip
