"""
What a fetch brought of a partition and nobody has taken yet.

Stands in for aiokafka's `PartitionRecords`, whose record objects alone cost more than validating an event.
"""

from collections.abc import Iterator
from functools import partial
from itertools import dropwhile, islice
from typing import Any, Final

from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException

from worker.pipeline.record import Record

# of a tuple, and without the checks of its class's own constructor
_new_record: Final = partial(tuple.__new__, Record)


class Unread:
    """
    The records of the batches that a fetch brought, without those of aborted transactions.

    Args:
        fetched: as aiokafka made it, nothing taken yet; only its bookkeeping of transactions is used.
    """

    def __init__(self, fetched: PartitionRecords) -> None:
        self._fetched = fetched
        self._topic, self._partition = fetched._tp  # noqa: SLF001
        self._batch: Iterator[Any] = iter(())
        self._batch_end = self.next_fetch_offset = fetched.next_fetch_offset  # the name that aiokafka looks for

    def move_to(self, records: list[Record], count_max: int, bytes_max: int) -> bool:
        """
        Move records to the end of a list, and return whether there may be more of them.

        Args:
            count_max: how many, at least one.
            bytes_max: of keys and values; the record that passes it is the last one.
        Raises:
            Exception: whatever aiokafka says of a batch that cannot be read; what comes before it has been moved.
        """
        topic, partition = self._topic, self._partition
        left, size_bytes = count_max, 0
        while True:
            moved_before = len(records)
            try:
                for record in islice(self._batch, left):
                    key, value = record.key, record.value
                    records.append(
                        _new_record(
                            (topic, partition, record.offset, record.timestamp, key, value, record.headers or ())
                        )
                    )
                    size_bytes += len(value or b"") + len(key or b"")
                    if size_bytes >= bytes_max:
                        break
            finally:
                if len(records) > moved_before:
                    self.next_fetch_offset = records[-1].offset + 1
            left -= len(records) - moved_before
            if left == 0 or size_bytes >= bytes_max:
                return True
            # behind its last record a batch may have offsets that compaction has emptied
            self.next_fetch_offset = self._batch_end
            if not self._open_batch():
                return False

    def _open_batch(self) -> bool:
        """Go on to the next batch with records for us, and return whether there is one."""
        fetched = self._fetched
        while fetched._records.has_next():  # noqa: SLF001
            batch = fetched._records.next_batch()  # noqa: SLF001
            if fetched._check_crcs and not batch.validate_crc():  # noqa: SLF001
                raise CorruptRecordException(f"Invalid CRC - {fetched._tp}")  # noqa: SLF001
            if not self._is_aborted(batch) and not batch.is_control_batch:
                self._batch_end = batch.next_offset
                # a fetch begins with the batch that holds the offset asked for
                self._batch = dropwhile(self._is_before, batch)
                return True
            self._batch_end = self.next_fetch_offset = batch.next_offset
        return False

    def _is_before(self, record: Any) -> bool:
        return bool(record.offset < self.next_fetch_offset)

    def _is_aborted(self, batch: Any) -> bool:
        fetched = self._fetched
        if fetched._isolation_level != READ_COMMITTED or batch.producer_id is None:  # noqa: SLF001
            return False
        fetched._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
        if batch.is_control_batch and fetched._contains_abort_marker(batch):  # noqa: SLF001
            # an abort may end a transaction that has nothing in this partition
            fetched._aborted_producers.discard(batch.producer_id)  # noqa: SLF001
        return bool(batch.is_transactional and batch.producer_id in fetched._aborted_producers)  # noqa: SLF001
