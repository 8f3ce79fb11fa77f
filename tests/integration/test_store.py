"""Storing a run in one transaction, against a real PostgreSQL and compared with SQL."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from factories import (
    NOW_MS,
    NOW_US,
    TOPIC,
    KafkaRecord,
    Lane,
    connect_writer,
    event_value,
    new_decoder,
    run_of_records,
    run_of_usages,
    statistics_of,
    usage,
    uuid_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import assert_statistics_equal_rows, assert_stored, stored_uuids
from waiting import wait_until

from schemas import Reason
from worker.errors import StoreRefusedError, StoreUnavailableError, TopicMismatchError
from worker.pipeline.binary import copy_data, counts_rows, read_counts, usage_rows, uuid_array
from worker.pipeline.retry import Verdict, classify
from worker.pipeline.statistics import Counts
from worker.pipeline.store import DecodedRun, Moved, Refused, Stored, refuse, store_run
from worker.pipeline.usages import Usage, Usages
from worker.sql import queries

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS = (
    "select uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use"
    " from referral_usages order by kafka_partition, kafka_offset"
)
POSITION = "select next_offset, last_timestamp, last_digest from referral_positions where topic = %s and partition = %s"
REJECTS = (
    "select id, reason, detail, value, value_bytes, key, headers, kafka_topic, kafka_partition, kafka_offset,"
    " kafka_timestamp, retried_at, attempts from referral_rejections order by kafka_partition, kafka_offset"
)


@pytest.fixture
async def conn(database_url) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection that stores runs."""
    async with await connect_writer(database_url) as conn:
        yield conn


@pytest.fixture
async def lane(conn) -> Lane:
    """Partition 0, loaded."""
    lane = Lane()
    await lane.load(conn)
    return lane


def moment(date_us: int) -> datetime:
    return UNIX_EPOCH + timedelta(microseconds=date_us)


def row(one: Usage, *, first: bool, partition: int = 0) -> tuple:
    return (
        UUID(bytes=one.uuid),
        UUID(bytes=one.code),
        UUID(bytes=one.user),
        moment(one.date_us),
        one.offset,
        partition,
        first,
    )


def position(sql: psycopg.Connection, partition: int = 0) -> tuple | None:
    return sql.execute(POSITION, [TOPIC, partition]).fetchone()


def everything(sql: psycopg.Connection) -> list[list[tuple]]:
    """Return all rows of all tables that a run writes."""
    tables = (
        "referral_usages", "referral_code_stats", "referral_hours", "referral_positions", "referral_rejections",
    )  # fmt: skip
    return [sql.execute(f"select * from {table} order by 1, 2").fetchall() for table in tables]


async def test_store_run_writes_rows_statistics_rejects_and_position_together(sql, conn, lane):
    """One run leaves its rows with first uses, its codes' statistics, its rejects, and its end as the position."""
    records = [
        KafkaRecord(event_value(code_uuid=str(uuid_of(code)), used_by_uuid=str(uuid_of(user))), offset, timestamp=ms)
        for offset, (code, user, ms) in enumerate([(1, 1, NOW_MS), (1, 2, NOW_MS + 1), (2, 1, NOW_MS), (1, 1, NOW_MS)])
    ]
    records += [KafkaRecord(b"bad", 4), KafkaRecord(event_value(code_uuid=str(uuid_of(3))), 5, timestamp=123_456)]
    run = run_of_records(records)
    outcome = await lane.store(conn, run)
    assert isinstance(outcome, Stored)
    assert (outcome.stored, outcome.rejected, outcome.duplicates, outcome.replayed) == (5, 1, 0, 0)
    first_uses = [True, True, True, False, True]
    assert sql.execute(ROWS).fetchall() == [
        row(one, first=first) for one, first in zip(run.usages, first_uses, strict=True)
    ]
    assert_statistics_equal_rows(sql)
    assert [(row[0], row[1], row[3]) for row in sql.execute(REJECTS)] == [(run.rejects[0].id, "not_json", b"bad")]
    assert position(sql) == (6, 123_456, hashlib.sha256(records[-1].value).digest())


async def test_store_run_returns_what_it_has_committed(conn, lane):
    """What the outcome has touched is what a load gives afterwards."""
    outcome = await lane.store(conn, run_of_usages([usage(n, code=n % 3, user=n % 7) for n in range(30)]))
    loaded = await Lane().load(conn)
    assert loaded.stats == outcome.touched
    assert loaded.position.next_offset == 30


async def test_store_run_moves_the_position_of_a_run_of_rejects(sql, conn, lane):
    """A run without a single usage still ends: its rejects are kept and the position is behind it."""
    outcome = await lane.store(conn, run_of_records([KafkaRecord(None, n) for n in range(3)]))
    assert (outcome.stored, outcome.rejected, outcome.touched) == (0, 3, {})
    assert position(sql) == (3, NOW_MS - 60_000, hashlib.sha256(b"").digest())


