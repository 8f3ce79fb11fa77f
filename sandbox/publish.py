"""Publishes the sample events at a pace that one can watch."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sandbox.errors import PublishFailedError
from sandbox.events import Sample

EVENTS_PER_S: Final = 250
TICK_S: Final = 0.1
REQUEST_TIMEOUT_MS: Final = 15_000
CHECK_INTERVAL_S: Final = 1.0
STOP_BOUND_S: Final = 5.0


async def publish(
    bootstrap_servers: str, topic: str, records: Sequence[Sample], *, on_progress: Callable[[int], None]
) -> None:
    """
    Publish the records in their order, some at each tick, each tick acknowledged before the next.

    Args:
        bootstrap_servers: where the broker listens.
        topic: must exist.
        records: what to publish.
        on_progress: called at least every second with the number of records just acknowledged; what it raises ends
            the publishing.

    Raises:
        PublishFailedError: the broker did not take them.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await producer.start()
        size = round(EVENTS_PER_S * TICK_S)
        for start in range(0, len(records), size):
            batch = records[start : start + size]
            pause = asyncio.create_task(asyncio.sleep(TICK_S))
            pending = {await producer.send(topic, record.value, key=record.key) for record in batch}
            while pending:
                acknowledged, pending = await asyncio.wait(pending, timeout=CHECK_INTERVAL_S)
                on_progress(len(acknowledged))
                for record in acknowledged:
                    record.result()
            await pause
    except KafkaError as error:
        what = f"the sample events could not be published: {error!r}"
        raise PublishFailedError(what, "see Kafka's log in the same folder, then try again") from error
    finally:
        # a broker that is gone must not hide what went wrong behind a failed goodbye
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), STOP_BOUND_S)
