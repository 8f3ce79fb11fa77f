"""The consumer group's coordinator, where aiokafka gives up although the answer asks for patience."""

from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.protocol.group import SyncGroupRequest


def wait_while_loading(consumer: AIOKafkaConsumer) -> None:
    """
    Have a started consumer join its group again when the coordinator is loading it, as after a stall of its broker.

    aiokafka 0.14 expects that answer to a JoinGroup alone. To the SyncGroup that follows it is an unexpected error,
    which ends the worker, or hangs it at its start; raised by the request itself, it is a reason to join again.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    send = coordinator._send_req  # noqa: SLF001

    async def send_request(request: Any) -> Any:
        response = await send(request)
        if isinstance(request, SyncGroupRequest) and response.error_code == GroupLoadInProgressError.errno:
            raise GroupLoadInProgressError
        return response

    coordinator._send_req = send_request  # noqa: SLF001