async def test_store_run_takes_offsets_without_records_into_the_run(sql, conn, lane):
    """A run may start below its first record and hold gaps: the position ends behind its last record."""
    await lane.store(conn, run_of_usages([usage(5), usage(9), usage(20)], start=0))
    assert position(sql)[0] == 21
    await lane.store(conn, run_of_usages([usage(30)], start=21))
    assert position(sql)[0] == 31
    assert_stored(sql, [uuid_of(number) for number in (5, 9, 20, 30)])


async def test_store_run_finds_first_uses_of_earlier_runs(sql, conn, lane):
    """A pair that an earlier run has stored is no first use, neither in the same partition nor counted again."""
    await lane.store(conn, run_of_usages([usage(0, user=1), usage(1, user=2)]))
    await lane.store(conn, run_of_usages([usage(2, user=1), usage(3, user=3), usage(4, code=2, user=1)]))
    assert [found[6] for found in sql.execute(ROWS)] == [True, True, False, True, True]
    assert_statistics_equal_rows(sql)


async def test_store_run_counts_many_codes_and_users(sql, conn, lane):
    """Runs of many codes and users in disorder leave statistics equal to SQL, with ties of dates."""
    usages = [
        usage(n, code=n * n % 101, user=n * 7 % 23, date_us=NOW_US - n * 31 % 40 * 1_000_000) for n in range(3000)
    ]
    for start in range(0, 3000, 750):
        await lane.store(conn, run_of_usages(usages[start : start + 750]))
    assert_stored(sql, [uuid_of(n) for n in range(3000)])
    assert_statistics_equal_rows(sql)


async def test_store_run_drops_a_replay(sql, conn, lane):
    """A run delivered again changes nothing at all, and says that it was a replay."""
    records = [KafkaRecord(event_value(), 0), KafkaRecord(b"bad", 1), KafkaRecord(event_value(), 2)]
    await lane.store(conn, run_of_records(records))
    before = everything(sql)
    outcome = await lane.store(conn, run_of_records(records))
    assert (outcome.stored, outcome.rejected, outcome.replayed, outcome.touched) == (0, 0, 3, {})
    assert everything(sql) == before


async def test_store_run_stores_what_is_new_of_an_overlapping_run(sql, conn, lane):
    """Of a run that reaches over the position only the part above it is stored."""
    usages = [usage(n, user=n) for n in range(10)]
    await lane.store(conn, run_of_usages(usages[:6]))
    outcome = await lane.store(conn, run_of_usages(usages[3:]))
    assert (outcome.stored, outcome.replayed, outcome.duplicates) == (4, 3, 0)
    assert sql.execute(ROWS).fetchall() == [row(one, first=True) for one in usages]
    assert_statistics_equal_rows(sql)


async def test_store_run_keeps_the_position_and_its_record_when_the_run_is_older(sql, conn, lane):
    """A replay that ends below the position moves neither it nor what is known of the record before it."""
    usages = [usage(n) for n in range(10)]
    run = run_of_usages(usages)
    run.last_record = KafkaRecord(b"the tenth", 9, timestamp=NOW_MS)
    await lane.store(conn, run)
    assert isinstance(await lane.store(conn, run_of_usages(usages[:4])), Stored)
    assert position(sql) == (10, NOW_MS, hashlib.sha256(b"the tenth").digest())


async def test_store_run_inserts_a_reject_once(sql, conn, lane):
    """A reject whose row is there already, whatever the position says, is not written again."""
    records = [KafkaRecord(b"bad", 0), KafkaRecord(None, 1)]
    await lane.store(conn, run_of_records(records))
    sql.execute("update referral_rejections set attempts = 7, detail = 'kept'")
    # an older backup of the positions alone, which makes everything come again
    sql.execute("update referral_positions set next_offset = 0")
    await lane.load(conn)
    await lane.store(conn, run_of_records(records))
    assert [(found[1], found[2], found[12]) for found in sql.execute(REJECTS)] == [
        ("not_json", "kept", 7),
        ("empty", "kept", 7),
    ]


async def test_store_run_keeps_the_first_of_an_event_id_within_a_run(sql, conn, lane):
    """Of usages with one identity in a run the first is stored, the others count as duplicates."""
    usages = [usage(1, user=1, offset=0), usage(1, user=2, offset=1), usage(2, user=2, offset=2)]
    outcome = await lane.store(conn, run_of_usages(usages))
    assert (outcome.stored, outcome.duplicates) == (2, 1)
    assert sql.execute(ROWS).fetchall() == [row(usages[0], first=True), row(usages[2], first=True)]
    assert_statistics_equal_rows(sql)


