"""Records, events and runs for tests of the pipeline, and a lane that stores them without Kafka."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from worker.pipeline.binary import register_arrays
from worker.pipeline.decode import Decoder, Reject
from worker.pipeline.first_use import PairFilter
from worker.pipeline.republish import find_retried
from worker.pipeline.statistics import Columns, Counts, Statistics, to_halves
from worker.pipeline.store import DecodedRun, Held, Loaded, Moved, Refused, Stored, load_partition, store_run
from worker.pipeline.usages import Usage, Usages
from worker.sql import queries

TOPIC = "referral-usages"
NOW_S = 1_790_000_000
NOW_MS = NOW_S * 1000
NOW_US = NOW_S * 1_000_000
FUTURE_MAX_S = 300
FILTER_MAX_BYTES = 1024 * 1024

CODE = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
USER = "1190a1b2-7c3d-4e4f-9a5b-6c7d8e9f0a1c"


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """What the pipeline reads of a Kafka record."""

    value: bytes | None
    offset: int = 0
    partition: int = 0
    topic: str = TOPIC
    timestamp: int | None = NOW_MS - 60_000
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class ListedTopic:
    """A usages topic of one partition as the list of its records, whose places are their offsets."""

    records: list[KafkaRecord]
    name: str = TOPIC

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the bounds of the list, which loses nothing."""
        assert partition == 0
        return 0, len(self.records)

    async def record_at(self, partition: int, offset: int) -> KafkaRecord:
        """Return the record at a place."""
        assert partition == 0
        return self.records[offset]


def new_decoder(topic: str = TOPIC, now_s: float = NOW_S) -> Decoder:
    """Return a decoder whose clock stands still."""
    return Decoder(topic, future_max_s=FUTURE_MAX_S, clock=lambda: now_s)


def event_value(**fields: Any) -> bytes:
    """Return the value of a valid event, with these fields added or changed."""
    return json.dumps({"code_uuid": CODE, "used_by_uuid": USER, **fields}).encode()


def event_text(*members: str) -> bytes:
    """Return the value of a valid event with these members of the object added as they are."""
    return ("{" + ",".join([f'"code_uuid":"{CODE}"', f'"used_by_uuid":"{USER}"', *members]) + "}").encode()


def decode_one(record: KafkaRecord) -> Usage | Reject:
    """Decode a single record at `NOW_S`."""
    usages, rejects = new_decoder(record.topic).decode([record])
    (item,) = [*usages, *rejects]
    return item


def uuid_of(number: int) -> UUID:
    """Return a UUID that is small to read: its last digits are the number's."""
    return UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0000 + number)


def usage(number: int, *, code: int = 1, user: int = 1, date_us: int = NOW_US, offset: int | None = None) -> Usage:
    """Return a usage; `number` is its identity, and its offset unless one is given."""
    return Usage(
        uuid_of(number).bytes,
        uuid_of(code).bytes,
        uuid_of(user).bytes,
        date_us,
        number if offset is None else offset,
    )


def run_of_usages(
    usages: Sequence[Usage], *, partition: int = 0, start: int | None = None, topic: str = TOPIC
) -> DecodedRun:
    """Return a run that holds these usages and nothing else; it starts with the first of them unless told."""
    last = usages[-1].offset
    return DecodedRun(
        topic=topic,
        partition=partition,
        start=usages[0].offset if start is None else start,
        next_offset=last + 1,
        last_record=KafkaRecord(b"last", last, partition, topic),
        usages=Usages.of(usages),
    )


def run_of_records(
    records: Sequence[KafkaRecord], *, start: int | None = None, decoder: Decoder | None = None
) -> DecodedRun:
    """Return a run of these records, decoded; it starts with the first of them unless told."""
    first, last = records[0], records[-1]
    run = DecodedRun(
        topic=first.topic,
        partition=first.partition,
        start=first.offset if start is None else start,
        next_offset=last.offset + 1,
        last_record=last,
    )
    decoder = decoder or new_decoder(first.topic)
    run.usages, run.rejects = decoder.decode(records)
    run.retried = find_retried(records, decoder.id_of_reject)
    return run


async def connect_writer(database_url: str, cls: type[AsyncConnection] = AsyncConnection) -> AsyncConnection:
    """Return a connection as the worker's pool sets up those that store runs."""
    conn = await cls.connect(database_url, autocommit=True)
    register_arrays(conn)
    await conn.execute(queries["configure_writer"])
    await conn.execute(queries["create_touched"])
    return conn


def statistics_of(counts: Mapping[bytes, Counts]) -> Statistics:
    """Return the columns of statistics given one by one."""
    columns = Columns.never_used(len(counts))
    for place, (total_uses, unique_users, last_used_us, recent) in enumerate(counts.values()):
        columns.total_uses[place] = total_uses
        columns.unique_users[place] = unique_users
        columns.last_used_us[place] = last_used_us
        columns.recent_dates_us[place, : len(recent)] = [date_us for date_us, _ in recent]
        columns.recent_users[place, : len(recent)] = to_halves([user for _, user in recent])
    return Statistics(counts, columns)


class Lane:
    """
    What a worker's lane does with a partition, without Kafka: it loads, stores runs, and shows what is committed.

    `held` is what it knows of the partition; its filter has to be filled by a scan, unless the partition was empty.
    """

    def __init__(self, *, partition: int = 0, partition_count: int = 8, topic: str = TOPIC) -> None:
        self.partition = partition
        self.held = Held(0, Statistics(), PairFilter(0, FILTER_MAX_BYTES))
        self._partition_count = partition_count
        self._topic = topic

    async def load(self, conn: AsyncConnection) -> Loaded:
        """Take statistics and position from the database."""
        loaded = await load_partition(conn, self._topic, self.partition, self._partition_count)
        self.held = Held(
            loaded.position.next_offset, loaded.stats, PairFilter(loaded.stats.pair_count, FILTER_MAX_BYTES)
        )
        return loaded

    async def store(self, conn: AsyncConnection, run: DecodedRun) -> Stored | Moved | Refused:
        """Store a run once; what is committed enters the table."""
        held = self.held
        outcome = await store_run(conn, run, held)
        if isinstance(outcome, Stored):
            held.stats.update(outcome.touched)
            held.pair_filter.feed(outcome.new_pairs)
            held.next_offset = max(run.next_offset, held.next_offset)
        return outcome
