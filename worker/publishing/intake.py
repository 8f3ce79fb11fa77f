"""Takes single events from HTTP and puts them on the usages topic, with the worker's own producer."""

import asyncio
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from schemas import UsageEvent
from worker.errors import BrokerUnavailableError, UnconfirmedError
from worker.pipeline.decode import Decoder
from worker.pipeline.record import Message, Send
from worker.pipeline.reroute import partition_of_code
from worker.publishing.draft import judge

_ACKNOWLEDGED_S: Final = 5.0


class Accepted(NamedTuple):
    """An event that Kafka has acknowledged: the uuid that its row will have, and the `event_id` it was sent with."""

    uuid: UUID
    event_id: str


class UsageIntake:
    """
    Publishes events one by one, on the partition of their code.

    Args:
        decoder: of the usages topic.
        send: the worker's own producer.
    """

    def __init__(self, topic: str, partition_count: int, *, decoder: Decoder, send: Send) -> None:
        self._topic = topic
        self._partition_count = partition_count
        self._decoder = decoder
        self._send = send

    async def publish(self, value: bytes) -> Accepted:
        """
        Publish a value as it is, with a new `event_id` when it has none, and wait until Kafka has acknowledged it.

        Raises:
            RecordRejectedError: a worker would reject it.
            UnconfirmedError: it was not acknowledged; it may have been published nevertheless.
        """
        usage = judge(self._decoder, value)
        event_id = UsageEvent.model_validate_json(value).event_id
        if event_id is None:
            event_id = str(uuid4())
            value = _with_event_id(value, event_id)
            usage = judge(self._decoder, value)
        key = str(UUID(bytes=usage.code)).encode()
        message = Message(self._topic, partition_of_code(usage.code, self._partition_count), key, value, [])
        try:
            async with asyncio.timeout(_ACKNOWLEDGED_S):
                await self._send(message)
        except (BrokerUnavailableError, TimeoutError) as error:
            raise UnconfirmedError(event_id, waited_s=_ACKNOWLEDGED_S) from error
        return Accepted(UUID(bytes=usage.uuid), event_id)


def _with_event_id(value: bytes, event_id: str) -> bytes:
    # a valid event is an object that is not empty, and of a key given twice the last counts; what else the object holds
    # may be for others who read the topic, so it is not written anew
    return value.rstrip()[:-1] + f',"event_id":"{event_id}"}}'.encode()
