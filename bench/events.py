"""The backlog: the same events at every run, loaded once into a topic that all contenders read."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs forgot it

from bench.publishing import BROKER_TIMEOUT_S, Draft, Publisher
from schemas import UsageEvent

PARTITION_COUNT: Final = 4
CODE_COUNT: Final = 1000
USER_COUNT: Final = 50_000
SEED: Final = 20_250_101
FIRST_DATE: Final = datetime(2025, 1, 1, tzinfo=UTC)
# dates mostly rise, as in life, and are never in exact order
DATE_STEP: Final = timedelta(milliseconds=1)
DATE_DISORDER_US: Final = 60_000_000
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    A topic as it was loaded.

    Args:
        last_ids: the id of the last event of each partition: a contender that has stored these has stored all, since it
            reads a partition in order.
        digest: SHA-256 of all events, to be compared with sql/digest.sql.
    """

    topic: str
    event_count: int
    last_ids: list[UUID]
    digest: bytes


def code_uuid(number: int) -> str:
    """Return the UUID of a code; bench/sql/history.sql makes those of users in the same way."""
    return _named("code", number)


def make_events(
    event_count: int, seed: int = SEED, *, code_count: int = CODE_COUNT, user_count: int = USER_COUNT
) -> Iterator[UsageEvent]:
    """Make events with codes and users drawn evenly, so that a run touches all codes of its partition."""
    chance = random.Random(seed)
    codes = [code_uuid(number) for number in range(code_count)]
    users = [_named("user", number) for number in range(user_count)]
    for number in range(event_count):
        disorder = timedelta(microseconds=chance.randrange(DATE_DISORDER_US))
        yield UsageEvent(
            code_uuid=chance.choice(codes),
            used_by_uuid=chance.choice(users),
            date_used=FIRST_DATE + number * DATE_STEP + disorder,
            event_id=str(_uuid(chance)),
        )


def load_backlog(bootstrap_servers: str, topic: str, event_count: int) -> Backlog:
    """
    Create the topic and publish the events to it, each code to the partition where Java clients would put it.

    Raises:
        PublishFailedError: the broker did not take all of them.
    """
    create_topic(bootstrap_servers, topic, PARTITION_COUNT)
    publisher = Publisher(bootstrap_servers, topic, linger_ms=20)
    return publish_all(publisher, topic, make_events(event_count))


def create_topic(bootstrap_servers: str, topic: str, partition_count: int) -> None:
    """Create a topic, which must be new: nobody else's events may be in it."""
    # it tells of an event of its own that nobody served when it is let go
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 3})
    admin.create_topics([NewTopic(topic, partition_count, 1)])[topic].result(BROKER_TIMEOUT_S)


def publish_all(publisher: Publisher, topic: str, events: Iterable[UsageEvent]) -> Backlog:
    """
    Publish events and return what they are together.

    Raises:
        PublishFailedError: the broker did not take all of them.
    """
    lasts: dict[int, bytes] = {}

    def note(message: Message) -> None:
        # told in the order of offsets
        lasts[message.partition()] = message.value() or b""

    rows = []
    for event in events:
        publisher.publish(Draft(event.key(), event.value(), note))
        rows.append(_row(event))
    publisher.finish()
    last_ids = [UUID(UsageEvent.model_validate_json(value).event_id) for value in lasts.values()]
    return Backlog(topic, len(rows), last_ids, hashlib.sha256(b"".join(sorted(rows))).digest())


def _row(event: UsageEvent) -> bytes:
    assert event.date_used is not None
    date_us = (event.date_used - _UNIX_EPOCH) // _MICROSECOND
    ids = (event.event_id, event.code_uuid, event.used_by_uuid)
    return b"".join(UUID(text).bytes for text in ids) + date_us.to_bytes(8, "big")


def _named(kind: str, number: int) -> str:
    return str(UUID(bytes=hashlib.md5(f"{kind} {number}".encode()).digest()))


def _uuid(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)
