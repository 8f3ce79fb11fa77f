"""
The watchdog: looks every few seconds whether what should move does, and whether the ground under it is still the same.

During an outage it says nothing: what waits for PostgreSQL or Kafka is not stuck, and a restart would not help.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from faust.types import TP
from mode import Service

from worker.database import Database
from worker.epoch import Epoch
from worker.errors import StuckError, UnavailableError
from worker.health import Health
from worker.pipeline.resume import grown, recreated
from worker.pipeline.store import read_positions
from worker.runs.consumer import Consumer
from worker.runs.lanes import Lane, Lanes
from worker.runs.topic import TopicReader

_LOOK_AGAIN_MAX_S: Final = 5.0
RECOVERY_TIMEOUT_S: Final = 120.0
"""How long Faust's recovery may take: Faust gives up on a step of it after 90 s, in silence."""

_log: Final = structlog.get_logger("referrals")


@dataclass(slots=True)
class _Standing:
    """A partition's last change: of its lane, its stored position, or the offset that is read next."""

    state: tuple[Epoch, int | None, int | None]
    since: float
    is_told: bool = False


class Watchdog(Service):
    """
    Compares what the lanes have come to with the ends of their partitions and the stored positions.

    Args:
        consumer: returns Faust's consumer, which is there once the worker has started.
        stall_timeout_s: how long a partition with something to read may stand still.
        recovery_timeout_s: how long after an assignment Faust's recovery may come to its end.
    """

    abstract = False

    def __init__(
        self,
        lanes: Lanes,
        database: Database,
        topic: TopicReader,
        health: Health,
        *,
        partition_count: int,
        consumer: Callable[[], Consumer],
        stall_timeout_s: float,
        recovery_timeout_s: float,
    ) -> None:
        super().__init__()
        self._lanes = lanes
        self._database = database
        self._topic = topic
        self._health = health
        self._partition_count = partition_count
        self._consumer = consumer
        self._stall_timeout_s = stall_timeout_s
        self._recovery_timeout_s = recovery_timeout_s
        self._look_again_s = min(_LOOK_AGAIN_MAX_S, stall_timeout_s / 4)
        self._standing: dict[TP, _Standing] = {}
        self._unassigned_since: float | None = None

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(self._look_again_s)
            if self._health.is_stopping:
                return
            try:
                await self._look()
            except UnavailableError as error:
                _log.info("the watchdog waits for an outage to end", error=str(error))
                self._forget()

    def _forget(self) -> None:
        self._standing.clear()
        self._unassigned_since = None
        self._health.stall = None

    async def _look(self) -> None:
        count = await self._topic.partition_count()
        if count > self._partition_count:
            self._lanes.fail(grown(self._topic.name, self._partition_count, count))
            return
        lanes = self._lanes.held()
        before = {lane: lane.next_offset for lane in lanes if lane.serving and lane.is_idle}
        async with self._database.reading() as conn:
            positions = await read_positions(conn, self._topic.name)
        for lane, next_offset in before.items():
            self._notice_moved(lane, next_offset, positions.get(lane.tp.partition))
        # asked for after the positions, so that they cannot have passed it
        ends = await self._topic.ends(range(count))
        for partition, end in ends.items():
            if end < (position := positions.get(partition, 0)):
                self._lanes.fail(recreated(f"{self._topic.name}[{partition}] ends at {end}", position))
                return
        self._notice_recovery_ended()
        stalls = [stall for lane in self._lanes.held() if (stall := self._find_stall(lane, ends)) is not None]
        self._health.stall = "; ".join(stalls) or None

    def _notice_moved(self, lane: Lane, next_offset: int | None, stored: int | None) -> None:
        """Start over where a position was moved while its lane had nothing to do: by an operator, or a backup."""
        if lane.is_idle and lane.next_offset == next_offset != stored:
            topic, partition = lane.tp
            _log.warning(
                "position moved elsewhere", partition=f"{topic}[{partition}]", position=stored, was=next_offset
            )
            self._lanes.reopen(lane)

    def _notice_recovery_ended(self) -> None:
        if self._lanes.is_assigned or not self._consumer().has_assignment():
            self._unassigned_since = None
            return
        now = time.monotonic()
        if self._unassigned_since is None:
            self._unassigned_since = now
        elif now - self._unassigned_since > self._recovery_timeout_s:
            self._lanes.fail(
                StuckError(
                    f"partitions were assigned {self._recovery_timeout_s:g} s ago, and Faust's recovery has not come "
                    f"to an end: it has given up in silence, on a broker that was slow"
                )
            )

    def _find_stall(self, lane: Lane, ends: dict[int, int]) -> str | None:
        next_to_read = self._consumer().next_to_read(lane.tp)
        state = lane.epoch, lane.next_offset, next_to_read
        standing = self._standing.get(lane.tp)
        now = time.monotonic()
        if standing is None or standing.state != state or not self._should_move(lane, next_to_read, ends):
            self._standing[lane.tp] = _Standing(state, now)
            return None
        stood_s = now - standing.since
        if stood_s < self._stall_timeout_s:
            return None
        stall = _describe(lane, next_to_read)
        if not standing.is_told:
            standing.is_told = True
            _log.error("partition stalled", stall=stall, stood_s=round(stood_s))
        return f"{stall}; stalled for more than {self._stall_timeout_s:g} s"

    def _should_move(self, lane: Lane, next_to_read: int | None, ends: dict[int, int]) -> bool:
        if lane.outage is not None:
            return False
        if not lane.serving or not lane.is_idle:
            return True
        end = ends.get(lane.tp.partition)
        # behind the last record there may be markers of transactions: the consumer passes them, the position does not
        return end is not None and max(next_to_read or 0, lane.next_offset or 0) < end


def _describe(lane: Lane, next_to_read: int | None) -> str:
    topic, partition = lane.tp
    if lane.unreadable is not None:
        return lane.unreadable
    if not lane.serving:
        return f"{topic}[{partition}]: loading the partition does not come to an end"
    where = f"{topic}[{partition}]@{lane.next_offset}"
    if not lane.is_idle:
        return f"{where}: storing the run does not come to an end"
    return f"{where}: nothing is delivered, the consumer stands at {next_to_read}"
