"""The topics in Kafka: which ones a worker needs, what is there of them, and how they are made and grown."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    for_code,
)

from worker.errors import BrokerUnavailableError, InUseError, SettingsError, TopicMismatchError
from worker.settings import Settings

# of the Faust table, whose changelog is one of the topics
TABLE_NAME: Final = "code_stats"
# of a topic's settings, those that decide whether its events are safe
CONFIGS: Final = ("min.insync.replicas", "cleanup.policy", "retention.ms")
_ASKED_FOR_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.2
_NO_COORDINATOR_YET: Final = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

_log: Final = structlog.get_logger("referrals")


class TopicDescription(NamedTuple):
    """A topic as Kafka has it; `replicas` are those of its least replicated partition."""

    name: str
    partitions: int
    replicas: int
    configs: dict[str, str]


class Difference(NamedTuple):
    """What a topic has and the settings, or the guarantees, want otherwise; `is_fatal` when events would be lost."""

    topic: str
    detail: str
    remedy: str
    is_fatal: bool


class Member(NamedTuple):
    """A live member of the workers' consumer group."""

    client_id: str
    host: str

    def __str__(self) -> str:
        return f"{self.client_id} at {self.host.lstrip('/')}"


@asynccontextmanager
async def kafka_admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """
    Lend a client that asks and changes what Kafka has, for 10 s.

    Raises:
        BrokerUnavailableError: Kafka is not there, did not answer in time, or refused what the block asked for.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers, request_timeout_ms=int(_ASKED_FOR_S * 1000)
    )
    try:
        async with asyncio.timeout(2 * _ASKED_FOR_S):
            await admin.start()
            yield admin
    except (KafkaError, TimeoutError, OSError) as error:
        raise BrokerUnavailableError(str(error) or type(error).__name__) from error
    finally:
        await admin.close()


def changelog_topic(app_id: str) -> str:
    """Return the name that Faust gives to the table's changelog topic; it stays empty, but Faust reads it."""
    return f"{app_id}-{TABLE_NAME}-changelog"


def topic_names(settings: Settings) -> list[str]:
    """Return the topics that a worker needs: usages, rejects, and the changelog of Faust's table."""
    return [settings.usages_topic, settings.rejected_topic, changelog_topic(settings.app_id)]


async def ensure_topics(settings: Settings) -> int:
    """
    Create the topics that are missing, and return the number of the usages topic's partitions.

    Raises:
        BrokerUnavailableError: Kafka is not there.
        TopicMismatchError: the changelog topic has another number of partitions.
    """
    async with kafka_admin(settings) as admin:
        for topic in await create_missing(admin, settings):
            _log.info("topic created", topic=topic)
        usages, changelog = settings.usages_topic, changelog_topic(settings.app_id)
        counts = await _partition_counts(admin, [usages, changelog])
    if counts[usages] != counts[changelog]:
        raise TopicMismatchError(
            f"{usages} has {counts[usages]} partitions, but {changelog} has {counts[changelog]}: "
            f"run `referrals topics grow --partitions {max(counts.values())}`"
        )
    return counts[usages]


async def create_missing(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """
    Create the topics that are missing, wait until they are shown, and return their names.

    Others may create them at the same time.
    """
    existing = set(await admin.list_topics())
    created = []
    for topic in topic_names(settings):
        if topic in existing:
            continue
        partitions = settings.partitions
        if topic == changelog_topic(settings.app_id):
            # Faust would create this one itself, but never with the broker's own number of replicas
            partitions = (await _partition_counts(admin, [settings.usages_topic]))[settings.usages_topic]
        if await _create(admin, topic, partitions, settings.replication_factor):
            created.append(topic)
        while True:
            if topic in await admin.list_topics():
                break
            await asyncio.sleep(_LOOK_AGAIN_S)  # a broker learns of it a moment after it was created
    return created


async def _create(admin: AIOKafkaAdminClient, topic: str, partitions: int, replication_factor: int) -> bool:
    # aiokafka takes the broker's default, -1, only beside an (empty) assignment of replicas
    assignments: dict[int, list[int]] | None = {} if replication_factor == -1 else None
    response = await admin.create_topics([NewTopic(topic, partitions, replication_factor, assignments)])
    for _name, code, *message in response.topic_errors:
        error = for_code(code)
        if error is TopicAlreadyExistsError:
            return False  # another worker was faster
        if code:
            raise error(f"topic {topic!r} not created: {message}")
    return True


async def describe(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, TopicDescription]:
    """Return these topics as Kafka has them; what is missing is left out."""
    # only of topics that are there: a broker may create what it is asked about
    existing = set(await admin.list_topics())
    names = [name for name in names if name in existing]
    if not names:
        return {}
    partitions = await _partitions(admin, names)
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(CONFIGS)) for name in names]
    configs = {}
    for response in await admin.describe_configs(resources):
        for code, message, _type, name, entries in response.resources:
            if code:
                raise for_code(code)(f"settings of topic {name!r} not told: {message}")
            configs[name] = {key: value for key, value, *_ in entries}
    return {
        name: TopicDescription(name, len(found), min(len(partition["replicas"]) for partition in found), configs[name])
        for name, found in partitions.items()
    }