async def test_store_run_keeps_the_first_of_an_event_id_across_runs(sql, conn, lane):
    """An identity that an earlier run has stored is a duplicate; its user gets no first use from it."""
    first = [usage(1, user=1, offset=0), usage(2, user=1, offset=1)]
    await lane.store(conn, run_of_usages(first))
    again = [usage(2, user=9, offset=2), usage(3, user=9, offset=3), usage(1, user=8, offset=4)]
    outcome = await lane.store(conn, run_of_usages(again))
    assert (outcome.stored, outcome.duplicates, outcome.replayed) == (1, 2, 0)
    assert sql.execute(ROWS).fetchall() == [
        row(first[0], first=True),
        row(first[1], first=False),
        row(again[1], first=True),
    ]
    assert position(sql)[0] == 5
    assert_statistics_equal_rows(sql)


async def test_store_run_stores_nothing_of_a_run_of_duplicates(sql, conn, lane):
    """A run of known identities alone moves the position and nothing else."""
    await lane.store(conn, run_of_usages([usage(n, offset=n) for n in range(5)]))
    before = everything(sql)[:2]
    outcome = await lane.store(conn, run_of_usages([usage(n, offset=5 + n) for n in range(5)]))
    assert (outcome.stored, outcome.duplicates, outcome.touched) == (0, 5, {})
    assert everything(sql)[:2] == before
    assert position(sql)[0] == 10


async def test_store_run_keeps_the_first_of_an_event_id_across_partitions(sql, conn, lane):
    """An identity stored from another partition is a duplicate, found by the violated key."""
    other = Lane(partition=1)
    await other.load(conn)
    await other.store(conn, run_of_usages([usage(1, code=1), usage(2, code=1)], partition=1, start=0))
    # codes belong to one partition: another code comes with the same event id
    outcome = await lane.store(
        conn, run_of_usages([usage(2, code=2, offset=0), usage(3, code=2, offset=1), usage(1, code=2, offset=2)])
    )
    assert (outcome.stored, outcome.duplicates) == (1, 2)
    assert_stored(sql, [uuid_of(number) for number in (1, 2, 3)])
    assert_statistics_equal_rows(sql)


async def store_until_done(lane: Lane, database_url: str, run: DecodedRun) -> int:
    """Store a run as a lane would, with a new connection after an outage; return how many outages there were."""
    for outages in range(20):
        async with await connect_writer(database_url) as conn:
            try:
                outcome = await lane.store(conn, run)
            except psycopg.Error as error:
                if classify(error) is not Verdict.RETRY:
                    raise
                continue
            assert isinstance(outcome, Stored)
            return outages
    raise AssertionError("20 tries were not enough")


async def test_store_run_ends_when_two_partitions_insert_the_same_event_ids_at_once(sql, database_url, conn):
    """Two partitions with overlapping identities in opposite order, at one moment: both end, each identity once."""
    lanes = [Lane(partition=0), Lane(partition=1)]
    for lane in lanes:
        await lane.load(conn)
    for attempt in range(6):
        numbers = range(attempt * 1000, attempt * 1000 + 600)
        offset = attempt * 600
        runs = [
            run_of_usages(
                [usage(number, code=partition, offset=offset + place) for place, number in enumerate(order)],
                partition=partition,
            )
            for partition, order in enumerate([numbers, reversed(numbers)])
        ]
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(store_until_done(lane, database_url, run) for lane, run in zip(lanes, runs, strict=True))
            )
    assert_stored(sql, [uuid_of(attempt * 1000 + number) for attempt in range(6) for number in range(600)])
    assert_statistics_equal_rows(sql)
    assert [position(sql, partition)[0] for partition in (0, 1)] == [3600, 3600]


async def wait_for_lock(sql: psycopg.Connection) -> None:
    """Return once a session of this database waits for another's lock."""
    waits = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    await asyncio.to_thread(wait_until, "a session waits for a lock", lambda: sql.execute(waits).fetchall(), 20)


async def test_store_run_waits_for_an_event_id_that_another_transaction_is_inserting(sql, database_url, conn, lane):
    """An identity that another transaction holds uncommitted is waited for; once committed it is a duplicate."""
    async with await psycopg.AsyncConnection.connect(database_url) as holder:
        await holder.execute(
            "insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition,"
            " first_use) values (%s, %s, %s, now(), 0, 7, true)",
            [uuid_of(1), uuid_of(99), uuid_of(99)],
        )
        storing = asyncio.create_task(lane.store(conn, run_of_usages([usage(0, code=2), usage(1, code=2)])))
        await wait_for_lock(sql)
        await holder.commit()
    outcome = await storing
    assert (outcome.stored, outcome.duplicates) == (1, 1)
    assert_stored(sql, [uuid_of(0), uuid_of(1)])


async def test_store_run_stores_nothing_when_the_position_moved_elsewhere(sql, conn, lane):
    """Who does not know the position as it is stored stores nothing, and learns where it is."""
    await lane.store(conn, run_of_usages([usage(n) for n in range(5)]))
    before = everything(sql)
    for next_offset in (0, 4, 6):
        held = replace(lane.held, next_offset=next_offset)
        outcome = await store_run(conn, run_of_usages([usage(5), usage(6)]), held)
        assert outcome == Moved(5)
    assert everything(sql) == before


