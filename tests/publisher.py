"""A producer that remembers what Kafka has acknowledged: the set that every row is compared with."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from uuid import UUID, uuid4, uuid5

import psycopg
from confluent_kafka import KafkaError, Message, Producer
from oracle import assert_stored

from schemas import UsageEvent
from worker.pipeline.decode import NAMESPACE

_PACE_RECORDS = 50  # after so many a load sees whether it is early
_IN_FLIGHT_MAX = 50_000  # half of what the producer's queue holds
_LOOK_AGAIN_S = 0.1
ANY_PARTITION = -1  # where the partitioner puts it
Place = tuple[int, int]  # partition and offset


def identity(event: UsageEvent) -> UUID:
    """Return the row's identity of an event with an `event_id`, as the contract has it."""
    try:
        return UUID(event.event_id)
    except ValueError:
        return uuid5(NAMESPACE, f"{event.code_uuid}/{event.event_id}")


class Publisher:
    """
    Publishes usage events with the partitioner of Java clients, and bad ones as they are given.

    Every event has an `event_id`, so that its row can be told from all others: `acknowledged` holds the identities that
    must have a row, `rejected` the coordinates and values of the records that must be kept as rejects.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, partitioner: str = "murmur2_random", compression: str = "none"
    ) -> None:
        self.acknowledged: set[UUID] = set()
        self.rejected: dict[Place, bytes | None] = {}
        self._places: dict[UUID, list[Place]] = {}
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": partitioner,
                "compression.type": compression,
                "linger.ms": 5,
                # or a broker that is killed before it answers would hold the same record twice
                "enable.idempotence": True,
            }
        )

    def publish(
        self,
        records: Iterable[UsageEvent | bytes],
        per_second: float | None = None,
        *,
        has_keys: bool = True,
        partition: int = ANY_PARTITION,
    ) -> None:
        """
        Publish records, at most so many a second, and wait until all are acknowledged.

        Args:
            records: events, and values that can never be stored.
            partition: where all of them go, whatever their keys are.
        """
        started = time.monotonic()
        for number, record in enumerate(records):
            is_event = isinstance(record, UsageEvent)
            self._producer.produce(
                self._topic,
                record.value() if is_event else record,
                record.key() if is_event and has_keys else None,
                partition,
                on_delivery=lambda error, message, record=record: self._note(error, message, record),
            )
            if number % _PACE_RECORDS == 0:
                # a load that is late takes what is acknowledged as well, which stays in the producer's queue until then
                self._producer.poll(0)
                while len(self._producer) > _IN_FLIGHT_MAX:
                    self._producer.poll(_LOOK_AGAIN_S)
                # the pace of a load is the one thing that time is waited for; a poll ends with the first answer
                while per_second and (early_s := started + number / per_second - time.monotonic()) > 0:
                    self._producer.poll(early_s)
        self.flush()

    def publish_raw(self, value: bytes | None, key: bytes | None = None, **where: object) -> Place:
        """Publish a record as it is, wait for its acknowledgement, and return its place."""
        delivered: list[tuple[KafkaError | None, Message]] = []
        self._producer.produce(
            self._topic, value, key, on_delivery=lambda error, message: delivered.append((error, message)), **where
        )
        self.flush()
        ((error, message),) = delivered
        assert error is None, error
        return message.partition(), message.offset()

    def publish_bad(self, value: bytes | None, key: bytes | None = None, **where: object) -> None:
        """Publish a record that can never be stored, and wait for its acknowledgement."""
        self.rejected[self.publish_raw(value, key, **where)] = value

    def refuse(self, events: Iterable[UsageEvent]) -> None:
        """Expect rejects instead of rows of these published events, since the test has the database refuse them."""
        for event in events:
            uuid = identity(event)
            self.acknowledged.discard(uuid)
            self.rejected |= dict.fromkeys(self._places[uuid], event.value())

    def lose(self, removed: Mapping[int, range]) -> None:
        """Expect neither rows nor rejects of the records at these offsets of each partition: Kafka removed them."""

        def is_there(place: Place) -> bool:
            partition, offset = place
            return offset not in removed.get(partition, ())

        self.rejected = {place: value for place, value in self.rejected.items() if is_there(place)}
        self.acknowledged = {uuid for uuid in self.acknowledged if any(is_there(place) for place in self._places[uuid])}

    def flush(self) -> None:
        assert self._producer.flush(120) == 0, "the broker did not acknowledge everything"

    def assert_stored(self, conn: psycopg.Connection) -> None:
        """Each acknowledged usage has one row, and there is no other."""
        assert_stored(conn, self.acknowledged)

    def close(self) -> None:
        self._producer.flush(5)

    def _note(self, error: KafkaError | None, message: Message, record: UsageEvent | bytes) -> None:
        assert error is None, error
        place = message.partition(), message.offset()
        if isinstance(record, bytes):
            self.rejected[place] = record
        else:
            self.acknowledged.add(identity(record))
            self._places.setdefault(identity(record), []).append(place)


def make_events(count: int, *, codes: int, users: int, repeated: float = 0.0, seed: int = 1) -> list[UsageEvent]:
    """
    Make usage events of codes of very different popularity, in an order of dates with some disorder.

    Args:
        repeated: the share of events that repeat the `event_id` (and code) of an earlier one, with another user.
    """
    return list(_generate_events(count, codes, users, repeated, seed))


def _generate_events(count: int, codes: int, users: int, repeated: float, seed: int) -> Iterator[UsageEvent]:
    chance = random.Random(seed)
    code_uuids = [str(uuid4()) for _ in range(codes)]
    user_uuids = [str(uuid4()) for _ in range(users)]
    now_s = time.time()
    events: list[UsageEvent] = []
    for number in range(count):
        again = events and chance.random() < repeated
        earlier = chance.choice(events) if again else None
        code = earlier.code_uuid if earlier else code_uuids[int(codes * chance.random() ** 3)]
        events.append(
            UsageEvent(
                code_uuid=code,
                used_by_uuid=chance.choice(user_uuids),
                date_used=datetime.fromtimestamp(now_s - count + number + chance.uniform(-60, 0), UTC),
                event_id=earlier.event_id if earlier else (str(uuid4()) if number % 2 else f"order {number}"),
            )
        )
        yield events[-1]


def make_load(count: int, *, seed: int = 1) -> Iterator[UsageEvent | bytes]:
    """
    Make a load as it comes: most records are usages, one of 50 repeats an `event_id`, one of 200 is a reject.

    Each record is made when it is asked for: most loads are much longer than what is published of them.
    """
    for number, event in enumerate(_generate_events(count, 100, 1_000, 0.02, seed)):
        yield f"no usage {seed} {number}".encode() if number % 200 == 7 else event
