"""
The usages topic as it is now: its bounds, its number of partitions, single records.

Asked through a consumer of its own that is in no group: what it does disturbs neither a rebalance nor the fetches
under way, and waits behind neither.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import CorruptRecordException, KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition
from mode import Service

from worker.errors import BrokerUnavailableError
from worker.pipeline.record import Record
from worker.runs.batches import read_batch

_TIMEOUT_S: Final = 10.0


class Bounds(NamedTuple):
    """The first offset that a partition still has, and the end of what may be read of it."""

    first: int
    end: int


class TopicReader(Service):
    """
    Answers questions about a topic; connects when it is first asked, and anew after a failure.

    Raises:
        BrokerUnavailableError: (by every question) no answer in time; ask again.
    """

    abstract = False

    def __init__(self, bootstrap_servers: str, name: str) -> None:
        super().__init__()
        self.name = name
        self._bootstrap_servers = bootstrap_servers
        self._consumer: AIOKafkaConsumer | None = None
        self._connecting = asyncio.Lock()

    async def on_stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def bounds(self, partition: int) -> Bounds:
        """Return the bounds of a partition."""
        tp = TopicPartition(self.name, partition)
        async with self._asking() as consumer:
            first, end = await asyncio.gather(consumer.beginning_offsets([tp]), consumer.end_offsets([tp]))
        return Bounds(first[tp], end[tp])

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the end of what may be read of each partition: no open transaction is below it."""
        async with self._asking() as consumer:
            ends = await consumer.end_offsets([TopicPartition(self.name, partition) for partition in partitions])
        return {tp.partition: end for tp, end in ends.items()}

    async def partition_count(self) -> int:
        """Return how many partitions the topic has."""
        async with self._asking() as consumer:
            client = consumer._client  # noqa: SLF001 - the public calls answer from memory, or ask for every topic
            client.add_topic(self.name)
            await client.force_metadata_update()
            partitions = consumer.partitions_for_topic(self.name)
            if not partitions:
                raise UnknownTopicOrPartitionError(self.name)
        return len(partitions)

    async def record_at(self, partition: int, offset: int) -> Record | None:
        """Return the record at an offset; None without one that can be read: a transaction's marker, compacted away."""
        tp = TopicPartition(self.name, partition)
        async with self._asking() as consumer:
            try:
                records, _ = await read_batch(consumer._client, tp, offset, READ_UNCOMMITTED)  # noqa: SLF001
            except CorruptRecordException:
                return None
        return next((record for record in records if record.offset == offset), None)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[AIOKafkaConsumer]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                yield await self._connected()
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerUnavailableError(f"Kafka says nothing about {self.name}: {error!r}") from error

    async def _connected(self) -> AIOKafkaConsumer:
        async with self._connecting:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap_servers.split(","),
                    isolation_level="read_committed",
                    request_timeout_ms=int(_TIMEOUT_S * 1000),
                )
                try:
                    await consumer.start()
                except BaseException:
                    await consumer.stop()
                    raise
                self._consumer = consumer
            return self._consumer
