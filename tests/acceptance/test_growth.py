"""Growing the number of partitions by the procedure of docs/running.md: exact afterwards."""

import signal

from command import run, run_check
from fix_worker import System
from publisher import Publisher, make_events
from waiting import wait_until

from worker.exit_codes import EXIT_FAILURE
from worker.pipeline.reroute import partition_of


def assert_each_code_held_once(system: System) -> None:
    """Each code's statistics lie in the partition that the code hashes to, and in no other."""
    stored = system.conn.execute("select code_uuid, kafka_partition from referral_code_stats").fetchall()
    assert len(stored) == len(dict(stored))
    assert stored == [(code, partition_of(str(code), system.partitions)) for code, _ in stored]


def test_partitions_grow_from_4_to_8(system: System) -> None:
    """With events waiting, misrouted and published while it goes on, every answer is exact after growing to 8."""
    events = make_events(9_000, codes=100, users=300, repeated=0.02)
    worker = system.start_worker()
    worker.wait_ready()
    system.publisher.publish(events[:3_000])
    wait_until("some are stored", lambda: system.row_count() > 0)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    system.publisher.publish(events[3_000:5_000])

    grown = run("topics", "grow", "--partitions", "8", **system.settings())
    assert grown.returncode == 0, grown.stderr
    system.partitions = 8
    stored = system.row_count()
    # the publisher still hashes with 4 partitions, a new one with 8
    system.publisher.publish(events[5_000:6_000])
    other = Publisher(system.kafka.bootstrap_servers, system.topic)
    try:
        other.publish(events[6_000:7_000])
        early = system.start_worker()
        assert early.wait() == EXIT_FAILURE
        assert system.row_count() == stored

        assert run("verify", **system.settings()).returncode == EXIT_FAILURE
        repaired = run("repair", **system.settings())
        assert repaired.returncode == 0, repaired.stderr
        assert run("verify", **system.settings()).returncode == 0
        assert_each_code_held_once(system)
        code, findings = run_check(**system.settings())
        assert code == 0
        assert findings["positions"][0]["detail"] == "belong to 8 partitions, as the topic has"

        workers = [system.start_worker(), system.start_worker()]
        system.wait_shared(*workers)
        system.publisher.publish(events[7_000:8_000])
        other.publish(events[8_000:])
    finally:
        other.close()
    system.publisher.acknowledged |= other.acknowledged
    wait_until("every usage is stored", lambda: system.row_count() == len(system.publisher.acknowledged))
    system.wait_drained()
    system.assert_exact()
    assert_each_code_held_once(system)
    assert run("verify", **system.settings()).returncode == 0
