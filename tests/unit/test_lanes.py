"""What a lane takes while it is at work, and what it then stores as one run."""

import asyncio

from factories import TOPIC, KafkaRecord
from faust.types import TP

from worker.epoch import Epoch
from worker.runs.lanes import Lane, Lanes, Retry
from worker.runs.run import Run

MAX_RECORDS = 5000
HERE = TP(TOPIC, 0)


class Handler:
    """Notes each run and holds it until it may be stored."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.may_store = asyncio.Semaphore(0)

    async def load(self, _partition: int, _epoch: Epoch) -> int:
        return 0

    async def process(self, run: Run, _retry: Retry) -> bool:
        self.runs.append(run)
        await self.may_store.acquire()
        return True

    def release(self, _partition: int) -> None:
        """Nothing is held."""


async def seek(_tp: TP, _offset: int) -> None:
    """Nothing is read."""


def fail(error: BaseException) -> None:
    raise error


class Partition:
    """A lane that reads, and the end of its partition."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.end = 0

    async def deliver(self, count: int) -> None:
        """Deliver the next records, and let the lane look at them."""
        assert self.lane.has_room
        records = [KafkaRecord(b"{}", offset) for offset in range(self.end, self.end + count)]
        self.end += count
        self.lane.submit(self.lane.deliver(records))
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def opened(handler: Handler) -> tuple[Lanes, Partition]:
    lanes = Lanes(handler, seek=seek, fail=fail, retry_max_s=1, run_max_records=MAX_RECORDS)
    lanes.assign([HERE])
    await settle()
    (lane,) = lanes.held()
    return lanes, Partition(lane)


def spans(handler: Handler) -> list[tuple[int, int, int]]:
    return [(run.start, run.next_offset, len(run.records)) for run in handler.runs]


async def test_first_delivery_is_at_work_at_once() -> None:
    """An idle lane waits for no more records than have come."""
    handler = Handler()
    lanes, partition = await opened(handler)
    await partition.deliver(1)
    assert spans(handler) == [(0, 1, 1)]
    lanes.revoke([HERE])


async def test_small_deliveries_become_one_run_while_another_is_at_work() -> None:
    """What comes during a transaction is stored by the next one, in order and with nothing between."""
    handler = Handler()
    lanes, partition = await opened(handler)
    for count in (10, 20, 30):
        await partition.deliver(count)
    handler.may_store.release()
    await settle()
    assert spans(handler) == [(0, 10, 10), (10, 60, 50)]
    assert [record.offset for record in handler.runs[1].records] == list(range(10, 60))
    lanes.revoke([HERE])


async def test_no_run_is_larger_than_a_transaction_may_be() -> None:
    """Deliveries that together exceed the most records of a run stay apart."""
    handler = Handler()
    lanes, partition = await opened(handler)
    for count in (1, 999, MAX_RECORDS):
        await partition.deliver(count)
    handler.may_store.release()
    handler.may_store.release()
    await settle()
    assert [len(run.records) for run in handler.runs] == [1, 999, MAX_RECORDS]
    lanes.revoke([HERE])


async def test_what_waits_is_bounded() -> None:
    """A lane takes no more once enough for a good run waits, nor more than a few deliveries, however small."""
    for counts in ([1000], [MAX_RECORDS], [500, 500], [1, 1, 1, 1]):
        handler = Handler()
        lanes, partition = await opened(handler)
        await partition.deliver(1)
        for count in counts:
            await partition.deliver(count)
        assert not partition.lane.has_room
        handler.may_store.release()
        await settle()
        assert partition.lane.has_room
        lanes.revoke([HERE])


async def test_idle_means_that_every_delivery_is_stored() -> None:
    """A lane whose next run waits is not idle, though nothing of it has begun."""
    handler = Handler()
    lanes, partition = await opened(handler)
    for count in (3, 4, 5):
        await partition.deliver(count)
    handler.may_store.release()
    await settle()
    assert not partition.lane.is_idle
    assert partition.lane.next_offset == 3
    handler.may_store.release()
    await settle()
    assert partition.lane.is_idle
    assert partition.lane.next_offset == 12
    lanes.revoke([HERE])
