"""
Lanes: one for each assigned partition, in which its runs are handled one after the other.

Lanes of different partitions overlap. A lane is opened when its partition is assigned, loads the partition, seeks to
its stored position and only then takes runs. It is closed when the partition is revoked: what it was doing is
abandoned, not waited for, and the next lane of the partition starts once that has come to its end.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

import structlog
from faust.types import TP

from worker.epoch import Epoch
from worker.errors import UnavailableError
from worker.pipeline.record import Record
from worker.pipeline.resume import recreated
from worker.pipeline.retry import Backoff
from worker.runs.progress import Progress, Reach, measure
from worker.runs.run import Run, join

# What waits in a lane is joined into one run: small ones would each cost a transaction. It takes no more once it has
# enough for a good run, and never more than a few deliveries, each of which may be large.
_ENOUGH_RECORDS: Final = 1000
_DELIVERIES_MAX: Final = 4
_UNREADABLE_PAUSE_S: Final = 1.0

_log: Final = structlog.get_logger("referrals")
T = TypeVar("T")


class Retry(Protocol):
    """Tries until it succeeds, or its epoch ends."""

    async def __call__(self, attempt: Callable[[], Awaitable[T]], /) -> T:
        """Return what `attempt` returns, called again after every UnavailableError."""


class RunHandler(Protocol):
    """What a lane does with its partition."""

    async def load(self, partition: int, epoch: Epoch) -> int:
        """Load the partition and return its position in the topic; an UnavailableError leads to another call."""

    async def process(self, run: Run, retry: Retry) -> bool:
        """Store a run and return whether it is done; False when the stored position is elsewhere."""

    def release(self, partition: int) -> None:
        """Forget the partition."""


class Lane:
    """The runs of one partition in one epoch."""

    def __init__(self, tp: TP, lanes: "Lanes", previous: "Lane | None") -> None:
        self.tp = tp
        self.epoch = Epoch()
        self.next_offset: int | None = None  # stored; None until loaded
        self._lanes = lanes
        self.outage: str | None = None  # what the lane waits for
        self.reach: Reach | None = None  # of the consumer, noted while everything fetched was delivered
        self.unreadable: str | None = None  # why what comes next cannot be read
        self._is_pausing = False
        self._expected = 0  # offset to be delivered next
        self._unfinished_count = 0  # records delivered and not stored
        self._waiting_count = 0  # records delivered and not at work
        self._waiting_runs = 0
        self._waiting: deque[Run] = deque()
        self._has_waiting = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(
            self._work(previous), name=f"lane {tp.topic}[{tp.partition}]"
        )
        self._task.add_done_callback(self._on_done)

    @property
    def serving(self) -> bool:
        """Whether the partition is loaded and being read."""
        return self.next_offset is not None and not self.epoch.ended

    @property
    def has_room(self) -> bool:
        """Whether another run may be delivered."""
        has_little = self._waiting_count < _ENOUGH_RECORDS and self._waiting_runs < _DELIVERIES_MAX
        return self.serving and has_little and not self._is_pausing

    @property
    def is_idle(self) -> bool:
        """Whether every run delivered is finished."""
        return self._unfinished_count == 0

    @property
    def has_failed(self) -> bool:
        """Whether the lane can go on no more: what was delivered to it will not be finished."""
        return self._task.done() and not self.epoch.ended

    def progress(self, now_s: float) -> Progress | None:
        """Return how far the lane is; None until it is loaded."""
        if self.next_offset is None or self.epoch.ended:
            return None
        return measure(
            self.tp.partition, self.next_offset,
            reach=self.reach, delivered=self._expected, is_idle=self.is_idle, now_s=now_s,
        )  # fmt: skip

    def deliver(self, records: Sequence[Record]) -> Run:
        """
        Make a run of records just fetched, which `submit` then takes.

        Raises:
            TopicRecreatedError: offsets went back although nobody sought back.
        """
        self.unreadable = None
        first, last = records[0].offset, records[-1].offset
        if first < self._expected:
            topic, partition = self.tp
            raise recreated(f"{topic}[{partition}]@{first} was delivered", self._expected)
        run = Run(self.tp.topic, self.tp.partition, self._expected, last + 1, records, self.epoch)
        self._expected = last + 1
        self._unfinished_count += len(records)
        self._waiting_count += len(records)
        self._waiting_runs += 1
        return run

    def submit(self, run: Run) -> None:
        """Let a run wait; how much waits is bounded by `has_room`."""
        self._waiting.append(run)
        self._has_waiting.set()

    def stand_still(self, offset: int, reason: str) -> None:
        """Wait before what cannot be read, and try again in a while; it is said once for each offset."""
        topic, partition = self.tp
        said = f"{topic}[{partition}]@{offset}: {reason}"
        if said != self.unreadable:
            self.unreadable = said
            _log.error("partition stands still", record=f"{topic}[{partition}]@{offset}", reason=reason)
        self._is_pausing = True
        asyncio.get_running_loop().call_later(_UNREADABLE_PAUSE_S, self._end_pause)

    def _end_pause(self) -> None:
        self._is_pausing = False
        self._lanes.changed.set()

    def close(self) -> None:
        """End the epoch: abandon what is at work, and drop what waits."""
        was_storing = self.epoch.end()
        if not was_storing:
            # a connection in use is severed instead: cancelling psycopg would wait for the server
            self._task.cancel()
        self._lanes.handler.release(self.tp.partition)

    async def ended(self) -> None:
        """Wait until nothing of the lane is at work any more."""
        await asyncio.wait([self._task])

    async def _work(self, previous: "Lane | None") -> None:
        if previous is not None:
            await previous.ended()
        position = await self._retry(lambda: self._lanes.handler.load(self.tp.partition, self.epoch))
        await self._retry(lambda: self._lanes.seek(self.tp, position))
        if self.epoch.ended:
            return
        self._expected = self.next_offset = position
        self._lanes.changed.set()
        while not self.epoch.ended:
            run = await self._next_run()
            is_done = await self._lanes.handler.process(run, self._retry)
            if self.epoch.ended:
                return
            if not is_done:
                self._lanes.reopen(self)
                return
            self.next_offset = run.next_offset
            self._unfinished_count -= len(run.records)
            self._lanes.changed.set()

    async def _next_run(self) -> Run:
        """Return what waits, joined to one run as far as one transaction takes it."""
        await self._has_waiting.wait()
        runs = [self._waiting.popleft()]
        count = len(runs[0].records)
        while self._waiting and count + len(self._waiting[0].records) <= self._lanes.run_max_records:
            runs.append(self._waiting.popleft())
            count += len(runs[-1].records)
        if not self._waiting:
            self._has_waiting.clear()
        self._waiting_count -= count
        self._waiting_runs -= len(runs)
        self._lanes.changed.set()
        return join(runs)

    async def _retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it succeeds or the epoch ends; an outage needs no human once it is over."""
        backoff = Backoff(self._lanes.retry_max_s)
        while True:
            try:
                result = await attempt()
            except UnavailableError as error:
                if self.epoch.ended:
                    raise asyncio.CancelledError from error
                pause_s = backoff.next_pause_s()
                self.outage = str(error)
                _log.warning(
                    "waiting for an outage to end", partition=f"{self.tp.topic}[{self.tp.partition}]",
                    error=str(error), retry_in_s=round(pause_s, 1),
                )  # fmt: skip
                await asyncio.sleep(pause_s)
            else:
                self.outage = None
                return result

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.epoch.ended:
            self._lanes.fail(error)
            self._lanes.changed.set()


