"""Rejects on their way back through the steps of a run, on a real PostgreSQL: a retried reject moves, never doubles."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
import pytest
from factories import NOW_MS, NOW_S, TOPIC, KafkaRecord, ListedTopic, event_value, new_decoder, uuid_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracle import assert_statistics_equal_rows, stored_uuids

from worker.agents import UsageRuns
from worker.database import Database
from worker.epoch import Epoch
from worker.errors import BrokerUnavailableError
from worker.filters import Filters
from worker.metrics import Metrics
from worker.pipeline.decode import Decoder
from worker.pipeline.record import Message
from worker.rejections import LATEST, Rejections, Republisher
from worker.runs.app import create_app
from worker.runs.run import Run
from worker.settings import Settings
from worker.topics import TABLE_NAME

POISON = str(uuid_of(0xDEAD))
REJECTED_TOPIC = "rejected"
FORBID = f"alter table referral_usages add constraint not_poison check (used_by_uuid <> '{POISON}') not valid"
ALLOW = "alter table referral_usages drop constraint if exists not_poison"


@dataclass
class System:
    """A topic of one partition as a list, the steps of its runs, and those who publish rejects again."""

    runs: UsageRuns
    rejections: Rejections
    conn: psycopg.Connection
    clock_s: float = NOW_S
    records: list[KafkaRecord] = field(default_factory=list)
    copies: list[Message] = field(default_factory=list)
    read_count: int = 0
    on_sent: Callable[[], None] = lambda: None

    @property
    def republisher(self) -> Republisher:
        return Republisher(self.rejections, 1, self.send)

    async def send(self, message: Message) -> None:
        """Take a message; afterwards `on_sent` may raise, as when the broker's answer is lost."""
        assert message.key is not None or message.value is not None, "no producer sends this"
        if message.topic == REJECTED_TOPIC:
            self.copies.append(message)
            return
        assert message.topic == TOPIC
        self.publish(message.value, key=message.key, headers=tuple(message.headers))
        self.on_sent()

    def publish(self, value: bytes | None, **fields: object) -> KafkaRecord:
        record = KafkaRecord(value, len(self.records), **{"timestamp": NOW_MS - 1000 + len(self.records), **fields})
        self.records.append(record)
        return record

    async def deliver(self, count: int | None = None) -> None:
        """Let the worker read what there is, or so many records, as one run."""
        records = self.records[self.read_count :][:count]
        if not records:
            return
        end = records[-1].offset + 1
        run = Run(TOPIC, 0, self.read_count, end, records, Epoch())
        assert await self.runs.process(run, lambda attempt: attempt())
        self.read_count = end

    async def refill(self) -> None:
        """Be another worker, which finds an older position and reads everything once more."""
        self.conn.execute("update referral_positions set next_offset = 0")
        self.runs.release(0)
        await self.runs.load(0, Epoch())
        self.read_count = 0
        await self.deliver()

    def rows(self) -> list[tuple]:
        """Return id, reason, attempts, whether it was retried, and whether that is undecided, of each reject."""
        return self.conn.execute(
            "select id, reason, attempts, retried_at is not null, coalesce(retried_at > rejected_at, false)"
            " from referral_rejections order by id"
        ).fetchall()

    def outcomes(self) -> tuple[set[UUID], set[UUID]]:
        """Return the identities of usages and of rejects."""
        return stored_uuids(self.conn), {row[0] for row in self.rows()}


async def open_system(database: Database, conn: psycopg.Connection, database_url: str, folder: object) -> System:
    system = System(runs=None, rejections=Rejections(database), conn=conn)
    system.runs = UsageRuns(
        ListedTopic(system.records),
        1,
        rejected_topic=REJECTED_TOPIC,
        decoder=Decoder(TOPIC, future_max_s=300, clock=lambda: system.clock_s),
        database=database,
        table=create_app(Settings(database_url=database_url, data_dir=folder), 1).Table(TABLE_NAME, partitions=1),
        filters=Filters(database, 1_000_000),
        send=system.send,
        metrics=Metrics("1.2.3", lambda _now_s: []),
    )
    await system.runs.load(0, Epoch())
    return system


@pytest.fixture
async def system(database_url, sql, tmp_path) -> AsyncIterator[System]:
    """A system whose operator refuses one user."""
    sql.execute(FORBID)
    async with Database(Settings(database_url=database_url, database_connections=1, reader_connections=1)) as database:
        yield await open_system(database, sql, database_url, tmp_path)


def lose_the_answer() -> None:
    raise BrokerUnavailableError("the answer is lost")


def id_of(record: KafkaRecord) -> UUID:
    return new_decoder().id_of_reject(record)


def poison(**fields: object) -> bytes:
    return event_value(used_by_uuid=POISON, **fields)


