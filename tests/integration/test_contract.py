"""Records of every kind through the steps of a run, on a real PostgreSQL: good ones are rows, bad ones are rejects."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import psycopg
import pytest
from factories import (
    CODE,
    FUTURE_MAX_S,
    NOW_MS,
    NOW_S,
    TOPIC,
    USER,
    KafkaRecord,
    ListedTopic,
    event_text,
    event_value,
    new_decoder,
    uuid_of,
)
from oracle import assert_statistics_equal_rows, assert_stored, recount

from worker.agents import UsageRuns
from worker.database import Database
from worker.epoch import Epoch
from worker.errors import BrokerUnavailableError, UnavailableError
from worker.filters import Filters
from worker.metrics import Metrics
from worker.pipeline.record import Message
from worker.runs.app import create_app
from worker.runs.run import Run
from worker.runs.table import CodeTable
from worker.settings import Settings
from worker.topics import TABLE_NAME

T = TypeVar("T")
POISON = uuid_of(0xDEAD)
REJECTED_TOPIC = "rejected"

BAD = {
    "null value": (None, "empty"),
    "empty value": (b"", "empty"),
    "64 KiB and a byte": (b" " * (64 * 1024 + 1), "too_large"),
    "900 KB": (bytes(range(256)) * 3600, "too_large"),
    "not utf-8": (b"\xff\xfe", "not_json"),
    "NUL": (b"\0", "not_json"),
    "a BOM": (b"\xef\xbb\xbf" + event_value(), "not_json"),
    "cut off": (event_value()[:-1], "not_json"),
    "line ends": (b"\r\n", "not_json"),
    "deep": (b"[" * 5000, "not_json"),
    "huge number": (event_text(f'"x":{"9" * 5000}'), "not_json"),
    "lone surrogate": (event_text(r'"x":"\ud800"'), "not_json"),
    "array": (b"[" + event_value() + b"]", "not_an_object"),
    "json null": (b"null", "not_an_object"),
    "empty object": (b"{}", "missing_field"),
    "null user": (event_value(used_by_uuid=None), "missing_field"),
    "urn": (event_value(code_uuid="urn:uuid:" + CODE), "invalid_uuid"),
    "no hyphens": (event_value(used_by_uuid=USER.replace("-", "")), "invalid_uuid"),
    "time as number": (event_value(date_used=1_769_860_800), "invalid_date"),
    "time without offset": (event_value(date_used="2026-01-31T12:00:00"), "invalid_date"),
    "before the calendar": (event_value(date_used="0001-01-01T00:00+14:00"), "invalid_date"),
    "after the calendar": (event_value(date_used="9999-12-31T23:59:59-14:00"), "invalid_date"),
    "end of the calendar": (event_value(date_used="9999-12-31T23:59:59Z"), "date_in_future"),
    "start of the calendar": (event_value(date_used="0001-01-01T00:00:00Z"), "date_too_old"),
    "1969": (event_value(date_used="1969-12-31T23:59:59.999999Z"), "date_too_old"),
    "NUL in event_id": (event_value(event_id="a\0b"), "invalid_event_id"),
    "long event_id": (event_value(event_id="a" * 256), "invalid_event_id"),
    "refused by a check": (event_value(used_by_uuid=str(POISON)), "refused_by_database"),
}
HOSTILE_HEADERS = (("a\0b", b"\xff\r\n\0"), ("a\0b", None), ("", b""))


@pytest.fixture
def sql(sql: psycopg.Connection) -> psycopg.Connection:
    """A connection for the oracle, of a database whose operator refuses one user."""
    sql.execute(f"alter table referral_usages add constraint not_poison check (used_by_uuid <> '{POISON}')")
    return sql


class Broker:
    """Keeps what is sent; `on_send` is called before, and may refuse by raising."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.on_send: Callable[[], None] = lambda: None

    async def send(self, message: Message) -> None:
        self.on_send()
        self.messages.append(message)


@pytest.fixture
def broker() -> Broker:
    """A broker that acknowledges everything."""
    return Broker()


@pytest.fixture
def topic() -> ListedTopic:
    """What a load finds on the topic: nothing, unless a test puts its records there."""
    return ListedTopic([])


