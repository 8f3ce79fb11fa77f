"""A producer that remembers what Kafka has acknowledged: the set that every row is compared with."""

import random
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID, uuid4, uuid5

import psycopg
from confluent_kafka import KafkaError, Producer
from oracle import assert_stored

from schemas import UsageEvent
from worker.pipeline.decode import NAMESPACE


def identity(event: UsageEvent) -> UUID:
    """Return the row's identity of an event with an `event_id`, as the contract has it."""
    try:
        return UUID(event.event_id)
    except ValueError:
        return uuid5(NAMESPACE, f"{event.code_uuid}/{event.event_id}")


class Publisher:
    """
    Publishes usage events with the partitioner of Java clients, and bad ones as they are given.

    Every event has an `event_id`, so that its row can be told from all others.
    """

    def __init__(self, bootstrap_servers: str, topic: str, partitioner: str = "murmur2_random") -> None:
        self.acknowledged: set[UUID] = set()
        self._topic = topic
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "partitioner": partitioner, "linger.ms": 5, "acks": "all"}
        )

    def publish(self, events: Iterable[UsageEvent], per_second: float | None = None, *, has_keys: bool = True) -> None:
        """Publish events, at most so many a second, and wait until all are acknowledged."""
        started = time.monotonic()
        for number, event in enumerate(events):
            uuid = identity(event)
            self._producer.produce(
                self._topic,
                event.value(),
                event.key() if has_keys else None,
                on_delivery=lambda error, _, uuid=uuid: self._note(error, uuid),
            )
            if per_second and number % 50 == 0:
                due = started + number / per_second
                # the pace of a load is the one thing that time is waited for
                self._producer.poll(max(0.0, due - time.monotonic()))
        self.flush()

    def publish_raw(self, value: bytes | None, key: bytes | None = None, **where: object) -> None:
        """Publish a record as it is, and wait for its acknowledgement."""
        failures: list[KafkaError] = []
        self._producer.produce(
            self._topic, value, key, on_delivery=lambda error, _: failures.append(error) if error else None, **where
        )
        self.flush()
        assert not failures, failures

    def forget(self, events: Iterable[UsageEvent]) -> None:
        """Expect no rows of these events, since the test has them rejected."""
        self.acknowledged -= {identity(event) for event in events}

    def flush(self) -> None:
        assert self._producer.flush(60) == 0, "the broker did not acknowledge everything"

    def assert_stored(self, conn: psycopg.Connection) -> None:
        """Each acknowledged usage has one row, and there is no other."""
        assert_stored(conn, self.acknowledged)

    def close(self) -> None:
        self._producer.flush(5)

    def _note(self, error: KafkaError | None, uuid: UUID) -> None:
        assert error is None, error
        self.acknowledged.add(uuid)


def make_events(count: int, *, codes: int, users: int, repeated: float = 0.0, seed: int = 1) -> list[UsageEvent]:
    """
    Make usage events of codes of very different popularity, in an order of dates with some disorder.

    Args:
        repeated: the share of events that repeat the `event_id` (and code) of an earlier one, with another user.
    """
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
    return events
