"""`referrals publish` against a real broker: what it puts on the topic, and what it says."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from fix_kafka import end_offsets, read_topic
from publisher import make_events
from waiting import wait_until

from sandbox.kafka import Kafka
from sandbox.ports import free_port
from schemas import UsageEvent
from worker.exit_codes import EXIT_FAILURE
from worker.pipeline.reroute import partition_of

PARTITIONS = 3
TIMEOUT_S = 120
# so long that a busy machine gets through the file's check, so short that no machine publishes it all meanwhile
SLICE_S = 0.25
# what takes so long to publish that a busy machine has time to freeze the command
MANY_EVENTS = 120_000
CODE = "7f0c8d9e-3b1a-4c62-9d55-0a1b2c3d4e5f"
USER = "0d4f6a52-8c1e-4f7b-a3d2-6e5b4c3a2f10"


class Said(NamedTuple):
    """How the command ended, and its lines on standard output and standard error."""

    exit_code: int
    out: list[str]
    err: list[str]


class Publish:
    """Runs the command on a topic of the test's own."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.kafka = kafka
        self.topic = topic
        self.servers = kafka.bootstrap_servers

    def start(self, *arguments: object, **options: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "worker.cli", "publish", *map(str, arguments)]
        settings = {"REFERRALS_BOOTSTRAP_SERVERS": self.servers, "REFERRALS_USAGES_TOPIC": self.topic}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env={**os.environ, **settings}, **{**pipes, **options})

    def __call__(self, *arguments: object, given: bytes = b"") -> Said:
        with self.start(*arguments) as process:
            out, err = process.communicate(given, TIMEOUT_S)
        return Said(process.returncode, out.decode().splitlines(), err.decode().splitlines())

    def ends(self) -> dict[int, int]:
        return end_offsets(self.kafka, self.topic, PARTITIONS)

    def published(self) -> list[UsageEvent]:
        """Return what is on the topic, each event on the partition and under the key of its code."""
        messages = read_topic(self.kafka, self.topic, PARTITIONS)
        events = [UsageEvent.model_validate_json(message.value()) for message in messages]
        for event, message in zip(events, messages, strict=True):
            assert message.key() == event.key()
            assert message.partition() == partition_of(event.code_uuid, PARTITIONS)
        return events


@pytest.fixture
def publish(kafka: Kafka, new_topic: Callable[[int], str]) -> Publish:
    """The command, on a topic of three partitions."""
    return Publish(kafka, new_topic(PARTITIONS))


def write_ndjson(path: Path, events: list[UsageEvent]) -> Path:
    path.write_bytes(b"".join(event.value() + b"\n" for event in events))
    return path


def write_csv(path: Path, events: list[UsageEvent]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["event_id", "date_used", "used_by_uuid", "code_uuid"])
        writer.writeheader()
        writer.writerows(json.loads(event.value()) for event in events)
    return path


def by_identity(events: list[UsageEvent]) -> list[UsageEvent]:
    return sorted(events, key=lambda event: (event.event_id, event.code_uuid, event.used_by_uuid))


@pytest.mark.parametrize("write", [write_ndjson, write_csv])
def test_file_is_published_whole(publish: Publish, tmp_path: Path, write) -> None:
    """Every event of a file is on the topic once, on the partition of its code; nothing else is said than that."""
    events = make_events(12_345, codes=50, users=100)
    path = write(tmp_path / f"events.{write.__name__.removeprefix('write_')}", events)
    assert publish(path) == Said(0, [f"published 12345 events to {publish.topic}"], [])
    assert by_identity(publish.published()) == by_identity(events)


def test_standard_input_is_published(publish: Publish, tmp_path: Path) -> None:
    """Events come from a pipe as well, as NDJSON unless told."""
    events = make_events(20, codes=5, users=5)
    first = write_ndjson(tmp_path / "a", events[:10]).read_bytes()
    second = write_csv(tmp_path / "b", events[10:]).read_bytes()
    assert publish("-", given=first).exit_code == 0
    assert publish("-", "--format", "csv", given=second).exit_code == 0
    assert by_identity(publish.published()) == by_identity(events)
    assert publish("-") == Said(0, [f"published 0 events to {publish.topic}"], [])


def test_bad_lines_publish_nothing(publish: Publish, tmp_path: Path) -> None:
    """One bad line behind thousands of good ones means that nothing is published; it is named with the reason."""
    path = write_ndjson(tmp_path / "events.ndjson", make_events(3_000, codes=5, users=5))
    with path.open("ab") as file:
        file.write(b'{"code_uuid": 5}\n')
    before = publish.ends()
    said = publish(path)
    assert said.exit_code == EXIT_FAILURE
    assert said.out == []
    assert said.err[0].startswith(f"{path}:3001: used_by_uuid is missing") or "code_uuid 5" in said.err[0]
    assert said.err[-1] == "nothing was published: mend the bad lines (1) and try again"
    assert publish.ends() == before


