"""All checks, in an order that reads well; none waits for another one's success unless it cannot do without."""

import asyncio
from collections.abc import Iterator
from typing import Final

from aiokafka import codec

from worker.check.database import StoredPositions, check_database
from worker.check.finding import Finding, Level
from worker.check.kafka import KafkaSays, ask_kafka, check_broker, check_topics
from worker.settings import Settings
from worker.topics import TopicDescription

_CODECS: Final = {
    "gzip": codec.has_gzip,
    "snappy": codec.has_snappy,
    "lz4": codec.has_lz4,
    "zstd": codec.has_zstd,
}


def find_wrong_settings(lines: list[str]) -> list[Finding]:
    """Return the findings of settings that could not be read: nothing that needs them can be checked."""
    unchecked = ["Kafka", "topics", "PostgreSQL", "writing", "schema", "privileges", "positions"]
    return [
        *(Finding(Level.FAIL, "settings", line, "correct the variable; docs/settings.md lists all") for line in lines),
        *_check_codecs(),
        *(Finding(Level.NOT_CHECKED, subject, "the settings are wrong") for subject in unchecked),
    ]


async def check_all(settings: Settings) -> list[Finding]:
    """
    Check everything that a worker with these settings needs, in about 10 s when nothing answers.

    Returns:
        one finding for each thing, or several for a thing with several faults, in an order that reads well.
    """
    kafka, (database, stored) = await asyncio.gather(ask_kafka(settings), check_database(settings))
    return [
        Finding(Level.OK, "settings", "all are valid"),
        *_check_codecs(),
        check_broker(kafka, settings),
        *check_topics(kafka, settings),
        *database,
        *_check_positions(stored, kafka, settings),
    ]


def _check_codecs() -> Iterator[Finding]:
    """Check that batches of every compression can be read: one that cannot stalls its partition."""
    for name, is_there in _CODECS.items():
        if is_there():
            yield Finding(Level.OK, f"codec {name}", "can be read")
        else:
            yield Finding(
                Level.FAIL, f"codec {name}", "cannot be read: topics that use it would stall",
                "run `pip install 'aiokafka[lz4,snappy,zstd]'`",
            )  # fmt: skip


def _check_positions(stored: StoredPositions, kafka: KafkaSays, settings: Settings) -> Iterator[Finding]:
    subject = "positions"
    if stored.unchecked is not None:
        yield Finding(Level.NOT_CHECKED, subject, stored.unchecked)
        return
    if stored.foreign_topic is not None:
        yield Finding(
            Level.FAIL, subject,
            f"the database holds those of topic {stored.foreign_topic!r}, not of {settings.usages_topic!r}",
            f"set REFERRALS_USAGES_TOPIC={stored.foreign_topic}, or REFERRALS_DATABASE_URL to a database of its own",
        )  # fmt: skip
    elif kafka.failure is not None:
        yield Finding(Level.NOT_CHECKED, subject, "against the topic's partitions: Kafka does not answer")
    elif not stored.partition_counts:
        yield Finding(Level.OK, subject, "none is stored yet")
    elif settings.usages_topic not in kafka.topics:
        yield Finding(
            Level.FAIL, subject, f"are stored, but topic {settings.usages_topic!r} is missing",
            "find out where it went; REFERRALS_BOOTSTRAP_SERVERS may name another Kafka",
        )  # fmt: skip
    else:
        yield _judge_partition_count(stored.partition_counts, kafka.topics[settings.usages_topic])


def _judge_partition_count(stored: list[int], usages: TopicDescription) -> Finding:
    subject = "positions"
    if stored == [usages.partitions]:
        return Finding(Level.OK, subject, f"belong to {usages.partitions} partitions, as the topic has")
    said = f"were stored with {' and '.join(map(str, stored))} partitions, {usages.name} has {usages.partitions}"
    if max(stored) > usages.partitions:
        return Finding(
            Level.FAIL, subject, said,
            "the topic was created anew: stop all workers and run `referrals repair --topic-recreated`",
        )  # fmt: skip
    return Finding(
        Level.FAIL, subject, said,
        "stop all workers and run `referrals repair`; docs/running.md, growing the number of partitions",
    )  # fmt: skip