@pytest.fixture
async def table(database_url, tmp_path) -> CodeTable:
    """The table of a worker that holds nothing yet; the topic has one partition, so every code is at home."""
    app = create_app(Settings(database_url=database_url, data_dir=tmp_path), 1)
    return app.Table(TABLE_NAME, partitions=1)


@pytest.fixture
async def runs(database_url, topic, table, broker) -> AsyncIterator[UsageRuns]:
    """The steps of a run, with partition 0 loaded."""
    async with Database(Settings(database_url=database_url, database_connections=1, reader_connections=1)) as database:
        runs = UsageRuns(
            topic,
            1,
            rejected_topic=REJECTED_TOPIC,
            decoder=new_decoder(),
            database=database,
            table=table,
            filters=Filters(database, 1_000_000),
            send=broker.send,
            metrics=Metrics("1.2.3", lambda _now_s: []),
        )
        await runs.load(0, Epoch())
        yield runs


async def try_again(attempt: Callable[[], Awaitable[T]]) -> T:
    """Retry as a lane does, without its pauses."""
    for _ in range(5):
        try:
            return await attempt()
        except UnavailableError:
            continue
    raise AssertionError("five tries were not enough")


def run_of(records: list[KafkaRecord]) -> Run:
    return Run(TOPIC, 0, records[0].offset, records[-1].offset + 1, records, Epoch())


def good(number: int) -> bytes:
    return event_value(
        code_uuid=str(uuid_of(number % 3)), used_by_uuid=str(uuid_of(number % 7)), event_id=str(uuid_of(1000 + number))
    )


def mixed() -> tuple[list[KafkaRecord], dict[int, str]]:
    """Return records with every bad kind between good ones, and the reasons by the offsets of the bad ones."""
    records: list[KafkaRecord] = []
    reasons: dict[int, str] = {}
    for number, (value, reason) in enumerate(BAD.values()):
        records.append(KafkaRecord(good(number), len(records), key=b"good"))
        reasons[len(records)] = reason
        records.append(KafkaRecord(value, len(records), key=b"\xff\0\r\n", headers=HOSTILE_HEADERS))
    future = event_value(date_used="2099-01-01T00:00Z")
    reasons[len(records)] = "date_in_future"
    records.append(KafkaRecord(future, len(records), key=None, timestamp=None))
    records.append(KafkaRecord(good(len(BAD)), len(records), timestamp=NOW_MS + FUTURE_MAX_S * 1000 + 1))
    return records, reasons


REJECTS = (
    "select kafka_offset, reason, value, value_bytes, key, id, kafka_topic, kafka_partition from referral_rejections"
    " order by kafka_offset"
)


def assert_all_ended(sql: psycopg.Connection, records: list[KafkaRecord], reasons: dict[int, str]) -> None:
    """Every good record is a row, every bad one a reject with its reason and raw bytes, and there is nothing else."""
    assert_stored(sql, [uuid_of(1000 + number) for number in range(len(BAD) + 1)])
    assert_statistics_equal_rows(sql)
    decoder = new_decoder()
    assert sql.execute(REJECTS).fetchall() == [
        (
            offset,
            reason,
            records[offset].value,
            len(records[offset].value or b""),
            records[offset].key,
            decoder.reject(records[offset], reason, "").id,
            TOPIC,
            0,
        )
        for offset, reason in sorted(reasons.items())
    ]
    assert sql.execute("select next_offset from referral_positions").fetchall() == [(len(records),)]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_run_stores_good_records_around_bad_ones(sql, runs, table, size):
    """However records are cut into runs, good ones around every bad kind are stored, and each bad one is kept."""
    records, reasons = mixed()
    for start in range(0, len(records), size):
        assert await runs.process(run_of(records[start : start + size]), try_again)
    assert_all_ended(sql, records, reasons)
    for code, counted in recount(sql).items():
        shown = table.stats_of(str(code))
        assert (shown.total_uses, shown.unique_users) == (counted.total_uses, counted.unique_users)
        assert (shown.last_used, shown.recent_users) == (
            counted.last_used,
            [str(user) for user in counted.recent_users],
        )


