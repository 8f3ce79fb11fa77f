"""What Kafka says of the usages topic and of the workers' group, for commands that mend."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.errors import BrokerUnavailableError, TopicMismatchError
from worker.settings import Settings
from worker.startup import wait_for
from worker.topics import describe, kafka_admin, members

_ASKED_FOR_S: Final = 10.0


class Position(NamedTuple):
    """A stored position, and what is known of the record before it."""

    partition: int
    partition_count: int
    next_offset: int
    last_timestamp: int | None
    last_digest: bytes | None


async def count_partitions(settings: Settings) -> int:
    """
    Wait for Kafka, and return the number of the usages topic's partitions.

    Raises:
        NotThereError: Kafka was not there within `start_timeout_s`.
        TopicMismatchError: there is no such topic.
    """
    return await wait_for(
        f"Kafka at {settings.bootstrap_servers}", lambda: _count_partitions(settings), settings.start_timeout_s
    )


async def _count_partitions(settings: Settings) -> int:
    async with kafka_admin(settings) as admin:
        found = await describe(admin, [settings.usages_topic])
    if settings.usages_topic not in found:
        raise TopicMismatchError(f"Kafka has no topic {settings.usages_topic!r}: run `referrals topics create` first")
    return found[settings.usages_topic].partitions


async def read_members(settings: Settings) -> list[str]:
    """
    Return the members of the workers' consumer group, by the names and addresses they have there.

    Raises:
        BrokerUnavailableError: Kafka is not there.
    """
    async with kafka_admin(settings) as admin:
        return [str(member) for member in await members(admin, settings.app_id)]


async def find_recreated(settings: Settings, partition_count: int, positions: Sequence[Position]) -> str | None:
    """
    Return what shows that the topic was created anew, or lost what it had acknowledged; None when nothing does.

    A position of 0, or one whose last record is gone by retention, shows nothing.

    Raises:
        BrokerUnavailableError: Kafka is not there.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, isolation_level="read_committed"
    )
    try:
        async with translated(settings):
            await consumer.start()
        for position in positions:
            where = f"{settings.usages_topic}[{position.partition}]"
            if position.next_offset and position.partition >= partition_count:
                return f"{where} is gone, its position is {position.next_offset}"
            if position.next_offset:
                async with translated(settings):
                    tp = TopicPartition(settings.usages_topic, position.partition)
                    if found := await _find_other_record(consumer, tp, position):
                        return f"{where}{found}"
    finally:
        await consumer.stop()
    return None


async def _find_other_record(consumer: AIOKafkaConsumer, tp: TopicPartition, position: Position) -> str | None:
    last = position.next_offset - 1
    end = (await consumer.end_offsets([tp]))[tp]
    if end <= last:
        return f" ends at {end}, below its position {position.next_offset}"
    begin = (await consumer.beginning_offsets([tp]))[tp]
    if begin > last or position.last_digest is None:
        return None
    consumer.assign([tp])
    consumer.seek(tp, last)
    record = await consumer.getone(tp)
    digest = hashlib.sha256(record.value or b"").digest()
    if (record.offset, record.timestamp, digest) == (last, position.last_timestamp, position.last_digest):
        return None
    return f"@{last} is another record than the one that was stored"


@asynccontextmanager
async def translated(settings: Settings) -> AsyncIterator[None]:
    """Bound what is asked of Kafka in the block, and raise BrokerUnavailableError for what fails of it."""
    try:
        async with asyncio.timeout(_ASKED_FOR_S):
            yield
    except (KafkaError, TimeoutError, OSError) as error:
        words = f"{type(error).__name__}: {error}".rstrip(": ")
        raise BrokerUnavailableError(f"Kafka at {settings.bootstrap_servers}: {words}") from error
