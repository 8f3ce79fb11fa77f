"""Verifying and repairing, against a real PostgreSQL and compared with a count of its own."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from factories import TOPIC, connect_writer, uuid_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import COUNTED_HOURS, assert_statistics_equal_rows, recount

from worker.errors import InUseError
from worker.mend.compare import Findings
from worker.mend.repair import repair
from worker.mend.report import to_json, to_lines
from worker.mend.session import prepare
from worker.mend.verify import verify
from worker.pipeline.reroute import partition_of

PARTITIONS = 8
EVERYTHING = ("referral_usages", "referral_code_stats", "referral_hours", "referral_positions", "referral_rejections")
ROWS_OF = "select used_by_uuid, count(*) from referral_usages where code_uuid = %s group by 1 order by 2 desc, 1"


def silent(step: str, done: int, total: int) -> None:
    """Show no progress."""


async def no_members() -> list[str]:
    return []


@pytest.fixture
async def conn(database_url) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection that verifies and repairs."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        await prepare(conn)
        yield conn


def store(sql: psycopg.Connection, seed: int = 1, rows: int = 400, codes: int = 12, users: int = 9) -> None:
    """Store rows at random, as workers would leave them: exact statistics, hours, first uses and positions."""
    chance = random.Random(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    used: set[tuple[UUID, UUID]] = set()
    for number in range(rows):
        # few dates, so that users tie
        pair = uuid_of(chance.randrange(codes)), uuid_of(100 + chance.randrange(users))
        sql.execute(
            "insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition,"
            " first_use) values (%s, %s, %s, %s, %s, %s, %s)",
            [
                uuid_of(1000 + number),
                *pair,
                start + timedelta(hours=chance.randrange(20)),
                number,
                number % 3,
                pair not in used,
            ],
        )
        used.add(pair)
    for code, counts in recount(sql).items():
        dates = [
            sql.execute(
                "select max(date_used) from referral_usages where code_uuid = %s and used_by_uuid = %s", [code, user]
            ).fetchone()[0]
            for user in counts.recent_users
        ]
        sql.execute(
            "insert into referral_code_stats (code_uuid, total_uses, unique_users, last_used, recent_users,"
            " recent_dates, kafka_partition) values (%s, %s, %s, %s, %s, %s, %s)",
            [code, *counts, dates, partition_of(str(code), PARTITIONS)],
        )
    store_hours(sql)
    for partition in range(PARTITIONS):
        sql.execute(
            "insert into referral_positions (topic, partition, partition_count, next_offset) values (%s, %s, %s, %s)",
            [TOPIC, partition, PARTITIONS, 50],
        )
    assert_statistics_equal_rows(sql)


def store_hours(sql: psycopg.Connection) -> None:
    """Store the hours that the rows have as they are."""
    sql.execute(
        f"truncate referral_hours; insert into referral_hours (kafka_partition, hour, uses, first_uses) {COUNTED_HOURS}"
    )


async def look(conn: psycopg.AsyncConnection, partition_count: int = PARTITIONS) -> Findings:
    return await verify(conn, TOPIC, partition_count, silent)


async def mend(conn: psycopg.AsyncConnection, partition_count: int = PARTITIONS, **options) -> Findings:
    return await repair(conn, TOPIC, partition_count, silent, read_members=no_members, **options)


def everything(sql: psycopg.Connection) -> list[list[tuple]]:
    return [sql.execute(f"select * from {table} order by 1, 2").fetchall() for table in EVERYTHING]


def assert_placed(sql: psycopg.Connection, partition_count: int = PARTITIONS) -> None:
    """Each code's statistics are where the code hashes."""
    stored = dict(sql.execute("select code_uuid, kafka_partition from referral_code_stats").fetchall())
    assert stored == {code: partition_of(str(code), partition_count) for code in stored}


