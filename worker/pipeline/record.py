"""What the pipeline reads of a Kafka record, and what it asks to be sent."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple


class Record(NamedTuple):
    """A record of a topic; `timestamp` is in milliseconds, None or negative when absent."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Message(NamedTuple):
    """A message to be sent; without a partition, the key decides."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


Send = Callable[[Message], Awaitable[None]]
"""Sends one message and returns when the broker has acknowledged it; BrokerUnavailableError when it has not."""


def sendable_key(key: bytes | None, value: bytes | None) -> bytes | None:
    """Return the key of a copy: an empty one where key and value are null, which aiokafka 0.14 refuses to send."""
    return b"" if key is None and value is None else key