async def test_retry_is_stored_when_the_constraint_is_gone(system, sql):
    """A reject whose reason has gone becomes a usage of the same identity and date, and is no reject any more."""
    record = system.publish(poison(), key=b"k", headers=(("trace", b"\xff"),))
    await system.deliver()
    assert system.outcomes() == (set(), {id_of(record)})
    sql.execute(ALLOW)
    assert (await system.republisher.republish([id_of(record)])).attempts == {id_of(record): 1}
    assert system.rows() == [(id_of(record), "refused_by_database", 1, True, True)]
    again = system.records[-1]
    assert (again.key, again.value, again.headers[0]) == (record.key, record.value, ("trace", b"\xff"))
    await system.deliver()
    assert system.outcomes() == ({id_of(record)}, set())
    (date_ms,) = sql.execute("select (extract(epoch from date_used) * 1000)::bigint from referral_usages").fetchone()
    assert date_ms == record.timestamp
    assert_statistics_equal_rows(sql)


async def test_retry_that_is_a_duplicate_is_no_reject_any_more(system, sql):
    """When the same event id was stored meanwhile, the retry is a duplicate: one usage, no reject."""
    record = system.publish(poison(event_id="order 1"))
    other = system.publish(event_value(event_id="order 1"))
    await system.deliver()
    sql.execute(ALLOW)
    await system.republisher.republish([id_of(record)])
    await system.deliver()
    assert (sql.execute("select count(*) from referral_usages").fetchone(), system.rows()) == ((1,), [])
    assert sql.execute("select kafka_offset from referral_usages").fetchone() == (other.offset,)


async def test_retry_that_fails_comes_back_on_its_row(system, sql):
    """A record that is rejected again has the same row, as it was first published, with its attempts counted."""
    record = system.publish(b"\xff\0\r\n", key=b"\0", headers=(("a", b"b"), ("a", None)))
    await system.deliver()
    before = sql.execute(
        "select value, key, headers, kafka_offset, kafka_timestamp from referral_rejections"
    ).fetchall()
    for attempt in (1, 2, 3):
        await system.republisher.republish([id_of(record)])
        assert system.rows() == [(id_of(record), "not_json", attempt, True, True)]
        await system.deliver()
        assert system.rows() == [(id_of(record), "not_json", attempt, True, False)]
    assert (
        sql.execute("select value, key, headers, kafka_offset, kafka_timestamp from referral_rejections").fetchall()
        == before
    )
    assert [dict(copy.headers)["referrals-id"].decode() for copy in system.copies] == [str(id_of(record))] * 4


async def test_retry_that_fails_for_another_reason_says_so(system, sql):
    """The row names why the record was rejected the last time."""
    record = system.publish(poison(date_used="2026-09-21T14:20:00Z"))
    system.clock_s = NOW_S - 86_400
    await system.deliver()
    assert system.rows()[0][1] == "date_in_future"
    system.clock_s = NOW_S + 86_400
    await system.republisher.republish([id_of(record)])
    await system.deliver()
    assert system.rows() == [(id_of(record), "refused_by_database", 1, True, False)]
    sql.execute(ALLOW)
    await system.republisher.republish([id_of(record)])
    await system.deliver()
    assert system.outcomes() == ({id_of(record)}, set())


async def test_retries_of_two_people_at_once_are_one(system, sql):
    """Both copies of a record arrive: the second is a duplicate, even if the constraint is back by then."""
    record = system.publish(poison())
    await system.deliver()
    sql.execute(ALLOW)
    await system.republisher.republish([id_of(record)])
    await system.republisher.republish([id_of(record), id_of(record)])
    await system.deliver(1)
    sql.execute(FORBID)
    await system.deliver()
    assert system.outcomes() == ({id_of(record)}, set())
    assert len(system.records) == 3
    assert_statistics_equal_rows(sql)


async def test_retry_that_was_not_noted_counts_its_attempt_itself(system):
    """When the publisher dies between sending and noting, the row claims nothing until the record is decided."""
    record = system.publish(b"[]")
    await system.deliver()

    system.on_sent = lose_the_answer
    with pytest.raises(BrokerUnavailableError):
        await system.republisher.republish([id_of(record)])
    assert system.rows() == [(id_of(record), "not_an_object", 0, False, False)]
    await system.deliver()
    assert system.rows() == [(id_of(record), "not_an_object", 1, True, False)]
    # noted after all, by a publisher that was slow: the row knows better
    await system.rejections.mark_retried({id_of(record): 1})
    assert system.rows() == [(id_of(record), "not_an_object", 1, True, False)]


