"""
Any cut, any replay, any failure: the same rows and statistics.

A partition's records are delivered by lanes that hypothesis misleads: in any cut, from anywhere, again and again, by
two lanes that both believe they own the partition, while statements fail, backends are ended and sockets are closed,
before and after commits. Whatever happened, the tables must be what one clean pass leaves.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import psycopg
import pytest
from factories import NOW_MS, KafkaRecord, Lane, connect_writer, event_value, run_of_records, uuid_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracle import assert_statistics_equal_rows
from psycopg import AsyncConnection, AsyncCursor, OperationalError

from worker.database import sever
from worker.pipeline.retry import Verdict, classify
from worker.pipeline.store import Moved, Stored

TABLES = {
    "referral_usages": "uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use",
    "referral_code_stats": (
        "code_uuid, total_uses, unique_users, last_used, kafka_partition, recent_users, recent_dates"
    ),
    "referral_hours": "kafka_partition, hour, uses, first_uses",
    "referral_positions": "topic, partition, partition_count, next_offset, last_timestamp, last_digest",
    "referral_rejections": "id, reason, detail, value, key, headers, kafka_topic, kafka_partition, kafka_offset",
}


class Failure(NamedTuple):
    """What goes wrong, and at which step of a connection's work."""

    step: int
    kind: Literal["raise", "terminate", "sever"]


class Fuse:
    """Counts the steps of a connection and breaks it at one of them."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.burnt = 0
        self._steps = 0

    def set(self, failure: Failure | None) -> None:
        """Start counting from 0."""
        self.failure = failure
        self._steps = 0

    async def burn(self, conn: AsyncConnection) -> None:
        """Take one step; at the step of the failure, let it happen."""
        if self.failure is None or conn.closed:
            return
        is_due = self._steps == self.failure.step
        self._steps += 1
        if not is_due:
            return
        self.burnt += 1
        if self.failure.kind == "sever":
            sever(conn)
        elif self.failure.kind == "terminate":
            async with await AsyncConnection.connect(conn.info.dsn, autocommit=True) as killer:
                await killer.execute("select pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])
        else:
            raise OperationalError("the connection failed here")


class BreakingCursor(AsyncCursor):
    """Takes a step before every statement, and one with a COPY's rows under way."""

    async def execute(self, *args, **kwargs):
        await self.connection.fuse.burn(self.connection)
        return await super().execute(*args, **kwargs)

    async def executemany(self, *args, **kwargs):
        await self.connection.fuse.burn(self.connection)
        return await super().executemany(*args, **kwargs)

    async def stream(self, *args, **kwargs):
        await self.connection.fuse.burn(self.connection)
        async for row in super().stream(*args, **kwargs):
            yield row

    @asynccontextmanager
    async def copy(self, *args, **kwargs):
        await self.connection.fuse.burn(self.connection)
        async with super().copy(*args, **kwargs) as copy:
            yield copy
            await self.connection.fuse.burn(self.connection)


class BreakingConnection(AsyncConnection):
    """Takes a step before and after every commit as well: after it, the caller does not learn that it went well."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fuse = Fuse()
        self.cursor_factory = BreakingCursor

    @asynccontextmanager
    async def transaction(self, *args, **kwargs):
        async with super().transaction(*args, **kwargs) as transaction:
            yield transaction
            await self.fuse.burn(self)
        await self.fuse.burn(self)


class Delivery(NamedTuple):
    """A run of so many records to one of two lanes, from `behind` records before where it is, and what fails then."""

    lane: int
    behind: int
    size: int
    failure: Failure | None


@st.composite
def partitions(draw: st.DrawFn) -> list[KafkaRecord]:
    """Records of one partition: few codes, users, dates and event ids, so that all of them repeat; some bad; gaps."""
    offset = draw(st.integers(0, 3))
    records = []
    for _ in range(draw(st.integers(1, 24))):
        code, user, event = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 12))
        fields = {"code_uuid": str(uuid_of(code)), "used_by_uuid": str(uuid_of(user))}
        if event < 6:
            fields["event_id"] = str(uuid_of(100 + event)) if event % 2 else f"order {event}"
        value = event_value(**fields) if draw(st.integers(0, 6)) else draw(st.sampled_from([None, b"bad", b"{}"]))
        timestamp = draw(st.sampled_from([NOW_MS, NOW_MS - 1, NOW_MS - 1000, None]))
        records.append(KafkaRecord(value, offset, timestamp=timestamp))
        offset += draw(st.sampled_from([1, 1, 1, 2, 5]))
    return records


failures = st.builds(Failure, st.integers(0, 14), st.sampled_from(["raise", "terminate", "sever"]))


deliveries = st.builds(
    Delivery,
    lane=st.integers(0, 1),
    # -1 leaves a record out, as after a database that went back
    behind=st.sampled_from([0, 0, 0, 1, 2, 5, 24, -1]),
    size=st.integers(1, 12),
    failure=st.none() | failures,
)


def cut(records: Sequence[KafkaRecord], start: int, end: int):
    """Return a run as a consumer delivers it: it begins where the record before it ended."""
    return run_of_records(records[start:end], start=records[start - 1].offset + 1 if start else 0)


class Worker:
    """A lane with its connection, which does after a failure what a lane does: drop the connection and load anew."""

    def __init__(self, database_url: str) -> None:
        self.lane = Lane()
        self.burnt = 0
        self._database_url = database_url
        self._conn: BreakingConnection | None = None

    async def deliver(self, records: Sequence[KafkaRecord], delivery: Delivery) -> None:
        """Deliver a run, whatever comes of it; what fails must be an outage."""
        try:
            conn = await self._ready(delivery.failure)
            next_place = sum(record.offset < self.lane.held.next_offset for record in records)
            start = min(max(next_place - delivery.behind, 0), len(records) - 1)
            outcome = await self.lane.store(conn, cut(records, start, start + delivery.size))
        except psycopg.Error as error:
            if classify(error) is not Verdict.RETRY:
                raise
            await self.close()
        else:
            if isinstance(outcome, Moved):
                await self.close()

    async def finish(self, records: Sequence[KafkaRecord], size: int) -> None:
        """Read on from the stored position to the end, in runs of this size, with nothing failing any more."""
        await self.close()
        conn = await self._ready(None)
        while rest := [place for place, record in enumerate(records) if record.offset >= self.lane.held.next_offset]:
            outcome = await self.lane.store(conn, cut(records, rest[0], rest[0] + size))
            assert isinstance(outcome, Stored)

    async def close(self) -> None:
        """Forget the connection and everything known through it."""
        if self._conn is not None:
            self.burnt += self._conn.fuse.burnt
            await self._conn.close()
            self._conn = None

    async def _ready(self, failure: Failure | None) -> BreakingConnection:
        if self._conn is None:
            self._conn = await connect_writer(self._database_url, BreakingConnection)
            self._conn.fuse.set(failure)
            await self.lane.load(self._conn)
        else:
            self._conn.fuse.set(failure)
        return self._conn


@asynccontextmanager
async def workers(database_url: str, count: int) -> AsyncIterator[list[Worker]]:
    started = [Worker(database_url) for _ in range(count)]
    try:
        yield started
    finally:
        for worker in started:
            await worker.close()


def dump(sql: psycopg.Connection) -> dict[str, list[tuple]]:
    """Return all that a partition's records leave, without when it was written."""
    return {
        table: sql.execute(f"select {columns} from {table} order by 1, 2").fetchall()
        for table, columns in TABLES.items()
    }