async def test_store_run_stores_nothing_when_it_starts_above_the_position(sql, conn, lane):
    """A run that would leave out offsets is not stored: the database went back, so the partition is read again."""
    await lane.store(conn, run_of_usages([usage(n) for n in range(5)]))
    before = everything(sql)
    outcome = await lane.store(conn, run_of_usages([usage(6), usage(7)]))
    assert outcome == Moved(5)
    assert everything(sql) == before


async def test_store_run_stores_nothing_when_the_position_is_gone(sql, conn, lane):
    """Without a position nothing is known of the partition: it must be loaded anew."""
    sql.execute("delete from referral_positions")
    before = everything(sql)
    assert await lane.store(conn, run_of_usages([usage(0)])) == Moved(None)
    assert everything(sql) == before


async def test_store_run_lets_one_of_two_owners_through(sql, database_url, conn):
    """Two workers that both believe they own a partition: one stores the run, the other finds the position moved."""
    lanes = [Lane(), Lane()]
    for lane in lanes:
        await lane.load(conn)
    runs = [run_of_usages([usage(n) for n in range(400)]) for _ in lanes]
    async with await connect_writer(database_url) as other, asyncio.timeout(30):
        outcomes = await asyncio.gather(lanes[0].store(conn, runs[0]), lanes[1].store(other, runs[1]))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Moved", "Stored"]
    assert_stored(sql, [uuid_of(n) for n in range(400)])
    assert_statistics_equal_rows(sql)


async def test_store_run_waits_for_the_owner_that_holds_the_position(sql, database_url, conn, lane):
    """While another worker has the position, a run waits, and judges by what that worker has committed."""
    async with await psycopg.AsyncConnection.connect(database_url) as holder:
        await holder.execute(queries["lock_position"], {"topic": TOPIC, "partition": 0})
        storing = asyncio.create_task(lane.store(conn, run_of_usages([usage(0), usage(1)])))
        await wait_for_lock(sql)
        await holder.execute("update referral_positions set next_offset = 1")
        await holder.commit()
    assert await storing == Moved(1)
    assert_stored(sql, [])


async def test_store_run_tells_topics_apart(sql, conn, lane):
    """Positions belong to a topic and a partition: another topic's are not moved."""
    other = Lane(topic="others")
    await other.load(conn)
    await lane.store(conn, run_of_usages([usage(0)]))
    assert sql.execute("select topic, next_offset from referral_positions order by topic").fetchall() == [
        ("others", 0),
        (TOPIC, 1),
    ]


async def test_store_run_leaves_nothing_when_the_run_fails_at_its_last_statement(sql, conn, lane):
    """Rows, statistics and rejects are not there when the position, written last, cannot move."""
    sql.execute("alter table referral_positions add constraint stuck check (next_offset = 0)")
    before = everything(sql)
    run = run_of_records([KafkaRecord(event_value(), 0), KafkaRecord(b"bad", 1)])
    with pytest.raises(StoreRefusedError):
        await lane.store(conn, run)
    assert everything(sql) == before


POISON = uuid_of(0xDEAD)
FORBID_POISON = f"alter table referral_usages add constraint not_poison check (used_by_uuid <> '{POISON}')"


def with_poison(count: int, *places: int) -> list[Usage]:
    return [usage(n, code=n % 5, user=0xDEAD if n in places else n % 40) for n in range(count)]


@pytest.mark.parametrize("places", [(0,), (4999,), (2500,), (7, 1003, 4444)], ids=str)
async def test_store_run_stores_all_but_the_rows_that_a_check_refuses(sql, conn, lane, places):
    """An operator's check refuses some of 5,000: those and no others become rejects, all others are stored."""
    sql.execute(FORBID_POISON)
    records = [KafkaRecord(event_value(), n) for n in range(5000)]
    run = run_of_usages(with_poison(5000, *places))
    poison = [one for one in run.usages if one.offset in places]
    outcome = await lane.store(conn, run)
    assert isinstance(outcome, Refused)
    assert set(outcome.details) == set(poison)
    assert all("not_poison" in words for words in outcome.details.values())
    assert everything(sql)[:2] == [[], []]
    refuse(run, outcome.details, records, new_decoder())
    outcome = await lane.store(conn, run)
    assert (outcome.stored, outcome.rejected) == (5000 - len(places), len(places))
    assert_stored(sql, [uuid_of(n) for n in range(5000) if n not in places])
    assert [(found[1], found[9]) for found in sql.execute(REJECTS)] == [
        ("refused_by_database", place) for place in places
    ]
    assert_statistics_equal_rows(sql)
    assert position(sql)[0] == 5000