async def test_forged_headers_delete_and_change_nothing(system, sql):
    """A producer that claims to be the retry of a reject moves nothing unless its bytes are the reject's."""
    record = system.publish(b"[1]")
    await system.deliver()
    await system.republisher.republish([id_of(record)])
    forged = system.records.pop().headers
    system.publish(event_value(), headers=forged)
    system.publish(b"[2]", headers=forged)
    system.publish(b"[1]", headers=(*forged[:-1], ("referrals-retry", b"999999999")))
    await system.deliver()
    assert system.rows() == [(id_of(record), "not_an_object", 2, True, False)]
    assert sql.execute("select value from referral_rejections").fetchall() == [(b"[1]",)]


async def test_retry_leaves_what_is_too_large(system):
    """A value that no producer takes is not published, and its row stays as it is; others beside it are."""
    large = system.publish(b" " * 990_001)
    small = system.publish(b"[]")
    await system.deliver()
    done = await system.republisher.republish([id_of(large), id_of(small), uuid_of(1)])
    assert done == ({id_of(small): 1}, [id_of(large)])
    assert {row[0]: row[2] for row in system.rows()} == {id_of(large): 0, id_of(small): 1}


async def test_retry_of_all_ends_though_rejects_come_back(system):
    """Page by page, all that match are published once, whatever the worker rejects again meanwhile."""
    for number in range(130):
        system.publish(b"[]" if number % 2 else b"{}")
    await system.deliver()
    place, published = LATEST, 0
    while place is not None:
        done, place = await system.republisher.republish_page("not_an_object", place, 20)
        published += len(done.attempts)
        await system.deliver()
    assert published == 65
    assert {(row[1], row[2]) for row in system.rows()} == {("not_an_object", 1), ("missing_field", 0)}


async def test_retry_keeps_identities_that_no_date_holds(system, sql):
    """Without timestamp, before 1970 or after the year 9999: a retry is still the same record."""
    for timestamp in (None, -1, 0, 253_402_300_800_000):
        system.publish(poison(), timestamp=timestamp)
    first = list(system.records)
    await system.deliver()
    assert len(system.rows()) == len(first)
    sql.execute(ALLOW)
    await system.republisher.republish([id_of(record) for record in first])
    await system.deliver()
    assert system.outcomes() == ({id_of(record) for record in first}, set())


VALUES = [
    poison(),
    event_value(),
    b"[]",
    None,
    poison(event_id="a"),
    event_value(event_id="a"),
    event_value(event_id="b"),
]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, len(VALUES) - 1)),
        st.tuples(st.just("retry"), st.integers(0, 9)),
        st.tuples(st.just("die"), st.integers(0, 9)),
        st.tuples(st.just("deliver"), st.integers(1, 5)),
        st.tuples(st.just("allow"), st.none()),
        st.tuples(st.just("forbid"), st.none()),
        st.tuples(st.just("refill"), st.none()),
    ),
    min_size=1,
    max_size=30,
)


async def take(system: System, step: str, number: int | None) -> None:
    match step:
        case "publish":
            system.publish(VALUES[number])
        case "retry" | "die":
            system.on_sent = lose_the_answer if step == "die" else lambda: None
            with suppress(BrokerUnavailableError):
                await system.republisher.republish([row[0] for row in system.rows()][number : number + 3])
        case "deliver":
            await system.deliver(number)
        case "allow":
            system.conn.execute(ALLOW)
        case "forbid":
            system.conn.execute(ALLOW)
            system.conn.execute(FORBID)
        case "refill":
            await system.refill()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@given(plan=steps)
async def test_every_record_ends_once_whatever_is_retried(database_url, sql, tmp_path, plan):
    """However publishing, retries, lost answers, replays and constraints follow each other, each record counts once."""
    sql.execute(ALLOW)
    sql.execute(
        "truncate referral_usages, referral_code_stats, referral_hours, referral_positions, referral_rejections"
    )
    async with Database(Settings(database_url=database_url, database_connections=1, reader_connections=1)) as database:
        system = await open_system(database, sql, database_url, tmp_path)
        for step, number in [*plan, ("deliver", None)]:
            await take(system, step, number)

    published = [record for record in system.records if "referrals-retry" not in dict(record.headers)]
    usages, rejects = system.outcomes()
    decoder = new_decoder()
    for record in published:
        decoded = decoder.decode([record])
        if decoded.rejects:
            assert id_of(record) in rejects
        else:
            stored, rejected = UUID(bytes=decoded.usages[0].uuid) in usages, id_of(record) in rejects
            assert stored or rejected
            # an event id that others have may be stored while this record of it was refused
            assert stored != rejected or b"event_id" in record.value
    assert rejects <= {id_of(record) for record in published}
    assert not any(is_waiting for *_, is_waiting in system.rows())
    assert_statistics_equal_rows(sql)