CODE = uuid_of(3)
FIRST_USES = (
    "with pair as ("
    " select used_by_uuid from referral_usages where code_uuid = %(code)s group by 1 having count(*) > 2 order by 1"
    " limit 1"
    ") update referral_usages set first_use = {} where code_uuid = %(code)s"
    " and used_by_uuid in (select used_by_uuid from pair)"
)
DAMAGES = {
    "total_uses": "update referral_code_stats set total_uses = total_uses + 1 where code_uuid = %(code)s",
    "unique_users": "update referral_code_stats set unique_users = unique_users - 1 where code_uuid = %(code)s",
    "last_used": (
        "update referral_code_stats set last_used = last_used + interval '1 microsecond' where code_uuid = %(code)s"
    ),
    "recent_users": (
        "update referral_code_stats set recent_users ="
        " array[recent_users[2], recent_users[1]] || recent_users[3:] where code_uuid = %(code)s"
    ),
    "recent_dates": "update referral_code_stats set recent_dates = recent_dates[2:] where code_uuid = %(code)s",
    "kafka_partition": (
        "update referral_code_stats set kafka_partition = (kafka_partition + 1) %% 8 where code_uuid = %(code)s"
    ),
    "missing": "delete from referral_code_stats where code_uuid = %(code)s",
    "superfluous": "delete from referral_usages where code_uuid = %(code)s",
    "first_use": FIRST_USES.format("true"),
    "first_use, none": FIRST_USES.format("false"),
}
HOUR = datetime(2026, 1, 1, 5, tzinfo=UTC)
EMPTY_HOUR = datetime(2026, 2, 1, tzinfo=UTC)
OF_HOUR = "where kafka_partition = 1 and hour = %(hour)s"
HOUR_DAMAGES = {
    "uses": (f"update referral_hours set uses = uses + 1 {OF_HOUR}", [(1, HOUR)]),
    "first_uses": (f"update referral_hours set first_uses = first_uses - 1 {OF_HOUR}", [(1, HOUR)]),
    "missing": (f"delete from referral_hours {OF_HOUR}", [(1, HOUR)]),
    "superfluous": ("insert into referral_hours values (1, %(empty)s, 5, 2)", [(1, EMPTY_HOUR)]),
    "another hour": (f"update referral_hours set hour = %(empty)s {OF_HOUR}", [(1, HOUR), (1, EMPTY_HOUR)]),
    "another partition": (f"update referral_hours set kafka_partition = 9 {OF_HOUR}", [(1, HOUR), (9, HOUR)]),
}


async def test_verify_finds_nothing_wrong_in_what_is_exact(sql, conn):
    """Exact statistics verify as equal, and the table counts all codes and rows."""
    store(sql)
    found = await look(conn)
    assert found.is_equal
    assert found.differences == []
    assert sum(summary.codes for summary in found.partitions) == len(recount(sql))
    assert sum(summary.usages for summary in found.partitions) == 400
    assert [summary.partition for summary in found.partitions] == list(range(PARTITIONS))


async def test_verify_of_an_empty_database_is_equal(conn):
    """Nothing stored is nothing wrong."""
    assert (await look(conn)).is_equal


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_found_and_mended(sql, conn, damage):
    """Each kind of damage is found as what it is, in the code where it is, and is gone after a repair."""
    store(sql)
    assert sql.execute(DAMAGES[damage], {"code": CODE}).rowcount > 0
    found = await look(conn)
    assert [(one.code_uuid, one.wrong) for one in found.differences] == [(CODE, [damage.split(",")[0]])]
    assert found.wrong_codes == 1
    assert str(CODE) in "\n".join(to_lines(found))
    assert to_json(found)["equal"] is False
    assert await mend(conn) == found
    assert (await look(conn)).is_equal
    assert_statistics_equal_rows(sql)
    assert_placed(sql)


@pytest.mark.parametrize("damage", HOUR_DAMAGES)
async def test_damage_of_hours_is_found_and_mended(sql, conn, damage):
    """Each kind of wrong hour is found and told with its partition, and is gone after a repair; no code is wrong."""
    store(sql)
    statement, wrong = HOUR_DAMAGES[damage]
    assert sql.execute(statement, {"hour": HOUR, "empty": EMPTY_HOUR}).rowcount == 1
    found = await look(conn)
    assert [(one.kafka_partition, one.hour) for one in found.hour_differences] == wrong
    assert (found.wrong_hours, found.wrong_codes, found.is_equal) == (len(wrong), 0, False)
    told = "\n".join(to_lines(found))
    assert all(f"partition {partition}, hour from {hour}: " in told for partition, hour in wrong)
    document = to_json(found)
    assert (document["equal"], document["wrong_hours"], len(document["hour_differences"])) == (
        False, len(wrong), len(wrong)
    )  # fmt: skip
    assert await mend(conn) == found
    assert (await look(conn)).is_equal
    assert_statistics_equal_rows(sql)


async def test_repair_leaves_hours_alone_that_are_right(sql, conn):
    """A repair writes the one hour that is wrong; all others are the row versions that they were."""
    store(sql)
    versions = "select kafka_partition, hour, xmin from referral_hours order by 1, 2"
    sql.execute(f"update referral_hours set uses = 0 {OF_HOUR}", {"hour": HOUR})
    before = sql.execute(versions).fetchall()
    await mend(conn)
    after = sql.execute(versions).fetchall()
    assert [old[:2] for old, new in zip(before, after, strict=True) if old != new] == [(1, HOUR)]


