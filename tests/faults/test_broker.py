"""Kafka that is killed, stalls or does not take what is sent: nothing is lost, and nobody needs to do anything."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from fix_faults import NewCase
from fix_kafka import Cluster, end_offsets, read_topic
from fix_worker import NewSystem, System, WorkerProcess
from publisher import identity, make_events
from waiting import wait_until

from sandbox.ports import is_free

FROZEN_S = 40
KILLS = 3
NOT_TAKEN = "does not take messages"
TIMEOUT_S = 20


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped, as by SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_broker_killed_under_load_loses_nothing(new_kafka_system: NewSystem, new_case: NewCase) -> None:
    """A single broker is killed under load and started again, several times: workers go on by themselves."""
    system = new_kafka_system()
    case = new_case(system)
    workers = [system.start_worker(), system.start_worker()]
    system.wait_shared(*workers)
    with case.load(1_000):
        for _ in range(KILLS):
            case.strike()
            system.kafka.kill()
            assert all(worker.get("/livez")[0] == 200 for worker in workers)
            system.kafka.start()
            case.heal()
            stored = case.stored
            wait_until("records are stored again", lambda stored=stored: case.stored > stored + 500)
    system.wait_shared(*workers)
    case.conclude()


def test_broker_that_stalls_loses_nothing(new_kafka_system: NewSystem, new_case: NewCase) -> None:
    """A broker that answers nobody for 40 s, longer than any session, is waited for."""
    system = new_kafka_system()
    case = new_case(system)
    workers = [system.start_worker(), system.start_worker()]
    system.wait_shared(*workers)
    with case.load(1_000):
        case.strike()
        os.kill(system.kafka.pid, signal.SIGSTOP)
        try:
            threading.Event().wait(FROZEN_S)  # the fault's own length
            assert is_stopped(system.kafka.pid)
            assert all(worker.get("/livez")[0] == 200 for worker in workers)
        finally:
            os.kill(system.kafka.pid, signal.SIGCONT)
        case.heal()
    system.wait_shared(*workers)
    case.conclude()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers of the test's own."""
    brokers = Cluster(tmp_path)
    try:
        brokers.start()
        yield brokers
    finally:
        brokers.stop()


@pytest.fixture
def cluster_system(cluster: Cluster, tmp_path: Path, database_url: str) -> Iterator[System]:
    """A system of six partitions on three brokers, each with a replica of everything; two must have what counts."""
    client = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    client.create_topics([NewTopic("usages", 6, 3)])["usages"].result(TIMEOUT_S)
    system = System(cluster, client, "usages", 6, database_url, tmp_path)
    yield system
    system.close()


def test_one_of_three_brokers_killed_stops_nothing(cluster_system: System, new_case: NewCase) -> None:
    """Each of three brokers is killed in turn, so whoever leads a partition and the group: the other two go on."""
    system = cluster_system
    case = new_case(system)
    workers = [system.start_worker(), system.start_worker()]
    system.wait_shared(*workers)
    with case.load(1_000):
        for broker in system.kafka.brokers:
            case.strike()
            broker.kill()
            assert is_free(broker.port)
            stored = case.stored
            wait_until("two go on", lambda stored=stored: case.stored > stored + 1_000)
            broker.start()
            case.heal()
            wait_until("three are in sync", lambda: system.kafka.replicas_in_sync(system.topic) == 3)
    system.wait_shared(*workers)
    case.conclude()


def test_ends_are_told_once_their_leader_is_back(cluster: Cluster) -> None:
    """Whoever asks while a partition has no leader is answered as soon as it has one again."""
    client = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    client.create_topics([NewTopic("usages", 1, replica_assignment=[[3]])])["usages"].result(TIMEOUT_S)
    wait_until("the third broker leads the partition", lambda: cluster.replicas_in_sync("usages") == 1)
    third = cluster.brokers[2]
    third.kill()
    wait_until("nobody can lead the partition", lambda: cluster.replicas_in_sync("usages") == 0)
    back = threading.Timer(2, third.start)
    back.start()
    try:
        assert end_offsets(cluster, "usages", 1) == {0: 0}
    finally:
        back.join()


@pytest.mark.parametrize("fault", ["missing", "unwritable"])
def test_dead_letter_topic_that_takes_nothing_holds_the_position(
    new_system: NewSystem, new_case: NewCase, fault: str
) -> None:
    """A reject without a copy on the dead-letter topic is not passed; once that is repaired, nothing is missing."""
    system = new_system(4)
    case = new_case(system)
    worker = system.start_worker()
    worker.wait_ready()
    with case.load(1_000):
        case.strike()
        if fault == "missing":
            system.admin.delete_topics([system.rejected_topic])[system.rejected_topic].result(TIMEOUT_S)
        else:
            limit_messages(system, AlterConfigOpType.SET)
        wait_until("all partitions wait", lambda: waiting(worker) == set(range(system.partitions)))
        kept, positions = reject_count(system), system.positions()
        assert kept < len(system.publisher.rejected)
        assert worker.get("/readyz")[0] == 503
        assert worker.get("/livez")[0] == 200
        tries = worker.text().count(NOT_TAKEN)
        wait_until("it is tried again", lambda: worker.text().count(NOT_TAKEN) >= tries + system.partitions)
        assert (reject_count(system), system.positions()) == (kept, positions)
        if fault == "missing":
            system.admin.create_topics([NewTopic(system.rejected_topic, 4, 1)])[system.rejected_topic].result(TIMEOUT_S)
        else:
            limit_messages(system, AlterConfigOpType.DELETE)
        case.heal()
        worker.wait_ready()
    case.conclude()
    copies = {
        dict(message.headers())["referrals-id"].decode()
        for message in read_topic(system.kafka, system.rejected_topic, 4)
    }
    rows = system.conn.execute("select id::text from referral_rejections order by rejected_at").fetchall()
    # what was on the topic before it was deleted is gone with it
    assert {id_ for (id_,) in (rows[kept:] if fault == "missing" else rows)} <= copies


def limit_messages(system: System, operation: AlterConfigOpType) -> None:
    """Let the dead-letter topic take no message that is larger than nothing, or any again."""
    entry = ConfigEntry("max.message.bytes", "1", incremental_operation=operation)
    resource = ConfigResource(ResourceType.TOPIC, system.rejected_topic, incremental_configs=[entry])
    system.admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)


def waiting(worker: WorkerProcess) -> set[int]:
    """Return the partitions of which the log says that the dead-letter topic holds them up."""
    return set(map(int, re.findall(rf"{NOT_TAKEN}.*partition=\S+\[(\d+)\]", worker.text())))


def reject_count(system: System) -> int:
    return system.conn.execute("select count(*) from referral_rejections").fetchone()[0]


def test_posting_while_the_broker_is_away_is_told_and_can_be_repeated(new_kafka_system: NewSystem) -> None:
    """Without a broker the answer is 503 in bounded time; the event sent again later is one row."""
    system = new_kafka_system()
    worker = system.start_worker()
    worker.wait_ready()
    system.kafka.kill()
    (event,) = make_events(1, codes=1, users=1)
    status, problem = worker.post_event(event)
    assert status == 503
    assert repr(event.event_id) in problem["detail"]
    system.kafka.start()
    wait_until("the event is taken", lambda: worker.post_event(event)[0] == 202)
    system.publisher.acknowledged.add(identity(event))
    system.wait_drained()
    system.assert_exact()
