"""
Statistics held against the rows, within one snapshot.

PostgreSQL counts and compares; only codes pass through this process, in pieces, because where a code hashes is computed
here. So memory stays the same for a thousand codes and for many millions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from worker.pipeline.binary import copy_data, home_rows
from worker.pipeline.reroute import partitions_of_codes
from worker.sql import queries

SHOWN_DIFFERENCES: Final = 20
_CODES_AT_ONCE: Final = 10_000

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much; 0 of 0 when that is not known."""


@dataclass(frozen=True, slots=True)
class PartitionSummary:
    """Codes that hash to a partition: how many have rows, how many rows these are, how many codes are wrong."""

    partition: int
    codes: int
    usages: int
    wrong: int


@dataclass(frozen=True, slots=True)
class WrongPosition:
    """A position that belongs to another number of partitions than the topic has."""

    partition: int
    partition_count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """
    A code whose statistics are not what its rows say.

    `wrong` names columns, or is `missing` (no statistics), `superfluous` (no rows) or `first_use` (of `unclear_pairs`
    pairs of code and user, which do not have exactly one first use). What starts with `stored_` is in the database,
    the rest is counted from rows; None where there is nothing.
    """

    code_uuid: UUID
    partition: int
    wrong: list[str]
    unclear_pairs: int | None
    stored_total_uses: int | None
    stored_unique_users: int | None
    stored_last_used: datetime | None
    stored_recent_users: list[UUID] | None
    stored_recent_dates: list[datetime] | None
    stored_partition: int | None
    total_uses: int | None
    unique_users: int | None
    last_used: datetime | None
    recent_users: list[UUID] | None
    recent_dates: list[datetime] | None


@dataclass(frozen=True, slots=True)
class HourDifference:
    """An hour of a partition that is not what its rows say; None where nothing is stored, or no row is."""

    kafka_partition: int
    hour: datetime
    stored_uses: int | None
    stored_first_uses: int | None
    uses: int | None
    first_uses: int | None


@dataclass(frozen=True, slots=True)
class Findings:
    """
    What a comparison has found.

    `differences` are the first of them by code, `hour_differences` the first of `wrong_hours` by partition and hour.
    """

    partitions: list[PartitionSummary]
    wrong_positions: list[WrongPosition]
    differences: list[Difference]
    wrong_hours: int
    hour_differences: list[HourDifference]

    @property
    def wrong_codes(self) -> int:
        """How many codes are wrong, shown or not."""
        return sum(summary.wrong for summary in self.partitions)

    @property
    def is_equal(self) -> bool:
        """Whether everything stored is what the rows say."""
        return not self.wrong_codes and not self.wrong_hours and not self.wrong_positions


async def compare(conn: AsyncConnection, topic: str, partition_count: int, progress: Progress) -> Findings:
    """
    Compare within the transaction of the caller, whose snapshot must be one for all statements.

    Args:
        conn: prepared by `worker.mend.session`; until the end of the transaction `compared_code_stats` holds every
            code and `wrong_hours` what is wrong of hours.
        partition_count: of the topic now.
    """
    progress("counting rows", 0, 0)
    await conn.execute(queries["count_codes"])
    await conn.execute(queries["count_hours"])
    await _place_codes(conn, partition_count, progress)
    progress("comparing", 0, 0)
    found = {}
    async with conn.cursor(row_factory=class_row(PartitionSummary)) as summaries:
        async for summary in await summaries.execute(queries["sum_up_partitions"]):
            found[summary.partition] = summary
    async with conn.cursor(row_factory=class_row(Difference)) as differences:
        await differences.execute(queries["read_differences"], {"count": SHOWN_DIFFERENCES})
        shown = await differences.fetchall()
    row = await (await conn.execute(queries["count_wrong_hours"])).fetchone()
    async with conn.cursor(row_factory=class_row(HourDifference)) as hours:
        await hours.execute(queries["read_hour_differences"], {"count": SHOWN_DIFFERENCES})
        shown_hours = await hours.fetchall()
    positions = await conn.execute(queries["list_positions"], {"topic": topic})
    return Findings(
        [found.get(partition, PartitionSummary(partition, 0, 0, 0)) for partition in range(partition_count)],
        [WrongPosition(row[0], row[1]) async for row in positions if row[1] != partition_count],
        shown,
        row[0] if row else 0,
        shown_hours,
    )


async def _place_codes(conn: AsyncConnection, partition_count: int, progress: Progress) -> None:
    row = await (await conn.execute(queries["count_homeless"])).fetchone()
    total = row[0] if row else 0
    done = 0
    async with conn.cursor(name="codes", binary=True) as codes, conn.cursor() as homes:
        await codes.execute(queries["read_codes"])
        while batch := await codes.fetchmany(_CODES_AT_ONCE):
            read = [code for (code,) in batch]
            rows = home_rows(read, partitions_of_codes(read, partition_count))
            async with homes.copy(queries["copy_homes"]) as copy:
                await copy.write(copy_data(rows))
            done += len(batch)
            progress("placing codes", done, total)
