"""
The agent that stores usages, and the steps that a run of them takes.

A process may die after any step: docs/delivery.md says what rows, position, table and offset are then.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, cast

import structlog
from faust.streams import Stream
from faust.types import StreamT
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from worker.database import Database
from worker.epoch import Epoch
from worker.filters import Filters
from worker.metrics import Metrics
from worker.pipeline.decode import Decoder
from worker.pipeline.record import Message, Record, Send
from worker.pipeline.rejects import dead_letter
from worker.pipeline.republish import find_retried
from worker.pipeline.reroute import Misrouted, copy_for_partition, partitions_of_codes, send_all
from worker.pipeline.resume import Topic, find_start, grown
from worker.pipeline.store import (
    DecodedRun,
    Held,
    Moved,
    Refused,
    Stored,
    load_partition,
    pass_over,
    refuse,
    store_run,
)
from worker.runs.app import RUN_CODEC, App
from worker.runs.lanes import Retry
from worker.runs.run import Run
from worker.runs.table import CodeTable

# decoding this many records takes about 2 ms: the web and heartbeats get their turn between
_DECODED_AT_ONCE: Final = 400

_log: Final = structlog.get_logger("referrals")


class UsageRuns:
    """
    Handles the runs of a worker's partitions.

    Args:
        topic: of usages, as it is now.
        partition_count: of that topic, as this worker started with it.
        rejected_topic: the dead-letter topic.
        send: puts a message on a topic.
        metrics: count what is stored.
    """

    def __init__(
        self,
        topic: Topic,
        partition_count: int,
        *,
        rejected_topic: str,
        decoder: Decoder,
        database: Database,
        table: CodeTable,
        filters: Filters,
        send: Send,
        metrics: Metrics,
    ) -> None:
        self._topic = topic
        self._partition_count = partition_count
        self._rejected_topic = rejected_topic
        self._decoder = decoder
        self._database = database
        self._table = table
        self._filters = filters
        self._send = send
        self._metrics = metrics
        self._misrouted = Misrouted(topic.name)
        self._held: dict[int, Held] = {}
        # one run after the other: decoded side by side, all would be ready at once, and PostgreSQL idle until then
        self._decoding = asyncio.Lock()

    async def load(self, partition: int, epoch: Epoch) -> int:
        """
        Load a partition's statistics into the table and return the offset to read from, which is its position.

        Raises:
            UnavailableError: PostgreSQL or Kafka is not there; try again.
            TopicMismatchError: the topic has more partitions than this worker, or the positions, know of.
            TopicRecreatedError: the position belongs to another topic of the same name.
        """
        if partition >= self._partition_count:
            raise grown(self._topic.name, self._partition_count, partition + 1)
        async with self._database.writing(epoch) as conn:
            started_s = time.monotonic()
            position, stats = await load_partition(conn, self._topic.name, partition, self._partition_count)
            load_s = time.monotonic() - started_s
        start = await find_start(self._topic, partition, position)
        if start > position.next_offset:
            await self._pass_over(partition, position.next_offset, start, epoch)
        if not epoch.ended:
            self._table.hold(partition, stats, self._partition_count)
            self._held[partition] = Held(start, stats, self._filters.open(partition, stats))
            _log.info(
                "partition loaded", partition=f"{self._topic.name}[{partition}]", position=start, codes=len(stats),
                load_s=round(load_s, 3),
            )  # fmt: skip
        return start

    async def _pass_over(self, partition: int, position: int, start: int, epoch: Epoch) -> None:
        async with self._owning(partition, epoch) as conn:
            is_ours = await pass_over(conn, self._topic.name, partition, position, start)
        if is_ours:  # reported once, by who moves the position
            _log.error(
                "events are lost: Kafka removed them before they were read; retention is too short, or workers were "
                "away for too long", partition=f"{self._topic.name}[{partition}]",
                first=position, last=start - 1, count=start - position,
            )  # fmt: skip

    def release(self, partition: int) -> None:
        """Forget a partition: it is not ours, or not as we know it."""
        self._table.release(partition)
        self._filters.close(partition)
        self._held.pop(partition, None)

    async def process(self, run: Run, retry: Retry) -> bool:
        """
        Take a run through its steps; every one of them may be repeated.

        1. Decode: each record becomes a usage or a reject.
        2. Reroute: records whose codes belong to other partitions are sent there, rejects are copied to the
           dead-letter topic; all of it is acknowledged.
        3. Store: rows, rejects, statistics and the position are one transaction.
        4. Show: what is committed, and only that, enters the table.
        5. Ack: the caller moves the partition's offset, which the consumer commits in its own time.

        Args:
            retry: tries a step again for as long as an outage lasts.
        Returns:
            True when the run is stored, by this call or before; False when the stored position is elsewhere, so the
            partition must be loaded anew.
        Raises:
            InvariantError: going on would lose or double events.
        """
        started_s = time.monotonic()
        decoded, with_headers = await self._decode(run)
        messages = self._take_misrouted(run, decoded, with_headers)
        rerouted = len(messages)
        copied = 0
        while not run.epoch.ended:
            messages += [dead_letter(reject, self._rejected_topic) for reject in decoded.rejects[copied:]]
            copied = len(decoded.rejects)
            await retry(partial(send_all, messages, self._send))
            messages = []
            outcome = await retry(partial(self._store, run, decoded))
            if isinstance(outcome, Moved):
                _log.info("position moved elsewhere", run=str(run), position=outcome.next_offset)
                return False
            if isinstance(outcome, Stored):
                self._metrics.note_run(
                    records=len(run.records), seconds=time.monotonic() - started_s, stored=outcome.stored,
                    duplicates=outcome.duplicates, replayed=outcome.replayed, rerouted=rerouted,
                    reject_reasons=outcome.reject_reasons,
                )  # fmt: skip
                if not run.epoch.ended:
                    self._show(run, decoded, outcome)
                return True
            refuse(decoded, outcome.details, run.records, self._decoder)
        return False

    def _take_misrouted(self, run: Run, decoded: DecodedRun, with_headers: Sequence[Record]) -> list[Message]:
        """Take the usages of other partitions' codes out of the run, and return the copies to send there."""
        held = self._held[run.partition]
        # a code that the partition has statistics of is at home
        unknown = list(held.stats.unknown(decoded.usages.codes))
        partitions = partitions_of_codes(unknown, self._partition_count)
        elsewhere = {
            code: partition for code, partition in zip(unknown, partitions, strict=True) if partition != run.partition
        }
        sent = {
            usage.offset: (usage.code, elsewhere[usage.code])
            for usage in (decoded.usages if elsewhere else ())
            # below the position nothing is sent again
            if usage.code in elsewhere and usage.offset >= held.next_offset
        }
        self._misrouted.note(len(run.records), with_headers, sent)
        if not sent:
            return []
        decoded.usages = decoded.usages.pick([offset not in sent for offset in decoded.usages.offsets])
        return [copy_for_partition(record, *sent[record.offset]) for record in run.records if record.offset in sent]

    async def _store(self, run: Run, decoded: DecodedRun) -> Stored | Moved | Refused:
        async with self._owning(run.partition, run.epoch) as conn:
            return await store_run(conn, decoded, self._held[run.partition])

    @asynccontextmanager
    async def _owning(self, partition: int, epoch: Epoch) -> AsyncIterator[AsyncConnection]:
        async with self._database.writing(epoch) as conn:
            try:
                yield conn
            except LockNotAvailable:
                # the partition is ours, so who holds its position for that long is frozen; the next try goes through
                await self._database.end_blockers(conn, self._topic.name, partition)
                raise

    async def _decode(self, run: Run) -> tuple[DecodedRun, list[Record]]:
        """Return the run decoded, and those of its records that carry headers, which are few."""
        decoded = DecodedRun(run.topic, run.partition, run.start, run.next_offset, run.records[-1])
        with_headers: list[Record] = []
        async with self._decoding:
            for start in range(0, len(run.records), _DECODED_AT_ONCE):
                records = run.records[start : start + _DECODED_AT_ONCE]
                usages, rejects = self._decoder.decode(records)
                decoded.usages.extend(usages)
                decoded.rejects += rejects
                # while the processor has them at hand: another pass over the whole run would cost a tenth of all
                with_headers += [record for record in records if record.headers]
                await asyncio.sleep(0)
        decoded.retried = find_retried(with_headers, self._decoder.id_of_reject)
        return decoded, with_headers

    def _show(self, run: Run, decoded: DecodedRun, stored: Stored) -> None:
        self._table.show(run.partition, stored.touched)
        held = self._held[run.partition]
        held.pair_filter.feed(stored.new_pairs)
        held.next_offset = max(held.next_offset, run.next_offset)
        for reject in decoded.rejects:
            _log.warning(
                "record rejected", record=f"{run.topic}[{run.partition}]@{reject.record.offset}",
                reason=reject.reason.value, detail=reject.detail, id=str(reject.id),
            )  # fmt: skip
        _log.debug(
            "run stored", run=str(run), stored=stored.stored, rejected=stored.rejected,
            duplicates=stored.duplicates, replayed=stored.replayed,
        )  # fmt: skip


def add_agent(app: App, submit: Callable[[Run], None]) -> None:
    """Add the agent that takes runs from Faust and submits each to the lane of its partition."""
    topic = app.topic(app.usages_topic_name, key_serializer="raw", value_serializer=RUN_CODEC)

    @app.agent(topic, name="store_usages")
    async def store_usages(stream: StreamT[Run]) -> None:
        runs = cast("Stream[Run]", stream)
        async for event in runs.noack().events():
            submit(event.value)
