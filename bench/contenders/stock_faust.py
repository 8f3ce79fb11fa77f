"""
What Faust's own documentation leads to: an agent that inserts each event, and tables for the statistics.

An insert and its commit for each event, two tables whose changelogs Faust keeps in Kafka. At least once, made once by
the primary key; the tables count a replayed event twice.

Run as `python -m bench.contenders.stock_faust BOOTSTRAP_SERVERS TOPIC GROUP DATABASE_URL`, on a database with the
worker's schema; ends with SIGTERM.
"""

import sys
import tempfile
from typing import Final

import faust
import psycopg

PARTITION_COUNT: Final = 4
# what the worker sets for its own connections
CONFIGURE: Final = "set synchronous_commit = on"
INSERT: Final = """
insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use)
values (%s, %s, %s, %s, %s, %s, false)
on conflict do nothing
"""


class UsageEvent(faust.Record, serializer="json"):
    """The event as Faust models it."""

    code_uuid: str
    used_by_uuid: str
    date_used: str
    event_id: str


def build(bootstrap_servers: str, topic_name: str, group: str, database_url: str, folder: str) -> faust.App:
    """Return the application; `folder` is for its own files."""
    app = faust.App(
        group,
        broker=f"aiokafka://{bootstrap_servers}",
        consumer_auto_offset_reset="earliest",
        topic_partitions=PARTITION_COUNT,
        topic_replication_factor=1,
        web_enabled=False,
        datadir=folder,
    )
    usages = app.topic(topic_name, value_type=UsageEvent)
    total_uses = app.Table("total_uses", default=int, partitions=PARTITION_COUNT)
    last_used = app.Table("last_used", default=str, partitions=PARTITION_COUNT)

    @app.agent(usages)
    async def store(stream: faust.StreamT[UsageEvent]) -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            await conn.execute(CONFIGURE)
            async for faust_event in stream.events():
                usage, message = faust_event.value, faust_event.message
                ids = (usage.event_id, usage.code_uuid, usage.used_by_uuid)
                await conn.execute(INSERT, (*ids, usage.date_used, message.offset, message.partition))
                total_uses[usage.code_uuid] += 1
                last_used[usage.code_uuid] = max(last_used[usage.code_uuid], usage.date_used)

    return app


def main() -> None:
    """Consume until SIGTERM."""
    with tempfile.TemporaryDirectory() as folder:
        faust.Worker(build(*sys.argv[1:], folder), loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main()