def test_bad_lines_are_named_up_to_twenty(publish: Publish) -> None:
    """The first 20 bad lines are named, then how many more there are."""
    said = publish("-", given=b"{\n" * 33)
    assert said.exit_code == EXIT_FAILURE
    assert [line.partition(": ")[0] for line in said.err[:20]] == [f"<stdin>:{line}" for line in range(1, 21)]
    assert said.err[20:] == ["and 13 more", "nothing was published: mend the bad lines (33) and try again"]


def test_one_event_is_published_by_options(publish: Publish) -> None:
    """The single form says where the event lies."""
    said = publish(
        "--code", CODE.upper(), "--user", USER, "--date", "2026-01-31T12:00:00+01:00", "--event-id", "\u00fc 1"
    )
    partition = partition_of(CODE, PARTITIONS)
    assert said == Said(0, [f"published {publish.topic}[{partition}]@0"], [])
    expected = UsageEvent(code_uuid=CODE, used_by_uuid=USER, date_used="2026-01-31T11:00:00Z", event_id="\u00fc 1")
    assert publish.published() == [expected]


def test_missing_topic_names_the_remedy(publish: Publish) -> None:
    """A topic that is not there is told at once, and is not made."""
    publish.topic = "no-such-topic"
    said = publish("--code", CODE, "--user", USER)
    assert said.exit_code == 2
    assert "has no topic 'no-such-topic'" in said.err[0]
    assert "referrals topics create" in said.err[0]


def test_missing_broker_is_one_clear_line(publish: Publish) -> None:
    """A broker that is not there is told with its address."""
    publish.servers = f"127.0.0.1:{free_port()}"
    said = publish("-", given=UsageEvent(code_uuid=CODE, used_by_uuid=USER).value())
    assert said.exit_code == EXIT_FAILURE
    assert len(said.err) == 1
    assert publish.servers in said.err[0]


def freeze_midway(publish: Publish, process: subprocess.Popen) -> None:
    """Let the command publish some of `MANY_EVENTS`, and freeze it long before it has published all."""

    def has_published() -> bool:
        # in slices: a file is published sooner than a busy machine finds the time to look
        process.send_signal(signal.SIGCONT)
        time.sleep(SLICE_S)
        process.send_signal(signal.SIGSTOP)
        return sum(publish.ends().values()) > 0

    try:
        wait_until("something is published", has_published, TIMEOUT_S)
        assert sum(publish.ends().values()) < MANY_EVENTS, "all was published before the command could be frozen"
    except BaseException:
        process.kill()  # a frozen one would be waited for without an end
        raise


def test_interruption_says_where_to_go_on_and_nothing_is_lost(publish: Publish, tmp_path: Path) -> None:
    """Interrupted by Ctrl-C, it names the line to go on with; from there on, every event is on the topic."""
    events = make_events(MANY_EVENTS, codes=50, users=100)
    path = write_ndjson(tmp_path / "events.ndjson", events)
    with publish.start(path) as process:
        freeze_midway(publish, process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == EXIT_FAILURE, (out, err)
    lines = err.decode().splitlines()
    assert lines[0] == "referrals: interrupted"
    acknowledged = int(lines[1].removeprefix("referrals: ").split()[0])
    assert acknowledged <= sum(publish.ends().values()) < len(events)
    next_line = lines[2].split("--from-line ")[1].split(":")[0]
    assert publish(path, "--from-line", next_line).exit_code == 0
    published = {(event.event_id, event.code_uuid) for event in publish.published()}
    assert published == {(event.event_id, event.code_uuid) for event in events}


def test_broker_that_dies_midway_is_told_within_a_bounded_time(tmp_path: Path) -> None:
    """A broker killed under load ends the command with what was acknowledged; going on later completes the topic."""
    broker = Kafka(tmp_path / "kafka")
    try:
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        admin.create_topics([NewTopic("usages", PARTITIONS, 1)])["usages"].result(20)
        publish = Publish(broker, "usages")
        events = make_events(MANY_EVENTS, codes=50, users=100)
        path = write_ndjson(tmp_path / "events.ndjson", events)
        with publish.start(path) as process:
            freeze_midway(publish, process)
            broker.kill()
            process.send_signal(signal.SIGCONT)
            _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == EXIT_FAILURE
        lines = err.decode().splitlines()
        assert publish.servers in lines[0]
        next_line = lines[2].split("--from-line ")[1].split(":")[0]
        broker.start()
        assert publish(path, "--from-line", next_line).exit_code == 0
        published = {(event.event_id, event.code_uuid) for event in publish.published()}
        assert published == {(event.event_id, event.code_uuid) for event in events}
    finally:
        broker.stop()