@pytest.mark.parametrize("deferral", ["", "deferrable initially deferred"], ids=["immediate", "deferred"])
async def test_store_run_finds_the_row_that_a_foreign_key_refuses(sql, conn, lane, deferral):
    """A row whose code an operator's table does not know is found, also when the key is checked at the commit."""
    sql.execute("create table known_codes (code_uuid uuid primary key)")
    sql.execute("insert into known_codes select %s::uuid", [uuid_of(1)])
    sql.execute(
        "alter table referral_usages add constraint known foreign key (code_uuid) references known_codes " + deferral
    )
    run = run_of_usages([usage(n, code=2 if n == 70 else 1) for n in range(100)])
    outcome = await lane.store(conn, run)
    assert isinstance(outcome, Refused)
    assert [one.offset for one in outcome.details] == [70]
    refuse(run, outcome.details, [KafkaRecord(event_value(), n) for n in range(100)], new_decoder())
    assert isinstance(await lane.store(conn, run), Stored)
    assert_stored(sql, [uuid_of(n) for n in range(100) if n != 70])
    assert_statistics_equal_rows(sql)


async def test_store_run_finds_the_row_that_a_trigger_finds_no_data(sql, conn, lane):
    """A data exception of an operator's trigger refuses a row as a check does."""
    sql.execute(
        "create function halve() returns trigger language plpgsql as $$"
        f" begin if new.used_by_uuid = '{POISON}' then perform 1 / 0; end if; return new; end $$"
    )
    sql.execute("create trigger halve before insert on referral_usages for each row execute function halve()")
    outcome = await lane.store(conn, run_of_usages(with_poison(10, 3)))
    assert {one.offset: words for one, words in outcome.details.items()} == {3: "division by zero"}


async def test_store_run_finds_refused_rows_beside_known_event_ids(sql, conn, lane):
    """Duplicates in the run do not hide the row that the database refuses, nor become rejects themselves."""
    sql.execute(FORBID_POISON)
    await lane.store(conn, run_of_usages([usage(n, user=n) for n in range(30)]))
    # 1,000 rows go into the table at a time, so here the known identity is found before the refused row
    again = [usage(5, offset=30), *(usage(n) for n in range(31, 2000)), usage(2000, user=0xDEAD)]
    run = run_of_usages(again)
    outcome = await lane.store(conn, run)
    assert {one.offset for one in outcome.details} == {2000}
    refuse(run, outcome.details, [KafkaRecord(event_value(), n) for n in range(2001)], new_decoder())
    outcome = await lane.store(conn, run)
    assert (outcome.stored, outcome.duplicates, outcome.rejected) == (1969, 1, 1)
    assert_stored(sql, [uuid_of(n) for n in range(2000) if n != 30])
    assert_statistics_equal_rows(sql)


class MeddlingConnection(psycopg.AsyncConnection):
    """Calls `meddle` once, before a transaction after the first begins: what another session does in between."""

    meddle = None
    begun = 0

    def transaction(self, *args, **kwargs):
        self.begun += 1
        if self.begun == 2:
            self.meddle()
        return super().transaction(*args, **kwargs)


async def test_store_run_finds_refused_rows_when_an_event_id_becomes_known_meanwhile(sql, database_url, lane):
    """An identity that another partition commits while the refused row is looked for does not end the process."""
    sql.execute("create table known_codes (code_uuid uuid primary key)")
    sql.execute("insert into known_codes values (%s), (%s)", [uuid_of(1), uuid_of(3)])
    # checked at the end of a COPY, when its rows have met the primary key already
    sql.execute("alter table referral_usages add constraint known foreign key (code_uuid) references known_codes")
    run = run_of_usages([usage(0), usage(1, code=2), usage(2)])
    async with await connect_writer(database_url, MeddlingConnection) as conn:
        conn.meddle = lambda: sql.execute(
            "insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition,"
            " first_use) values (%s, %s, %s, now(), 0, 7, true)",
            [uuid_of(2), uuid_of(3), uuid_of(3)],
        )
        outcome = await lane.store(conn, run)
        if isinstance(outcome, Refused):
            refuse(run, outcome.details, [KafkaRecord(event_value(), n) for n in range(3)], new_decoder())
            outcome = await lane.store(conn, run)
    assert isinstance(outcome, Stored)
    assert_stored(sql, [uuid_of(0), uuid_of(2)])
    assert [found[9] for found in sql.execute(REJECTS)] == [1]


async def test_store_run_refuses_the_later_of_two_rows_that_exclude_each_other(sql, conn, lane):
    """An operator's own unique constraint, broken by two rows of one run, refuses the later and keeps the first."""
    sql.execute("alter table referral_usages add constraint once unique (code_uuid, used_by_uuid)")
    run = run_of_usages([usage(n, user=1 if n in (3, 8) else 100 + n) for n in range(10)])
    outcome = await lane.store(conn, run)
    assert isinstance(outcome, Refused)
    assert {one.offset for one in outcome.details} == {8}


async def test_store_run_refuses_a_row_that_excludes_itself_from_a_stored_one(sql, conn, lane):
    """An operator's own unique constraint, broken by a stored row, refuses the new row; it is no duplicate."""
    sql.execute("alter table referral_usages add constraint once unique (code_uuid, used_by_uuid)")
    await lane.store(conn, run_of_usages([usage(0, user=1)]))
    outcome = await lane.store(conn, run_of_usages([usage(1, user=2), usage(2, user=1), usage(3, user=3)]))
    assert isinstance(outcome, Refused)
    assert {one.offset for one in outcome.details} == {2}


