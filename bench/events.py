"""The backlog: the same events at every run, loaded once into a topic that all contenders read."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs forgot it

from sandbox.errors import PublishFailedError
from schemas import UsageEvent

PARTITION_COUNT: Final = 4
CODE_COUNT: Final = 1000
USER_COUNT: Final = 50_000
SEED: Final = 20_250_101
FIRST_DATE: Final = datetime(2025, 1, 1, tzinfo=UTC)
# dates mostly rise, as in life, and are never in exact order
DATE_STEP: Final = timedelta(milliseconds=1)
DATE_DISORDER_US: Final = 60_000_000
BROKER_TIMEOUT_S: Final = 30
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


def make_events(event_count: int) -> Iterator[UsageEvent]:
    """Make events with codes and users drawn evenly, so that a run touches all codes of its partition."""
    chance = random.Random(SEED)
    codes = [_uuid(chance) for _ in range(CODE_COUNT)]
    users = [_uuid(chance) for _ in range(USER_COUNT)]
    for number in range(event_count):
        disorder = timedelta(microseconds=chance.randrange(DATE_DISORDER_US))
        yield UsageEvent(
            code_uuid=str(chance.choice(codes)),
            used_by_uuid=str(chance.choice(users)),
            date_used=FIRST_DATE + number * DATE_STEP + disorder,
            event_id=str(_uuid(chance)),
        )


def load_backlog(bootstrap_servers: str, topic: str, event_count: int) -> Backlog:
    """
    Create the topic and publish the events to it, each code to the partition where Java clients would put it.

    Raises:
        PublishFailedError: the broker did not take all of them.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, PARTITION_COUNT, 1)])[topic].result(BROKER_TIMEOUT_S)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 20,
            # a new broker is not ready for idempotence at once; what fails for good is reported below
            "log_level": 3,
        }
    )
    lasts: dict[int, tuple[int, bytes]] = {}
    failures: list[KafkaError] = []

    def note(error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None:
            failures.append(error)
        elif partition is not None and offset is not None:
            # delivery is reported in the order of offsets
            lasts[partition] = offset, message.value() or b""

    rows = []
    for event in make_events(event_count):
        _produce(producer, topic, event, note)
        rows.append(_row(event))
    left = producer.flush(BROKER_TIMEOUT_S)
    stored_count = sum(offset + 1 for offset, _ in lasts.values())
    if left or failures or stored_count != event_count:
        what = f"the topic holds {stored_count} of {event_count} events; {failures[:1] or 'no error was reported'}"
        raise PublishFailedError(what, "see that the disk has room, then try again")
    last_ids = [UUID(UsageEvent.model_validate_json(value).event_id) for _, value in lasts.values()]
    return Backlog(topic, event_count, last_ids, hashlib.sha256(b"".join(sorted(rows))).digest())


def _produce(
    producer: Producer, topic: str, event: UsageEvent, note: Callable[[KafkaError | None, Message], None]
) -> None:
    while True:
        try:
            producer.produce(topic, event.value(), event.key(), on_delivery=note)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _row(event: UsageEvent) -> bytes:
    assert event.date_used is not None
    date_us = (event.date_used - _UNIX_EPOCH) // _MICROSECOND
    ids = (event.event_id, event.code_uuid, event.used_by_uuid)
    return b"".join(UUID(text).bytes for text in ids) + date_us.to_bytes(8, "big")


def _uuid(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)
