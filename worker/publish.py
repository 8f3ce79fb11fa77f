"""Publishing usage events from the command line."""

import asyncio
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import UsageEvent
from worker.errors import BrokerUnavailableError
from worker.settings import BrokerSettings

_TIMEOUT_S: Final = 30.0


class Published(NamedTuple):
    """Where an acknowledged event lies."""

    topic: str
    partition: int
    offset: int


async def publish_event(settings: BrokerSettings, event: UsageEvent) -> Published:
    """
    Publish one event and wait for the broker's acknowledgement.

    Raises:
        BrokerUnavailableError: it was not acknowledged; it may have been published nevertheless.
    """
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all", enable_idempotence=True)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await producer.start()
            metadata = await producer.send_and_wait(settings.usages_topic, event.value(), key=event.key())
    except (KafkaError, TimeoutError) as error:
        raise BrokerUnavailableError(
            f"Kafka at {settings.bootstrap_servers} did not take the event: {type(error).__name__} {error}".rstrip()
        ) from error
    finally:
        await producer.stop()
    return Published(metadata.topic, metadata.partition, metadata.offset)