async def test_store_run_takes_nearly_every_row_refused_for_an_outage(sql, conn, lane):
    """A constraint that refuses most of a large run is the database's fault: nothing is rejected, it is tried again."""
    sql.execute("alter table referral_usages add constraint never check (kafka_offset % 100 = 0) not valid")
    before = everything(sql)
    with pytest.raises(StoreUnavailableError, match="nearly every row is refused"):
        await lane.store(conn, run_of_usages([usage(n) for n in range(500)]))
    assert everything(sql) == before


async def test_store_run_takes_a_missing_partition_of_the_table_for_an_outage(sql, conn, lane):
    """Rows for which an operator's partitioned table has no partition wait for one; they are no rejects."""
    sql.execute("alter table referral_usages rename to old_usages")
    sql.execute("alter table old_usages rename constraint referral_usages_pkey to old_usages_pkey")
    sql.execute("create table referral_usages (like old_usages) partition by range (date_used)")
    with pytest.raises(psycopg.errors.CheckViolation) as error:
        await lane.store(conn, run_of_usages([usage(0)]))
    assert classify(error.value) is Verdict.RETRY


REFUSE_STATEMENT = (
    "create function refuse() returns trigger language plpgsql as $$"
    " begin raise integrity_constraint_violation using message = 'closed today'; end $$"
)


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(
            [
                REFUSE_STATEMENT,
                "create trigger refuse after update on referral_positions for each statement execute function refuse()",
            ],
            id="trigger on the position",
        ),
        pytest.param(
            ["alter table referral_code_stats add constraint few check (total_uses < 3)"], id="check on the statistics"
        ),
        pytest.param(
            ["alter table referral_rejections add constraint few check (reason <> 'empty')"], id="check on the rejects"
        ),
        pytest.param(
            ["alter table referral_positions add constraint few check (next_offset < 3)"], id="check on the position"
        ),
    ],
)
async def test_store_run_stops_when_no_row_explains_the_refusal(sql, conn, lane, statements):
    """What is refused of the run itself, and not of any of its rows, ends the process: no reject would mend it."""
    for statement in statements:
        sql.execute(statement)
    before = everything(sql)
    run = run_of_records([KafkaRecord(event_value(), n) for n in range(5)] + [KafkaRecord(None, 5)])
    with pytest.raises(StoreRefusedError, match="none of its rows"):
        await lane.store(conn, run)
    assert everything(sql) == before


async def test_store_run_takes_a_trigger_that_refuses_every_statement_for_an_outage(sql, conn, lane):
    """A trigger that refuses whole statements, whatever their rows, never turns a large run into rejects."""
    sql.execute(REFUSE_STATEMENT)
    sql.execute("create trigger refuse before insert on referral_usages for each statement execute function refuse()")
    before = everything(sql)
    with pytest.raises(StoreUnavailableError):
        await lane.store(conn, run_of_usages([usage(n) for n in range(200)]))
    assert everything(sql) == before


async def test_store_run_raises_what_is_no_fault_of_a_row(sql, conn, lane):
    """An error that is neither a row's fault nor a known identity is raised as it is, for the lane to judge."""
    sql.execute("alter table referral_usages rename to elsewhere")
    with pytest.raises(psycopg.errors.UndefinedTable):
        await lane.store(conn, run_of_usages([usage(0)]))
    assert position(sql)[0] == 0


async def test_refuse_moves_usages_to_the_rejects_with_their_records():
    """A refused usage leaves the run's usages and becomes a reject of its own record, with the database's words."""
    records = [KafkaRecord(event_value(), n, key=b"%d" % n) for n in range(5)]
    run = run_of_records([*records, KafkaRecord(None, 5)])
    chosen = run.usages[3]
    refuse(run, {chosen: "not today"}, records, new_decoder())
    assert [one.offset for one in run.usages] == [0, 1, 2, 4]
    (found,) = [reject for reject in run.rejects if reject.record.offset == 3]
    assert (found.reason, found.detail, found.record) == (Reason.REFUSED_BY_DATABASE, "not today", records[3])
    assert [reject.record.offset for reject in run.rejects] in ([3, 5], [5, 3])


async def test_load_partition_starts_a_partition_at_0(sql, conn):
    """A partition never stored gets a position of 0 with its count of partitions, and no statistics."""
    loaded = await Lane(partition=3, partition_count=12).load(conn)
    assert loaded == ((0, None, None), {})
    assert sql.execute(
        "select topic, partition, partition_count, next_offset, last_timestamp, last_digest from referral_positions"
    ).fetchall() == [(TOPIC, 3, 12, 0, None, None)]