class Lanes:
    """
    All lanes of this worker.

    Args:
        handler: loads partitions and processes runs.
        seek: moves the consumer of a partition to an offset.
        fail: called with the error of a lane that can go on no more; it must end the process.
        retry_max_s: the longest pause between two tries.
        run_max_records: the most that one transaction stores.
    """

    def __init__(
        self,
        handler: RunHandler,
        *,
        seek: Callable[[TP, int], Awaitable[None]],
        fail: Callable[[BaseException], None],
        retry_max_s: float,
        run_max_records: int,
    ) -> None:
        self.handler = handler
        self.seek = seek
        self.fail = fail
        self.retry_max_s = retry_max_s
        self.run_max_records = run_max_records
        self.changed = asyncio.Event()  # a lane has room, or has gone: look again
        self.is_assigned = False  # whether it is known which partitions are ours
        self._lanes: dict[TP, Lane] = {}
        self._leaving: dict[TP, Lane] = {}
        self._draining = False

    def assign(self, tps: Iterable[TP]) -> None:
        """Open a lane for each partition, and close those of all others."""
        wanted = set(tps)
        for tp in self._lanes.keys() - wanted:
            self._close(tp)
        for tp in wanted - self._lanes.keys():
            self._open(tp)
        self.is_assigned = True
        self.changed.set()

    def revoke(self, tps: Iterable[TP]) -> None:
        """Close the lanes of partitions that are ours no more."""
        self.is_assigned = False
        for tp in self._lanes.keys() & set(tps):
            self._close(tp)
        self.changed.set()

    def reopen(self, lane: Lane) -> None:
        """Start a lane's partition over from its stored position."""
        if self._lanes.get(lane.tp) is lane:
            self._close(lane.tp)
            self._open(lane.tp)

    def _open(self, tp: TP) -> None:
        self._lanes[tp] = Lane(tp, self, self._leaving.pop(tp, None))

    def _close(self, tp: TP) -> None:
        lane = self._leaving[tp] = self._lanes.pop(tp)
        lane.close()

    def submit(self, run: Run) -> None:
        """Hand a run to its lane; one of an epoch that has ended is dropped, it will be delivered again."""
        lane = self._lanes.get(TP(run.topic, run.partition))
        if lane is not None and lane.epoch is run.epoch:
            lane.submit(run)

    def with_room(self) -> dict[TP, Lane]:
        """Return the lanes to which a run may be delivered now."""
        return {} if self._draining else {tp: lane for tp, lane in self._lanes.items() if lane.has_room}

    def next_offsets(self) -> dict[TP, int]:
        """Return the stored position of each partition that is being read."""
        return {tp: lane.next_offset for tp, lane in self._lanes.items() if lane.next_offset is not None}

    def note_reach(self, tp: TP, reach: Reach | None) -> None:
        """Note where the consumer is in a partition that is being read."""
        self._lanes[tp].reach = reach

    def progress(self, now_s: float) -> list[Progress]:
        """Return how far each partition is that is being read; `now_s` by the monotonic clock."""
        return [progress for _, lane in sorted(self._lanes.items()) if (progress := lane.progress(now_s))]

    def held(self) -> list[Lane]:
        """Return all lanes, in the order of their partitions."""
        return [self._lanes[tp] for tp in sorted(self._lanes)]

    @property
    def loading(self) -> list[TP]:
        """The partitions assigned, but not read yet."""
        return sorted(tp for tp, lane in self._lanes.items() if not lane.serving)

    @property
    def outages(self) -> list[str]:
        """What lanes wait for, each said once."""
        return sorted({lane.outage for lane in self._lanes.values() if lane.outage is not None})

    async def drain(self, timeout_s: float) -> bool:
        """
        Take no more runs and wait until those delivered are stored; abandon them, and return False, after a time.

        A lane that has failed is not waited for.
        """
        self._draining = True
        try:
            async with asyncio.timeout(timeout_s):
                while not all(lane.is_idle or lane.has_failed for lane in self._lanes.values() if lane.serving):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            self.revoke(list(self._lanes))
            return False
        return True