@pytest.mark.parametrize("damage", ["first_use", "first_use, none"])
async def test_hours_are_those_of_the_mended_first_uses(sql, conn, damage):
    """Hours that agree with first uses which are wrong are no finding, and follow when these are mended."""
    store(sql)
    sql.execute(DAMAGES[damage], {"code": CODE})
    store_hours(sql)
    assert (await look(conn)).wrong_hours == 0
    await mend(conn)
    assert_statistics_equal_rows(sql)
    assert (await look(conn)).is_equal


async def test_repair_gives_the_first_use_to_the_earliest_usage(sql, conn):
    """Of a pair without exactly one first use, the earliest usage is it, by date and identity; other pairs stay."""
    store(sql)
    before = dict(sql.execute("select uuid, first_use from referral_usages").fetchall())
    (user,) = {row[0] for row in sql.execute(ROWS_OF, [CODE]).fetchmany(1)}
    of_pair = sql.execute(
        "select uuid from referral_usages where code_uuid = %s and used_by_uuid = %s order by date_used, uuid",
        [CODE, user],
    ).fetchall()
    sql.execute("update referral_usages set first_use = true where code_uuid = %s and used_by_uuid = %s", [CODE, user])
    await mend(conn)
    expected = before | {uuid: place == 0 for place, (uuid,) in enumerate(of_pair)}
    assert dict(sql.execute("select uuid, first_use from referral_usages").fetchall()) == expected


async def test_only_the_first_differences_are_shown_and_all_are_counted(sql, conn):
    """However much is wrong, twenty codes are shown, by their UUIDs, and the rest is a number."""
    store(sql, codes=60)
    sql.execute("update referral_code_stats set total_uses = 0")
    codes = sorted(recount(sql))
    found = await look(conn)
    assert [one.code_uuid for one in found.differences] == codes[:20]
    assert found.wrong_codes == len(codes)
    assert f"and {len(codes) - 20} codes more" in list(to_lines(found))


async def test_only_the_first_hours_are_shown_and_all_are_counted(sql, conn):
    """However many hours are wrong, twenty are shown, by partition and hour, and the rest is a number."""
    store(sql)
    sql.execute("update referral_hours set uses = 0")
    hours = sql.execute("select kafka_partition, hour from referral_hours order by 1, 2").fetchall()
    found = await look(conn)
    assert [(one.kafka_partition, one.hour) for one in found.hour_differences] == hours[:20]
    assert found.wrong_hours == len(hours)
    assert f"and {len(hours) - 20} hours more" in list(to_lines(found))


async def test_repair_moves_statistics_when_partitions_were_added(sql, conn):
    """With more partitions, codes' statistics move to where they hash now, and positions take the new number."""
    store(sql)
    found = await look(conn, 16)
    assert len(found.wrong_positions) == PARTITIONS
    assert {tuple(one.wrong) for one in found.differences} == {("kafka_partition",)}
    await mend(conn, 16)
    assert (await look(conn, 16)).is_equal
    assert_statistics_equal_rows(sql)
    assert_placed(sql, 16)
    assert sql.execute("select distinct partition_count, next_offset from referral_positions").fetchall() == [(16, 50)]


async def test_repair_restarts_the_positions_of_a_topic_created_anew(sql, conn):
    """A topic created anew, with fewer partitions, has as many positions, all at 0; rows stay."""
    store(sql)
    sql.execute("update referral_positions set last_timestamp = 7, last_digest = 'abc'")
    await mend(conn, 4, restarts=True)
    assert sql.execute(
        "select partition, partition_count, next_offset, last_timestamp, last_digest"
        " from referral_positions order by partition"
    ).fetchall() == [(partition, 4, 0, None, None) for partition in range(4)]
    assert_placed(sql, 4)
    assert_statistics_equal_rows(sql)


async def test_verify_changes_nothing(sql, conn):
    """Verifying, which a dry run is, leaves every table as it was, however wrong it is."""
    store(sql)
    for damage in ("total_uses", "first_use"):
        sql.execute(DAMAGES[damage], {"code": CODE})
    sql.execute("update referral_hours set uses = uses + 1")
    before = everything(sql)
    await look(conn, 16)
    assert everything(sql) == before


async def test_interrupted_repair_changes_nothing(sql, conn):
    """A repair that is cancelled at any of its steps leaves every table as it was."""
    store(sql)
    sql.execute(DAMAGES["total_uses"], {"code": CODE})
    sql.execute(DAMAGES["first_use"], {"code": CODE})
    sql.execute("update referral_hours set uses = uses + 1")
    before = everything(sql)
    for last_step in ("counting rows", "placing codes", "comparing", "mending"):

        def interrupt(step: str, *_: int, last_step: str = last_step) -> None:
            if step == last_step:
                asyncio.current_task().cancel()

        with pytest.raises(asyncio.CancelledError):
            await repair(conn, TOPIC, 16, interrupt, read_members=no_members)
        asyncio.current_task().uncancel()
        assert everything(sql) == before
    await mend(conn, 16)
    assert_statistics_equal_rows(sql)


