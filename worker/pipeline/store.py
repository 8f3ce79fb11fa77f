"""
Step 3: a run's rows, rejects, statistics and the partition's position become one transaction.

What is below the position is done, for good; what is not never happened. So a run may arrive any number of times,
in any cut, and a transaction may end at any statement.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import add
from typing import Final, NamedTuple

from psycopg import AsyncConnection, AsyncCursor, Error
from psycopg.errors import UniqueViolation

from schemas import Reason
from worker.errors import StoreRefusedError, StoreUnavailableError
from worker.pipeline.binary import Rows, copy_data, counts_rows, read_counts, sort_rows, usage_rows, uuid_array
from worker.pipeline.count import count, count_hours, find_firsts
from worker.pipeline.decode import Decoder, Reject
from worker.pipeline.first_use import PairFilter, find_used
from worker.pipeline.record import Record
from worker.pipeline.rejects import write_rejects
from worker.pipeline.republish import Retried, delete_retried
from worker.pipeline.resume import Position, digest, grown
from worker.pipeline.retry import Verdict, classify
from worker.pipeline.statistics import Statistics
from worker.pipeline.usages import Usage, Usages
from worker.sql import queries

# refusing more rows of a run than this, and most of them, is the database's fault and not the rows'
REFUSED_ALWAYS_TAKEN: Final = 50
_STATS_PAGE: Final = 1000


class Loaded(NamedTuple):
    """A partition as it is committed at one moment."""

    position: Position
    stats: Statistics


@dataclass(slots=True)
class Held:
    """
    A partition as this worker knows it: true for as long as nobody else stores in it.

    Args:
        next_offset: the stored position that the rest belongs to.
        stats: committed statistics by code.
        pair_filter: of all its (code, user) pairs.
    """

    next_offset: int
    stats: Statistics
    pair_filter: PairFilter


@dataclass(slots=True)
class DecodedRun:
    """
    Consecutive records of one partition, decoded.

    Args:
        start: the end of the previous delivery: offsets without records (transaction markers, compaction) belong to it.
        next_offset: one past the last record.
        last_record: the record at `next_offset - 1`.
        usages: in offset order.
        rejects: those of the decoder in offset order, then those that the database refused. A record that is neither
            a usage nor a reject was sent to the partition of its code.
        retried: by offset, those of the records that the retry of a reject has published.
    """

    topic: str
    partition: int
    start: int
    next_offset: int
    last_record: Record
    usages: Usages = field(default_factory=Usages)
    rejects: list[Reject] = field(default_factory=list)
    retried: dict[int, Retried] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """
    The run is committed; what was done before is counted apart.

    Args:
        touched: the absolute statistics to show.
        new_pairs: (code, user) pairs, 32 bytes each, that had no usage before.
    """

    touched: Statistics
    new_pairs: list[bytes]
    stored: int
    reject_reasons: list[Reason]
    duplicates: int
    replayed: int

    @property
    def rejected(self) -> int:
        """How many rejects were stored."""
        return len(self.reject_reasons)


@dataclass(frozen=True, slots=True)
class Moved:
    """Nothing is stored: the position, None when it is gone, does not fit; load the partition anew and seek."""

    next_offset: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is stored: the database can never take these usages, by the words it had for each."""

    details: dict[Usage, str]


async def load_partition(conn: AsyncConnection, topic: str, partition: int, partition_count: int) -> Loaded:
    """
    Return position and statistics of a partition, of one moment; a partition never stored starts at 0.

    Raises:
        TopicMismatchError: positions were stored with another number of partitions; nothing is written.
    """
    where = {"topic": topic, "partition": partition, "partition_count": partition_count}
    await check_partition_count(conn, topic, partition_count)
    await conn.execute(queries["start_position"], where)
    async with conn.transaction(), conn.cursor(binary=True) as cursor:
        await cursor.execute(queries["read_snapshot"])
        await cursor.execute(queries["read_position"], where)
        row = await cursor.fetchone()
        if row is None:
            raise StoreUnavailableError(f"{topic}[{partition}]: the position was deleted while it was read")
        return Loaded(Position(*row), await _load_stats(cursor, partition))