def assert_done_below_position(
    sql: psycopg.Connection, records: Sequence[KafkaRecord], expected: dict[str, list[tuple]]
) -> None:
    """What is below the position is there as a clean pass leaves it, what is not never happened, and they agree."""
    found = dump(sql)
    ((*_, next_offset, timestamp, digest),) = found["referral_positions"] or [(0, None, None)]
    below = [record for record in records if record.offset < next_offset]
    assert found["referral_usages"] == [row for row in expected["referral_usages"] if row[4] < next_offset]
    assert found["referral_rejections"] == [row for row in expected["referral_rejections"] if row[8] < next_offset]
    if below:
        assert next_offset == below[-1].offset + 1
        assert (timestamp, digest) == (below[-1].timestamp, hashlib.sha256(below[-1].value or b"").digest())
    else:
        assert (next_offset, timestamp, digest) == (0, None, None)
    assert_statistics_equal_rows(sql)


def empty(sql: psycopg.Connection) -> None:
    # rows are few: deleting them is quicker than a truncation, which makes new files
    for table in TABLES:
        sql.execute(f"delete from {table}")


on_one_database = settings(
    deadline=None,
    # each example empties the tables before it begins
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    # explaining a failure would run it hundreds of times
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@settings(on_one_database, max_examples=50)
@given(partitions(), st.lists(deliveries, max_size=10), st.integers(1, 10))
async def test_any_cut_replay_and_failure_leaves_what_a_clean_pass_leaves(database_url, sql, records, story, size):
    """Whatever was delivered, and whatever failed meanwhile, rows, statistics, rejects and position are the same."""
    empty(sql)
    async with workers(database_url, 1) as (clean,):
        await clean.finish(records, len(records))
    expected = dump(sql)
    assert_statistics_equal_rows(sql)
    empty(sql)
    async with workers(database_url, 2) as both:
        for delivery in story:
            await both[delivery.lane].deliver(records, delivery)
            assert_done_below_position(sql, records, expected)
        await both[0].finish(records, size)
        assert dump(sql) == expected
        # a table shows what is committed, and only that
        stored = {row[0].bytes: row[1:3] for row in expected["referral_code_stats"]}
        assert {code: counts[:2] for code, counts in both[0].lane.held.stats.items()} == stored


RECORDS = [
    KafkaRecord(
        event_value(code_uuid=str(uuid_of(n % 2)), used_by_uuid=str(uuid_of(n % 3)), event_id=f"order {n % 8}"), n
    )
    if n % 5
    else KafkaRecord(b"bad", n)
    for n in range(12)
]
# the steps of a load and of a run with known event ids and rejects, and one beyond
STEPS = 30


@pytest.mark.parametrize("kind", ["raise", "terminate", "sever"])
async def test_failure_at_each_statement_leaves_what_a_clean_pass_leaves(database_url, sql, kind):
    """A load and a run that fail at any one of their statements and commits, in any way, are mended by the next try."""
    async with workers(database_url, 1) as (clean,):
        await clean.finish(RECORDS, len(RECORDS))
    expected = dump(sql)
    burnt = []
    for step in range(STEPS):
        empty(sql)
        async with workers(database_url, 1) as (worker,):
            # the first half is stored, so that the second meets known event ids and takes the way back
            await worker.deliver(RECORDS, Delivery(0, 0, 6, None))
            await worker.close()
            await worker.deliver(RECORDS, Delivery(0, 0, 6, Failure(step, kind)))
            assert_done_below_position(sql, RECORDS, expected)
            await worker.finish(RECORDS, 12)
            await worker.close()
            burnt.append(worker.burnt)
        assert dump(sql) == expected, f"after a failure at step {step}"
    # every step up to the last was reached, and the last of them lies behind the work
    assert burnt == sorted(burnt, reverse=True)
    assert 15 <= sum(burnt) < STEPS
