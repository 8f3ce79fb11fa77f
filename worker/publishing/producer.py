"""Puts judged events on the usages topic, and knows of each whether Kafka has acknowledged it."""

import asyncio
import contextlib
from asyncio import Future
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from worker.errors import BrokerUnavailableError, PublishInterruptedError, SettingsError
from worker.pipeline.reroute import partition_of_code
from worker.publishing.files import BadLine, Event
from worker.settings import BrokerSettings

IN_FLIGHT_MAX: Final = 10_000
"""Most events that wait for their acknowledgement at once."""

_TIMEOUT_S: Final = 30.0
_LAST_WORDS_S: Final = 5.0  # what is in flight gets so long after a failure, and the producer to say goodbye
_SETTLED_EVERY: Final = 500
# large batches while events come faster than Kafka takes them, no noticeable wait for a single one
_LINGER_MS: Final = 5
_BATCH_MAX_BYTES: Final = 128 * 1024


class Published(NamedTuple):
    """Where an acknowledged event lies."""

    topic: str
    partition: int
    offset: int


class UsagesTopic:
    """The usages topic as a producer sees it; made by `open_topic`."""

    def __init__(self, producer: AIOKafkaProducer, settings: BrokerSettings, partition_count: int) -> None:
        self._producer = producer
        self._servers = settings.bootstrap_servers
        self._topic = settings.usages_topic
        self._partition_count = partition_count

    async def publish(self, event: Event) -> Published:
        """
        Publish one event and wait until Kafka has acknowledged it.

        Raises:
            BrokerUnavailableError: it was not acknowledged; it may have been published nevertheless.
        """
        try:
            metadata = await asyncio.wait_for(await self._send(event), _TIMEOUT_S)
        except (KafkaError, OSError) as error:
            raise BrokerUnavailableError(
                f"{self._explain(error)}; the event may have been published nevertheless"
            ) from error
        return Published(metadata.topic, metadata.partition, metadata.offset)

    async def publish_all(
        self, events: Iterable[Event | BadLine], *, from_line: int, on_progress: Callable[[int], None]
    ) -> int:
        """
        Publish events in their order and wait until Kafka has acknowledged all; return their number.

        Args:
            events: checked before; a bad line among them means that the file has changed since.
            from_line: where the first of them begins, at the earliest.
            on_progress: called often with the number of events acknowledged so far.
        Raises:
            PublishInterruptedError: Kafka failed, a line is bad, or the task was cancelled.
        """
        flight = _Flight(from_line)
        try:
            for number, event in enumerate(events, 1):
                flight.add(event.line, await self._send(event))
                if number % _SETTLED_EVERY == 0:
                    await flight.settle(IN_FLIGHT_MAX - _SETTLED_EVERY)
                    on_progress(flight.acknowledged_count)
            while flight.waiting_count:
                await flight.settle(flight.waiting_count - 1)
                on_progress(flight.acknowledged_count)
        except (KafkaError, OSError, asyncio.CancelledError, _ChangedError) as error:
            await flight.land()
            raise flight.interrupted(self._explain(error)) from error
        return flight.acknowledged_count

    async def _send(self, event: Event | BadLine) -> Future[Any]:
        if isinstance(event, BadLine):
            raise _ChangedError(f"line {event.line} has changed since it was checked: {event.detail}")
        # by the codes remembered: aiokafka would hash each key anew, in Python
        partition = partition_of_code(event.code, self._partition_count)
        key = str(UUID(bytes=event.code)).encode()
        future: Future[Any] = await self._producer.send(self._topic, event.value, key=key, partition=partition)
        return future

    def _explain(self, error: BaseException) -> str:
        match error:
            case asyncio.CancelledError():
                return "interrupted"
            case _ChangedError():
                return str(error)
            case _:
                return f"Kafka at {self._servers} does not acknowledge events: {describe(error)}"


@asynccontextmanager
async def open_topic(settings: BrokerSettings) -> AsyncIterator[UsagesTopic]:
    """
    Connect to Kafka for as long as the block lasts.

    Raises:
        BrokerUnavailableError: no broker answers.
        SettingsError: the topic is not there.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=_LINGER_MS,
        max_batch_size=_BATCH_MAX_BYTES,
        request_timeout_ms=int(_TIMEOUT_S * 1000),
    )
    try:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await producer.start()
                # of all topics: to ask for one by its name would create it on a broker that is set up so
                partitions = (await producer.client.fetch_all_metadata()).partitions_for_topic(settings.usages_topic)
        except (KafkaError, OSError) as error:
            raise BrokerUnavailableError(f"Kafka at {settings.bootstrap_servers}: {describe(error)}") from error
        if not partitions:
            raise SettingsError(
                f"Kafka at {settings.bootstrap_servers} has no topic {settings.usages_topic!r}: create it with "
                "`referrals topics create`, or set REFERRALS_USAGES_TOPIC to the one you mean"
            )
        yield UsagesTopic(producer, settings, len(partitions))
    finally:
        # a broker that is gone must not hide what went wrong behind a failed goodbye
        with contextlib.suppress(KafkaError, OSError):
            await asyncio.wait_for(producer.stop(), _LAST_WORDS_S)


def describe(error: BaseException) -> str:
    """Return an error's kind and words."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


class _ChangedError(Exception):
    """A file is not what it was when it was checked."""


class _Flight:
    """The events of a file that were sent, in their order, until Kafka has acknowledged them."""

    def __init__(self, from_line: int) -> None:
        self.acknowledged_count = 0
        self._next_line = from_line
        self._waiting: deque[tuple[int, Future[Any]]] = deque()

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def add(self, line: int, acknowledgement: Future[Any]) -> None:
        self._waiting.append((line, acknowledgement))
        self._next_line = line + 1

    async def settle(self, waiting_max: int) -> None:
        """Take what is acknowledged, and wait until at most so many events are not; raise what went wrong first."""
        while self._waiting:
            _, acknowledgement = self._waiting[0]
            if not acknowledgement.done():
                if len(self._waiting) <= waiting_max:
                    return
                await asyncio.wait((acknowledgement,), timeout=_TIMEOUT_S)
                if not acknowledgement.done():
                    raise TimeoutError(f"nothing for {_TIMEOUT_S:g} s")
            acknowledgement.result()
            self._waiting.popleft()
            self.acknowledged_count += 1

    async def land(self) -> None:
        """Give what is in flight a last chance to be acknowledged."""
        if self._waiting:
            await asyncio.wait([acknowledgement for _, acknowledgement in self._waiting], timeout=_LAST_WORDS_S)

    def interrupted(self, because: str) -> PublishInterruptedError:
        """Return what is known of the events now; those without an acknowledgement are given up."""
        first_open: int | None = None
        for line, acknowledgement in self._waiting:
            if acknowledgement.done() and not acknowledgement.exception():
                self.acknowledged_count += 1
            else:
                acknowledgement.cancel()
                first_open = first_open or line
        return PublishInterruptedError(
            because, acknowledged_count=self.acknowledged_count, next_line=first_open or self._next_line
        )
