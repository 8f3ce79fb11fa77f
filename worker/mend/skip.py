"""
Passing a batch that cannot be read, on purpose: it is kept as a reject, and its partition's position moves behind it.

Kafka keeps and checks records in batches. Where a batch fails its checksum, or does not unpack, none of its records can
be trusted, so it is kept whole as one reject: its bytes as Kafka has them, none of them lost.
"""

from collections.abc import Awaitable, Callable
from struct import Struct
from typing import Final, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import CorruptRecordException, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import TopicPartition
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from schemas import Reason
from worker.errors import InUseError, SettingsError
from worker.mend.topic import translated
from worker.pipeline.decode import Decoder, Reject
from worker.pipeline.record import Record
from worker.pipeline.rejects import write_rejects
from worker.settings import Settings
from worker.sql import queries

_FETCH_WAIT_MS: Final = 1000
_READ_UNCOMMITTED: Final = 0
_MAGIC: Final = 2
_AT_LEAST_BYTES: Final = 1
# base offset, length of what follows, leader's epoch, magic, checksum, attributes, last offset's distance, first time
_HEADER: Final = Struct(">qiibIhiq")
_LENGTH_COUNTS_FROM: Final = 12


class Unreadable(NamedTuple):
    """Offsets that cannot be read, from the position to before `next_offset`, and what is kept of them."""

    record: Record
    next_offset: int
    reason: str

    def __str__(self) -> str:
        record = self.record
        return f"{record.topic}[{record.partition}]@{record.offset} to {self.next_offset - 1}: {self.reason}"


async def find_unreadable(settings: Settings, partition: int, offset: int, position: int) -> Unreadable:
    """
    Return the batch at the position, which must hold `offset` and be one that cannot be read.

    Raises:
        SettingsError: it is not; the position is in the words.
        BrokerUnavailableError: Kafka is not there.
    """
    where = f"{settings.usages_topic}[{partition}]"
    if offset < position:
        raise SettingsError(f"{where}@{offset} is done already: the position is {position}")
    tp = TopicPartition(settings.usages_topic, partition)
    client = AIOKafkaClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        async with translated(settings):
            await client.bootstrap()
            try:
                fetched = await _fetch(client, tp, position)
            except CorruptRecordException as error:
                # not even the broker can tell where the batch ends
                found = Unreadable(_whole(tp, position, None, None), position + 1, _words(error))
            else:
                found = _judge(tp, position, fetched)
    finally:
        await client.close()
    if offset >= found.next_offset:
        raise SettingsError(
            f"{where}@{offset} is not where the partition stands: the position is {position}, and what cannot be read "
            f"there ends before {found.next_offset}"
        )
    return found


async def _fetch(client: AIOKafkaClient, tp: TopicPartition, offset: int) -> bytes:
    client.add_topic(tp.topic)
    await client.force_metadata_update()
    node_id = client.cluster.leader_for_partition(tp)
    if node_id is None or node_id == -1 or not await client.ready(node_id):
        raise LeaderNotAvailableError(tp)
    # a broker gives the first batch whole, however little is asked for
    wanted = [(tp.topic, [(tp.partition, offset, _AT_LEAST_BYTES)])]
    request = FetchRequest(_FETCH_WAIT_MS, _AT_LEAST_BYTES, _AT_LEAST_BYTES, _READ_UNCOMMITTED, wanted)
    response = await client.send(node_id, request)
    ((_topic, ((_partition, error_code, *_rest, fetched),)),) = response.topics
    if error_code:
        raise for_code(error_code)(tp)
    return bytes(fetched or b"")


def _judge(tp: TopicPartition, position: int, fetched: bytes) -> Unreadable:
    if len(fetched) < _HEADER.size:
        raise SettingsError(f"{tp.topic}[{tp.partition}] has nothing to be read at its position {position}")
    base, length, _epoch, magic, _crc, _attributes, distance, timestamp = _HEADER.unpack_from(fetched)
    if magic != _MAGIC:
        raise SettingsError(f"{tp.topic}[{tp.partition}]@{position} is in Kafka's format {magic}, not in {_MAGIC}")
    batch = fetched[: _LENGTH_COUNTS_FROM + length]
    try:
        _read(batch)
    except Exception as error:  # noqa: BLE001 - checksums, formats and four codecs fail in ways of their own
        return Unreadable(_whole(tp, position, timestamp, batch), base + distance + 1, _words(error))
    raise SettingsError(
        f"{tp.topic}[{tp.partition}]@{position}, where the partition stands, can be read: there is nothing to skip"
    )


def _read(batch: bytes) -> None:
    reader = DefaultRecordBatch(batch)
    if not reader.validate_crc():
        raise CorruptRecordException("the batch does not have the checksum that it was written with")
    for _record in reader:
        pass


def _whole(tp: TopicPartition, offset: int, timestamp: int | None, batch: bytes | None) -> Record:
    return Record(tp.topic, tp.partition, offset, timestamp, None, batch)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def read_position(conn: AsyncConnection, topic: str, partition: int, partition_count: int) -> int:
    """Return the position of a partition; one that was never stored is 0."""
    where = {"topic": topic, "partition": partition, "partition_count": partition_count}
    await conn.execute(queries["start_position"], where)
    row = await (await conn.execute(queries["read_position"], where)).fetchone()
    return int(row[0]) if row else 0


async def skip(
    conn: AsyncConnection, settings: Settings, found: Unreadable, send: Callable[[Reject], Awaitable[None]]
) -> Reject:
    """
    Keep what cannot be read as a reject, and move the position behind it, in one transaction.

    Args:
        send: puts the reject's copy on the dead-letter topic, acknowledged; it comes before the commit.
    Raises:
        InUseError: the position is another one by now, or somebody holds it; nothing is changed.
    """
    record = found.record
    decoder = Decoder(settings.usages_topic, future_max_s=settings.future_max_s)
    what = f"offsets {record.offset} to {found.next_offset - 1}, kept as their whole batch"
    reject = decoder.reject(record, Reason.UNREADABLE, f"{what}: {found.reason}")
    where = {"topic": record.topic, "partition": record.partition}
    try:
        async with conn.transaction(), conn.cursor() as cursor:
            row = await (await cursor.execute(queries["lock_position"], where)).fetchone()
            if row is None or row[0] != record.offset:
                raise InUseError(f"{found}; but the position has moved meanwhile: nothing was changed")
            await send(reject)
            await write_rejects(cursor, [reject])
            # nothing tells the record before the new position
            moved = {"next_offset": found.next_offset, "last_timestamp": None, "last_digest": None}
            await cursor.execute(queries["move_position"], {**where, **moved})
    except LockNotAvailable as error:
        raise InUseError(f"{found}; but a worker holds the position: try again") from error
    return reject