async def _load_stats(cursor: AsyncCursor, partition: int) -> Statistics:
    """Return the statistics of a partition, taken in while the server sends them."""
    stats = Statistics()
    page = []
    async for row in cursor.stream(queries["read_partition_stats"], {"partition": partition}, size=_STATS_PAGE):
        page.append(row)
        if len(page) == _STATS_PAGE:
            stats.update(read_counts(page))
            page = []
            # what has arrived already is read without a pause; this many rows take about 3 ms
            await asyncio.sleep(0)
    if page:
        stats.update(read_counts(page))
    return stats


async def check_partition_count(conn: AsyncConnection, topic: str, partition_count: int) -> None:
    """
    Make sure that the topic has the number of partitions that its positions were stored with.

    Raises:
        TopicMismatchError: it has another one.
    """
    where = {"topic": topic, "partition_count": partition_count}
    row = await (await conn.execute(queries["read_other_partition_count"], where)).fetchone()
    if row is not None:
        raise grown(topic, row[0], partition_count)


async def read_positions(conn: AsyncConnection, topic: str) -> dict[int, int]:
    """Return the stored positions of a topic's partitions."""
    return dict(await (await conn.execute(queries["read_positions"], {"topic": topic})).fetchall())


async def pass_over(conn: AsyncConnection, topic: str, partition: int, position: int, start: int) -> bool:
    """Move a position over records that Kafka has removed unread, and return whether it was still there."""
    where = {"topic": topic, "partition": partition, "position": position, "start": start}
    return (await conn.execute(queries["pass_over"], where)).rowcount == 1


async def store_run(conn: AsyncConnection, run: DecodedRun, held: Held) -> Stored | Moved | Refused:
    """
    Store one run in a single transaction.

    Args:
        conn: in autocommit mode.
        run: offsets rising, gaps allowed; what is below the stored position is dropped as a replay.
        held: the run's partition as this worker knows it; read, never written.
    Returns:
        What became of the run; nothing is written unless it is `Stored`.
    Raises:
        psycopg.Error: the commit may or may not have happened; a retry is safe, the stored position decides.
        StoreUnavailableError: the database refuses nearly every row, which is no fault of the rows.
        StoreRefusedError: the database refuses the run, but none of its rows.
    """
    known: set[bytes] = set()
    while True:
        try:
            outcome = await _store_or_find_refused(conn, run, held, known)
        except UniqueViolation as error:
            if not _is_known(error):
                raise
            # an event id seen before, perhaps in another partition at this moment
            known |= await _find_known(conn, run.usages.uuids)
            continue
        if isinstance(outcome, Refused):
            # what is stored is a duplicate, even where a constraint that came later refuses it
            duplicates = await _find_known(conn, [usage.uuid for usage in outcome.details])
            if duplicates:
                known |= duplicates
                continue
        return outcome


async def _store_or_find_refused(
    conn: AsyncConnection, run: DecodedRun, held: Held, known: set[bytes]
) -> Stored | Moved | Refused:
    try:
        return await _store(conn, run, held, known)
    except Error as error:
        if _is_known(error) or classify(error) is not Verdict.REJECT:
            raise
        return await _find_refused(conn, run, known, error)


async def _store(conn: AsyncConnection, run: DecodedRun, held: Held, known: set[bytes]) -> Stored | Moved:
    where = {"topic": run.topic, "partition": run.partition}
    async with conn.transaction(), conn.cursor() as cursor:
        # lock
        await cursor.execute(queries["lock_position"], where)
        row = await cursor.fetchone()
        # compare
        position = row[0] if row else None
        if position is None or position != held.next_offset or run.start > position:
            return Moved(position)
        fresh = run.usages
        if run.start < position:
            fresh = fresh.pick([offset >= position for offset in fresh.offsets])
        rejects = [reject for reject in run.rejects if reject.record.offset >= position]
        # the first of a repeated event id wins, within the run as everywhere
        usages = fresh.pick(find_firsts(fresh.uuids, known))
        # first use, count
        pairs = list(map(add, usages.codes, usages.users))
        used = await find_used(cursor, pairs, held.stats, held.pair_filter)
        # a long run takes up to 30 ms at each of these steps: the web and heartbeats get their turn between
        await asyncio.sleep(0)
        first_uses = find_firsts(pairs, used)
        touched = count(usages, first_uses, held.stats)
        await asyncio.sleep(0)
        # write
        if usages:
            # in the order of an index, whose pages are at hand then, it takes PostgreSQL a seventh less to store a row;
            # where two partitions insert the same ids, one order for both keeps them from a deadlock
            rows = sort_rows(usage_rows(usages, first_uses, run.partition), "uuid" if known else "user")
            await _copy(cursor, "copy_usages", rows)
            await _copy(cursor, "copy_touched", *counts_rows(touched, run.partition))
            await cursor.execute(queries["write_stats"])
            await _write_hours(cursor, run.partition, count_hours(usages.dates_us, first_uses))
        if rejects:
            await write_rejects(cursor, rejects)
        if run.retried:
            # stored, or a duplicate: it is no reject any more, and must not count as both
            await delete_retried(cursor, [run.retried[offset] for offset in fresh.offsets if offset in run.retried])
        if run.next_offset > position:
            last = run.last_record
            await cursor.execute(
                queries["move_position"],
                {
                    **where,
                    "next_offset": run.next_offset,
                    "last_timestamp": last.timestamp,
                    "last_digest": digest(last),
                },
            )
    return Stored(
        touched,
        list(compress(pairs, first_uses)),
        stored=len(usages),
        reject_reasons=[reject.reason for reject in rejects],
        duplicates=len(fresh) - len(usages),
        replayed=len(run.usages) + len(run.rejects) - len(fresh) - len(rejects),
    )


