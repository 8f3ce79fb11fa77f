"""
What the consumer's fetcher has of the partitions asked for, in portions that memory bears.

Replaces `Fetcher.fetched_records` of aiokafka 0.14. There, a batch that cannot be read raises, and what was taken of
other partitions before it in the same call is lost: their positions have moved. And a portion is bounded by records
alone, where a batch of 200 KB can unpack to 200 MB.
"""

import asyncio
from collections.abc import Collection
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchError, FetchResult
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.types import TP

from worker.pipeline.record import Record
from worker.runs.batches import read_batch
from worker.runs.unread import Unread

PORTION_MAX_BYTES: Final = 8 * 1024 * 1024  # of keys and values; a first record is taken whatever its size
_MEND_TIMEOUT_S: Final = 10.0


class OutOfRangeError(Exception):
    """The offset to be read next is not in the partition."""


class UnreadableError(Exception):
    """The next batch of the partition cannot be read; `offset` is where it stands still."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"the record cannot be read: {reason}")
        self.offset = offset


Outcome = list[Record] | OutOfRangeError | UnreadableError
"""Of a partition: at least one record, or why there is none."""


async def fetch(
    consumer: AIOKafkaConsumer, wanted: Collection[TP], timeout_s: float, records_max: int
) -> dict[TP, Outcome]:
    """
    Return what is there of the wanted partitions, at the latest after `timeout_s`; what is not wanted stays.

    Args:
        records_max: the most records of all partitions together.
    Raises:
        KafkaError: the broker refuses to let us read.
    """
    fetcher: Fetcher = consumer._fetcher  # noqa: SLF001
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    while True:
        if fetcher._subscriptions.reassignment_in_progress:  # noqa: SLF001
            await fetcher._subscriptions.wait_for_assignment()  # noqa: SLF001
        fetched = _take(fetcher, wanted, records_max)
        for tp, outcome in list(fetched.items()):
            if isinstance(outcome, UnreadableError):
                mended = await _mend(consumer, tp, outcome, records_max)
                if mended:
                    fetched[tp] = mended
                elif mended is not None:
                    del fetched[tp]
        left_s = deadline - clock()
        if fetched or fetcher._closed or left_s <= 0:  # noqa: SLF001
            return fetched
        waiter = fetcher._create_fetch_waiter()  # noqa: SLF001
        await asyncio.wait([waiter], timeout=left_s)
        if not waiter.done():
            waiter.cancel()
        elif not fetcher._closed:  # noqa: SLF001
            waiter.result()  # refused by the group


def _take(fetcher: Fetcher, wanted: Collection[TP], records_max: int) -> dict[TP, Outcome]:
    taken: dict[TP, Outcome] = {}
    records_left = records_max
    ready = fetcher._records  # noqa: SLF001
    for tp in list(ready):
        if tp not in wanted:
            if not fetcher._subscriptions.is_assigned(tp):  # noqa: SLF001
                del ready[tp]
            continue
        result = ready[tp]
        if isinstance(result, FetchError):
            error = result._error  # noqa: SLF001
            if isinstance(error, OffsetOutOfRangeError):
                taken[tp] = OutOfRangeError(str(error))
            elif not isinstance(error, NoOffsetForPartitionError):  # it was set before the partition was sought
                if taken:
                    return taken  # raised by the next call
                del ready[tp]
                raise error
        elif (outcome := _take_portion(result, records_left)) is not None:
            taken[tp] = outcome
            if result.has_more():
                return taken  # as much as is taken at once
            records_left -= len(outcome) if isinstance(outcome, list) else 0
        del ready[tp]
        fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001
    return taken


def _take_portion(result: FetchResult, records_left: int) -> list[Record] | UnreadableError | None:
    if not result.has_more() or not result.check_assignment(result._topic_partition):  # noqa: SLF001
        return None
    unread: Any = result._partition_records  # noqa: SLF001
    if not isinstance(unread, Unread):
        unread = result._partition_records = Unread(unread)  # noqa: SLF001
    records: list[Record] = []
    failure = None
    try:
        if unread.move_to(records, records_left, PORTION_MAX_BYTES):
            result._update_position()  # noqa: SLF001
            return records
    except Exception as error:  # noqa: BLE001 - checksums, formats and four codecs all fail in ways of their own
        failure = error
    result._update_position()  # noqa: SLF001 - as far as it was read
    result._partition_records = None  # noqa: SLF001
    if records:
        return records  # what failed behind them fails again, alone
    return None if failure is None else UnreadableError(unread.next_fetch_offset, f"{failure!r}")


async def _mend(
    consumer: AIOKafkaConsumer, tp: TP, unreadable: UnreadableError, records_max: int
) -> list[Record] | None:
    """Read a batch that aiokafka does not, and move behind it; None when we cannot either."""
    assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
    try:
        async with asyncio.timeout(_MEND_TIMEOUT_S):
            records, next_offset = await read_batch(consumer._client, tp, unreadable.offset, READ_COMMITTED)  # noqa: SLF001
    except Exception:  # noqa: BLE001 - the first failure says more, and is told
        return None
    state = assignment.state_value(tp) if assignment.active else None
    if state is None or not state.has_valid_position or state.position != unreadable.offset:
        return []  # sought, or revoked, meanwhile
    if len(records) > records_max:
        records = records[:records_max]
        next_offset = records[-1].offset + 1
    state.consumed_to(next_offset)
    return records