async def test_repair_is_refused_while_a_worker_has_sessions(sql, conn, database_url):
    """A worker, even a frozen one, holds statistics in memory: a repair beside its sessions is refused, naming them."""
    store(sql)
    sql.execute(DAMAGES["total_uses"], {"code": CODE})
    before = everything(sql)
    name = "referrals-writer-host-7"
    with psycopg.connect(database_url, application_name=name), pytest.raises(InUseError, match=name):
        await mend(conn)
    assert everything(sql) == before


async def test_repair_is_refused_while_the_group_has_members(sql, conn):
    """Members of the workers' group are named, and nothing is changed."""
    store(sql)
    sql.execute(DAMAGES["total_uses"], {"code": CODE})
    before = everything(sql)

    async def one_member() -> list[str]:
        return ["referrals-host-8080 at 10.0.0.1"]

    with pytest.raises(InUseError, match="referrals-host-8080"):
        await repair(conn, TOPIC, PARTITIONS, silent, read_members=one_member)
    assert everything(sql) == before


async def test_repair_gives_up_when_positions_are_locked(sql, conn, database_url):
    """A position locked by somebody else is waited for, not for ever, and nothing is changed."""
    store(sql)
    await conn.execute("set lock_timeout = '200ms'")
    with psycopg.connect(database_url) as blocker:
        blocker.execute("select from referral_positions where partition = 3 for update")
        with pytest.raises(InUseError):
            await mend(conn)
    await mend(conn)


async def test_run_is_not_stored_while_a_repair_holds_the_positions(sql, conn, database_url):
    """From the moment a repair looks for workers until it is done, no worker can lock a position or make one."""
    store(sql)
    async with await connect_writer(database_url) as writer:
        await writer.execute("set lock_timeout = '200ms'")
        refused = []

        async def try_to_write() -> list[str]:
            for statement in (
                "select from referral_positions where partition = 3 for update",
                "insert into referral_positions (topic, partition, partition_count, next_offset) values ('t', 9, 9, 0)",
            ):
                try:
                    await writer.execute(statement)
                except psycopg.errors.LockNotAvailable:
                    refused.append(statement)
            return []

        await repair(conn, TOPIC, PARTITIONS, silent, read_members=try_to_write)
        assert len(refused) == 2


DAMAGE_AT_RANDOM = (
    "update referral_code_stats set total_uses = total_uses + 3 where random() < 0.3",
    "update referral_code_stats set unique_users = 0, recent_users = '{}', recent_dates = '{}' where random() < 0.3",
    "update referral_code_stats set recent_users = array_reverse(recent_users) where random() < 0.3",
    "update referral_code_stats set last_used = '2020-01-01', kafka_partition = 3 where random() < 0.3",
    "delete from referral_code_stats where random() < 0.3",
    "delete from referral_usages where random() < 0.5",
    "update referral_usages set first_use = not first_use where random() < 0.3",
    "update referral_positions set partition_count = 3 where random() < 0.3",
    "update referral_hours set uses = uses - 1, first_uses = first_uses + 1 where random() < 0.3",
    "delete from referral_hours where random() < 0.3",
    "update referral_hours set hour = hour + interval '30 days' where random() < 0.3",
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(0, 60),
    damages=st.lists(st.sampled_from(DAMAGE_AT_RANDOM), max_size=6),
    partition_count=st.sampled_from([1, 8, 13]),
)
async def test_repair_makes_whatever_was_damaged_exact(sql, conn, seed, rows, damages, partition_count):
    """Random rows, random damage: after a repair everything is what a count from the rows gives, and verifies so."""
    for table in EVERYTHING:
        sql.execute(f"truncate {table}")
    store(sql, seed, rows, codes=5, users=8)
    sql.execute("select setseed(%s)", [seed / 10_000])
    for damage in damages:
        sql.execute(damage)
    is_exact = True
    try:
        assert_statistics_equal_rows(sql)
        assert_placed(sql, partition_count)
    except AssertionError:
        is_exact = False
    found = await look(conn, partition_count)
    # the oracle sums first uses over a code's users, so verify may see more
    assert is_exact or not found.is_equal
    await mend(conn, partition_count)
    assert_statistics_equal_rows(sql)
    assert_placed(sql, partition_count)
    assert (await look(conn, partition_count)).is_equal
