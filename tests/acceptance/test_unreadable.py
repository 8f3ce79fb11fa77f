"""Records that cannot be read, or not all at once: what a poison batch does to its partition and to others."""

import asyncio
import json
import signal
import struct

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer
from fix_worker import System
from publisher import identity, make_events
from waiting import wait_until

CRC_AT = 17  # of a batch; it covers what follows
MEMORY_MAX_MB = 950  # of 1,048,576 bytes: below 1 GB
CORRUPTED = b"it was written as it should be"


def publish_batch(system: System, values: list[bytes], compression: str = "none") -> None:
    """Publish records to partition 0 as one batch."""
    producer = Producer(
        {
            "bootstrap.servers": system.kafka.bootstrap_servers,
            "compression.type": compression,
            "linger.ms": 500,
            "batch.size": 2_000_000_000,
            "batch.num.messages": 100_000,
            "message.max.bytes": 500_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    for value in values:
        producer.produce(system.topic, value, partition=0)
    assert producer.flush(60) == 0


async def publish_with_header(system: System, values: list[bytes], name: bytes) -> None:
    """Publish records to partition 0 as one batch, each with a header whose name may be any bytes."""
    placeholder = "placeholder"[: len(name)]
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000, None, value, [(placeholder, b"value")])
    batch = bytearray(builder.build().replace(placeholder.encode(), name))
    struct.pack_into(">I", batch, CRC_AT, calc_crc32c(bytes(batch[CRC_AT + 4 :])))
    client = AIOKafkaClient(bootstrap_servers=system.kafka.bootstrap_servers)
    try:
        await client.bootstrap()
        await client.set_topics([system.topic])
        node = client.cluster.leader_for_partition(TopicPartition(system.topic, 0))
        request = ProduceRequest(None, -1, 20_000, [(system.topic, [(0, bytes(batch))])])
        response = await client.send(node, request)
        assert response.topics[0][1][0][1] == 0, response
    finally:
        await client.close()


def test_header_name_that_is_not_utf8_stops_nobody(system: System) -> None:
    """A record whose header has such a name is an ordinary one, and so are its neighbours in the batch."""
    worker = system.start_worker()
    worker.wait_ready()
    events = make_events(50, codes=5, users=20)
    asyncio.run(publish_with_header(system, [*(event.value() for event in events), b"no event"], b"na\xffme"))
    system.publisher.acknowledged |= {identity(event) for event in events}
    system.publisher.rejected[0, len(events)] = b"no event"
    system.publisher.publish(make_events(300, codes=50, users=50, seed=2))
    system.wait_drained()
    system.assert_exact()
    ((headers,),) = system.conn.execute("select headers from referral_rejections").fetchall()
    assert headers == [["na\\xffme", "dmFsdWU="]]


def corrupt(system: System) -> None:
    """Turn a bit of the batch on the broker's disk, behind its back."""
    (segment,) = (system.kafka.folder / "data").rglob(f"{system.topic}-0/*0.log")
    written = segment.read_bytes()
    assert written.count(CORRUPTED) == 1
    with segment.open("r+b") as file:
        file.seek(written.index(CORRUPTED))
        file.write(b"I")


def test_corrupt_batch_holds_its_partition_until_an_operator_moves_on(system: System) -> None:
    """A batch with a bad checksum stalls its partition alone, /livez names it, and a moved position is taken up."""
    worker = system.start_worker(stall_timeout_s=5)
    worker.wait_ready()
    system.publisher.publish(make_events(400, codes=50, users=50))
    system.wait_drained()
    worker.send(signal.SIGSTOP)
    offset = system.ends()[0]
    publish_batch(system, [CORRUPTED])
    corrupt(system)
    events = make_events(2_000, codes=50, users=50, seed=2)
    system.publisher.publish(events)
    worker.send(signal.SIGCONT)
    where = f"{system.topic}[0]@{offset}"
    reasons = wait_until("the stall is noticed", lambda: worker.get("/livez")[1]["reasons"])
    assert where in reasons[0]
    assert "CRC" in reasons[0]
    ends = system.ends()
    wait_until("all other partitions go on", lambda: system.positions() == {**ends, 0: offset})
    assert worker.get("/livez")[0] == 503
    system.conn.execute(
        "update referral_positions set next_offset = %s, last_timestamp = null, last_digest = null where partition = 0",
        [offset + 1],
    )
    system.wait_drained()
    wait_until("the worker lives", lambda: worker.get("/livez")[0] == 200)
    system.assert_exact()
    assert worker.text().count("partition stands still") == 1
    assert worker.text().count("partition stalled") == 1


def test_batch_that_unpacks_to_200_mb_flows_within_bounds(system: System) -> None:
    """A small batch that is huge when it is unpacked is taken in portions: the worker's memory stays below 1 GB."""
    worker = system.start_worker()
    worker.wait_ready()
    filler = "x" * 60_000
    events = make_events(3_400, codes=5, users=20)
    values = [json.dumps({**json.loads(event.value()), "filler": filler}).encode() for event in events]
    publish_batch(system, values, compression="gzip")
    ends = system.ends()
    assert ends[0] == len(values)
    segments = list((system.kafka.folder / "data").rglob(f"{system.topic}-0/*0.log"))
    assert sum(segment.stat().st_size for segment in segments) < 2_000_000
    system.publisher.acknowledged |= {identity(event) for event in events}
    system.publisher.publish(make_events(400, codes=50, users=50, seed=2))
    system.wait_drained()
    system.assert_exact()
    assert 0 < worker.peak_memory_mb < MEMORY_MAX_MB
