"""What workers keep elsewhere is lost, reset or put back to an older state: nothing is lost, nothing counts twice."""

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from fix_faults import NewCase
from fix_postgres import back_up, put_back
from fix_worker import System, WorkerProcess
from publisher import make_load
from waiting import wait_until

from sandbox.postgres import Postgres
from worker.topics import changelog_topic

TIMEOUT_S = 20
GAP = 20


def stop(worker: WorkerProcess) -> None:
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def reset_offsets(system: System) -> None:
    zeros = [TopicPartition(system.topic, partition, 0) for partition in range(system.partitions)]
    groups = [ConsumerGroupTopicPartitions(system.app_id, zeros)]
    for future in system.admin.alter_consumer_group_offsets(groups).values():
        future.result(TIMEOUT_S)


def delete_group(system: System) -> None:
    for future in system.admin.delete_consumer_groups([system.app_id]).values():
        future.result(TIMEOUT_S)


@pytest.mark.parametrize("forget", [reset_offsets, delete_group], ids=["reset", "expired"])
def test_committed_offsets_that_are_gone_change_nothing(
    system: System, new_case: NewCase, forget: Callable[[System], None]
) -> None:
    """Offsets of the group that are reset to zero, or gone, lead to no replay: workers go on at their positions."""
    case = new_case(system)
    worker = system.start_worker()
    with case.load(1_500):
        stop(worker)
        case.strike()
        assert all(system.committed().values())
        forget(system)
        assert not any(system.committed().values())
        case.heal()
        system.start_worker().wait_ready()
    assert case.conclude().replays == 0


@pytest.mark.parametrize("is_running", [False, True], ids=["workers away", "workers running"])
def test_topics_and_folder_of_faust_are_not_needed(
    system: System, new_case: NewCase, tmp_path: Path, *, is_running: bool
) -> None:
    """Who deletes Faust's changelog topic and the data folder deletes nothing: PostgreSQL holds the tables."""
    case = new_case(system)
    folder = tmp_path / "data"
    topic = changelog_topic(system.app_id)
    worker = system.start_worker(data_dir=folder)
    with case.load(1_500):
        if not is_running:
            stop(worker)
        case.strike()
        assert topic in system.admin.list_topics(timeout=TIMEOUT_S).topics
        system.admin.delete_topics([topic])[topic].result(TIMEOUT_S)
        shutil.rmtree(folder)
        case.heal()
        if not is_running:
            system.start_worker(data_dir=folder).wait_ready()
            assert topic in system.admin.list_topics(timeout=TIMEOUT_S).topics
    case.conclude()
    if is_running:
        # a start beside it makes the topic again, and a rebalance is survived
        system.wait_shared(worker, system.start_worker(data_dir=folder))
        system.assert_exact()


def has_loaded(worker: WorkerProcess, positions: dict[int, int]) -> bool:
    """Tell whether a worker has begun with each partition at this position, by its log."""
    found = re.findall(r"partition loaded .*\[(\d+)\] position=(\d+)$", worker.text(), re.MULTILINE)
    return positions.items() <= {(int(partition), int(position)) for partition, position in found}


def back_up_after_some(system: System, worker: WorkerProcess, server: Postgres, folder: Path) -> dict[int, int]:
    """Take a backup that holds something, and return its positions."""
    system.publisher.publish(make_load(1_000, seed=2))
    system.wait_drained()
    back_up(server, folder)
    worker.wait_ready()
    return system.positions()


def wait_until_past(system: System, offsets: dict[int, int]) -> None:
    """Wait until more than what is before these offsets is stored in each partition."""
    wait_until(
        "more is stored",
        lambda: all(position > offsets[partition] for partition, position in system.positions().items()),
    )


@pytest.mark.parametrize("is_running", [False, True], ids=["workers away", "workers running"])
def test_database_put_back_to_a_backup_refills_itself(
    own_system: System, new_case: NewCase, own_postgres: Postgres, tmp_path: Path, *, is_running: bool
) -> None:
    """What an older backup lacks is read from Kafka again, exactly, whether workers are away or at work meanwhile."""
    system = own_system
    worker = system.start_worker()
    positions = back_up_after_some(system, worker, own_postgres, tmp_path / "backup")
    case = new_case(system)
    with case.load(1_500):
        wait_until_past(system, positions)
        if not is_running:
            stop(worker)
        case.strike()
        own_postgres.stop()
        put_back(own_postgres, tmp_path / "backup")
        case.put_back()
        own_postgres.start()
        case.heal()
        if not is_running:
            worker = system.start_worker()
        wait_until("the worker begins anew at the backup's positions", lambda: has_loaded(worker, positions))
    case.conclude()
    assert worker.exit_code is None
    assert "events are lost" not in worker.text()


def test_database_put_back_under_idle_workers_refills_itself(
    own_system: System, new_case: NewCase, own_postgres: Postgres, tmp_path: Path
) -> None:
    """Workers that have nothing to store, and get no new events, notice by themselves that positions went back."""
    system = own_system
    worker = system.start_worker()
    positions = back_up_after_some(system, worker, own_postgres, tmp_path / "backup")
    case = new_case(system)
    system.publisher.publish(make_load(3_000, seed=3))
    system.wait_drained()
    own_postgres.stop()
    put_back(own_postgres, tmp_path / "backup")
    case.put_back()
    case.strike()
    own_postgres.start()
    case.heal()
    wait_until("the worker begins anew at the backup's positions", lambda: has_loaded(worker, positions))
    case.conclude()
    assert worker.exit_code is None


def test_database_put_back_further_than_the_topic_reaches_reports_the_gap(
    own_system: System, new_case: NewCase, own_postgres: Postgres, tmp_path: Path
) -> None:
    """What neither the backup nor Kafka has is reported with its size; all that one of them has is exact."""
    system = own_system
    worker = system.start_worker()
    positions = back_up_after_some(system, worker, own_postgres, tmp_path / "backup")
    removed = {partition: range(position, position + GAP) for partition, position in positions.items()}
    case = new_case(system)
    with case.load(1_500):
        wait_until_past(system, {partition: gap.stop for partition, gap in removed.items()})
        case.strike()
        own_postgres.stop()
        put_back(own_postgres, tmp_path / "backup")
        starts = [TopicPartition(system.topic, partition, gap.stop) for partition, gap in removed.items()]
        for future in system.admin.delete_records(starts).values():
            future.result(TIMEOUT_S)
        case.put_back()
        own_postgres.start()
        case.heal()
        worker.wait_ready()
    system.publisher.lose(removed)
    case.conclude()
    reports = re.findall(r"events are lost.* count=(\d+) first=(\d+) .*partition=\S+\[(\d+)\]", worker.text())
    assert {int(partition): (int(first), int(count)) for count, first, partition in reports} == {
        partition: (gap.start, GAP) for partition, gap in removed.items()
    }
    assert len(reports) == system.partitions
