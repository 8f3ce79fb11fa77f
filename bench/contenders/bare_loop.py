"""
The contender to compare with: what a good engineer writes to get events from Kafka into PostgreSQL, and no more.

librdkafka, pydantic, binary COPY into a staging table, `insert ... on conflict do nothing`, commit, then the offsets:
at least once, made once by the primary key. It keeps no statistics, knows no first uses and ends at the first bad
event. It is whole in this file, SQL included, so that a reader sees what is compared.

Run as `python -m bench.contenders.bare_loop BOOTSTRAP_SERVERS TOPIC GROUP DATABASE_URL`, on a database with the
worker's schema; ends with SIGTERM.
"""

import signal
import sys
from contextlib import closing
from typing import Final
from uuid import UUID

import psycopg
from confluent_kafka import Consumer, KafkaException, Message
from pydantic import AwareDatetime, BaseModel

BATCH_MAX_COUNT: Final = 5000
# how long a batch that is not full may wait
BATCH_WAIT_S: Final = 0.05

# what the worker sets for its own connections
CONFIGURE: Final = "set synchronous_commit = on"
# without indexes, and without WAL because it is temporary
CREATE_STAGING: Final = "create temporary table staged_usages (like referral_usages) on commit delete rows"
COPY: Final = """
copy staged_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use)
from stdin (format binary)
"""
COLUMN_TYPES: Final = ("uuid", "uuid", "uuid", "timestamptz", "int8", "int4", "bool")
INSERT: Final = """
insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use)
select uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use from staged_usages
on conflict do nothing
"""


class UsageEvent(BaseModel):
    """The event with pydantic's own types, as one would write it."""

    code_uuid: UUID
    used_by_uuid: UUID
    date_used: AwareDatetime
    event_id: UUID


def store(conn: psycopg.Connection, messages: list[Message]) -> None:
    """
    Store a batch in one transaction.

    Raises:
        KafkaException: one of the messages is an error that librdkafka reports.
        pydantic.ValidationError: an event is not of its form.
        psycopg.Error: nothing is stored.
    """
    validate = UsageEvent.model_validate_json
    with conn.transaction(), conn.cursor() as cursor:
        with cursor.copy(COPY) as copy:
            copy.set_types(COLUMN_TYPES)
            # psycopg's C code packs a row faster than Python's struct module does
            write_row = copy.write_row
            for message in messages:
                if error := message.error():
                    raise KafkaException(error)
                event = validate(message.value() or b"")
                write_row(
                    (
                        event.event_id,
                        event.code_uuid,
                        event.used_by_uuid,
                        event.date_used,
                        message.offset(),
                        message.partition(),
                        False,
                    )
                )
        cursor.execute(INSERT)


def main() -> None:
    """Consume until SIGTERM."""
    bootstrap_servers, topic, group, database_url = sys.argv[1:]
    stop_signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop_signals.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    with closing(consumer), psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(CONFIGURE)
        conn.execute(CREATE_STAGING)
        consumer.subscribe([topic])
        while not stop_signals:
            messages = consumer.consume(BATCH_MAX_COUNT, BATCH_WAIT_S)
            if messages:
                store(conn, messages)
                # nothing waits for it: a commit that is lost means a replay, which the primary key drops
                consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
