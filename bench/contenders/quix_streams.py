"""
What the documentation of quix-streams leads to: a stateful count for each code, and its PostgreSQL sink.

The count lies in the state store of quix-streams (RocksDB, with a changelog topic), by the record's key, which is the
code. The sink writes the rows of a checkpoint; at least once, made once by the primary key. It does not change the
table, which is there already.

Runs in an environment of its own, as `python quix_streams.py BOOTSTRAP_SERVERS TOPIC GROUP DATABASE_URL STATE_FOLDER`,
on a database with the worker's schema; ends with SIGTERM.
"""

import sys
from typing import Final

from psycopg2.extensions import parse_dsn
from quixstreams import Application, State
from quixstreams.sinks.community.postgresql import PostgreSQLSink

# the default is by time alone, every 5 s; smaller ones cost more for each event
CHECKPOINT_COUNT: Final = 10_000
TABLE: Final = "referral_usages"


def count(event: dict[str, str], state: State) -> dict[str, str | bool | int]:
    """Count the use of the event's code, and return the row to store."""
    state.set("uses", state.get("uses", 0) + 1)
    return {
        "uuid": event["event_id"],
        "code_uuid": event["code_uuid"],
        "used_by_uuid": event["used_by_uuid"],
        "date_used": event["date_used"],
        "kafka_offset": 0,
        "kafka_partition": 0,
        "first_use": False,
    }


def main() -> None:
    """Consume until SIGTERM."""
    bootstrap_servers, topic, group, database_url, state_folder = sys.argv[1:]
    app = Application(
        broker_address=bootstrap_servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_every=CHECKPOINT_COUNT,
        state_dir=state_folder,
        loglevel="WARNING",
    )
    sink = PostgreSQLSink(
        **{"password": "", **parse_dsn(database_url)},
        table_name=TABLE,
        schema_auto_update=False,
        on_conflict_do_nothing=True,
        include_metadata=False,
    )
    usages = app.dataframe(app.topic(topic, key_deserializer="str", value_deserializer="json"))
    usages.apply(count, stateful=True).sink(sink)
    app.run()


if __name__ == "__main__":
    main()
