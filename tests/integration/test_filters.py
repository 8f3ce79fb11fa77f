"""Filling the filters from stored rows, on a real PostgreSQL, and while runs are stored."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from factories import Lane, connect_writer, run_of_usages, usage, uuid_of
from oracle import assert_statistics_equal_rows
from waiting import wait_until

from worker.database import Database
from worker.filters import Filters
from worker.pipeline.first_use import PairFilter
from worker.settings import Settings

MAX_BYTES = 10_000_000
DEADLINE_S = 30


@pytest.fixture
async def conn(database_url) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection that stores runs."""
    async with await connect_writer(database_url) as conn:
        yield conn


@pytest.fixture
async def filters(database_url) -> AsyncIterator[Filters]:
    """Filters that are filled seven rows at a time."""
    async with (
        Database(Settings(database_url=database_url)) as database,
        Filters(database, MAX_BYTES, page_rows=7) as filters,
    ):
        yield filters


async def filled(pair_filter: PairFilter) -> None:
    await asyncio.to_thread(wait_until, "the filter is filled", lambda: not pair_filter.is_filling, DEADLINE_S)


def some_usages(start: int, count: int, *, codes: range) -> list:
    return [
        usage(number, code=codes[number % len(codes)], user=number % 37 + 1) for number in range(start, start + count)
    ]


def stored_pairs(sql: psycopg.Connection, partition: int) -> list[bytes]:
    return [
        code.bytes + user.bytes
        for code, user in sql.execute(
            "select distinct code_uuid, used_by_uuid from referral_usages where kafka_partition = %s", [partition]
        )
    ]


async def test_filter_holds_every_stored_pair_of_its_partition(sql, conn, filters):
    """A filter filled from the rows doubts every pair stored, repeated ones over page ends included, and few others."""
    lanes = [Lane(partition=0), Lane(partition=1)]
    for lane, codes in zip(lanes, (range(1, 20), range(20, 40)), strict=True):
        await lane.load(conn)
        # one pair many times: more of its rows than a page holds
        usages = [usage(1000 * lane.partition + n, code=codes[0], user=1) for n in range(20)]
        usages += some_usages(1000 * lane.partition + 100, 200, codes=codes)
        await lane.store(conn, run_of_usages(usages, partition=lane.partition, start=0))
        await lane.load(conn)
    opened = [filters.open(lane.partition, lane.held.stats) for lane in lanes]
    for pair_filter in opened:
        await filled(pair_filter)
    for partition, pair_filter in enumerate(opened):
        pairs, others = stored_pairs(sql, partition), stored_pairs(sql, 1 - partition)
        assert len(pairs) > 100
        assert pair_filter.possibly_used(pairs) == pairs
        assert len(pair_filter.possibly_used(others)) < len(others) / 10


async def test_pairs_committed_while_a_filter_is_filled_are_in_it(sql, conn, filters):
    """Runs stored during the scan enter the filter too, and first uses are right before, during and after it."""
    lane = Lane()
    await lane.load(conn)
    await lane.store(conn, run_of_usages(some_usages(0, 300, codes=range(1, 20))))
    await lane.load(conn)
    lane.held.pair_filter = pair_filter = filters.open(0, lane.held.stats)
    for start in range(300, 900, 50):
        was_filling = pair_filter.is_filling
        await lane.store(conn, run_of_usages(some_usages(start, 50, codes=range(1, 30))))
        if start == 300:
            assert was_filling
        await asyncio.sleep(0.05)
    await filled(pair_filter)
    await lane.store(conn, run_of_usages(some_usages(900, 300, codes=range(1, 40))))
    assert_statistics_equal_rows(sql)
    pairs = stored_pairs(sql, 0)
    assert pair_filter.possibly_used(pairs) == pairs


async def test_filling_goes_on_after_an_outage(sql, conn, filters):
    """Connections that end while a filter is filled delay it, and nothing is left out."""
    lane = Lane()
    await lane.load(conn)
    await lane.store(conn, run_of_usages(some_usages(0, 400, codes=range(1, 50))))
    await lane.load(conn)
    pair_filter = filters.open(0, lane.held.stats)
    ended = 0
    while pair_filter.is_filling and ended < 5:
        ended += sql.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where datname = current_database() and application_name like 'referrals-reader%'"
        ).fetchone()[0]
        await asyncio.sleep(0.02)
    assert ended
    await filled(pair_filter)
    pairs = stored_pairs(sql, 0)
    assert pair_filter.possibly_used(pairs) == pairs
    assert len(pair_filter.possibly_used([bytes(16) + uuid_of(n).bytes for n in range(1000)])) < 100


async def test_filter_of_an_empty_partition_needs_no_scan(conn, filters):
    """A partition without usages has its filter at once."""
    lane = Lane()
    await lane.load(conn)
    assert not filters.open(0, lane.held.stats).is_filling