async def _partition_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    return {name: len(found) for name, found in (await _partitions(admin, names)).items()}


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    descriptions = await admin.describe_topics(names)
    for description in descriptions:
        if description["error_code"]:
            raise for_code(description["error_code"])(description["topic"])
    return {description["topic"]: description["partitions"] for description in descriptions}


def differences(found: Mapping[str, TopicDescription], settings: Settings) -> Iterator[Difference]:
    """Compare the topics that were found with what the settings want of them."""
    usages, changelog = settings.usages_topic, changelog_topic(settings.app_id)
    for name in topic_names(settings):
        topic = found.get(name)
        if topic is None:
            yield Difference(name, "is missing", "run `referrals topics create`, or let a worker create it", False)
            continue
        factor = settings.replication_factor
        if factor not in {-1, topic.replicas}:
            yield Difference(
                name, f"has {topic.replicas} replicas, REFERRALS_REPLICATION_FACTOR is {factor}",
                f"add replicas with Kafka's own tools, or set REFERRALS_REPLICATION_FACTOR={topic.replicas}", False,
            )  # fmt: skip
        if name != changelog and "compact" in topic.configs["cleanup.policy"]:
            yield Difference(
                name, f"cleanup.policy is {topic.configs['cleanup.policy']}: events with the same key would be lost",
                f"run `kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter --topic {name} "
                "--add-config cleanup.policy=delete`", True,
            )  # fmt: skip
    if usages in found and (count := found[usages].partitions) != settings.partitions:
        remedy = f"set REFERRALS_PARTITIONS={count}"
        if count < settings.partitions:
            remedy += f", or stop all workers and run `referrals topics grow --partitions {settings.partitions}`"
        yield Difference(
            usages, f"has {count} partitions, REFERRALS_PARTITIONS is {settings.partitions}", remedy, False
        )
    if {usages, changelog} <= found.keys() and found[changelog].partitions != found[usages].partitions:
        most = max(found[usages].partitions, found[changelog].partitions)
        yield Difference(
            changelog, f"has {found[changelog].partitions} partitions, {usages} has {found[usages].partitions}",
            f"run `referrals topics grow --partitions {most}`", True,
        )  # fmt: skip


async def members(admin: AIOKafkaAdminClient, group: str) -> list[Member]:
    """Return the live members of a consumer group; none when the group is not known."""
    while True:
        try:
            coordinator = await admin.find_coordinator(group)
            (response,) = await admin.describe_consumer_groups([group], coordinator)
            ((code, _group, _state, _protocol_type, _protocol, found, *_),) = response.groups
            if code:
                raise for_code(code)(group)
        except _NO_COORDINATOR_YET:
            # a broker that is new makes its topic of groups when the first one is asked for
            await asyncio.sleep(_LOOK_AGAIN_S)
        else:
            return sorted(Member(client_id, host) for _id, client_id, host, *_ in found)


async def grow(admin: AIOKafkaAdminClient, settings: Settings, partitions: int) -> list[TopicDescription]:
    """
    Give the usages topic, and the changelog topic beside it, more partitions; return those that grew, as they were.

    Faust assigns a table's partitions with those of its source, so both topics must have the same number. A call that
    was interrupted between them is finished by the same call again.

    Raises:
        SettingsError: a topic is missing, or has more partitions already.
        InUseError: workers are members of the group.
    """
    names = [settings.usages_topic, changelog_topic(settings.app_id)]
    found = await describe(admin, names)
    for name in names:
        if name not in found:
            raise SettingsError(f"topic {name!r} is missing: run `referrals topics create`")
        if found[name].partitions > partitions:
            raise SettingsError(
                f"--partitions {partitions}: {name!r} has {found[name].partitions}, and Kafka takes no partition away"
            )
    if alive := await members(admin, settings.app_id):
        raise InUseError(
            f"workers are running: {', '.join(map(str, alive))}\n"
            "stop all of them, run this command again, then `referrals repair`, then start them: "
            "while partitions are added, a code's events go to two places. "
            "One that was killed leaves the group after REFERRALS_SESSION_TIMEOUT_S"
        )
    growing = [topic for topic in found.values() if topic.partitions < partitions]
    if growing:
        await admin.create_partitions({topic.name: NewPartitions(partitions) for topic in growing})
    while True:
        counts = await _partition_counts(admin, names)
        if set(counts.values()) == {partitions}:
            return growing
        await asyncio.sleep(_LOOK_AGAIN_S)  # brokers learn of it one after the other
