"""A producer of usage events: each code goes to the partition where Java clients would put it."""

import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from bench.pace import wait_until
from sandbox.errors import PublishFailedError

BROKER_TIMEOUT_S: Final = 30
# librdkafka's default
LINGER_MS: Final = 5

OnAcknowledged = Callable[[Message], None]


class Draft(NamedTuple):
    """An event as it is published, and what is called once the broker has acknowledged it."""

    key: bytes
    value: bytes
    on_acknowledged: OnAcknowledged | None = None


class Publisher:
    """
    Publishes to one topic with acks=all; acknowledgements are told while `publish`, `serve` or `finish` is at work.

    Args:
        linger_ms: how long a batch waits for more.
        transactional_id: what is published between `begin` and `commit` is seen from the commit on, all at once.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, *, linger_ms: int = LINGER_MS, transactional_id: str = ""
    ) -> None:
        self._topic = topic
        self._failures: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": linger_ms,
                # a new broker is not ready for idempotence at once; what fails for good is reported by `finish`
                "log_level": 3,
            }
            | ({"transactional.id": transactional_id} if transactional_id else {})
        )
        if transactional_id:
            self._producer.init_transactions(BROKER_TIMEOUT_S)

    def begin(self) -> None:
        """Begin a transaction: nobody reads what is published until `commit`."""
        self._producer.begin_transaction()

    def commit(self) -> None:
        """
        Let everybody read what was published since `begin`.

        Raises:
            confluent_kafka.KafkaException: the broker did not take all of it.
        """
        self._producer.commit_transaction(BROKER_TIMEOUT_S)

    def publish(self, draft: Draft) -> None:
        """Hand an event to the producer, waiting only while its queue is full."""

        def note(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failures.append(error)
            elif draft.on_acknowledged is not None:
                draft.on_acknowledged(message)

        while True:
            try:
                self._producer.produce(self._topic, draft.value, draft.key, on_delivery=note)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def publish_evenly(self, drafts: Iterable[Draft], per_second: int) -> None:
        """Publish at a steady rate; what is late because the machine was busy is caught up."""
        begin_s = time.perf_counter()
        for number, draft in enumerate(drafts):
            wait_until(begin_s + number / per_second)
            self.publish(draft)

    def serve(self, timeout_s: float) -> None:
        """Wait for acknowledgements and tell them at once; for a thread of its own."""
        self._producer.poll(timeout_s)

    def finish(self) -> None:
        """
        Wait until everything is acknowledged.

        Raises:
            PublishFailedError: the broker did not take all of it.
        """
        left = self._producer.flush(BROKER_TIMEOUT_S)
        if left or self._failures:
            what = (
                f"{left + len(self._failures)} events were not taken; {self._failures[:1] or 'no error was reported'}"
            )
            raise PublishFailedError(what, "see that the disk has room, then try again")