async def test_load_partition_refuses_another_number_of_partitions(sql, conn):
    """A partition is not loaded, nor begun, when any position was stored with another number of partitions."""
    await Lane(partition_count=8).load(conn)
    with pytest.raises(TopicMismatchError, match="stored with 8"):
        await Lane(partition=9, partition_count=16).load(conn)
    assert sql.execute("select partition, partition_count from referral_positions").fetchall() == [(0, 8)]


async def test_load_partition_equals_sql(sql, conn):
    """A loaded partition holds exactly its own codes, as SQL counts them from the rows."""
    for partition in (0, 1):
        lane = Lane(partition=partition)
        await lane.load(conn)
        usages = [
            usage(
                partition * 10_000 + n,
                code=partition * 100 + n % 60,
                user=n * 7 % 23,
                date_us=NOW_US - n * 31 % 40,
                offset=n,
            )
            for n in range(1500)
        ]
        await lane.store(conn, run_of_usages(usages, partition=partition))
    assert_statistics_equal_rows(sql)
    for partition in (0, 1):
        loaded = await Lane(partition=partition).load(conn)
        assert loaded.position.next_offset == 1500
        stored = sql.execute(
            "select code_uuid, total_uses, unique_users, last_used, recent_dates, recent_users"
            " from referral_code_stats where kafka_partition = %s",
            [partition],
        ).fetchall()
        assert len(stored) == 60
        assert {
            UUID(bytes=code): (
                counts.total_uses,
                counts.unique_users,
                moment(counts.last_used_us),
                [moment(date_us) for date_us, _ in counts.recent],
                [UUID(bytes=user) for _, user in counts.recent],
            )
            for code, counts in loaded.stats.items()
        } == {found[0]: found[1:] for found in stored}


@pytest.mark.parametrize("code_count", [999, 1000, 2500])
async def test_load_partition_gives_others_their_turn(conn, lane, code_count):
    """Every code of a large partition is loaded, however many, and others work meanwhile, at every thousand codes."""
    usages = [usage(number, code=number) for number in range(code_count)]
    await lane.store(conn, run_of_usages(usages))
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    loaded = await Lane().load(conn)
    other.cancel()
    assert loaded.stats.keys() == {one.code for one in usages}
    assert loaded.stats == lane.held.stats
    assert turns > code_count / 1000


async def test_write_rejects_keeps_any_bytes(sql, conn, lane):
    """Value, key and headers of a reject are kept whole, whatever bytes they hold, in their order."""
    hostile = [b"\0", b"\r\n", b"\xff\xfe", bytes(range(256)), b"'); drop table x; --", b"\\x00", b"\\N\t", b""]
    records = [
        KafkaRecord(
            value or None,
            offset,
            key=value,
            timestamp=NOW_MS + offset,
            headers=(("a\0b\r\n", value), ("a\0b\r\n", None), ("\u00e9\U0001f600", b"2"), ("", b"")),
        )
        for offset, value in enumerate(hostile)
    ]
    run = run_of_records(records)
    assert len(run.rejects) == len(hostile)
    await lane.store(conn, run)
    found = sql.execute(REJECTS).fetchall()
    assert len(found) == len(hostile)
    for record, reject, stored in zip(records, run.rejects, found, strict=True):
        assert stored[:2] == (reject.id, reject.reason.value)
        assert stored[2].isprintable()
        assert stored[3:6] == (record.value, len(record.value or b""), record.key)
        assert [(name, None if value is None else base64.b64decode(value)) for name, value in stored[6]] == [
            ("a\\x00b\\r\\n", record.key),
            ("a\\x00b\\r\\n", None),
            (stored[6][2][0], b"2"),
            ("", b""),
        ]
        assert stored[7:] == (TOPIC, 0, record.offset, moment(record.timestamp * 1000), None, 0)


async def test_write_rejects_keeps_a_large_value_whole(sql, conn, lane):
    """A value of 900 KB is kept in its row to the last byte."""
    value = bytes(range(256)) * 3600
    await lane.store(conn, run_of_records([KafkaRecord(value, 0)]))
    ((reason, stored, size),) = sql.execute("select reason, value, value_bytes from referral_rejections").fetchall()
    assert (reason, stored, size) == ("too_large", value, len(value))


@pytest.mark.parametrize(
    ("timestamp", "stored"),
    [
        (None, None),
        (-1, None),
        (0, UNIX_EPOCH),
        (1_790_000_000_001, UNIX_EPOCH + timedelta(milliseconds=1_790_000_000_001)),
        (253_402_300_799_999, datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)),
        (253_402_300_800_000, None),
        (2**63 - 1, None),
    ],
)
async def test_write_rejects_keeps_the_timestamp_when_the_calendar_has_it(sql, conn, lane, timestamp, stored):
    """The record's timestamp is kept to the millisecond; one that is absent or beyond the calendar is null."""
    await lane.store(conn, run_of_records([KafkaRecord(None, 0, timestamp=timestamp)]))
    assert sql.execute("select kafka_timestamp from referral_rejections").fetchall() == [(stored,)]


