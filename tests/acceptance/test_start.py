"""How a worker starts, gives up, stops and fails: its words and its exit code."""

import signal
import socket
from pathlib import Path

import pytest
from command import run
from fix_worker import System
from publisher import make_events
from waiting import wait_until

from sandbox.ports import free_port
from sandbox.postgres import Postgres
from worker.exit_codes import EXIT_FAILURE, EXIT_SETTINGS


def test_version_is_printed() -> None:
    """`referrals --version` names the version."""
    assert run("--version").stdout == "referrals 0.3.0\n"


def test_settings_that_are_wrong_end_the_start_with_a_line_each() -> None:
    """Every bad setting is named with its remedy on one line of its own, before anything connects."""
    finished = run("worker", REFERRALS_WEB_PORT="99999", REFERRALS_BOOTSTRAP_SERVERS="kafka://broker:9092")
    assert finished.returncode == EXIT_SETTINGS
    lines = finished.stderr.splitlines()
    assert [line.split(":")[1].split()[0] for line in lines] == [
        "REFERRALS_BOOTSTRAP_SERVERS",
        "REFERRALS_DATABASE_URL",
        "REFERRALS_WEB_PORT",
    ]
    assert all(line.startswith("referrals: ") for line in lines)


def test_password_is_never_printed() -> None:
    """A database URL of an unknown scheme is refused without repeating what is in it."""
    finished = run("worker", REFERRALS_DATABASE_URL="mysql://me:secret@host/db")
    assert finished.returncode == EXIT_SETTINGS
    assert "'mysql'" in finished.stderr
    assert "secret" not in finished.stderr + finished.stdout


def test_start_is_refused_on_an_open_address_without_a_token() -> None:
    """Nobody opens a worker to a network by mistake: the line names the address and the ways out, and no token."""
    database = {"REFERRALS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    finished = run("worker", REFERRALS_WEB_HOST="0.0.0.0", **database)
    assert finished.returncode == EXIT_SETTINGS
    assert finished.stderr.startswith("referrals: settings: REFERRALS_WEB_HOST is '0.0.0.0'")
    assert len(finished.stderr.splitlines()) == 1
    finished = run("worker", REFERRALS_WEB_HOST="0.0.0.0", REFERRALS_WEB_TOKEN="hunter2", **database)
    assert finished.returncode == EXIT_SETTINGS
    assert finished.stderr.startswith("referrals: REFERRALS_WEB_TOKEN: not a token of 16 to 200")
    assert "hunter2" not in finished.stderr + finished.stdout


def test_start_gives_up_on_kafka_after_the_deadline(system: System) -> None:
    """Without Kafka the start waits with a clear line, then gives up by itself."""
    port = free_port()
    worker = system.start_worker(bootstrap_servers=f"127.0.0.1:{port}", start_timeout_s=2)
    assert worker.wait() == EXIT_FAILURE
    assert f"waiting for Kafka at 127.0.0.1:{port}" in worker.text()
    assert f"referrals: Kafka at 127.0.0.1:{port} is not there after 2 s" in worker.text()
    assert "Traceback" not in worker.text()


def test_start_gives_up_on_postgres_after_the_deadline(system: System, tmp_path: Path) -> None:
    """Without PostgreSQL the start waits with a clear line, then gives up by itself, in the server's words."""
    worker = system.start_worker(database_url=f"postgresql://postgres@/none?host={tmp_path}", start_timeout_s=2)
    assert worker.wait() == EXIT_FAILURE
    assert "waiting for PostgreSQL" in worker.text()
    assert "referrals: PostgreSQL is not there after 2 s" in worker.text()
    assert "Traceback" not in worker.text()


def test_start_is_refused_when_the_port_is_taken(system: System) -> None:
    """A taken port is named with the setting that chooses another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = system.start_worker(web_port=taken.getsockname()[1])
        assert worker.wait() == EXIT_SETTINGS
    assert "REFERRALS_WEB_PORT" in worker.text()
    assert "Traceback" not in worker.text()


def test_start_is_refused_without_the_schema(system: System, postgres: Postgres) -> None:
    """A database without the schema is named with the command that makes it."""
    postgres.create_database("without_schema")
    try:
        worker = system.start_worker(database_url=postgres.url("without_schema"))
        assert worker.wait() == EXIT_FAILURE
        assert "referrals migrate" in worker.text()
    finally:
        postgres.drop_database("without_schema")


def test_start_is_refused_with_the_positions_of_another_topic(system: System) -> None:
    """One database belongs to one usages topic: its positions mean nothing in another one."""
    system.conn.execute(
        "insert into referral_positions (topic, partition, partition_count, next_offset) values ('other', 0, 4, 7)"
    )
    worker = system.start_worker()
    assert worker.wait() == EXIT_FAILURE
    assert "holds the positions of topic 'other'" in worker.text()


def test_start_stops_when_the_number_of_partitions_is_another(system: System) -> None:
    """Positions stored with another number of partitions stop the worker: codes would be counted in two places."""
    system.conn.execute(
        "insert into referral_positions (topic, partition, partition_count, next_offset) values (%s, 0, 2, 0)",
        [system.topic],
    )
    worker = system.start_worker()
    assert worker.wait() == EXIT_FAILURE
    assert "its positions were stored with 2" in worker.text()


def test_sigterm_stops_in_order(system: System) -> None:
    """SIGTERM under load ends with code 0, and a new worker finds every delivered run stored or not begun."""
    worker = system.start_worker()
    worker.wait_ready()
    system.publisher.publish(make_events(2_000, codes=20, users=100))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    system.start_worker().wait_ready()
    system.wait_drained()
    system.assert_exact()


def test_second_sigterm_ends_at_once(system: System) -> None:
    """A second SIGTERM does not wait for what the first one waits for."""
    worker = system.start_worker()
    worker.wait_ready()
    with system.positions_locked():
        system.publisher.publish(make_events(100, codes=5, users=10))
        worker.wait_blocked()
        worker.send(signal.SIGTERM)
        wait_until("the worker says that it stops", lambda: worker.get("/readyz")[1]["reasons"] == ["stopping"])
        worker.send(signal.SIGTERM)
        assert worker.wait(5) == 128 + signal.SIGTERM
    system.start_worker().wait_ready()
    system.wait_drained()
    system.assert_exact()


def test_failure_that_no_retry_mends_ends_the_process(system: System) -> None:
    """A column that is gone is no outage: the worker names it and ends with a failure, and stores nothing wrong."""
    worker = system.start_worker()
    worker.wait_ready()
    system.conn.execute("alter table referral_usages rename column first_use to first_usage")
    system.publisher.publish(make_events(100, codes=5, users=10))
    assert worker.wait() == EXIT_FAILURE
    assert 'column "first_use" of relation "referral_usages" does not exist' in worker.text()
    # the runs that met it will never be finished
    assert "not finished in time" not in worker.text()
    assert system.row_count() == 0
    system.conn.execute("alter table referral_usages rename column first_usage to first_use")
    system.start_worker().wait_ready()
    system.wait_drained()
    system.assert_exact()


@pytest.mark.parametrize("command", ["worker", "migrate"])
def test_command_without_database_names_the_setting(command: str) -> None:
    """What needs a database says which setting names it."""
    finished = run(command)
    assert finished.returncode == EXIT_SETTINGS
    assert "REFERRALS_DATABASE_URL is not set" in finished.stderr
