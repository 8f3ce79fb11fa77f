"""
One batch of records, read past the consumer: to look at a record without moving it, or where its own reader fails.

aiokafka 0.14 takes a batch whose record has a header with a name that is not UTF-8 for broken, and can then reach none
of the records behind it, whose batch begins before them.
"""

import struct
import sys
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy as Batch
from aiokafka.structs import TopicPartition

from worker.pipeline.record import Record
from worker.runs.unread import Unread

_FETCH_WAIT_MS: Final = 100
_LENGTH_AT: Final = 8  # of the bytes behind it, in every version of a batch
_MAGIC_AT: Final = 16
_MAGIC_WITH_HEADERS: Final = 2


async def read_batch(
    client: AIOKafkaClient, tp: TopicPartition, offset: int, isolation_level: int
) -> tuple[list[Record], int]:
    """
    Return the records of one batch from `offset` on, and the offset behind them; none of an aborted transaction.

    The batch is the one that holds `offset`, or the next one. Names of headers that are not UTF-8 have their bytes
    escaped.

    Raises:
        KafkaError: there is no such offset, the broker does not answer, or the batch is not what was written.
    """
    node_id = client.cluster.leader_for_partition(tp)
    if node_id is None or node_id == -1:
        client.add_topic(tp.topic)
        await client.force_metadata_update()
        raise LeaderNotAvailableError(tp)
    # a broker gives a first batch whole, however little is asked for
    wanted = [(tp.topic, [(tp.partition, offset, 1)])]
    response = await client.send(node_id, FetchRequest(_FETCH_WAIT_MS, 1, 1, isolation_level, wanted))
    ((_topic, ((_partition, error_code, _highwater, *rest),)),) = response.topics
    if error_code:
        raise for_code(error_code)(tp)
    if not rest[-1]:
        return [], offset
    # from version 11 on the replica to prefer stands between the aborted transactions and the records
    aborted = rest[-3] if response.API_VERSION >= 11 else rest[-2]
    unread = Unread(PartitionRecords(tp, _OneBatch(rest[-1]), aborted, offset, None, None, False, isolation_level))
    records: list[Record] = []
    unread.move_to(records, sys.maxsize, sys.maxsize)
    return records, unread.next_fetch_offset


class _OneBatch:
    """The first batch of what was fetched, in the form that aiokafka's reader of partitions takes."""

    def __init__(self, fetched: bytes) -> None:
        (length,) = struct.unpack_from(">i", fetched, _LENGTH_AT)
        if len(fetched) < _LENGTH_AT + 4 + length or fetched[_MAGIC_AT] < _MAGIC_WITH_HEADERS:
            raise CorruptRecordException("the batch is cut off, or in a format that knows no headers")
        self._batch: Any = Batch(fetched[: _LENGTH_AT + 4 + length])
        if not self._batch.validate_crc():
            raise CorruptRecordException("the batch does not have the checksum that it was written with")
        self._batch._maybe_uncompress()  # noqa: SLF001 - before its bytes are replaced
        self._batch._buffer = _LenientBytes(self._batch._buffer)  # noqa: SLF001

    def has_next(self) -> bool:
        return self._batch is not None

    def next_batch(self) -> Any:
        batch, self._batch = self._batch, None
        return batch


class _LenientBytes(bytearray):
    """Bytes of which any part can be decoded: aiokafka decodes the names of headers, and nothing else."""

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        return _LenientBytes(part) if isinstance(key, slice) else part

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