async def _copy(cursor: AsyncCursor, name: str, *rows: Rows) -> None:
    async with cursor.copy(queries[name]) as copy:
        await copy.write(copy_data(*rows))


async def _write_hours(cursor: AsyncCursor, partition: int, hours: dict[int, tuple[int, int]]) -> None:
    uses, first_uses = zip(*hours.values(), strict=True)
    await cursor.execute(
        queries["write_hours"],
        {"partition": partition, "hours": list(hours), "uses": list(uses), "first_uses": list(first_uses)},
    )


async def _find_known(conn: AsyncConnection, uuids: Sequence[bytes]) -> set[bytes]:
    async with conn.cursor(binary=True) as cursor:
        await cursor.execute(queries["find_known"], {"uuids": uuid_array(uuids)})
        return {uuid for (uuid,) in await cursor.fetchall()}


def _is_known(error: Error) -> bool:
    return isinstance(error, UniqueViolation) and error.diag.constraint_name == "referral_usages_pkey"


async def _find_refused(conn: AsyncConnection, run: DecodedRun, known: set[bytes], cause: Error) -> Refused:
    """Find the rows that the database refuses by halving the run, each half tried and rolled back."""
    usages = run.usages.pick(find_firsts(run.usages.uuids, known))
    details: dict[Usage, str] = {}
    halves = [usages]
    async with conn.transaction(force_rollback=True):
        await conn.execute(queries["check_now"])
        while halves:
            half = halves.pop()
            # what is taken stays until the end: two rows of the run may exclude each other, and the first wins
            error = await _try_usages(conn, half, run.partition)
            if error is None:
                continue
            if len(half) == 1:
                details[half[0]] = _words(error)
            else:
                halves += (half[len(half) // 2 :], half[: len(half) // 2])
            if len(details) > REFUSED_ALWAYS_TAKEN and len(details) * 2 > len(usages):
                raise StoreUnavailableError(f"nearly every row is refused: {_words(cause)}") from cause
    if not details:
        raise StoreRefusedError(f"the run is refused, but none of its rows: {_words(cause)}") from cause
    return Refused(details)


async def _try_usages(conn: AsyncConnection, usages: Usages, partition: int) -> Error | None:
    try:
        async with conn.transaction(), conn.cursor() as cursor:
            await _copy(cursor, "copy_usages", usage_rows(usages, [False] * len(usages), partition))
    except Error as error:
        # an event id stored meanwhile is known to the next try
        if _is_known(error) or classify(error) is not Verdict.REJECT:
            raise
        return error
    return None


def _words(error: Error) -> str:
    return error.diag.message_primary or str(error)


def refuse(run: DecodedRun, details: dict[Usage, str], records: Sequence[Record], decoder: Decoder) -> None:
    """Turn the refused usages of a run into rejects, found by their offsets among its records."""
    by_offset = {record.offset: record for record in records}
    run.usages = run.usages.pick([usage not in details for usage in run.usages])
    run.rejects += [
        decoder.reject(by_offset[usage.offset], Reason.REFUSED_BY_DATABASE, words) for usage, words in details.items()
    ]
