"""
Step 2: a record whose code belongs to another partition is sent there, before its own partition's position passes it.

Without this, two workers would each hold part of one code's statistics. Producers with another partitioner, or without
a key, are slower, but never wrong.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final
from uuid import UUID

import numpy as np
import structlog

from schemas.fields import UUID_CHARS, UUID_HYPHENS
from worker.pipeline.origin import Origin
from worker.pipeline.record import Message, Record, Send

MISROUTED_FEW: Final = 10
"""Misrouted records that are no cause for a warning: a producer tried once, an event published by hand."""
SENT_AT_ONCE: Final = 500
# hashing in Python takes some microseconds: as many codes as a busy publisher uses are remembered
_REMEMBERED_CODES: Final = 100_000
_SEED: Final = 0x9747_B28C
_MIXER: Final = 0x5BD1_E995
_32_BITS: Final = 0xFFFF_FFFF
_words: Final = Struct("<9I").unpack
# where a UUID's text has digits
_DIGITS: Final = [place for place in range(UUID_CHARS) if place not in UUID_HYPHENS]

_log: Final = structlog.get_logger("referrals")


def partition_of(code_uuid: str, partition_count: int) -> int:
    """Return the partition of a code's canonical text, as Java and aiokafka producers choose it (murmur2)."""
    hashed: int = _murmur2(_words(code_uuid.encode()))
    return (hashed & 0x7FFF_FFFF) % partition_count


@lru_cache(_REMEMBERED_CODES)
def partition_of_code(code: bytes, partition_count: int) -> int:
    """Return the partition of a code of 16 bytes."""
    return partition_of(str(UUID(bytes=code)), partition_count)


def partitions_of_codes(codes: Sequence[bytes], partition_count: int) -> list[int]:
    """Return the partition of each code of 16 bytes; of many, one takes a thirtieth of the time of `partition_of`."""
    texts = np.full((len(codes), UUID_CHARS), ord("-"), np.uint8)
    texts[:, _DIGITS] = np.frombuffer(b"".join(codes).hex().encode(), np.uint8).reshape(-1, len(_DIGITS))
    hashes = _murmur2(texts.view("<u4").T.astype(np.uint64))
    partitions: list[int] = ((hashes & 0x7FFF_FFFF) % partition_count).tolist()
    return partitions


def _murmur2(words: Iterable[Any]) -> Any:
    """Return the hash of a text of 36 bytes, given as its nine words: numbers, or arrays of 64 bits for many texts."""
    # as aiokafka has it, without the rest that other lengths leave: less than half the time
    hashed = _SEED ^ UUID_CHARS
    for word in words:
        mixed = word * _MIXER & _32_BITS
        hashed = hashed * _MIXER & _32_BITS ^ (mixed ^ mixed >> 24) * _MIXER & _32_BITS
    hashed = (hashed ^ hashed >> 13) * _MIXER & _32_BITS
    return hashed ^ hashed >> 15


def copy_for_partition(record: Record, code: bytes, partition: int) -> Message:
    """
    Return the copy of a misrouted record for the partition its code belongs to.

    It keeps value and headers, and says where it was first: identity and timestamp stay the first record's.
    """
    headers = list(record.headers)
    origin = Origin.of(record)
    if origin == (record.topic, record.partition, record.offset, record.timestamp):
        headers += origin.headers()
    return Message(record.topic, partition, str(UUID(bytes=code)).encode(), record.value, headers)


class Misrouted:
    """
    How many of a topic's records producers have put on partitions that their codes do not hash to.

    Copies on their way do not count: no producer chose their partitions.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._arrived = 0
        self._misrouted = 0

    def note(self, record_count: int, with_headers: Iterable[Record], offsets: Collection[int]) -> None:
        """
        Count a run's records, and warn once more than a few are misrouted.

        Args:
            with_headers: those of the records that carry headers.
            offsets: of those that are misrouted, copies included.
        """
        if self._misrouted > MISROUTED_FEW:
            return
        copies = [record.offset for record in with_headers if Origin.is_carried_by(record)]
        self._arrived += record_count - len(copies)
        self._misrouted += len(offsets) - sum(offset in offsets for offset in copies)
        if self._misrouted > MISROUTED_FEW:
            _log.warning(
                "records arrive on partitions that their codes do not hash to; they are sent on, which is slower: "
                "let producers use the code's UUID as key and the murmur2 partitioner (librdkafka: "
                "partitioner=murmur2_random)", topic=self._topic, misrouted=self._misrouted, of=self._arrived,
            )  # fmt: skip


async def send_all(messages: Sequence[Message], send: Send) -> None:
    """
    Send messages and wait for all acknowledgements; a failed call may be repeated whole.

    Raises:
        BrokerUnavailableError: one of them was not acknowledged.
    """
    for start in range(0, len(messages), SENT_AT_ONCE):
        await asyncio.gather(*(send(message) for message in messages[start : start + SENT_AT_ONCE]))