async def test_write_rejects_keeps_the_words_of_a_refusal_short(sql, conn, lane):
    """However much the database said, at most 500 printable characters of it are kept."""
    run = run_of_records([KafkaRecord(event_value(), 0)])
    refuse(run, {run.usages[0]: "\u00e9\0\n" * 5000}, [run.last_record], new_decoder())
    await lane.store(conn, run)
    ((detail,),) = sql.execute("select detail from referral_rejections").fetchall()
    assert detail.isprintable()
    assert len(detail) <= 500


i16 = st.integers(0, 2**128 - 1).map(lambda number: number.to_bytes(16, "big"))
date_range = st.integers(0, 253_402_300_799_999_999)
one_usage = st.builds(Usage, i16, i16, i16, date_range, st.integers(0, 2**63 - 1))


def to_counts(dates_and_users: list[tuple[int, bytes]], total_uses: int, unique_users: int) -> Counts:
    recent = tuple(sorted(dates_and_users, reverse=True))
    return Counts(total_uses, unique_users, recent[0][0], recent)


some_counts = st.builds(
    to_counts,
    st.lists(st.tuples(date_range, i16), min_size=1, max_size=5, unique_by=lambda pair: pair[1]),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
)
in_one_database = settings(
    # each example rolls back what it wrote
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@in_one_database
@given(
    st.lists(st.tuples(one_usage, st.booleans()), max_size=5, unique_by=lambda pair: pair[0].uuid),
    st.integers(0, 2**31 - 1),
)
async def test_usage_rows_are_what_postgres_reads(database_url, marked, partition):
    """What is packed for COPY is what PostgreSQL holds: every UUID, moment, offset, partition and flag."""
    async with await connect_writer(database_url) as conn:
        await conn.set_autocommit(False)
        async with conn.cursor() as cursor:
            async with cursor.copy(queries["copy_usages"]) as copy:
                usages, first_uses = zip(*marked, strict=True) if marked else ((), ())
                await copy.write(copy_data(usage_rows(Usages.of(usages), first_uses, partition)))
            await cursor.execute("set local timezone = 'UTC'")
            await cursor.execute(ROWS)
            found = await cursor.fetchall()
        await conn.rollback()
    assert sorted(found) == sorted(row(one, first=first, partition=partition) for one, first in marked)


@in_one_database
@given(st.dictionaries(i16, some_counts, max_size=9), st.integers(0, 2**31 - 1))
async def test_counts_rows_are_what_postgres_reads(database_url, counts, partition):
    """Statistics go to PostgreSQL by COPY and come back by the binary formats of arrays as they were."""
    async with await connect_writer(database_url) as conn:
        await conn.set_autocommit(False)
        async with conn.cursor(binary=True) as cursor:
            async with cursor.copy(queries["copy_touched"]) as copy:
                await copy.write(copy_data(*counts_rows(statistics_of(counts), partition)))
            await cursor.execute(queries["write_stats"])
            await cursor.execute(queries["read_partition_stats"], {"partition": partition})
            found = await cursor.fetchall()
            await cursor.execute("set local timezone = 'UTC'")
            await cursor.execute("select code_uuid, last_used, recent_users, recent_dates from referral_code_stats")
            seen = await cursor.fetchall()
        await conn.rollback()
    assert (read_counts(found) if found else {}) == counts
    assert {code: rest for code, *rest in seen} == {
        UUID(bytes=code): [
            moment(one.last_used_us),
            [UUID(bytes=user) for _, user in one.recent],
            [moment(date_us) for date_us, _ in one.recent],
        ]
        for code, one in counts.items()
    }


@in_one_database
@given(st.lists(i16, max_size=20))
async def test_uuid_array_is_what_postgres_reads(database_url, uuids):
    """An array of UUIDs as a parameter keeps its elements and their order, also when it is empty."""
    async with await connect_writer(database_url) as conn:
        cursor = await conn.execute("select %s::uuid[]", [uuid_array(uuids)])
        assert await cursor.fetchone() == ([UUID(bytes=one) for one in uuids],)


async def test_empty_arrays_are_no_recent_users(conn):
    """Empty arrays, which no usage leaves but an operator might, are no users."""
    cursor = conn.cursor(binary=True)
    await cursor.execute("select array_send('{}'::uuid[]), array_send('{}'::timestamptz[])")
    users, dates = await cursor.fetchone()
    code = uuid_of(1).bytes
    assert read_counts([(code, 1, 1, 0, users, dates)]) == {code: Counts(1, 1, 0, ())}


async def test_stored_uuids_are_those_of_the_rows(sql, conn, lane):
    """The oracle itself sees what is stored, so that a comparison with it can fail."""
    await lane.store(conn, run_of_usages([usage(0)]))
    assert stored_uuids(sql) == {uuid_of(0)}
    with pytest.raises(AssertionError):
        assert_stored(sql, [])
    sql.execute("update referral_code_stats set total_uses = 2")
    with pytest.raises(AssertionError):
        assert_statistics_equal_rows(sql)
