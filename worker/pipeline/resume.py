"""Where a partition goes on when it is assigned: whether the topic is still the one that the position belongs to."""

import hashlib
from typing import NamedTuple, Protocol

from worker.errors import TopicMismatchError, TopicRecreatedError
from worker.pipeline.record import Record


class Position(NamedTuple):
    """Where a partition goes on, and the record before: None when nothing is known of it."""

    next_offset: int
    last_timestamp: int | None
    last_digest: bytes | None


class Topic(Protocol):
    """What must be asked of the topic; BrokerUnavailableError when it does not answer."""

    name: str

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that is still there, and the end."""

    async def record_at(self, partition: int, offset: int) -> Record | None:
        """Return the record at an offset, if there is one."""


def digest(record: Record) -> bytes:
    """Return what tells a record from another at its offset, together with its timestamp."""
    return hashlib.sha256(record.value or b"").digest()


async def find_start(topic: Topic, partition: int, position: Position) -> int:
    """
    Return the offset to read from: the position, or the first offset that is still there behind it.

    Raises:
        TopicRecreatedError: the topic ends before the position, or has another record before it.
        BrokerUnavailableError: Kafka does not answer; try again.
    """
    where = f"{topic.name}[{partition}]"
    first, end = await topic.bounds(partition)
    if end < position.next_offset:
        raise recreated(f"{where} ends at {end}", position.next_offset)
    last_offset = position.next_offset - 1
    if first > last_offset:
        return max(first, position.next_offset)
    if position.last_digest is not None:
        record = await topic.record_at(partition, last_offset)
        if record is not None and (record.timestamp, digest(record)) != (
            position.last_timestamp,
            position.last_digest,
        ):
            raise recreated(f"{where}@{last_offset} is another record than the one stored", position.next_offset)
    return position.next_offset


def recreated(what: str, position: int) -> TopicRecreatedError:
    """Return the error of a topic that a position does not belong to."""
    return TopicRecreatedError(
        f"{what}, but the position is {position}: the topic was created anew, or lost what it had acknowledged. Stored "
        f"positions must not be used with another topic: stop all workers, then `referrals repair --topic-recreated` "
        f"makes them read it from its beginning"
    )


def grown(topic: str, stored_with: int, partition_count: int) -> TopicMismatchError:
    """Return the error of a topic that does not have the number of partitions that its positions were stored with."""
    return TopicMismatchError(
        f"{topic} has {partition_count} partitions, but its positions were stored with {stored_with}: codes would be "
        f"counted in two places. Stop all workers and run `referrals repair`, which moves statistics to the partitions "
        f"that codes hash to now; `referrals topics grow` is the way to add partitions"
    )