async def test_run_dates_an_event_now_when_its_record_is_from_the_future(sql, runs):
    """A record whose timestamp is too far ahead is stored with the time of processing."""
    records, _ = mixed()
    await runs.process(run_of(records), try_again)
    (stored,) = sql.execute(
        "select extract(epoch from date_used)::bigint from referral_usages where kafka_offset = %s", [len(records) - 1]
    ).fetchone()
    assert stored == NOW_S


async def test_run_copies_each_reject_with_its_raw_bytes(sql, runs, broker):
    """Each reject has one copy for the dead-letter topic: raw value and key, with its id, reason and coordinates."""
    records, reasons = mixed()
    await runs.process(run_of(records), try_again)
    copies = {}
    for message in broker.messages:
        said = {name.removeprefix("referrals-"): value.decode() for name, value in message.headers}
        copies[int(said["offset"])] = (message, said)
    assert len(broker.messages) == len(copies) == len(reasons)
    stored = {
        offset: (str(uuid), reason, detail)
        for offset, uuid, reason, detail in sql.execute(
            "select kafka_offset, id, reason, detail from referral_rejections"
        )
    }
    for offset, reason in reasons.items():
        message, said = copies[offset]
        assert (message.topic, message.key, message.value) == (
            REJECTED_TOPIC,
            records[offset].key,
            None if records[offset].value is None else records[offset].value[:900_000],
        )
        assert (said["id"], said["reason"], said["detail"]) == stored[offset]
        assert said["reason"] == reason
        assert (said["topic"], said["partition"]) == (TOPIC, "0")
        assert int(said["value-bytes"]) == len(records[offset].value or b"")


async def test_run_changes_nothing_when_it_is_delivered_again(sql, runs, topic):
    """Every record ends once: after a load, a partition delivered from its start once more leaves all as it is."""
    records, reasons = mixed()
    topic.records.extend(records)
    await runs.process(run_of(records), try_again)
    runs.release(0)
    assert await runs.load(0, Epoch()) == len(records)
    assert await runs.process(run_of(records), try_again)
    assert_all_ended(sql, records, reasons)


async def test_run_stores_nothing_before_its_rejects_are_acknowledged(sql, runs, broker):
    """While the dead-letter topic takes nothing, nothing is committed; afterwards everything is."""
    records, reasons = mixed()
    refusals = []

    def refuse_twice() -> None:
        if len(refusals) < 2:
            refusals.append(
                sql.execute(
                    "select next_offset, (select count(*) from referral_usages) from referral_positions"
                ).fetchall()
            )
            raise BrokerUnavailableError("not now")

    broker.on_send = refuse_twice
    assert await runs.process(run_of(records), try_again)
    assert refusals == [[(0, 0)]] * 2
    assert_all_ended(sql, records, reasons)


async def test_run_stores_nothing_when_its_epoch_has_ended(sql, runs):
    """A run of a partition that was revoked is not stored: whoever owns the partition now gets its records."""
    records, _ = mixed()
    run = run_of(records)
    run.epoch.end()
    assert not await runs.process(run, try_again)
    assert sql.execute("select next_offset from referral_positions").fetchall() == [(0,)]
    assert_stored(sql, [])
    assert sql.execute("select count(*) from referral_rejections").fetchone() == (0,)


async def test_run_is_not_shown_when_its_position_moved_elsewhere(sql, runs, table):
    """When somebody else has written, the run is not stored and the table keeps what it held."""
    records, _ = mixed()
    sql.execute("update referral_positions set next_offset = 3")
    assert not await runs.process(run_of(records), try_again)
    assert_stored(sql, [])
    assert table.stats_of(str(uuid_of(1))).total_uses == 0


async def test_run_repeats_every_identity_of_the_same_record(sql, runs):
    """A record without `event_id` has one identity: read from an older backup's position it is a duplicate."""
    records = [KafkaRecord(event_value(), offset) for offset in range(5)]
    await runs.process(run_of(records), try_again)
    sql.execute("update referral_positions set next_offset = 0")
    await runs.load(0, Epoch())
    assert await runs.process(run_of(records), try_again)
    expected = [usage.uuid for usage in new_decoder().decode(records).usages]
    assert_stored(sql, [UUID(bytes=uuid) for uuid in expected])
    assert_statistics_equal_rows(sql)
