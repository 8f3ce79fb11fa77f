"""`referrals skip`: a batch that a disk has damaged is passed on purpose, and kept."""

import subprocess
import sys

from fix_kafka import read_topic
from fix_worker import NewSystem, System
from publisher import make_events

from sandbox.kafka import Kafka
from worker.exit_codes import EXIT_SETTINGS


def skip(system: System, offset: int, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", "skip", system.topic, "0", str(offset), *options],
        env=system.settings(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def damage(broker: Kafka, topic: str, known: bytes) -> None:
    """Flip a bit of what the broker keeps of a record, behind its back."""
    broker.stop()
    (segment,) = (broker.folder / "data" / f"{topic}-0").glob("*.log")
    kept = bytearray(segment.read_bytes())
    kept[kept.index(known)] ^= 1
    segment.write_bytes(kept)
    broker.start()


def test_damaged_batch_is_kept_as_a_reject_and_passed(new_kafka_system: NewSystem) -> None:
    """A batch with a wrong checksum becomes one `unreadable` reject, whole, and what is behind it is stored."""
    system = new_kafka_system(1)
    before, behind = make_events(60, codes=5, users=20), make_events(40, codes=5, users=20, seed=2)
    worker = system.start_worker()
    worker.wait_ready()
    system.publisher.publish(before)
    system.wait_drained()
    readable = skip(system, 59, "--yes")
    assert readable.returncode == EXIT_SETTINGS
    assert "the position is 60" in readable.stderr
    worker.kill()
    system.publisher.publish_raw(b"a record that the disk will damage")
    system.publisher.publish(behind)
    assert "can be read: there is nothing to skip" in skip(system, 60, "--yes").stderr
    damage(system.kafka, system.topic, b"a record that the disk will damage")
    wrong = skip(system, 61, "--yes")
    assert wrong.returncode == EXIT_SETTINGS
    assert "the position is 60" in wrong.stderr
    asked = skip(system, 60)
    assert asked.returncode != 0
    assert system.positions() == {0: 60}
    passed = skip(system, 60, "--yes")
    assert passed.returncode == 0, passed.stderr
    assert system.positions() == {0: 61}
    ((reason, detail, value, offset),) = system.conn.execute(
        "select reason, detail, value, kafka_offset from referral_rejections"
    ).fetchall()
    assert (reason, offset) == ("unreadable", 60)
    assert "checksum" in detail
    assert b" record that the disk will damage" in value
    assert [message.value() for message in read_topic(system.kafka, system.rejected_topic, 1)] == [value]
    system.publisher.rejected[0, 60] = value
    system.start_worker().wait_ready()
    system.wait_drained()
    system.assert_exact()
