"""
Kafka as Faust sees it: a consumer that delivers runs, reads from stored positions and commits what is stored.

Stock Faust spends about 80 microseconds on each message it delivers, which caps it near 6,500 messages a second; a run
costs as much as one message.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import ConsumerStoppedError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode.types import ServiceT

from worker.errors import BrokerUnavailableError, InvariantError
from worker.pipeline.record import Record
from worker.runs.fetching import Outcome, OutOfRangeError, UnreadableError, fetch
from worker.runs.group import wait_while_loading
from worker.runs.lanes import Lane, Lanes
from worker.runs.progress import Reach
from worker.runs.run import Run

if TYPE_CHECKING:
    from worker.runs.app import App

_FETCH_WAIT_S: Final = 0.5
# while a lane is full others must not wait for long: it is asked for again after this
_FULL_LANE_WAIT_S: Final = 0.02
_FETCH_MAX_WAIT_MS: Final = 50
_COMMIT_TIMEOUT_S: Final = 5.0
_SEEK_TIMEOUT_S: Final = 10.0
_FLUSH_TIMEOUT_S: Final = 5.0
_TIMESTAMP_OF_PRODUCER: Final = 0

_log: Final = structlog.get_logger("referrals")


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka's consumer runs."""

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust asks for this only together with exactly_once, which we do without: aborted events must not count
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        # aiokafka has one fetch under way to a broker: partitions that it does not ask for, because their records were
        # not taken yet, wait for it. Faust's 1,500 ms starved a backlog, with the changelog alone being asked for.
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS  # noqa: SLF001
        return consumer

    async def on_start(self) -> None:
        """Start the consumer, which does not join the group before it is told what to read."""
        await super().on_start()
        wait_while_loading(self._ensure_consumer())

    def reach(self, tp: TP) -> Reach | None:
        """
        Return where the consumer is in a partition; None when that is not known, or the partition not assigned.

        Called from the loop of the worker while this thread goes on: each value is one attribute, read once, and the
        end before the position, so what has come meanwhile can only make the lag smaller.
        """
        state = self._state_of(tp)
        if state is None:
            return None
        asked_ms, end = state.timestamp, state.highwater
        position = state._position  # noqa: SLF001 - the public one asserts that it is known
        if asked_ms is None or end is None or position is None:
            return None
        return Reach(position, end, time.monotonic() - max(0.0, time.time() - asked_ms / 1000))

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> dict[TP, Any]:
        if not self.consumer.flow_active:
            return {}
        if consumer._closed or consumer._fetcher._closed:  # noqa: SLF001
            raise ConsumerStoppedError
        with consumer._fetcher._subscriptions.fetch_context():  # noqa: SLF001
            return await fetch(consumer, active_partitions, timeout or 0.0, max_records or 1)

    def has_assignment(self) -> bool:
        """Return whether Kafka has assigned anything to this member of the group."""
        return self._consumer is not None and bool(self._consumer.assignment())

    def next_to_read(self, tp: TP) -> int | None:
        """Return the offset that is read next, which passes markers of transactions; None when it is not known now."""
        state = self._state_of(tp)
        return state.position if state is not None and state.has_valid_position else None

    def _state_of(self, tp: TP) -> TopicPartitionState | None:
        """Return what aiokafka's consumer knows of a partition; None when it is not assigned."""
        subscription = self._consumer and self._consumer._subscription.subscription  # noqa: SLF001 - no public way is synchronous
        assignment = subscription and subscription.assignment
        return assignment.state_value(driver.ensure_aiokafka_TP(tp)) if assignment else None

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # committed offsets only inform lag tools, the stored positions count: stock Faust would crash here
        consumer = self._ensure_consumer()
        assignment = self.assignment()
        committable = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assignment
        }
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await consumer.commit(committable)
        except (KafkaError, TimeoutError) as error:
            _log.info("offsets not committed; the next commit will", error=repr(error))
            return False
        return True


