"""The README's producer, run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic
from fix_kafka import read_topic

from sandbox.kafka import Kafka
from schemas import UsageEvent
from worker.pipeline.reroute import partition_of

README = Path(__file__).parents[2] / "README.md"
PARTITIONS = 3


def test_producer_of_the_readme_publishes_a_usage(tmp_path: Path, kafka: Kafka, admin: AdminClient) -> None:
    """Ten lines at most, nothing of this package, and one valid event lies on the partition of its code."""
    (block,) = re.findall(r"^```python\n(.+?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(block.splitlines()) <= 10
    assert set(re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)) == {"json", "confluent_kafka"}
    admin.create_topics([NewTopic("referral-usages", PARTITIONS, 1)])["referral-usages"].result(20)
    try:
        script = tmp_path / "producer.py"
        script.write_text(block.replace("localhost:9092", kafka.bootstrap_servers), encoding="utf-8")
        subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=60)
        (message,) = read_topic(kafka, "referral-usages", PARTITIONS)
    finally:
        admin.delete_topics(["referral-usages"])["referral-usages"].result(20)
    event = UsageEvent.model_validate_json(message.value())
    assert message.key() == event.key()
    assert message.partition() == partition_of(event.code_uuid, PARTITIONS)
    assert event.event_id == "order 4711"
