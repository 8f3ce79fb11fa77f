"""
The oracle: what the database and the workers must say, computed by SQL over the rows and from what was published.

Every comparison names what differs, so that a failing test reads as a finding.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

import psycopg

RECOUNT = """
with uses as (
    select code_uuid, count(*) as total_uses, count(distinct used_by_uuid) as unique_users,
           max(date_used) as last_used, count(*) filter (where first_use) as first_uses
    from referral_usages group by code_uuid
), users as (
    select code_uuid, used_by_uuid, max(date_used) as date_used,
           row_number() over (partition by code_uuid order by max(date_used) desc, used_by_uuid desc) as place
    from referral_usages group by code_uuid, used_by_uuid
), recent as (
    select code_uuid, array_agg(used_by_uuid order by place) as recent_users,
           array_agg(date_used order by place) as recent_dates
    from users where place <= 5 group by code_uuid
)
select code_uuid, total_uses, unique_users, last_used, recent_users, recent_dates, first_uses
from uses join recent using (code_uuid)
"""
STORED = "select code_uuid, total_uses, unique_users, last_used, recent_users, recent_dates from referral_code_stats"

COUNTED_HOURS = """
select kafka_partition, date_trunc('hour', date_used, 'UTC') as hour, count(*), count(*) filter (where first_use)
from referral_usages group by 1, 2
"""
STORED_HOURS = "select kafka_partition, hour, uses, first_uses from referral_hours"


class Statistics(NamedTuple):
    """The four statistics of a code."""

    total_uses: int
    unique_users: int
    last_used: object
    recent_users: list[UUID]


def recount(conn: psycopg.Connection) -> dict[UUID, Statistics]:
    """Return the statistics of every code, counted from the rows alone."""
    return {row[0]: Statistics(*row[1:5]) for row in conn.execute(RECOUNT)}


def assert_statistics_equal_rows(conn: psycopg.Connection) -> None:
    """Stored statistics and hours are those of the rows, and each (code, user) pair has exactly one first use."""
    counted = {row[0]: row[1:] for row in conn.execute(RECOUNT)}
    stored = {row[0]: row[1:] for row in conn.execute(STORED)}
    assert stored == {code: row[:5] for code, row in counted.items()}
    assert {code: row[5] for code, row in counted.items()} == {code: row[1] for code, row in counted.items()}
    assert set(conn.execute(STORED_HOURS).fetchall()) == set(conn.execute(COUNTED_HOURS).fetchall())


def stored_uuids(conn: psycopg.Connection) -> set[UUID]:
    """Return the identities of all rows."""
    return {uuid for (uuid,) in conn.execute("select uuid from referral_usages")}


def assert_positions(conn: psycopg.Connection, ends: Mapping[int, int]) -> None:
    """The position of every partition that has records is the partition's end."""
    stored = dict(conn.execute("select partition, next_offset from referral_positions").fetchall())
    assert {partition: stored.get(partition, 0) for partition in ends} == dict(ends)


def assert_stored(conn: psycopg.Connection, expected: Iterable[UUID]) -> None:
    """Each acknowledged usage has one row, and there is no other row."""
    wanted, stored = set(expected), stored_uuids(conn)
    assert not wanted - stored, f"{len(wanted - stored)} acknowledged usages are lost"
    assert not stored - wanted, f"{len(stored - wanted)} rows were never published"


def assert_rejected(conn: psycopg.Connection, topic: str, expected: Mapping[tuple[int, int], bytes | None]) -> None:
    """Each record that can never be stored is kept once, with its coordinates and its raw value, and no other is."""
    rows = conn.execute(
        "select kafka_partition, kafka_offset, value, kafka_topic from referral_rejections order by 1, 2"
    ).fetchall()
    kept = [(partition, offset) for partition, offset, _, _ in rows]
    assert len(kept) == len(set(kept)), "a record is kept as two rejects"
    assert {(partition, offset): value for partition, offset, value, _ in rows} == dict(expected)
    assert {row[3] for row in rows} <= {topic}