class Consumer(driver.Consumer):
    """Delivers one message for each run; its value is a `Run`."""

    app: "App"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fetching = asyncio.Lock()

    @property
    def _lanes(self) -> Lanes:
        return self.app.lanes

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Abandon what is at work, before anything else: a rebalance must not hang behind a database."""
        self._lanes.revoke(revoked)
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """
        Open the lanes of what is assigned.

        Faust calls this at the end of recovery, to seek to committed offsets. Each lane seeks to its stored position
        instead, when it has read it: PostgreSQL may be down for longer than Faust would wait here.
        """
        self._lanes.assign(tp for tp in self.assignment() if self._is_usages(tp))

    def has_assignment(self) -> bool:
        """Return whether Kafka has assigned anything to this worker; not before it has joined the group."""
        return cast("ConsumerThread", self._thread).has_assignment()

    def next_to_read(self, tp: TP) -> int | None:
        """Return the offset that is read next; None when it is not known now."""
        return cast("ConsumerThread", self._thread).next_to_read(tp)

    async def seek_run(self, tp: TP, offset: int) -> None:
        """
        Make `offset` the next one to be delivered.

        Waits for a fetch under way: it was asked for by lanes of before, even before a rebalance, and what arrives
        after the seek would go to them, who drop it.

        Raises:
            BrokerUnavailableError: not done; the partition may not be assigned any more.
        """
        try:
            async with asyncio.timeout(_SEEK_TIMEOUT_S), self._fetching:
                await self.seek_wait({tp: offset})
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailableError(f"cannot seek to offset {offset}: {error!r}") from error

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._deliver_fetched()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except InvariantError as error:
            self._lanes.fail(error)

    async def _deliver_fetched(self) -> None:
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait(), timeout=_FETCH_WAIT_S)
            return
        self._lanes.changed.clear()
        async with self._fetching:
            # nothing is fetched and not delivered now
            for tp in self._lanes.next_offsets():
                self._lanes.note_reach(tp, cast("ConsumerThread", self._thread).reach(tp))
            lanes = self._lanes.with_room()
            wanted = lanes.keys() | {tp for tp in self._active_partitions if not self._is_usages(tp)}
            has_full = len(lanes) < len(self._lanes.next_offsets())
            fetched = await self._getmany(wanted, _FULL_LANE_WAIT_S if has_full else _FETCH_WAIT_S) if wanted else {}
        if not wanted:
            await self.wait(self._lanes.changed.wait(), timeout=_FETCH_WAIT_S)
        for raw_tp, outcome in fetched.items():
            tp = TP(raw_tp.topic, raw_tp.partition)
            lane = lanes.get(tp)
            if lane is not None:
                await self._deliver_to_lane(lane, outcome)
            elif isinstance(outcome, list):
                for record in outcome:  # Faust's own, during recovery
                    await self._deliver(self._to_message(tp, record))
        # fetching may succeed without a pause for as long as there is a backlog
        await asyncio.sleep(0)

    async def _deliver_to_lane(self, lane: Lane, outcome: Outcome) -> None:
        if not self.flow_active or not lane.serving:
            return  # it is delivered again, after the partition's next lane has sought
        if isinstance(outcome, OutOfRangeError):
            _log.warning("starting over", partition=f"{lane.tp.topic}[{lane.tp.partition}]", reason=str(outcome))
            self._lanes.reopen(lane)
        elif isinstance(outcome, UnreadableError):
            lane.stand_still(outcome.offset, str(outcome))
        else:
            await self._deliver(self._to_run_message(lane.tp, lane.deliver(outcome)))

    async def _deliver(self, message: Message) -> None:
        await self.wait_first(self.callback(message), self.suspend_flow.wait())

    def _to_message(self, tp: TP, record: Record) -> ConsumerMessage:
        return self._new_message(tp, record, record.headers, record.key, record.value)

    def _to_run_message(self, tp: TP, run: Run) -> ConsumerMessage:
        return self._new_message(tp, run.records[-1], [], None, run)

    def _new_message(self, tp: TP, record: Record, headers: Any, key: bytes | None, value: Any) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic, tp.partition, record.offset, (record.timestamp or 0) / 1000, _TIMESTAMP_OF_PRODUCER,
            headers, key, value, None, tp=tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def _is_usages(self, tp: TP) -> bool:
        return tp.topic == self.app.usages_topic_name

    # Faust keeps every acknowledged offset until a commit, and turns each gap between them into integers: five million
    # took 267 MB and a second. The stored position is one integer and knows all of it.

    def ack(self, message: Message) -> bool:  # noqa: ARG002 - Faust's signature
        """Ignore Faust's own acknowledgements: a run is done when it is stored."""
        return False

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self._lanes.next_offsets() if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._lanes.next_offsets().get(tp)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Stay silent: Faust looks for acknowledgements of single messages here, and would report them missing."""


class Producer(driver.Producer):
    """Sends rejects; each send is awaited by whoever needs it."""

    def _settings_extra(self) -> Mapping[str, Any]:
        # Not idempotent: in aiokafka 0.14 a batch that was not taken leaves a gap in the sequence numbers, and none is
        # taken after it (OutOfOrderSequenceNumber). A copy sent twice is recognized by its identity.
        return {"acks": "all"}

    async def flush(self) -> None:
        """Flush for a bounded time: Faust calls this in a rebalance, which must not hang behind a broker."""
        try:
            async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                await super().flush()
        except TimeoutError:
            _log.info("producer not flushed in time; what needs its messages waits for them itself")


class Transport(driver.Transport):
    """What Faust makes its consumer and producer from."""

    Consumer = Consumer
    Producer = Producer
